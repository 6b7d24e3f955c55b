"""More requests than are admitted: 5.03 with Max-Age, and one event a second that counts them."""

from __future__ import annotations

from lwm2m.coap import (
    ACK,
    CON,
    NON,
    DatagramRejected,
    Message,
    RequestReceived,
    Response,
    codes,
    max_age_s,
)
from lwm2m.coap.requests import read_response
from tests.lwm2m.coap.by_hand import PEER, ByHand


def _answer_all(talk: ByHand) -> tuple[int, list[DatagramRejected]]:
    """Answer what was told; how many that were, and what was refused."""
    answered = 0
    refused = []
    for event in talk.told():
        if isinstance(event, RequestReceived):
            talk.endpoint.respond(event.exchange, Response(codes.CHANGED), talk.now)
            answered += 1
        elif isinstance(event, DatagramRejected):
            refused.append(event)
    return answered, refused


def _ask(talk: ByHand, times: int, peer: object = PEER) -> list[Message]:
    for _ in range(times):
        talk.ask(codes.POST, peer=peer)
    return talk.sent()


def test_what_comes_faster_than_admitted_is_answered_5_03_with_max_age() -> None:
    talk = ByHand(requests_per_s=1.0, requests_burst=2, overload_max_age_s=30)
    [refusal] = _ask(talk, 3)
    assert (refusal.type, refusal.code) == (ACK, codes.SERVICE_UNAVAILABLE)
    assert max_age_s(read_response(refusal.code, refusal.options, b"")) == 30.0
    answered, [event] = _answer_all(talk)
    assert answered == 2
    assert (event.peer, event.reason, event.count) == (PEER, "busy", 1)


def test_all_is_admitted_without_limits() -> None:
    talk = ByHand()
    for _ in range(2_000):
        _ask(talk, 1)
        assert _answer_all(talk) == (1, [])


def test_the_rate_is_kept_over_time() -> None:
    talk = ByHand(requests_per_s=2.0, requests_burst=1, acknowledgement_delay_s=60.0)
    admitted = 0
    for _ in range(100):
        _ask(talk, 1)
        admitted += _answer_all(talk)[0]
        talk.wait(0.1)
    assert 17 <= admitted <= 21


def test_a_greedy_peer_takes_nothing_from_the_others() -> None:
    talk = ByHand(
        requests_per_s=10.0,
        requests_burst=10,
        requests_per_peer_per_s=1.0,
        requests_per_peer_burst=3,
    )
    assert len(_ask(talk, 50, "greedy")) == 47
    assert _answer_all(talk)[0] == 3
    talk.sent()
    assert _ask(talk, 3, "modest") == []
    assert _answer_all(talk)[0] == 3


def test_a_limit_per_peer_alone_lets_any_number_of_peers_ask() -> None:
    talk = ByHand(requests_per_peer_per_s=1.0, requests_per_peer_burst=1)
    for number in range(100):
        assert _ask(talk, 1, number) == []
    assert _answer_all(talk) == (100, [])


def test_duplicates_are_answered_from_memory_and_do_not_count() -> None:
    talk = ByHand(requests_per_s=1.0, requests_burst=1)
    message = Message(CON, codes.POST, 1, b"t")
    for _ in range(5):
        talk.hear(message)
        assert _answer_all(talk)[1] == []
    assert [answer.code for answer in talk.sent()] == [codes.CHANGED] * 5


def test_answers_to_our_own_requests_do_not_count() -> None:
    talk = ByHand(requests_per_s=1.0, requests_burst=1)
    _ask(talk, 1)
    _answer_all(talk)
    talk.ask(codes.CONTENT)
    assert talk.told_one(DatagramRejected).reason == "unexpected"


def test_a_known_peer_s_refusal_is_repeated_to_its_copy() -> None:
    talk = ByHand(requests_per_peer_per_s=0.1, requests_per_peer_burst=1)
    _ask(talk, 1)
    _answer_all(talk)
    talk.sent()
    refused = Message(CON, codes.POST, 7, b"t")
    talk.hear(refused)
    talk.wait(20.0)
    talk.hear(refused)
    assert [answer.code for answer in talk.sent()] == [codes.SERVICE_UNAVAILABLE] * 2
    assert _answer_all(talk)[0] == 0


def test_a_refused_non_confirmable_request_is_answered_so_too() -> None:
    talk = ByHand(requests_per_s=1.0, requests_burst=1)
    talk.ask(codes.POST, type_=NON)
    _answer_all(talk)
    talk.sent()
    talk.ask(codes.POST, type_=NON)
    refusal = talk.sent_one()
    assert (refusal.type, refusal.code) == (NON, codes.SERVICE_UNAVAILABLE)


def test_refusals_are_told_once_a_second_and_all_counted() -> None:
    talk = ByHand(requests_per_s=0.001, requests_burst=1)
    _ask(talk, 1)
    _answer_all(talk)
    events: list[DatagramRejected] = []
    for number in range(300):
        _ask(talk, 10, number)
        events += _answer_all(talk)[1]
        talk.wait(0.01)
    talk.wait(2.0)
    events += _answer_all(talk)[1]
    assert sum(event.count for event in events) == 3_000
    assert len(events) <= 5


def test_after_a_quiet_time_the_next_refusal_is_told_at_once() -> None:
    talk = ByHand(requests_per_s=0.001, requests_burst=1)
    _ask(talk, 2)
    assert len(_answer_all(talk)[1]) == 1
    talk.wait(5.0)
    _ask(talk, 1)
    assert [event.count for event in _answer_all(talk)[1]] == [1]


def test_a_refusal_just_before_the_timer_is_told_with_those_before_it() -> None:
    talk = ByHand(requests_per_s=0.001, requests_burst=1)
    _ask(talk, 3)
    _answer_all(talk)
    talk.now = 1.5
    _ask(talk, 1)
    assert [event.count for event in _answer_all(talk)[1]] == [2]
    talk.wait(1.0)
    assert _answer_all(talk)[1] == []


def test_who_is_refused_leaves_nothing_behind() -> None:
    talk = ByHand(requests_per_s=0.001, requests_burst=1)
    _ask(talk, 1, "first")
    _answer_all(talk)
    for number in range(1_000):
        _ask(talk, 1, number)
    assert talk.endpoint.peers_known == 1
    assert talk.endpoint.messages_remembered == 1
