"""Answering, request by request, against RFC 7252 §4 and §5: once, and again for duplicates."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lwm2m.coap import (
    ACK,
    CON,
    NON,
    RST,
    CoapEndpoint,
    DatagramRejected,
    ExchangeFailed,
    Message,
    RequestReceived,
    Response,
    UnknownExchange,
    codes,
)
from tests.lwm2m.coap.by_hand import (
    GET_TEMPERATURE,
    OTHER,
    PEER,
    TICK_S,
    endpoint_with,
    hear,
    run_timers,
    sent_by,
)


def _only_request(endpoint: CoapEndpoint) -> RequestReceived:
    [event] = endpoint.events()
    assert isinstance(event, RequestReceived)
    return event


class TestAnswering:
    def test_an_answer_at_once_goes_in_the_acknowledgement(self) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(CON, codes.GET, 0x7D35, b"\x20", ((11, b"temperature"),)), 0.0)
        request = _only_request(endpoint)
        assert request.request == GET_TEMPERATURE
        assert request.message_id == 0x7D35
        endpoint.respond(request.exchange, Response(codes.CONTENT, b"22.3 C"), 0.0)
        # RFC 7252 appendix A, figure 17.
        assert [data.hex() for data, _ in endpoint.datagrams_to_send()] == [
            "61457d3520ff32322e332043"
        ]

    def test_a_late_answer_is_a_separate_confirmable_response(self) -> None:
        endpoint = endpoint_with(acknowledgement_delay_s=0.5)
        hear(endpoint, Message(CON, codes.GET, 1, b"t"), 0.0)
        request = _only_request(endpoint)
        [(at, acknowledgement)] = run_timers(endpoint, 1.0)
        assert acknowledgement == Message(ACK, 0, 1)
        assert at == pytest.approx(0.5, abs=TICK_S)
        endpoint.respond(request.exchange, Response(codes.CONTENT, b"x"), 2.0)
        [response] = sent_by(endpoint)
        assert (response.type, response.code, response.token) == (CON, codes.CONTENT, b"t")
        again = run_timers(endpoint, 6.0)
        assert [message for _, message in again] == [response]
        hear(endpoint, Message(ACK, 0, response.message_id), 6.0)
        assert run_timers(endpoint, 200.0) == []
        assert endpoint.events() == []

    def test_a_separate_response_that_nobody_takes_is_told(self) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(CON, codes.GET, 1, b"t"), 0.0)
        request = _only_request(endpoint)
        run_timers(endpoint, 1.0)
        endpoint.respond(request.exchange, Response(codes.CONTENT), 1.0)
        run_timers(endpoint, 200.0)
        assert endpoint.events() == [ExchangeFailed(PEER, request.exchange, "timeout")]

    def test_a_reset_ends_a_separate_response(self) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(CON, codes.GET, 1, b"t"), 0.0)
        request = _only_request(endpoint)
        run_timers(endpoint, 1.0)
        endpoint.respond(request.exchange, Response(codes.CONTENT), 1.0)
        [response] = sent_by(endpoint)
        hear(endpoint, Message(RST, 0, response.message_id), 1.1)
        assert endpoint.events() == [ExchangeFailed(PEER, request.exchange, "reset")]
        assert run_timers(endpoint, 100.0) == []

    def test_an_answer_is_given_once(self) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(CON, codes.GET, 1, b"t"), 0.0)
        request = _only_request(endpoint)
        endpoint.respond(request.exchange, Response(codes.CONTENT), 0.0)
        with pytest.raises(UnknownExchange):
            endpoint.respond(request.exchange, Response(codes.CONTENT), 0.0)

    @pytest.mark.parametrize("delay_s", [0.0, 1.0])
    def test_an_answer_that_cannot_be_encoded_leaves_the_request_open(self, delay_s: float) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(CON, codes.GET, 1, b"t"), 0.0)
        request = _only_request(endpoint)
        run_timers(endpoint, delay_s)
        with pytest.raises(ValueError):
            endpoint.respond(request.exchange, Response(codes.GET), delay_s)
        endpoint.respond(request.exchange, Response(codes.CONTENT), delay_s)
        assert [message.code for message in sent_by(endpoint)] == [codes.CONTENT]

    def test_a_non_confirmable_request_gets_a_non_confirmable_response(self) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(NON, codes.GET, 0x7D40, b"\x75"), 0.0)
        request = _only_request(endpoint)
        assert not request.request.confirmable
        endpoint.respond(request.exchange, Response(codes.CONTENT), 0.0)
        [response] = sent_by(endpoint)
        assert (response.type, response.token) == (NON, b"\x75")

    def test_a_ping_is_answered_by_a_reset(self) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(CON, 0, 0x0102), 0.0)
        assert sent_by(endpoint) == [Message(RST, 0, 0x0102)]
        assert endpoint.peers_known == 0

    def test_our_ping_is_an_empty_confirmable_message(self) -> None:
        endpoint = endpoint_with()
        endpoint.ping(PEER, 0.0)
        [ping] = sent_by(endpoint)
        assert (ping.type, ping.code) == (CON, 0)
        hear(endpoint, Message(RST, 0, ping.message_id), 0.1)
        [told] = endpoint.events()
        assert isinstance(told, DatagramRejected)
        assert told.reason == "reset"

    def test_an_unknown_critical_option_is_answered_bad_option(self) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(CON, codes.GET, 1, b"t", ((9, b""),)), 0.0)
        assert sent_by(endpoint) == [Message(ACK, codes.BAD_OPTION, 1, b"t")]
        [rejected] = endpoint.events()
        assert isinstance(rejected, DatagramRejected)
        assert rejected.reason == "bad_option"

    def test_an_unknown_critical_option_in_a_non_is_ignored(self) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(NON, codes.GET, 1, b"t", ((9, b""),)), 0.0)
        assert sent_by(endpoint) == []

    def test_proxying_is_not_supported(self) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(CON, codes.GET, 1, b"t", ((35, b"coap://x"),)), 0.0)
        assert [m.code for m in sent_by(endpoint)] == [codes.PROXYING_NOT_SUPPORTED]
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
        endpoint = endpoint_with()
        endpoint.receive_datagram(bytes.fromhex(data), PEER, 0.0)
        sent = [found.hex() for found, _ in endpoint.datagrams_to_send()]
        assert sent == ([answer] if answer else [])
        [rejected] = endpoint.events()
        assert isinstance(rejected, DatagramRejected)
        assert rejected.reason == "malformed"
        assert endpoint.peers_known == 0


class TestDuplicates:
    def _answered(self, respond: Callable[[int], bytes]) -> CoapEndpoint:
        endpoint = endpoint_with()
        for number in range(2):
            hear(endpoint, Message(CON, codes.POST, 1, b"t"), float(number), PEER)
            for event in endpoint.events():
                assert isinstance(event, RequestReceived)
                answer = Response(codes.CHANGED, respond(number))
                endpoint.respond(event.exchange, answer, 0.0)
        return endpoint

    def test_a_duplicate_gets_the_same_answer_and_is_not_told(self) -> None:
        endpoint = self._answered(lambda number: b"%d" % number)
        first, second = sent_by(endpoint)
        assert first == second
        assert first.payload == b"0"

    def test_the_same_message_id_from_another_address_is_another_request(self) -> None:
        endpoint = endpoint_with()
        for peer in (PEER, OTHER, ("127.0.0.2", 9)):
            hear(endpoint, Message(CON, codes.POST, 1, b"t"), 0.0, peer)
        assert len(endpoint.events()) == 3

    def test_a_duplicate_of_an_unanswered_request_is_ignored(self) -> None:
        endpoint = endpoint_with()
        for _ in range(3):
            hear(endpoint, Message(CON, codes.POST, 1, b"t"), 0.0)
        assert len(endpoint.events()) == 1
        assert sent_by(endpoint) == []

    def test_a_duplicate_after_the_empty_acknowledgement_gets_that_again(self) -> None:
        endpoint = endpoint_with()
        hear(endpoint, Message(CON, codes.POST, 1, b"t"), 0.0)
        run_timers(endpoint, 1.0)
        hear(endpoint, Message(CON, codes.POST, 1, b"t"), 2.0)
        assert sent_by(endpoint) == [Message(ACK, 0, 1)]

    def test_a_duplicate_non_confirmable_request_is_ignored(self) -> None:
        endpoint = endpoint_with()
        for _ in range(2):
            hear(endpoint, Message(NON, codes.POST, 1, b"t"), 0.0)
            for event in endpoint.events():
                assert isinstance(event, RequestReceived)
                endpoint.respond(event.exchange, Response(codes.CHANGED), 0.0)
        assert len(sent_by(endpoint)) == 1

    def test_the_same_id_after_exchange_lifetime_is_a_new_request(self) -> None:
        endpoint = self._answered(lambda number: b"")
        hear(endpoint, Message(CON, codes.POST, 1, b"t"), 246.0)
        assert endpoint.events() == []
        hear(endpoint, Message(CON, codes.POST, 1, b"t"), 248.0)
        assert len(endpoint.events()) == 1

    def test_the_same_id_with_another_token_is_a_rebooted_device_s_new_request(self) -> None:
        endpoint = self._answered(lambda number: b"")
        hear(endpoint, Message(CON, codes.POST, 1, b"new"), 5.0)
        assert _only_request(endpoint).message_id == 1

    def test_a_refusal_is_repeated_from_memory(self) -> None:
        endpoint = endpoint_with()
        for _ in range(2):
            hear(endpoint, Message(CON, codes.GET, 1, b"t", ((9, b""),)), 0.0)
        assert len(sent_by(endpoint)) == 2
        assert len(endpoint.events()) == 1
