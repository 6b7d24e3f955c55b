"""Requests that their user has read by himself: answered once, copies from memory."""

from __future__ import annotations

from lwm2m.coap import (
    ACK,
    CON,
    DatagramRejected,
    Message,
    Request,
    RequestReceived,
    codes,
    encode_message,
)
from lwm2m.coap.requests import encode_request
from tests.lwm2m.coap.by_hand import PEER, ByHand

_POST = Request(codes.POST, ("rd",), ("ep=lamp",))
_LOCATION = b"\x82rd\x01a"


def _datagram(message_id: int = 1, token: bytes = b"tokn") -> bytes:
    return encode_request(CON, message_id, token, _POST)


def test_a_taken_request_is_answered_in_the_acknowledgement_with_its_token() -> None:
    talk = ByHand()
    taken = talk.endpoint.take_request(_datagram(7), PEER, talk.now)
    assert taken is not None
    assert talk.endpoint.events() == []
    talk.endpoint.answer_request(taken, _datagram(7), codes.CREATED, _LOCATION)
    [answer] = talk.sent()
    assert (answer.type, answer.code, answer.message_id) == (ACK, codes.CREATED, 7)
    assert (answer.token, answer.options) == (b"tokn", ((8, b"rd"), (8, b"a")))


def test_a_copy_is_answered_again_by_either_way_and_told_by_none() -> None:
    talk = ByHand()
    taken = talk.endpoint.take_request(_datagram(), PEER, talk.now)
    assert taken is not None
    talk.endpoint.answer_request(taken, _datagram(), codes.CHANGED, b"")
    [first] = talk.sent()
    assert talk.endpoint.take_request(_datagram(), PEER, talk.now) is None
    talk.endpoint.receive_datagram(_datagram(), PEER, talk.now)
    assert talk.sent() == [first, first]
    assert talk.endpoint.events() == []


def test_a_copy_of_what_the_general_way_has_not_answered_yet_is_left_alone() -> None:
    talk = ByHand(acknowledgement_delay_s=60.0)
    talk.endpoint.receive_datagram(_datagram(), PEER, talk.now)
    assert talk.endpoint.take_request(_datagram(), PEER, talk.now) is None
    assert talk.sent() == []
    assert len(talk.endpoint.events()) == 1


def test_what_its_user_does_not_answer_goes_the_general_way() -> None:
    talk = ByHand()
    assert talk.endpoint.take_request(_datagram(), PEER, talk.now) is not None
    talk.endpoint.receive_datagram(_datagram(), PEER, talk.now)
    [told] = talk.endpoint.events()
    assert isinstance(told, RequestReceived)
    assert talk.endpoint.messages_remembered == 1


def test_the_same_id_with_another_token_is_another_request() -> None:
    talk = ByHand()
    for token in (b"a", b"b", b""):
        taken = talk.endpoint.take_request(_datagram(1, token), PEER, talk.now)
        assert taken is not None
        talk.endpoint.answer_request(taken, _datagram(1, token), codes.CHANGED, b"")
    assert [answer.token for answer in talk.sent()] == [b"a", b"b", b""]


def test_a_first_request_is_taken_also_from_who_has_been_asked_before() -> None:
    talk = ByHand()
    talk.send(Request(codes.GET, ("3", "0")))
    talk.sent_one()
    taken = talk.endpoint.take_request(_datagram(7), PEER, talk.now)
    assert taken is not None
    talk.endpoint.answer_request(taken, _datagram(7), codes.CHANGED, b"")
    assert talk.sent_one().message_id == 7
    assert talk.endpoint.take_request(_datagram(7), PEER, talk.now) is None


def test_copies_of_any_of_several_requests_of_a_peer_are_answered_again() -> None:
    talk = ByHand()
    for message_id in (1, 2, 3):
        taken = talk.endpoint.take_request(_datagram(message_id), PEER, talk.now)
        assert taken is not None
        talk.endpoint.answer_request(taken, _datagram(message_id), codes.CHANGED, b"")
    assert talk.endpoint.messages_remembered == 3
    for message_id in (2, 3, 1):
        assert talk.endpoint.take_request(_datagram(message_id), PEER, talk.now) is None
    assert [answer.message_id for answer in talk.sent()] == [1, 2, 3, 2, 3, 1]


def test_a_copy_is_known_although_all_before_it_was_forgotten_just_then() -> None:
    talk = ByHand()
    for message_id, wait_s in ((1, 300.0), (2, 0.0)):
        taken = talk.endpoint.take_request(_datagram(message_id), PEER, talk.now)
        assert taken is not None
        talk.endpoint.answer_request(taken, _datagram(message_id), codes.CHANGED, b"")
        talk.now += wait_s
    assert talk.endpoint.messages_remembered == 1
    assert talk.endpoint.take_request(_datagram(2), PEER, talk.now) is None
    assert [answer.message_id for answer in talk.sent()] == [1, 2, 2]


def test_a_peer_with_too_many_open_requests_is_told_as_busy() -> None:
    talk = ByHand(pending_per_peer_max=1, acknowledgement_delay_s=60.0)
    talk.hear(Message(CON, codes.GET, 1, b"t"))
    assert talk.endpoint.take_request(_datagram(2), PEER, talk.now) is None
    received, rejected = talk.endpoint.events()
    assert isinstance(received, RequestReceived)
    assert isinstance(rejected, DatagramRejected)
    assert rejected.reason == "busy"


def test_without_memory_for_one_more_the_request_is_as_if_lost() -> None:
    talk = ByHand(remembered_max=1, acknowledgement_delay_s=60.0)
    talk.endpoint.receive_datagram(encode_message(Message(CON, codes.GET, 1, b"t")), "a", talk.now)
    talk.endpoint.events()
    assert talk.endpoint.take_request(_datagram(), PEER, talk.now) is None
    [rejected] = talk.endpoint.events()
    assert isinstance(rejected, DatagramRejected)
    assert (rejected.peer, rejected.reason) == (PEER, "busy")
    assert talk.endpoint.peers_known == 1


def test_with_limits_of_rates_not_all_are_admitted() -> None:
    assert ByHand().endpoint.admits_all
    assert not ByHand(requests_per_s=1.0).endpoint.admits_all


def test_first_requests_are_answered_together_as_one_by_one() -> None:
    together, by_one = ByHand(), ByHand()
    peers = [("127.0.0.1", number) for number in range(9)]
    requests = [_datagram(number, bytes(range(number))) for number in range(9)]
    rests = [b"\x82rd\x01%d" % number for number in range(9)]
    endpoint = together.endpoint
    assert endpoint.has_room_for(9, together.now)
    endpoint.answer_first_requests(peers, requests, codes.CREATED, rests, together.now)
    for peer, data, rest in zip(peers, requests, rests, strict=True):
        taken = by_one.endpoint.take_request(data, peer, by_one.now)
        assert taken is not None
        by_one.endpoint.answer_request(taken, data, codes.CREATED, rest)
    answers = endpoint.datagrams_to_send()
    assert answers == by_one.endpoint.datagrams_to_send()
    assert all(map(endpoint.knows, peers))
    for peer, data in zip(peers, requests, strict=True):
        assert endpoint.take_request(data, peer, together.now) is None
    assert endpoint.datagrams_to_send() == answers, "copies are answered from memory"
    assert endpoint.messages_remembered == by_one.endpoint.messages_remembered == 9


def test_there_is_room_for_many_while_none_need_be_forgotten() -> None:
    talk = ByHand(remembered_max=10)
    assert not talk.endpoint.has_room_for(11, talk.now)
    taken = talk.endpoint.take_request(_datagram(), PEER, talk.now)
    assert taken is not None
    talk.endpoint.answer_request(taken, _datagram(), codes.CHANGED, b"")
    assert talk.endpoint.has_room_for(9, talk.now)
    assert not talk.endpoint.has_room_for(10, talk.now)
    assert not talk.endpoint.has_room_for(1, talk.now + 300.0), "one has expired: it goes first"
