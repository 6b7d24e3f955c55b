"""What a DTLS server keeps of those who only knock, and how it holds its limits."""

from __future__ import annotations

import gc
import tracemalloc

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.transport.dtls import DtlsServer, DtlsSettings
from lwm2m.transport.dtls.hellos import CookieJar, parse_client_hello
from lwm2m.transport.dtls.records import split_records
from tests.lwm2m.transport.dtls_pair import (
    CLIENT,
    PSK_MAKERS,
    SERVER,
    SERVER_PSK,
    Pair,
    certificates,
)

# A busy machine takes longer at times; that is no finding.
_NO_DEADLINE = settings(deadline=None)
_FULL = "SessionEstablished"


def _first_hello(pair: Pair) -> bytes:
    pair.client.connect(SERVER, pair.network.now)
    ((hello, _),) = pair.client.datagrams_to_send()
    return hello


def _hello_with_cookie(pair: Pair, address: tuple[str, int]) -> bytes:
    """A ClientHello that the server takes, sent by nobody who goes on."""
    client = pair.client
    client.connect(SERVER, 0.0)
    ((hello, _),) = client.datagrams_to_send()
    pair.server.receive_datagram(hello, address, 0.0)
    ((request, _),) = pair.server.datagrams_to_send()
    client.receive_datagram(request, SERVER, 0.0)
    ((hello, _),) = client.datagrams_to_send()
    client.close(0.0)
    return hello


@pytest.mark.slow
def test_thousands_of_hellos_without_cookie_leave_nothing_behind() -> None:
    pair = Pair()
    hello = _first_hello(pair)
    server = pair.server

    def knock(first: int, count: int) -> int:
        sent = 0
        for number in range(first, first + count):
            address = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 5_683)
            server.receive_datagram(hello, address, 0.0)
            # No answer is larger than the question: there is nothing to amplify.
            for answer, _ in server.datagrams_to_send():
                assert len(answer) < len(hello)
                sent += 1
        return sent

    knock(0, 100)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    assert knock(0, 5_000) == 5_000
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 16_384
    assert server.handshake_count == server.session_count == 0


@pytest.mark.slow
def test_thousands_of_half_open_handshakes_keep_memory_bounded_and_others_are_served() -> None:
    settings = DtlsSettings(handshakes_max=64)
    pair = Pair(settings=settings)
    process = psutil.Process()
    grown: list[int] = []
    gc.collect()
    for round_number in range(8):
        for number in range(500):
            address = (f"10.{round_number}.{number >> 8}.{number & 255}", 5_683)
            hello = _hello_with_cookie(pair, address)
            pair.server.receive_datagram(hello, address, 10.0 * round_number)
            pair.server.datagrams_to_send()
            assert pair.server.handshake_count <= 64
        grown.append(process.memory_info().rss)
    # The places are taken by the first; what comes while they are fresh is ignored.
    assert pair.server.counters.hellos_ignored > 1_000
    assert pair.server.counters.failed["crowded_out"] >= 3 * 64
    assert grown[-1] - grown[0] < 8 * 1024 * 1024
    # A client that is served meanwhile: it waits until the silent ones are old enough.
    pair.network.now = 60.0
    pair.client.connect(SERVER, pair.network.now)
    pair.run()
    assert pair.client.is_established(SERVER)


def test_a_busy_server_ignores_newcomers_and_they_get_in_later() -> None:
    pair = Pair(settings=DtlsSettings(handshakes_max=1))
    first = _hello_with_cookie(pair, ("10.0.0.1", 1))
    pair.server.receive_datagram(first, ("10.0.0.1", 1), 0.0)
    pair.server.datagrams_to_send()
    pair.client.connect(SERVER, 0.0)
    pair.run(4.0)
    assert not pair.client.is_established(SERVER)
    assert pair.server.counters.hellos_ignored >= 1
    pair.run()
    assert pair.client.is_established(SERVER)
    assert pair.server.counters.failed == {"crowded_out": 1}


def test_a_half_open_handshake_is_given_up_in_time() -> None:
    pair = Pair()
    address = ("10.0.0.1", 1)
    pair.server.receive_datagram(_hello_with_cookie(pair, address), address, 0.0)
    pair.run(61.0)
    assert pair.names(SERVER) == ["HandshakeFailed timeout"]
    assert pair.server.next_timer() is None
    assert pair.server.handshake_count == 0


def test_a_repeated_hello_is_answered_at_once_and_a_late_copy_not_at_all() -> None:
    pair = Pair()
    address = ("10.0.0.1", 1)
    hello = _hello_with_cookie(pair, address)
    for _ in range(2):
        pair.server.receive_datagram(hello, address, 0.0)
        assert len(pair.server.datagrams_to_send()) == 1
    assert pair.server.handshake_count == 1
    kept: list[bytes] = []
    receive = pair.server.receive_datagram
    pair.server.receive_datagram = lambda data, source, now: (  # type: ignore[method-assign]  # tap
        kept.append(data) or receive(data, source, now)  # type: ignore[func-returns-value] # so `receive` runs
    )
    pair.connect()
    receive(kept[1], CLIENT, pair.network.now)
    assert pair.server.datagrams_to_send() == []
    assert pair.server.session_count == 1


def test_a_restarted_client_on_its_old_address_replaces_a_handshake_and_then_the_session() -> None:
    pair = Pair()
    hello = _hello_with_cookie(pair, CLIENT)
    pair.server.receive_datagram(hello, CLIENT, 0.0)
    pair.server.datagrams_to_send()
    pair.client = pair.add_client(CLIENT)
    pair.connect()
    assert pair.names(SERVER) == [_FULL]
    old = pair.server._sessions[CLIENT]
    # A device that lost power: a new client, which knows nothing, in the same place.
    rebooted = pair.add_client(CLIENT)
    rebooted.connect(SERVER, pair.network.now)
    pair.run(0.035)
    assert pair.server.handshake_count == 1
    assert pair.server._sessions[CLIENT] is old, "the session stays until the new one is complete"
    pair.run()
    assert pair.names(SERVER) == ["SessionClosed replaced", _FULL]
    assert pair.server._sessions[CLIENT] is not old


def test_a_forged_hello_beside_a_session_does_not_touch_it() -> None:
    pair = Pair()
    pair.connect()
    pair.names(SERVER)
    stranger = pair.add_client(("10.0.0.9", 9))
    stranger.connect(SERVER, pair.network.now)
    ((hello, _),) = stranger.datagrams_to_send()
    pair.network.detach(("10.0.0.9", 9))
    pair.server.receive_datagram(hello, CLIENT, pair.network.now)
    pair.send(b"undisturbed")
    pair.run()
    assert pair.received() == [b"undisturbed"]
    assert pair.names(SERVER) == []


def test_the_session_idle_longest_makes_room_for_a_new_one() -> None:
    pair = Pair(settings=DtlsSettings(sessions_max=3))
    addresses = [("10.0.0.1", port) for port in range(5)]
    clients = [pair.add_client(address) for address in addresses]
    for client in clients[:3]:
        client.connect(SERVER, pair.network.now)
        pair.run(1.0)
    clients[0].send(SERVER, b"still here", pair.network.now)
    pair.run(1.0)
    for client in clients[3:]:
        client.connect(SERVER, pair.network.now)
        pair.run(1.0)
    assert sorted(pair.server._sessions) == [addresses[0], addresses[3], addresses[4]]
    assert pair.names(SERVER).count("SessionClosed crowded_out") == 2
    # They were told: what they send next makes a new session.
    assert pair.names(addresses[1]) == [_FULL, "SessionClosed close_notify"]


def test_a_session_that_is_silent_for_long_is_closed_and_one_that_speaks_is_not() -> None:
    pair = Pair(settings=DtlsSettings(session_idle_s=100.0))
    other = pair.add_client(("10.0.0.1", 1))
    pair.connect()
    other.connect(SERVER, pair.network.now)
    pair.run(1.0)
    began = pair.network.now
    while pair.network.now < began + 250.0:
        pair.send(b"here")
        pair.run(50.0)
    assert list(pair.server._sessions) == [CLIENT]
    assert "SessionClosed idle" in pair.names(SERVER)
    assert not other.is_established(SERVER)


def test_sessions_that_ended_are_not_kept() -> None:
    pair = Pair()
    for _ in range(300):
        pair.client.connect(SERVER, pair.network.now)
        pair.run(0.1)
        pair.client.close_peer(SERVER, pair.network.now)
        pair.run(0.1)
    assert pair.server.counters.established == 300
    assert pair.server.session_count == 0
    assert len(pair.server._by_use) < 100


def test_a_clients_handshakes_wait_for_places() -> None:
    pair = Pair(client_settings=DtlsSettings(handshakes_max=2))
    servers = [("192.0.2.1", port) for port in range(5_700, 5_710)]
    for address in servers:
        server = DtlsServer(SERVER_PSK, pair.random.randbytes)
        pair._attach(address, server)
        pair.client.send(address, b"hello", 0.0)
    assert pair.client.handshake_count == 2
    pair.client.close_peer(servers[-1], 0.0)
    pair.run()
    assert [pair.client.is_established(address) for address in servers] == [True] * 9 + [False]


def test_cookies_are_bound_to_address_and_hello_and_grow_old() -> None:
    pair = Pair()
    hello = parse_client_hello(split_records(_first_hello(pair))[0])
    assert hello is not None
    jar = CookieJar(pair.random.randbytes, 60.0)
    cookie = jar.make(CLIENT, hello, 0.0)
    shown = type(hello)(hello.record_sequence, hello.random, cookie, hello.parameters)
    assert jar.is_valid(CLIENT, shown, 59.0)
    assert not jar.is_valid(("198.51.100.7", 40_002), shown, 59.0)
    other = type(hello)(hello.record_sequence, hello.random, cookie, hello.parameters + b"x")
    assert not jar.is_valid(CLIENT, other, 59.0)
    assert jar.is_valid(CLIENT, shown, 61.0), "the secret before is still good"
    assert not jar.is_valid(CLIENT, shown, 125.0)
    cookie = jar.make(CLIENT, hello, 1_000.0)
    assert not jar.is_valid(CLIENT, shown, 1_000.0), "after a silence both secrets are new"
    assert jar.is_valid(
        CLIENT, type(hello)(hello.record_sequence, hello.random, cookie, hello.parameters), 1_001.0
    )


@pytest.mark.slow
@_NO_DEADLINE
@given(
    stage=st.integers(0, 8),
    noise=st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.tuples(st.integers(0, 30), st.integers(0, 4_000), st.binary(min_size=1, max_size=8)),
        ),
        max_size=8,
    ),
    at_server=st.booleans(),
    security=st.sampled_from(["x509", *PSK_MAKERS]),
)
def test_whatever_comes_at_any_stage_nothing_is_raised_and_another_session_lives(
    stage: int,
    noise: list[bytes | tuple[int, int, bytes]],
    at_server: bool,
    security: str,
) -> None:
    made = certificates()
    if security == "x509":
        pair = Pair(server=made.server_credentials(), client=made.client_credentials())
    else:
        pair = Pair(settings=PSK_MAKERS[security])
    other_address = ("10.0.0.2", 2)
    other = pair.add_client(other_address)
    other.connect(SERVER, 0.0)
    pair.run(1.0)
    genuine: list[bytes] = []
    carry = pair.network._carry

    def carry_and_tell(data: bytes, source: object, target: object) -> None:
        genuine.append(data)
        carry(data, source, target)

    pair.network._carry = carry_and_tell  # type: ignore[method-assign]  # a tap
    pair.send(b"data")
    # Ten milliseconds a flight: the handshake is now at this stage.
    pair.run(0.01 * stage + 0.001)
    for item in noise:
        data = item if isinstance(item, bytes) else _damaged(genuine, *item)
        if at_server:
            pair.server.receive_datagram(data, CLIENT, pair.network.now)
        else:
            pair.client.receive_datagram(data, SERVER, pair.network.now)
    pair.run()
    # However this one ended, the other session lives, and a new one can be made.
    other.send(SERVER, b"alive", pair.network.now)
    pair.run()
    assert b"alive" in pair.received()
    fresh = pair.add_client(CLIENT)
    fresh.connect(SERVER, pair.network.now)
    pair.run()
    assert fresh.is_established(SERVER)


def _damaged(genuine: list[bytes], number: int, place: int, patch: bytes) -> bytes:
    """One of the genuine datagrams with some bytes replaced."""
    if not genuine:
        return patch
    data = bytearray(genuine[number % len(genuine)])
    place %= len(data)
    data[place : place + len(patch)] = patch
    return bytes(data)


@pytest.mark.slow
@_NO_DEADLINE
@given(st.binary(max_size=400))
def test_noise_on_an_established_session_is_counted_and_changes_nothing(noise: bytes) -> None:
    pair = Pair()
    pair.connect()
    peer = pair.server._sessions[CLIENT]
    for data in (noise, b"\x17\xfe\xfd\x00\x01" + noise, b"\x15\xfe\xfd\x00\x00" + noise):
        pair.server.receive_datagram(data, CLIENT, pair.network.now)
        pair.client.receive_datagram(data, SERVER, pair.network.now)
    assert pair.server._sessions[CLIENT] is peer
    assert pair.client.is_established(SERVER)
    pair.send(b"fine")
    pair.run()
    assert pair.received() == [b"fine"]


def test_replays_are_dropped_and_counted_and_the_window_takes_reordering() -> None:
    pair = Pair()
    pair.connect()
    sent: list[bytes] = []
    for number in range(70):
        pair.send(b"%d" % number)
        sent += [data for data, _ in pair.client.datagrams_to_send()]
    take = pair.server.receive_datagram
    for data in reversed(sent[5:]):
        take(data, CLIENT, pair.network.now)
    assert len(pair.received()) == 64
    assert pair.server.counters.replayed_records == 1, "the oldest is out of the window"
    for data in sent:
        take(data, CLIENT, pair.network.now)
    assert pair.received() == []
    assert pair.server.counters.replayed_records == 71


def test_plaintext_alerts_do_not_end_a_session() -> None:
    pair = Pair()
    pair.connect()
    for description in (0, 40, 90):
        alert = bytes((21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, description))
        pair.server.receive_datagram(alert, CLIENT, pair.network.now)
        pair.client.receive_datagram(alert, SERVER, pair.network.now)
    pair.send(b"fine")
    pair.run()
    assert pair.received() == [b"fine"]


@pytest.mark.parametrize("description", [40, 49, 20])
def test_a_fatal_alert_of_the_peer_ends_the_session_and_its_ticket(description: int) -> None:
    pair = Pair()
    pair.connect()
    peer = pair.server._sessions[CLIENT]
    pair.server._send_alert(peer, 2, description)
    pair.run()
    assert not pair.client.is_established(SERVER)
    pair.send(b"new")
    pair.run()
    assert pair.received() == [b"new"]
    assert pair.client.counters.resumed == 0


def test_a_request_to_renegotiate_is_refused_and_the_session_goes_on() -> None:
    pair = Pair()
    pair.connect()
    peer = pair.server._sessions[CLIENT]
    hello_request = bytes(12)
    pair.server._outgoing.append((peer.channel.seal(22, hello_request), CLIENT))
    session = pair.client._sessions[SERVER]
    assert session.channel is not None
    pair.client._outgoing.append((session.channel.seal(22, b"\x01" + bytes(11)), SERVER))
    pair.run()
    pair.send(b"fine")
    pair.run()
    assert pair.received() == [b"fine"]


@pytest.mark.parametrize("number", [1 << 47, (1 << 48) - 2, (1 << 48) - 1])
def test_a_hello_whose_number_leaves_no_room_for_answers_is_not_taken(number: int) -> None:
    pair = Pair()
    hello = _hello_with_cookie(pair, CLIENT)
    hello = hello[:5] + number.to_bytes(6, "big") + hello[11:]
    pair.server.receive_datagram(hello, CLIENT, 0.0)
    pair.server.handle_timer(100.0)
    assert pair.server.handshake_count == 0
    assert pair.server.datagrams_to_send() == []
    assert pair.server.counters.discarded_records == 1


@pytest.mark.parametrize("resumes_psk", [False, True])
def test_noise_does_not_keep_a_half_open_handshakes_place(resumes_psk: bool) -> None:
    pair = Pair(settings=DtlsSettings(handshakes_max=1, resumes_psk=resumes_psk))
    stranger = "10.0.0.1", 1
    pair.server.receive_datagram(_hello_with_cookie(pair, stranger), stranger, 0.0)
    noise = b"\x17\xfe\xfd\0\1" + bytes(5) + b"\x09\0\x14" + bytes(20)
    for number in range(12):
        pair.server.receive_datagram(noise, stranger, 0.5 * number)
    pair.server.datagrams_to_send()
    pair.network.now = 6.0
    pair.client.connect(SERVER, 6.0)
    pair.run(7.0)
    assert pair.client.is_established(SERVER)
    assert pair.server.counters.failed == {"crowded_out": 1}


def test_a_host_with_many_handshakes_gives_places_to_one_with_few() -> None:
    pair = Pair(settings=DtlsSettings(handshakes_max=8))
    crowd = [("10.0.0.1", port) for port in range(1, 9)]
    for address in [*crowd, *((f"10.0.0.{host}", 1) for host in range(2, 12))]:
        pair.server.receive_datagram(_hello_with_cookie(pair, address), address, 0.0)
        pair.server.datagrams_to_send()
    assert pair.server.handshake_count == 8
    # One place is left to it: then every host has one, and who is half-way stays.
    assert pair.server.counters.failed == {"crowded_out": 7}
    assert pair.server.counters.hellos_ignored == 3
    pair.server.handle_timer(100.0)
    assert pair.server.handshake_count == 0


@pytest.mark.parametrize("maker", PSK_MAKERS)
def test_noise_beside_a_handshake_neither_ends_it_nor_stays(maker: str) -> None:
    pair = Pair(settings=PSK_MAKERS[maker])
    pair.client.connect(SERVER, 0.0)
    for _ in range(2):
        for data, _ in pair.client.datagrams_to_send():
            pair.server.receive_datagram(data, CLIENT, 0.0)
        for data, _ in pair.server.datagrams_to_send():
            pair.client.receive_datagram(data, SERVER, 0.0)
    ((flight, _),) = pair.client.datagrams_to_send()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for epoch in (2, 7, 65_535):
        for size in (40, 18_000):
            noise = b"\x16\xfe\xfd%b%b%b" % (
                epoch.to_bytes(2, "big"),
                bytes(6),
                size.to_bytes(2, "big"),
            )
            pair.server.receive_datagram(noise + bytes(size), CLIENT, 0.0)
    # Of protected records only those of a possible length are looked at.
    pair.server.receive_datagram(
        b"\x16\xfe\xfd\0\1" + bytes(6) + (18_000).to_bytes(2, "big") + bytes(18_000), CLIENT, 0.0
    )
    for sequence in range(2, 6) if maker == "ours" else ():
        begun = b"\x10\0\x10\0\0%c\0\0\0\0\0\1x" % sequence
        header = b"\x16\xfe\xfd\0\0" + bytes(6) + len(begun).to_bytes(2, "big")
        pair.server.receive_datagram(header + begun, CLIENT, 0.0)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 8_192
    pair.server.receive_datagram(flight, CLIENT, 0.0)
    assert pair.server.session_count == 1
