"""Exchanges of one endpoint, datagram by datagram, against RFC 7252 §4 and §5."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from harness.testing import seeded_draw
from lwm2m.coap import (
    ACK,
    CON,
    NON,
    RST,
    CoapEndpoint,
    DatagramRejected,
    ExchangeFailed,
    Message,
    PeerQueueFull,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    UnknownExchange,
    codes,
    decode_message,
    encode_message,
)

PEER = ("127.0.0.2", 5683)
OTHER = ("127.0.0.3", 5683)
GET_TEMPERATURE = Request(codes.GET, ("temperature",))
TICK_S = 1 / 64


def _endpoint(**changed: float) -> CoapEndpoint:
    return CoapEndpoint(TransmissionParameters(**changed), seeded_draw(7))  # type: ignore[arg-type]  # numbers by name


def _sent(endpoint: CoapEndpoint) -> list[Message]:
    return [decode_message(data) for data, _ in endpoint.datagrams_to_send()]


def _receive(endpoint: CoapEndpoint, message: Message, now: float, peer: object = PEER) -> None:
    endpoint.receive_datagram(encode_message(message), peer, now)


def _run_timers(endpoint: CoapEndpoint, until: float) -> list[tuple[float, Message]]:
    sent: list[tuple[float, Message]] = []
    while (due := endpoint.next_timer()) is not None and due <= until:
        endpoint.handle_timer(due)
        sent += [(due, message) for message in _sent(endpoint)]
    return sent


class TestAsking:
    def test_a_piggybacked_response_ends_the_exchange(self) -> None:
        endpoint = _endpoint()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 1.0)
        [request] = _sent(endpoint)
        assert (request.type, request.code, request.options) == (
            CON,
            codes.GET,
            ((11, b"temperature"),),
        )
        answer = Message(ACK, codes.CONTENT, request.message_id, request.token, payload=b"22.3 C")
        _receive(endpoint, answer, 1.1)
        assert endpoint.events() == [
            ResponseReceived(PEER, handle, Response(codes.CONTENT, b"22.3 C"))
        ]
        assert _run_timers(endpoint, 200.0) == []

    def test_retransmissions_double_their_wait_and_end_as_a_timeout(self) -> None:
        endpoint = _endpoint()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [first] = _sent(endpoint)
        again = _run_timers(endpoint, 100.0)
        assert [message for _, message in again] == [first] * 4
        times = [0.0] + [at for at, _ in again]
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert 2.0 <= waits[0] <= 3.0 + TICK_S
        for shorter, longer in itertools.pairwise(waits):
            assert longer == pytest.approx(2 * shorter, abs=3 * TICK_S)
        assert endpoint.events() == [ExchangeFailed(PEER, handle, "timeout")]

    def test_the_first_wait_differs_between_requests(self) -> None:
        endpoint = _endpoint()
        for number in range(20):
            endpoint.send_request(("127.0.0.9", number), GET_TEMPERATURE, 0.0)
        endpoint.datagrams_to_send()
        assert len({at for at, _ in _run_timers(endpoint, 3.1)}) > 5

    def test_an_empty_acknowledgement_stops_retransmission_and_the_response_follows(self) -> None:
        endpoint = _endpoint()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = _sent(endpoint)
        _receive(endpoint, Message(ACK, 0, request.message_id), 0.5)
        assert _run_timers(endpoint, 60.0) == []
        _receive(endpoint, Message(CON, codes.CONTENT, 0xAD7B, request.token), 60.0)
        assert _sent(endpoint) == [Message(ACK, 0, 0xAD7B)]
        assert endpoint.events() == [ResponseReceived(PEER, handle, Response(codes.CONTENT))]

    def test_a_repeated_separate_response_is_acknowledged_again_and_told_once(self) -> None:
        endpoint = _endpoint()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = _sent(endpoint)
        response = Message(CON, codes.CONTENT, 9, request.token)
        _receive(endpoint, response, 1.0)
        _receive(endpoint, response, 3.0)
        assert _sent(endpoint) == [Message(ACK, 0, 9)] * 2
        assert len(endpoint.events()) == 1

    def test_a_response_that_never_follows_is_a_timeout(self) -> None:
        endpoint = _endpoint(response_timeout_s=50.0)
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = _sent(endpoint)
        _receive(endpoint, Message(ACK, 0, request.message_id), 1.0)
        assert _run_timers(endpoint, 52.0) == []
        assert endpoint.events() == [ExchangeFailed(PEER, handle, "timeout")]

    def test_a_reset_ends_the_exchange(self) -> None:
        endpoint = _endpoint()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = _sent(endpoint)
        _receive(endpoint, Message(RST, 0, request.message_id), 0.1)
        assert endpoint.events() == [ExchangeFailed(PEER, handle, "reset")]
        assert _run_timers(endpoint, 100.0) == []

    def test_a_response_from_another_address_is_not_accepted(self) -> None:
        endpoint = _endpoint()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = _sent(endpoint)
        forged = Message(ACK, codes.CONTENT, request.message_id, request.token)
        _receive(endpoint, forged, 0.1, OTHER)
        [rejected] = endpoint.events()
        assert isinstance(rejected, DatagramRejected)
        assert (rejected.peer, rejected.reason) == (OTHER, "unexpected")

    def test_a_piggybacked_response_needs_token_and_message_id(self) -> None:
        endpoint = _endpoint()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = _sent(endpoint)
        wrong_id = (request.message_id + 1) & 0xFFFF
        _receive(endpoint, Message(ACK, codes.CONTENT, wrong_id, request.token), 0.1)
        _receive(endpoint, Message(ACK, codes.CONTENT, request.message_id, b"other"), 0.1)
        assert all(isinstance(event, DatagramRejected) for event in endpoint.events())
        # RFC 7252 §4.2: nothing is ever answered to an acknowledgement.
        assert _sent(endpoint) == []

    def test_an_unexpected_confirmable_response_is_reset(self) -> None:
        # RFC 7252 appendix A, figure 21.
        endpoint = _endpoint()
        _receive(endpoint, Message(CON, codes.CONTENT, 0xAD7C, b"\x64", payload=b"22.3 C"), 0.0)
        assert [data.hex() for data, _ in endpoint.datagrams_to_send()] == ["7000ad7c"]

    def test_a_response_with_an_unknown_critical_option_is_rejected(self) -> None:
        endpoint = _endpoint()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = _sent(endpoint)
        bad = Message(CON, codes.CONTENT, 77, request.token, ((9, b""),))
        _receive(endpoint, bad, 0.1)
        assert _sent(endpoint) == [Message(RST, 0, 77)]
        rejected, failed = endpoint.events()
        assert isinstance(rejected, DatagramRejected)
        assert rejected.reason == "bad_option"
        assert failed == ExchangeFailed(PEER, handle, "malformed")

    def test_a_cancelled_exchange_is_silent_and_its_late_response_is_reset(self) -> None:
        endpoint = _endpoint()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = _sent(endpoint)
        endpoint.cancel(handle)
        endpoint.cancel(handle)
        assert endpoint.events() == [ExchangeFailed(PEER, handle, "cancelled")]
        _receive(endpoint, Message(CON, codes.CONTENT, 5, request.token), 0.5)
        assert _sent(endpoint) == [Message(RST, 0, 5)]
        assert _run_timers(endpoint, 100.0) == []

    def test_a_non_confirmable_request_is_sent_once(self) -> None:
        endpoint = _endpoint(response_timeout_s=30.0)
        handle = endpoint.send_request(PEER, Request(codes.GET, confirmable=False), 0.0)
        [request] = _sent(endpoint)
        assert request.type == NON
        assert _run_timers(endpoint, 31.0) == []
        assert endpoint.events() == [ExchangeFailed(PEER, handle, "timeout")]

    def test_what_cannot_be_encoded_is_refused_at_once_also_when_it_would_wait(self) -> None:
        endpoint = _endpoint()
        bad = Request(codes.GET, ("a" * 256,))
        for _ in range(2):
            with pytest.raises(ValueError):
                endpoint.send_request(PEER, bad, 0.0)
            endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        assert len(_sent(endpoint)) == 1


class TestNstart:
    def test_a_second_request_waits_for_the_first(self) -> None:
        endpoint = _endpoint()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        waiting = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [first] = _sent(endpoint)
        assert endpoint.message_id_of(waiting) is None
        assert endpoint.datagram_of(waiting) is None
        _receive(endpoint, Message(ACK, codes.CONTENT, first.message_id, first.token), 0.1)
        [second] = _sent(endpoint)
        assert second.message_id == endpoint.message_id_of(waiting)
        assert second.message_id == (first.message_id + 1) & 0xFFFF
        assert second.token != first.token

    def test_an_empty_acknowledgement_frees_the_place(self) -> None:
        endpoint = _endpoint()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [first] = _sent(endpoint)
        _receive(endpoint, Message(ACK, 0, first.message_id), 0.1)
        assert len(_sent(endpoint)) == 1

    def test_other_peers_do_not_wait(self) -> None:
        endpoint = _endpoint()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        endpoint.send_request(OTHER, GET_TEMPERATURE, 0.0)
        assert len(_sent(endpoint)) == 2

    def test_a_timeout_lets_the_next_go(self) -> None:
        endpoint = _endpoint(max_retransmit=0)
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [first] = _sent(endpoint)
        [(_, second)] = _run_timers(endpoint, 3.1)
        assert second.message_id == (first.message_id + 1) & 0xFFFF

    def test_a_full_queue_refuses(self) -> None:
        endpoint = _endpoint(queue_per_peer_max=2)
        for _ in range(3):
            endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        with pytest.raises(PeerQueueFull):
            endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)

    def test_a_request_that_waits_can_be_cancelled(self) -> None:
        endpoint = _endpoint()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        waiting = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [first] = _sent(endpoint)
        endpoint.cancel(waiting)
        _receive(endpoint, Message(ACK, codes.CONTENT, first.message_id, first.token), 0.1)
        assert _sent(endpoint) == []

    def test_a_forgotten_peer_fails_what_was_open_and_sends_nothing_more(self) -> None:
        endpoint = _endpoint()
        handles = [endpoint.send_request(PEER, GET_TEMPERATURE, 0.0) for _ in range(3)]
        endpoint.datagrams_to_send()
        endpoint.forget_peer(PEER)
        endpoint.forget_peer(PEER)
        failed = {e.exchange for e in endpoint.events() if isinstance(e, ExchangeFailed)}
        assert failed == set(handles)
        assert _run_timers(endpoint, 100.0) == []
        assert endpoint.peers_known == 0


def _only_request(endpoint: CoapEndpoint) -> RequestReceived:
    [event] = endpoint.events()
    assert isinstance(event, RequestReceived)
    return event


class TestAnswering:
    def test_an_answer_at_once_goes_in_the_acknowledgement(self) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(CON, codes.GET, 0x7D35, b"\x20", ((11, b"temperature"),)), 0.0)
        request = _only_request(endpoint)
        assert request.request == GET_TEMPERATURE
        assert request.message_id == 0x7D35
        endpoint.respond(request.exchange, Response(codes.CONTENT, b"22.3 C"), 0.0)
        # RFC 7252 appendix A, figure 17.
        assert [data.hex() for data, _ in endpoint.datagrams_to_send()] == [
            "61457d3520ff32322e332043"
        ]

    def test_a_late_answer_is_a_separate_confirmable_response(self) -> None:
        endpoint = _endpoint(acknowledgement_delay_s=0.5)
        _receive(endpoint, Message(CON, codes.GET, 1, b"t"), 0.0)
        request = _only_request(endpoint)
        [(at, acknowledgement)] = _run_timers(endpoint, 1.0)
        assert acknowledgement == Message(ACK, 0, 1)
        assert at == pytest.approx(0.5, abs=TICK_S)
        endpoint.respond(request.exchange, Response(codes.CONTENT, b"x"), 2.0)
        [response] = _sent(endpoint)
        assert (response.type, response.code, response.token) == (CON, codes.CONTENT, b"t")
        again = _run_timers(endpoint, 6.0)
        assert [message for _, message in again] == [response]
        _receive(endpoint, Message(ACK, 0, response.message_id), 6.0)
        assert _run_timers(endpoint, 200.0) == []
        assert endpoint.events() == []

    def test_a_separate_response_that_nobody_takes_is_told(self) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(CON, codes.GET, 1, b"t"), 0.0)
        request = _only_request(endpoint)
        _run_timers(endpoint, 1.0)
        endpoint.respond(request.exchange, Response(codes.CONTENT), 1.0)
        _run_timers(endpoint, 200.0)
        assert endpoint.events() == [ExchangeFailed(PEER, request.exchange, "timeout")]

    def test_a_reset_ends_a_separate_response(self) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(CON, codes.GET, 1, b"t"), 0.0)
        request = _only_request(endpoint)
        _run_timers(endpoint, 1.0)
        endpoint.respond(request.exchange, Response(codes.CONTENT), 1.0)
        [response] = _sent(endpoint)
        _receive(endpoint, Message(RST, 0, response.message_id), 1.1)
        assert endpoint.events() == [ExchangeFailed(PEER, request.exchange, "reset")]
        assert _run_timers(endpoint, 100.0) == []

    def test_an_answer_is_given_once(self) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(CON, codes.GET, 1, b"t"), 0.0)
        request = _only_request(endpoint)
        endpoint.respond(request.exchange, Response(codes.CONTENT), 0.0)
        with pytest.raises(UnknownExchange):
            endpoint.respond(request.exchange, Response(codes.CONTENT), 0.0)

    @pytest.mark.parametrize("delay_s", [0.0, 1.0])
    def test_an_answer_that_cannot_be_encoded_leaves_the_request_open(self, delay_s: float) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(CON, codes.GET, 1, b"t"), 0.0)
        request = _only_request(endpoint)
        _run_timers(endpoint, delay_s)
        with pytest.raises(ValueError):
            endpoint.respond(request.exchange, Response(codes.GET), delay_s)
        endpoint.respond(request.exchange, Response(codes.CONTENT), delay_s)
        assert [message.code for message in _sent(endpoint)] == [codes.CONTENT]

    def test_a_non_confirmable_request_gets_a_non_confirmable_response(self) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(NON, codes.GET, 0x7D40, b"\x75"), 0.0)
        request = _only_request(endpoint)
        assert not request.request.confirmable
        endpoint.respond(request.exchange, Response(codes.CONTENT), 0.0)
        [response] = _sent(endpoint)
        assert (response.type, response.token) == (NON, b"\x75")

    def test_a_ping_is_answered_by_a_reset(self) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(CON, 0, 0x0102), 0.0)
        assert _sent(endpoint) == [Message(RST, 0, 0x0102)]
        assert endpoint.peers_known == 0

    def test_our_ping_is_an_empty_confirmable_message(self) -> None:
        endpoint = _endpoint()
        endpoint.ping(PEER, 0.0)
        [ping] = _sent(endpoint)
        assert (ping.type, ping.code) == (CON, 0)
        _receive(endpoint, Message(RST, 0, ping.message_id), 0.1)
        [told] = endpoint.events()
        assert isinstance(told, DatagramRejected)
        assert told.reason == "reset"

    def test_an_unknown_critical_option_is_answered_bad_option(self) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(CON, codes.GET, 1, b"t", ((9, b""),)), 0.0)
        assert _sent(endpoint) == [Message(ACK, codes.BAD_OPTION, 1, b"t")]
        [rejected] = endpoint.events()
        assert isinstance(rejected, DatagramRejected)
        assert rejected.reason == "bad_option"

    def test_an_unknown_critical_option_in_a_non_is_ignored(self) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(NON, codes.GET, 1, b"t", ((9, b""),)), 0.0)
        assert _sent(endpoint) == []

    def test_proxying_is_not_supported(self) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(CON, codes.GET, 1, b"t", ((35, b"coap://x"),)), 0.0)
        assert [m.code for m in _sent(endpoint)] == [codes.PROXYING_NOT_SUPPORTED]
        assert endpoint.events() == []

    @pytest.mark.parametrize(
        ("data", "answer"),
        [
            ("40011234ff", "70001234"),  # a CON with a format error: RST
            ("4f011234", "70001234"),  # reserved token length
            ("40c11234", "70001234"),  # reserved class
            ("50011234ff", None),  # a NON: silence
            ("60011234", None),  # an ACK that carries a request: silence
            ("80011234", None),  # another version: silence
            ("40", None),
        ],
    )
    def test_malformed_datagrams_are_reset_or_ignored(self, data: str, answer: str | None) -> None:
        endpoint = _endpoint()
        endpoint.receive_datagram(bytes.fromhex(data), PEER, 0.0)
        sent = [found.hex() for found, _ in endpoint.datagrams_to_send()]
        assert sent == ([answer] if answer else [])
        [rejected] = endpoint.events()
        assert isinstance(rejected, DatagramRejected)
        assert rejected.reason == "malformed"
        assert endpoint.peers_known == 0


class TestDuplicates:
    def _answered(self, respond: Callable[[int], bytes]) -> CoapEndpoint:
        endpoint = _endpoint()
        for number in range(2):
            _receive(endpoint, Message(CON, codes.POST, 1, b"t"), float(number), PEER)
            for event in endpoint.events():
                assert isinstance(event, RequestReceived)
                answer = Response(codes.CHANGED, respond(number))
                endpoint.respond(event.exchange, answer, 0.0)
        return endpoint

    def test_a_duplicate_gets_the_same_answer_and_is_not_told(self) -> None:
        endpoint = self._answered(lambda number: b"%d" % number)
        first, second = _sent(endpoint)
        assert first == second
        assert first.payload == b"0"

    def test_the_same_message_id_from_another_address_is_another_request(self) -> None:
        endpoint = _endpoint()
        for peer in (PEER, OTHER, ("127.0.0.2", 9)):
            _receive(endpoint, Message(CON, codes.POST, 1, b"t"), 0.0, peer)
        assert len(endpoint.events()) == 3

    def test_a_duplicate_of_an_unanswered_request_is_ignored(self) -> None:
        endpoint = _endpoint()
        for _ in range(3):
            _receive(endpoint, Message(CON, codes.POST, 1, b"t"), 0.0)
        assert len(endpoint.events()) == 1
        assert _sent(endpoint) == []

    def test_a_duplicate_after_the_empty_acknowledgement_gets_that_again(self) -> None:
        endpoint = _endpoint()
        _receive(endpoint, Message(CON, codes.POST, 1, b"t"), 0.0)
        _run_timers(endpoint, 1.0)
        _receive(endpoint, Message(CON, codes.POST, 1, b"t"), 2.0)
        assert _sent(endpoint) == [Message(ACK, 0, 1)]

    def test_a_duplicate_non_confirmable_request_is_ignored(self) -> None:
        endpoint = _endpoint()
        for _ in range(2):
            _receive(endpoint, Message(NON, codes.POST, 1, b"t"), 0.0)
            for event in endpoint.events():
                assert isinstance(event, RequestReceived)
                endpoint.respond(event.exchange, Response(codes.CHANGED), 0.0)
        assert len(_sent(endpoint)) == 1

    def test_the_same_id_after_exchange_lifetime_is_a_new_request(self) -> None:
        endpoint = self._answered(lambda number: b"")
        _receive(endpoint, Message(CON, codes.POST, 1, b"t"), 246.0)
        assert endpoint.events() == []
        _receive(endpoint, Message(CON, codes.POST, 1, b"t"), 248.0)
        assert len(endpoint.events()) == 1

    def test_the_same_id_with_another_token_is_a_rebooted_device_s_new_request(self) -> None:
        endpoint = self._answered(lambda number: b"")
        _receive(endpoint, Message(CON, codes.POST, 1, b"new"), 5.0)
        assert _only_request(endpoint).message_id == 1

    def test_a_refusal_is_repeated_from_memory(self) -> None:
        endpoint = _endpoint()
        for _ in range(2):
            _receive(endpoint, Message(CON, codes.GET, 1, b"t", ((9, b""),)), 0.0)
        assert len(_sent(endpoint)) == 2
        assert len(endpoint.events()) == 1


class TestMessageIds:
    def test_each_peer_has_ids_of_its_own_from_a_start_by_chance(self) -> None:
        endpoint = _endpoint()
        handles = [endpoint.send_request((PEER, n), GET_TEMPERATURE, 0.0) for n in range(20)]
        assert len({endpoint.message_id_of(handle) for handle in handles}) > 15

    def test_reserved_ids_are_skipped(self) -> None:
        endpoint = _endpoint()
        endpoint.reserve_message_ids(PEER, after=0xFFFF)
        assert endpoint.message_id_of(endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)) == 0

    @pytest.mark.slow
    def test_an_id_is_not_used_again_within_exchange_lifetime(self) -> None:
        endpoint = _endpoint()
        used: dict[int, float] = {}
        now = 0.0
        for _ in range(70_000):
            handle = endpoint.send_request(PEER, GET_TEMPERATURE, now)
            while not (sent := _sent(endpoint)):
                due = endpoint.next_timer()
                assert due is not None
                now = max(now, due)
                endpoint.handle_timer(now)
            message_id = sent[0].message_id
            assert message_id == endpoint.message_id_of(handle)
            assert now - used.get(message_id, -1_000.0) >= 247.0
            used[message_id] = now
            answer = Message(ACK, codes.CONTENT, message_id, sent[0].token)
            _receive(endpoint, answer, now)
            endpoint.events()
            now += 0.001
        assert len(used) == 65_536
