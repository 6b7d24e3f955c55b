"""DTLS over networks that lose, repeat and reorder, in virtual time (in the manner of trio's)."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from lwm2m.transport.dtls import DtlsSettings
from lwm2m.transport.dtls.records import (
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    Record,
    parse_handshake_header,
    parse_record,
    split_records,
)
from lwm2m.transport.simulated import GOOD_NETWORK, NetworkConditions
from tests.lwm2m.transport.dtls_pair import CLIENT, PSK_MAKERS, SERVER, Pair, certificates

_NETWORKS = 100
_ROUGH = NetworkConditions(loss_ratio=0.3, duplication_ratio=0.15, delay_s=0.02, jitter_s=0.5)
_SILENT = NetworkConditions(loss_ratio=1.0)
_PATIENT = DtlsSettings(handshake_timeout_s=600.0)


@pytest.mark.slow
@pytest.mark.parametrize("security", ["psk", "psk with tickets", "x509"])
def test_a_hundred_handshakes_on_a_rough_network_all_come_to_an_end(security: str) -> None:
    made = certificates()
    lost = 0
    for seed in range(_NETWORKS):
        if security != "x509":
            patient = DtlsSettings(
                handshake_timeout_s=600.0, resumes_psk=security == "psk with tickets"
            )
            pair = Pair(seed=seed, conditions=_ROUGH, settings=patient)
        else:
            pair = Pair(
                seed=seed,
                conditions=_ROUGH,
                settings=_PATIENT,
                server=made.server_credentials(),
                client=made.client_credentials(),
            )
        for _ in range(2):  # the second one resumes, unless the first left no ticket
            pair.connect()
            # What was under way has come by now: both sides are ready for data.
            pair.network.set_conditions(GOOD_NETWORK)
            pair.run(60.0)
            pair.send(b"up")
            pair.run()
            ((data, peer),) = pair.server.datagrams_received()
            assert data == b"up", f"seed {seed}"
            pair.server.send(peer, b"down", pair.network.now)
            pair.run()
            assert pair.client.datagrams_received() == [(b"down", SERVER)]
            assert pair.server.handshake_count == 0
            pair.network.set_conditions(_ROUGH)
            pair.client.restart(SERVER, pair.network.now)
        lost += pair.network.lost
    assert lost > 5 * _NETWORKS


@pytest.mark.slow
def test_a_hundred_clients_at_once_on_a_rough_network_are_all_served() -> None:
    pair = Pair(seed=5, conditions=_ROUGH, settings=_PATIENT)
    addresses = [(f"198.51.100.{n}", 5_683) for n in range(100)]
    clients = [pair.add_client(address) for address in addresses]
    for client in clients:
        client.connect(SERVER, 0.0)
    pair.run(600.0)
    assert all(client.is_established(SERVER) for client in clients)
    assert pair.server.session_count == 100
    assert pair.server.handshake_count == 0


class Tap:
    """Loses what a test chooses of one direction, and keeps when each datagram was sent."""

    def __init__(self, pair: Pair, source: Hashable) -> None:
        self.sent: list[tuple[float, list[Record]]] = []
        self.losing = 0
        endpoint = pair.server if source == SERVER else pair.client
        take = endpoint.datagrams_to_send

        def taken() -> list[tuple[bytes, Hashable]]:
            kept = []
            for data, address in take():
                self.sent.append(
                    (pair.network.now, [parse_record(record) for record in split_records(data)])
                )
                if self.losing:
                    self.losing -= 1
                else:
                    kept.append((data, address))
            return kept

        endpoint.datagrams_to_send = taken  # type: ignore[method-assign]  # the test's own network


def _messages(records: list[Record]) -> list[str]:
    names = {APPLICATION_DATA: "data", CHANGE_CIPHER_SPEC: "change"}
    messages = {1: "hello", 16: "key", 4: "ticket", 2: "server_hello", 14: "done"}
    found = []
    for record in records:
        if record.content_type == HANDSHAKE and not record.epoch:
            header = parse_handshake_header(record.fragment)
            assert header is not None
            found.append(messages[header.message_type])
        else:
            found.append(
                "finished"
                if record.epoch and record.content_type == HANDSHAKE
                else names[record.content_type]
            )
    return found


@pytest.mark.parametrize("maker", PSK_MAKERS)
def test_an_unanswered_flight_is_repeated_after_1_2_4_8_16_seconds_then_given_up(
    maker: str,
) -> None:
    pair = Pair(conditions=_SILENT, settings=PSK_MAKERS[maker])
    tap = Tap(pair, CLIENT)
    pair.send(b"lost")
    pair.run()
    assert [round(at, 1) for at, _ in tap.sent] == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
    # Each repetition has a record number of its own (RFC 6347 §4.2.4).
    assert [records[0].sequence for _, records in tap.sent] == [0, 1, 2, 3, 4, 5]
    assert len({records[0].fragment for _, records in tap.sent}) == 1
    assert pair.names(CLIENT) == ["HandshakeFailed timeout"]
    assert pair.client.counters.unsent_datagrams == 1
    assert pair.client.next_timer() is None


def test_waits_do_not_grow_beyond_their_limit() -> None:
    settings = DtlsSettings(
        retransmit_timeout_s=10.0, retransmit_timeout_max_s=15.0, handshake_timeout_s=60.0
    )
    pair = Pair(conditions=_SILENT, settings=settings)
    tap = Tap(pair, CLIENT)
    pair.send(b"lost")
    pair.run()
    assert [round(at, 1) for at, _ in tap.sent] == [0.0, 10.0, 25.0, 40.0, 55.0]


@pytest.mark.parametrize("maker", PSK_MAKERS)
def test_the_clients_second_flight_is_repeated_with_fresh_numbers_in_both_epochs(
    maker: str,
) -> None:
    pair = Pair(settings=PSK_MAKERS[maker])
    tap = Tap(pair, CLIENT)
    pair.client.connect(SERVER, 0.0)
    pair.run(0.045)
    assert [_messages(records) for _, records in tap.sent] == [
        ["hello"],
        ["hello"],
        ["key", "change", "finished"],
    ]
    # That one is on its way; what the server answers to it, and to three more, is lost.
    server = Tap(pair, SERVER)
    server.losing = 4
    pair.run(40.0)
    flights = [records for _, records in tap.sent[2:]]
    assert all(_messages(records) == ["key", "change", "finished"] for records in flights)
    finished = [records[-1].sequence for records in flights]
    assert finished == list(range(len(flights)))
    numbers = [record.sequence for records in flights for record in records if not record.epoch]
    assert numbers == sorted(set(numbers))
    assert pair.client.is_established(SERVER)
    # The server had ended its handshake: it repeats its last flight because the client does.
    last = ["change", "finished"] if maker == "ours" else ["ticket", "change", "finished"]
    assert [_messages(records) for _, records in server.sent] == [last] * 5
    assert pair.server.counters.established == 1


def test_in_a_resumption_the_client_repeats_the_last_flight() -> None:
    pair = Pair()
    pair.connect()
    pair.client.restart(SERVER, pair.network.now)
    tap = Tap(pair, CLIENT)
    pair.client.connect(SERVER, pair.network.now)
    pair.run(0.03)  # two hellos are away
    tap.losing = 2
    pair.run(30.0)
    assert [_messages(records) for _, records in tap.sent] == [
        ["hello"],
        ["hello"],
        ["change", "finished"],
        ["change", "finished"],
        ["change", "finished"],
    ]
    assert pair.server.counters.resumed == 1


def test_data_that_overtakes_the_finished_is_kept_for_the_session() -> None:
    pair = Pair()
    pair.connect()
    pair.client.restart(SERVER, pair.network.now)
    pair.server.datagrams_received()
    tap = Tap(pair, CLIENT)
    pair.client.connect(SERVER, pair.network.now)
    pair.run(0.03)
    tap.losing = 1  # the flight that ends the resumption; data follows at once
    pair.run(0.02)
    assert pair.client.is_established(SERVER)
    pair.send(b"early")
    pair.run(0.2)
    assert pair.received() == []
    pair.run(30.0)
    assert pair.received() == [b"early"]


@pytest.mark.parametrize("maker", PSK_MAKERS)
def test_the_last_flight_is_forgotten_once_the_peer_has_shown_that_it_has_it(maker: str) -> None:
    pair = Pair(settings=PSK_MAKERS[maker])
    pair.connect()
    peer = pair.events[SERVER][0].peer
    assert peer.channel._last_flight is not None
    pair.send(b"data")
    pair.run()
    assert peer.channel._last_flight is None


@pytest.mark.parametrize("maker", PSK_MAKERS)
def test_a_replayed_finished_makes_the_server_repeat_a_bounded_number_of_times(
    maker: str,
) -> None:
    pair = Pair(settings=PSK_MAKERS[maker])
    tap = Tap(pair, CLIENT)
    kept: list[bytes] = []
    receive = pair.server.receive_datagram

    def receive_and_keep(data: bytes, address: Hashable, now: float) -> None:
        kept.append(data)
        receive(data, address, now)

    pair.server.receive_datagram = receive_and_keep  # type: ignore[method-assign]  # a tap
    pair.connect()
    pair.server.receive_datagram = receive  # type: ignore[method-assign]  # the tap is off
    finished = kept[-1]
    assert _messages(tap.sent[-1][1]) == ["key", "change", "finished"]
    answers = 0
    for _ in range(100):
        receive(finished, CLIENT, pair.network.now)
        answers += len(pair.server.datagrams_to_send())
    assert 0 < answers <= 64
    assert pair.server.counters.established == 1


def test_flights_fit_ipv6s_least_mtu_and_a_smaller_one() -> None:
    made = certificates()
    for bytes_max in (1_232, 300):
        settings = DtlsSettings(datagram_bytes_max=bytes_max)
        pair = Pair(
            server=made.server_credentials(), client=made.client_credentials(), settings=settings
        )
        taps = [Tap(pair, CLIENT), Tap(pair, SERVER)]
        pair.connect()
        sizes = [
            sum(13 + len(record.fragment) for record in records)
            for tap in taps
            for _, records in tap.sent
        ]
        # OpenSSL leaves a ClientHello whole only up to this size; ours has room to spare.
        assert max(sizes) <= bytes_max
