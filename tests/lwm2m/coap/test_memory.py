"""What an endpoint keeps is bounded, per peer and in total, and goes when it is not needed."""

from __future__ import annotations

from harness.testing import seeded_draw
from lwm2m.coap import (
    ACK,
    CON,
    CoapEndpoint,
    DatagramRejected,
    Message,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
    decode_message,
    encode_message,
)


def _endpoint(**changed: int) -> CoapEndpoint:
    return CoapEndpoint(TransmissionParameters(**changed), seeded_draw(7))  # type: ignore[arg-type]  # numbers by name


def _ask(endpoint: CoapEndpoint, peer: object, message_id: int, now: float = 0.0) -> None:
    message = Message(CON, codes.POST, message_id, b"t")
    endpoint.receive_datagram(encode_message(message), peer, now)


def _answer_all(endpoint: CoapEndpoint, payload: bytes = b"", now: float = 0.0) -> int:
    answered = 0
    for event in endpoint.events():
        if isinstance(event, RequestReceived):
            endpoint.respond(event.exchange, Response(codes.CHANGED, payload), now)
            answered += 1
    endpoint.datagrams_to_send()
    return answered


def _run_timers(endpoint: CoapEndpoint, until: float) -> None:
    while (due := endpoint.next_timer()) is not None and due <= until:
        endpoint.handle_timer(due)


def test_a_peer_s_oldest_answered_message_is_forgotten_first() -> None:
    endpoint = _endpoint(remembered_per_peer_max=3)
    for message_id in range(4):
        _ask(endpoint, "peer", message_id)
        _answer_all(endpoint)
    for message_id in (1, 2, 3):
        _ask(endpoint, "peer", message_id)
    assert _answer_all(endpoint) == 0
    _ask(endpoint, "peer", 0)
    assert _answer_all(endpoint) == 1


def test_an_unanswered_request_is_never_forgotten_and_a_newer_one_is_dropped_instead() -> None:
    endpoint = _endpoint(remembered_per_peer_max=3)
    for message_id in range(4):
        _ask(endpoint, "peer", message_id)
    told = endpoint.events()
    assert [type(event) for event in told] == [RequestReceived] * 3 + [DatagramRejected]
    assert isinstance(told[3], DatagramRejected)
    assert told[3].reason == "busy"
    assert endpoint.datagrams_to_send() == []


def test_unanswered_requests_of_one_peer_are_limited_and_others_go_on() -> None:
    endpoint = _endpoint(pending_per_peer_max=2)
    for message_id in range(5):
        _ask(endpoint, "greedy", message_id)
    _ask(endpoint, "modest", 0)
    told = endpoint.events()
    assert sum(isinstance(event, RequestReceived) for event in told) == 3


def test_all_peers_together_are_limited() -> None:
    endpoint = _endpoint(remembered_max=100)
    for number in range(1_000):
        _ask(endpoint, number, 1)
        _answer_all(endpoint)
    assert endpoint.messages_remembered == 100
    assert endpoint.peers_known == 100
    _ask(endpoint, 999, 1)
    assert _answer_all(endpoint) == 0
    _ask(endpoint, 0, 1)
    assert _answer_all(endpoint) == 1


def test_the_bytes_of_answers_are_limited() -> None:
    endpoint = _endpoint(remembered_bytes_max=10_000, amplification_factor=0)
    for number in range(100):
        _ask(endpoint, number, 1)
        _answer_all(endpoint, bytes(1_000))
    assert endpoint.messages_remembered <= 11


def test_when_nothing_answered_is_left_in_all_memory_new_requests_are_dropped() -> None:
    endpoint = _endpoint(remembered_max=3)
    for number in range(5):
        _ask(endpoint, number, 1)
    told = endpoint.events()
    assert sum(isinstance(event, RequestReceived) for event in told) == 3
    assert endpoint.peers_known == 3


def test_an_answer_after_the_message_was_forgotten_is_sent_and_not_counted() -> None:
    endpoint = _endpoint()
    _ask(endpoint, "peer", 1)
    [request] = endpoint.events()
    assert isinstance(request, RequestReceived)
    _run_timers(endpoint, 300.0)
    assert endpoint.messages_remembered == 0
    endpoint.datagrams_to_send()
    endpoint.respond(request.exchange, Response(codes.CONTENT), 300.0)
    [(data, _)] = endpoint.datagrams_to_send()
    assert decode_message(data).code == codes.CONTENT


def test_after_exchange_lifetime_nothing_is_left_of_a_peer() -> None:
    endpoint = _endpoint()
    for number in range(50):
        _ask(endpoint, number, 1, now=number / 10)
        _answer_all(endpoint, now=number / 10)
    _run_timers(endpoint, 246.0)
    assert endpoint.messages_remembered == 50
    _run_timers(endpoint, 255.0)
    assert (endpoint.messages_remembered, endpoint.peers_known) == (0, 0)
    assert endpoint.next_timer() is None


def test_a_peer_that_was_asked_is_kept_until_its_message_ids_may_be_used_again() -> None:
    endpoint = _endpoint()
    endpoint.send_request("peer", Request(codes.GET), 0.0)
    [(data, _)] = endpoint.datagrams_to_send()
    asked = decode_message(data)
    answer = Message(ACK, codes.CONTENT, asked.message_id, asked.token)
    endpoint.receive_datagram(encode_message(answer), "peer", 0.1)
    _run_timers(endpoint, 246.0)
    assert endpoint.peers_known == 1
    _run_timers(endpoint, 600.0)
    assert endpoint.peers_known == 0


def test_datagrams_from_many_addresses_that_are_no_requests_leave_nothing() -> None:
    endpoint = _endpoint()
    for number in range(300):
        for data in (b"", b"\x40", bytes.fromhex("60000001"), bytes.fromhex("70000001"),
                     bytes.fromhex("51450001ff"), bytes.fromhex("4145000174")):  # fmt: skip
            endpoint.receive_datagram(data, number, 0.0)
    assert endpoint.peers_known == 0
    assert endpoint.messages_remembered == 0


def test_forgetting_a_peer_forgets_its_messages() -> None:
    endpoint = _endpoint()
    _ask(endpoint, "peer", 1)
    _answer_all(endpoint)
    endpoint.forget_peer("peer")
    assert endpoint.peers_known == 0
    _ask(endpoint, "peer", 1)
    assert _answer_all(endpoint) == 1


def test_what_is_answered_late_is_kept_for_no_duplicate_once_its_message_is_forgotten() -> None:
    endpoint = _endpoint()
    _ask(endpoint, "peer", 1)
    [event] = endpoint.events()
    assert isinstance(event, RequestReceived)
    entry = endpoint._responder._by_handle[event.exchange].entry
    endpoint._core.answers.forget_peer(entry.peer)
    endpoint.respond(event.exchange, Response(codes.CHANGED), 0.0)
    assert entry.answer is None
    assert endpoint._core.answers._answer_bytes == 0


def test_ended_requests_do_not_pile_up_behind_one_that_is_not_answered() -> None:
    endpoint = _endpoint()
    request = Request(codes.POST, ("rd",))
    silent = endpoint.send_request("silent", request, 0.0)
    for number in range(5_000):
        endpoint.send_request(("peer", number), request, 0.0)
        [(data, peer), *_] = reversed(endpoint.datagrams_to_send())
        asked = decode_message(data)
        answer = Message(ACK, codes.CHANGED, asked.message_id, asked.token)
        endpoint.receive_datagram(encode_message(answer), peer, 0.0)
        assert endpoint.next_timer() == 2.0
    kept = endpoint._requester._just_sent.messages
    assert len(kept) <= 1_003
    assert kept[0][2].handle == silent
    _run_timers(endpoint, 3.0)
    assert len(endpoint.datagrams_to_send()) == 1, "retransmitted in its time"
    assert not kept
    assert not endpoint._requester._just_sent.messages


def test_one_of_two_outstanding_requests_leaves_the_other_open() -> None:
    endpoint = _endpoint(nstart=2)
    first, second = (
        endpoint.send_request("peer", Request(codes.POST, (name,)), 0.0) for name in ("a", "b")
    )
    asked = [decode_message(data) for data, _ in endpoint.datagrams_to_send()]
    for handle, message in zip((first, second), asked, strict=True):
        answer = Message(ACK, codes.CHANGED, message.message_id, message.token)
        endpoint.receive_datagram(encode_message(answer), "peer", 0.0)
        [told] = endpoint.events()
        assert isinstance(told, ResponseReceived)
        assert told.exchange == handle
    assert endpoint._core.peers.by_address["peer"].outstanding == 0
