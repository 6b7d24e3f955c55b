"""Asking, request by request, against RFC 7252 §4 and §5: its end, and who waits for whom."""

from __future__ import annotations

import itertools

import pytest

from lwm2m.coap import (
    ACK,
    CON,
    NON,
    RST,
    DatagramRejected,
    ExchangeFailed,
    Message,
    PeerQueueFull,
    Request,
    Response,
    ResponseReceived,
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


class TestAsking:
    def test_a_piggybacked_response_ends_the_exchange(self) -> None:
        endpoint = endpoint_with()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 1.0)
        [request] = sent_by(endpoint)
        assert (request.type, request.code, request.options) == (
            CON,
            codes.GET,
            ((11, b"temperature"),),
        )
        answer = Message(ACK, codes.CONTENT, request.message_id, request.token, payload=b"22.3 C")
        hear(endpoint, answer, 1.1)
        assert endpoint.events() == [
            ResponseReceived(PEER, handle, Response(codes.CONTENT, b"22.3 C"))
        ]
        assert run_timers(endpoint, 200.0) == []

    def test_retransmissions_double_their_wait_and_end_as_a_timeout(self) -> None:
        endpoint = endpoint_with()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [first] = sent_by(endpoint)
        again = run_timers(endpoint, 100.0)
        assert [message for _, message in again] == [first] * 4
        times = [0.0] + [at for at, _ in again]
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert 2.0 <= waits[0] <= 3.0 + TICK_S
        for shorter, longer in itertools.pairwise(waits):
            assert longer == pytest.approx(2 * shorter, abs=3 * TICK_S)
        assert endpoint.events() == [ExchangeFailed(PEER, handle, "timeout")]

    def test_the_first_wait_differs_between_requests(self) -> None:
        endpoint = endpoint_with()
        for number in range(20):
            endpoint.send_request(("127.0.0.9", number), GET_TEMPERATURE, 0.0)
        endpoint.datagrams_to_send()
        assert len({at for at, _ in run_timers(endpoint, 3.1)}) > 5

    def test_an_empty_acknowledgement_stops_retransmission_and_the_response_follows(self) -> None:
        endpoint = endpoint_with()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = sent_by(endpoint)
        hear(endpoint, Message(ACK, 0, request.message_id), 0.5)
        assert run_timers(endpoint, 60.0) == []
        hear(endpoint, Message(CON, codes.CONTENT, 0xAD7B, request.token), 60.0)
        assert sent_by(endpoint) == [Message(ACK, 0, 0xAD7B)]
        assert endpoint.events() == [ResponseReceived(PEER, handle, Response(codes.CONTENT))]

    def test_a_repeated_separate_response_is_acknowledged_again_and_told_once(self) -> None:
        endpoint = endpoint_with()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = sent_by(endpoint)
        response = Message(CON, codes.CONTENT, 9, request.token)
        hear(endpoint, response, 1.0)
        hear(endpoint, response, 3.0)
        assert sent_by(endpoint) == [Message(ACK, 0, 9)] * 2
        assert len(endpoint.events()) == 1

    def test_a_response_that_never_follows_is_a_timeout(self) -> None:
        endpoint = endpoint_with(response_timeout_s=50.0)
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = sent_by(endpoint)
        hear(endpoint, Message(ACK, 0, request.message_id), 1.0)
        assert run_timers(endpoint, 52.0) == []
        assert endpoint.events() == [ExchangeFailed(PEER, handle, "timeout")]

    def test_a_reset_ends_the_exchange(self) -> None:
        endpoint = endpoint_with()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = sent_by(endpoint)
        hear(endpoint, Message(RST, 0, request.message_id), 0.1)
        assert endpoint.events() == [ExchangeFailed(PEER, handle, "reset")]
        assert run_timers(endpoint, 100.0) == []

    def test_a_response_from_another_address_is_not_accepted(self) -> None:
        endpoint = endpoint_with()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = sent_by(endpoint)
        forged = Message(ACK, codes.CONTENT, request.message_id, request.token)
        hear(endpoint, forged, 0.1, OTHER)
        [rejected] = endpoint.events()
        assert isinstance(rejected, DatagramRejected)
        assert (rejected.peer, rejected.reason) == (OTHER, "unexpected")

    def test_a_piggybacked_response_needs_token_and_message_id(self) -> None:
        endpoint = endpoint_with()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = sent_by(endpoint)
        wrong_id = (request.message_id + 1) & 0xFFFF
        hear(endpoint, Message(ACK, codes.CONTENT, wrong_id, request.token), 0.1)
        hear(endpoint, Message(ACK, codes.CONTENT, request.message_id, b"other"), 0.1)
        assert all(isinstance(event, DatagramRejected) for event in endpoint.events())
        # RFC 7252 §4.2: nothing is ever answered to an acknowledgement.
        assert sent_by(endpoint) == []

    def test_an_unexpected_confirmable_response_is_reset(self) -> None:
        # RFC 7252 appendix A, figure 21.
        endpoint = endpoint_with()
        hear(endpoint, Message(CON, codes.CONTENT, 0xAD7C, b"\x64", payload=b"22.3 C"), 0.0)
        assert [data.hex() for data, _ in endpoint.datagrams_to_send()] == ["7000ad7c"]

    def test_a_response_with_an_unknown_critical_option_is_rejected(self) -> None:
        endpoint = endpoint_with()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = sent_by(endpoint)
        bad = Message(CON, codes.CONTENT, 77, request.token, ((9, b""),))
        hear(endpoint, bad, 0.1)
        assert sent_by(endpoint) == [Message(RST, 0, 77)]
        rejected, failed = endpoint.events()
        assert isinstance(rejected, DatagramRejected)
        assert rejected.reason == "bad_option"
        assert failed == ExchangeFailed(PEER, handle, "malformed")

    def test_a_cancelled_exchange_is_silent_and_its_late_response_is_reset(self) -> None:
        endpoint = endpoint_with()
        handle = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [request] = sent_by(endpoint)
        endpoint.cancel(handle)
        endpoint.cancel(handle)
        assert endpoint.events() == [ExchangeFailed(PEER, handle, "cancelled")]
        hear(endpoint, Message(CON, codes.CONTENT, 5, request.token), 0.5)
        assert sent_by(endpoint) == [Message(RST, 0, 5)]
        assert run_timers(endpoint, 100.0) == []

    def test_a_non_confirmable_request_is_sent_once(self) -> None:
        endpoint = endpoint_with(response_timeout_s=30.0)
        handle = endpoint.send_request(PEER, Request(codes.GET, confirmable=False), 0.0)
        [request] = sent_by(endpoint)
        assert request.type == NON
        assert run_timers(endpoint, 31.0) == []
        assert endpoint.events() == [ExchangeFailed(PEER, handle, "timeout")]

    def test_what_cannot_be_encoded_is_refused_at_once_also_when_it_would_wait(self) -> None:
        endpoint = endpoint_with()
        bad = Request(codes.GET, ("a" * 256,))
        for _ in range(2):
            with pytest.raises(ValueError):
                endpoint.send_request(PEER, bad, 0.0)
            endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        assert len(sent_by(endpoint)) == 1


class TestNstart:
    def test_a_second_request_waits_for_the_first(self) -> None:
        endpoint = endpoint_with()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        waiting = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [first] = sent_by(endpoint)
        assert endpoint.message_id_of(waiting) is None
        assert endpoint.datagram_of(waiting) is None
        hear(endpoint, Message(ACK, codes.CONTENT, first.message_id, first.token), 0.1)
        [second] = sent_by(endpoint)
        assert second.message_id == endpoint.message_id_of(waiting)
        assert second.message_id == (first.message_id + 1) & 0xFFFF
        assert second.token != first.token

    def test_an_empty_acknowledgement_frees_the_place(self) -> None:
        endpoint = endpoint_with()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [first] = sent_by(endpoint)
        hear(endpoint, Message(ACK, 0, first.message_id), 0.1)
        assert len(sent_by(endpoint)) == 1

    def test_other_peers_do_not_wait(self) -> None:
        endpoint = endpoint_with()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        endpoint.send_request(OTHER, GET_TEMPERATURE, 0.0)
        assert len(sent_by(endpoint)) == 2

    def test_a_timeout_lets_the_next_go(self) -> None:
        endpoint = endpoint_with(max_retransmit=0)
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [first] = sent_by(endpoint)
        [(_, second)] = run_timers(endpoint, 3.1)
        assert second.message_id == (first.message_id + 1) & 0xFFFF

    def test_a_full_queue_refuses(self) -> None:
        endpoint = endpoint_with(queue_per_peer_max=2)
        for _ in range(3):
            endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        with pytest.raises(PeerQueueFull):
            endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)

    def test_a_request_that_waits_can_be_cancelled(self) -> None:
        endpoint = endpoint_with()
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        waiting = endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)
        [first] = sent_by(endpoint)
        endpoint.cancel(waiting)
        hear(endpoint, Message(ACK, codes.CONTENT, first.message_id, first.token), 0.1)
        assert sent_by(endpoint) == []
        endpoint.send_request(PEER, GET_TEMPERATURE, 0.2)
        assert len(sent_by(endpoint)) == 1, "nothing is left to wait for"

    def test_a_forgotten_peer_fails_what_was_open_and_sends_nothing_more(self) -> None:
        endpoint = endpoint_with()
        handles = [endpoint.send_request(PEER, GET_TEMPERATURE, 0.0) for _ in range(3)]
        endpoint.datagrams_to_send()
        endpoint.forget_peer(PEER)
        endpoint.forget_peer(PEER)
        failed = {e.exchange for e in endpoint.events() if isinstance(e, ExchangeFailed)}
        assert failed == set(handles)
        assert run_timers(endpoint, 100.0) == []
        assert endpoint.peers_known == 0


class TestMessageIds:
    def test_each_peer_has_ids_of_its_own_from_a_start_by_chance(self) -> None:
        endpoint = endpoint_with()
        handles = [endpoint.send_request((PEER, n), GET_TEMPERATURE, 0.0) for n in range(20)]
        assert len({endpoint.message_id_of(handle) for handle in handles}) > 15

    def test_reserved_ids_are_skipped(self) -> None:
        endpoint = endpoint_with()
        endpoint.reserve_message_ids(PEER, after=0xFFFF)
        assert endpoint.message_id_of(endpoint.send_request(PEER, GET_TEMPERATURE, 0.0)) == 0

    @pytest.mark.slow
    def test_an_id_is_not_used_again_within_exchange_lifetime(self) -> None:
        endpoint = endpoint_with()
        used: dict[int, float] = {}
        now = 0.0
        for _ in range(66_000):
            handle = endpoint.send_request(PEER, GET_TEMPERATURE, now)
            while not (sent := sent_by(endpoint)):
                due = endpoint.next_timer()
                assert due is not None
                now = max(now, due)
                endpoint.handle_timer(now)
            message_id = sent[0].message_id
            assert message_id == endpoint.message_id_of(handle)
            assert now - used.get(message_id, -1_000.0) >= 247.0
            used[message_id] = now
            answer = Message(ACK, codes.CONTENT, message_id, sent[0].token)
            hear(endpoint, answer, now)
            endpoint.events()
            now += 0.001
        assert len(used) == 65_536
