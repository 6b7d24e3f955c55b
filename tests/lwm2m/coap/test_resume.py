"""A request goes on after a restart: the same bytes, until the peer's memory answers them."""

from __future__ import annotations

import pytest

from harness.testing import ConnectedPair, NetworkConditions, seeded_draw
from lwm2m.coap import (
    CoapEndpoint,
    ExchangeFailed,
    MalformedMessage,
    Request,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
    decode_message,
)

EXECUTE = Request(codes.POST, ("3", "0", "4"))
DONE = Response(codes.CHANGED, b"done once")
NOTHING_ARRIVES = NetworkConditions(loss_ratio=1.0)


def _sent_then_killed(pair: ConnectedPair) -> bytes:
    handle = pair.request(EXECUTE)
    datagram = pair.client.datagram_of(handle)
    assert datagram is not None
    pair.run_for(0.005)
    pair.restart_client()
    return datagram


def _run_timers(endpoint: CoapEndpoint, until: float) -> list[float]:
    sent = []
    while (due := endpoint.next_timer()) is not None and due <= until:
        endpoint.handle_timer(due)
        sent += [due] * len(endpoint.datagrams_to_send())
    return sent


def test_a_resumed_request_is_answered_from_the_peer_s_memory_and_executed_once() -> None:
    pair = ConnectedPair(lambda event: DONE)
    datagram = _sent_then_killed(pair)
    pair.run_for(1.0)
    assert len(pair.requests) == 1
    pair.client_events.clear()
    handle = pair.client.resume_exchange(pair.SERVER, datagram, 0.0, pair.network.now)
    pair.run_for(1.0)
    assert pair.client_events == [ResponseReceived(pair.SERVER, handle, DONE)]
    assert len(pair.requests) == 1


def test_a_resumed_request_that_never_arrived_is_executed_now() -> None:
    pair = ConnectedPair(lambda event: DONE, conditions=NOTHING_ARRIVES)
    datagram = _sent_then_killed(pair)
    pair.network.set_conditions(NetworkConditions())
    handle = pair.client.resume_exchange(pair.SERVER, datagram, 0.0, pair.network.now)
    assert pair.client.datagram_of(handle) == datagram
    pair.run_for(1.0)
    assert pair.client_events == [ResponseReceived(pair.SERVER, handle, DONE)]
    assert len(pair.requests) == 1


def test_a_large_answer_to_a_resumed_request_is_fetched_in_blocks() -> None:
    pair = ConnectedPair(lambda event: Response(codes.CONTENT, bytes(3_000)))
    handle = pair.request(Request(codes.GET, ("3",), accept=11542))
    datagram = pair.client.datagram_of(handle)
    assert datagram is not None
    pair.run_for(0.005)
    pair.restart_client()
    pair.client.resume_exchange(pair.SERVER, datagram, 0.0, pair.network.now)
    pair.run_for(1.0)
    [told] = [e for e in pair.client_events if isinstance(e, ResponseReceived)]
    assert len(told.response.payload) == 3_000


def _resumed(elapsed_s: float) -> tuple[CoapEndpoint, int, list[float]]:
    maker = CoapEndpoint(TransmissionParameters(), seeded_draw(1))
    datagram = maker.datagram_of(maker.send_request("peer", EXECUTE, 0.0))
    assert datagram is not None
    endpoint = CoapEndpoint(TransmissionParameters(), seeded_draw(2))
    handle = endpoint.resume_exchange("peer", datagram, 100.0, 100.0 + elapsed_s)
    sent = [100.0 + elapsed_s for data, _ in endpoint.datagrams_to_send() if data == datagram]
    return endpoint, handle, sent + _run_timers(endpoint, 100.0 + elapsed_s + 200.0)


@pytest.mark.parametrize("elapsed_s", [0.0, 1.0, 5.0, 20.0, 44.0])
def test_it_is_sent_at_once_and_not_after_max_transmit_span(elapsed_s: float) -> None:
    endpoint, handle, sent = _resumed(elapsed_s)
    assert sent[0] == 100.0 + elapsed_s
    assert all(at <= 100.0 + 45.0 + 0.1 for at in sent)
    assert len(sent) <= 5
    assert endpoint.events() == [ExchangeFailed("peer", handle, "timeout")]


def test_after_max_transmit_span_it_only_waits_for_the_answer() -> None:
    endpoint, handle, sent = _resumed(60.0)
    assert sent == []
    assert endpoint.events() == [ExchangeFailed("peer", handle, "timeout")]


def test_after_max_transmit_wait_it_times_out_at_once() -> None:
    endpoint, handle, sent = _resumed(1_000.0)
    assert sent == []
    assert endpoint.events() == [ExchangeFailed("peer", handle, "timeout")]


def test_ids_after_a_resumed_request_do_not_meet_it() -> None:
    endpoint, _, _ = _resumed(1.0)
    maker = CoapEndpoint(TransmissionParameters(), seeded_draw(1))
    resumed = maker.message_id_of(maker.send_request("peer", EXECUTE, 0.0))
    assert resumed is not None
    following = endpoint.send_request("peer", EXECUTE, 301.0)
    assert endpoint.message_id_of(following) == (resumed + 1) & 0xFFFF


def test_a_resumed_request_holds_its_place_of_nstart() -> None:
    pair = ConnectedPair(lambda event: None)
    datagram = _sent_then_killed(pair)
    pair.client.resume_exchange(pair.SERVER, datagram, 0.0, pair.network.now)
    waiting = pair.request(EXECUTE)
    assert pair.client.message_id_of(waiting) is None


def test_what_is_no_confirmable_request_cannot_be_resumed() -> None:
    endpoint = CoapEndpoint(TransmissionParameters(), seeded_draw(2))
    with pytest.raises(MalformedMessage):
        endpoint.resume_exchange("peer", b"\x40", 0.0, 0.0)
    with pytest.raises(ValueError, match="confirmable request"):
        endpoint.resume_exchange("peer", bytes.fromhex("60450001"), 0.0, 0.0)


def test_a_token_in_use_cannot_be_resumed_over() -> None:
    endpoint = CoapEndpoint(TransmissionParameters(), seeded_draw(2))
    datagram = endpoint.datagram_of(endpoint.send_request("peer", EXECUTE, 0.0))
    assert datagram is not None
    with pytest.raises(ValueError, match="token"):
        endpoint.resume_exchange("peer", datagram, 0.0, 0.0)
    assert decode_message(datagram).code == codes.POST
