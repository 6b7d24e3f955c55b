"""DTLS handshakes between our own two sides, in virtual time."""

from __future__ import annotations

import itertools

import pytest

from lwm2m.transport.dtls import (
    SUITES,
    DtlsSettings,
    PskCredentials,
    ServerCredentials,
    SessionEstablished,
)
from lwm2m.transport.peers import PeerSecurity, SecurePeer, security_of
from tests.lwm2m.transport.dtls_pair import (
    CLIENT,
    ENDPOINT,
    IDENTITY,
    KEY,
    PSK,
    PSK_MAKERS,
    SERVER,
    Pair,
    certificates,
    key_of,
)

_FULL = ["SessionEstablished"]


@pytest.mark.parametrize("suite", SUITES)
def test_each_suite_carries_data_both_ways(suite: str) -> None:
    made = certificates()
    pair = Pair(
        server=made.server_credentials(key_of=key_of),
        client=PSK if SUITES[suite].authentication == "psk" else made.client_credentials(),
        settings=DtlsSettings(suites=(suite,)),
    )
    pair.send(b"up")
    pair.run()
    ((data, peer),) = pair.server.datagrams_received()
    assert data == b"up"
    for payload in (b"", b"d", bytes(1_000)):
        pair.server.send(peer, payload, pair.network.now)
    pair.run()
    assert pair.client.datagrams_received() == [
        (b"", SERVER),
        (b"d", SERVER),
        (bytes(1_000), SERVER),
    ]


def test_the_server_knows_whom_a_key_belongs_to() -> None:
    pair = Pair()
    pair.connect()
    (event,) = pair.events[CLIENT]
    assert event == SessionEstablished(SERVER, PeerSecurity("psk", IDENTITY), False)
    (event,) = pair.events[SERVER]
    assert isinstance(event, SessionEstablished)
    peer = event.peer
    assert isinstance(peer, SecurePeer)
    assert (peer.host, peer.port, peer.local) == (*CLIENT, None)
    assert security_of(peer) == PeerSecurity("psk", IDENTITY)
    assert peer.endpoint_name == ENDPOINT


@pytest.mark.parametrize(
    ("credentials", "reason", "identity"),
    [
        (PskCredentials(IDENTITY, b"\x01" * 16), "wrong_key", IDENTITY),
        (PskCredentials("nobody", KEY), "unknown_identity", "nobody"),
        (PskCredentials(IDENTITY, KEY[:15]), "wrong_key", IDENTITY),
    ],
)
@pytest.mark.parametrize("suite", [name for name in SUITES if "PSK" in name])
@pytest.mark.parametrize("tickets", [True, False])
def test_a_wrong_key_and_an_unknown_identity_look_the_same_to_the_client(
    credentials: PskCredentials, reason: str, identity: str, suite: str, tickets: bool
) -> None:
    settings = DtlsSettings(suites=(suite,), resumes_psk=tickets)
    pair = Pair(client=credentials, settings=settings)
    pair.send(b"lost")
    pair.run(1.0)
    assert pair.names(CLIENT) == ["HandshakeFailed alert_decrypt_error"]
    (event,) = pair.events[SERVER]
    assert (event.address, event.reason, event.identity) == (CLIENT, reason, identity)
    assert pair.server.counters.failed == {reason: 1}
    assert pair.server.handshake_count == pair.client.handshake_count == 0
    assert pair.client.counters.unsent_datagrams == 1


@pytest.mark.parametrize("length", [1, 64])
@pytest.mark.parametrize("maker", PSK_MAKERS)
def test_keys_and_identities_of_all_lengths_are_taken(length: int, maker: str) -> None:
    identity, key = "ä" * 64, bytes(length)
    pair = Pair(
        server=ServerCredentials(key_of=lambda given: (None, key) if given == identity else None),
        client=PskCredentials(identity, key),
        settings=PSK_MAKERS[maker],
    )
    pair.connect()
    (event,) = pair.events[SERVER]
    assert isinstance(event, SessionEstablished)
    assert security_of(event.peer).identity == identity


def test_a_second_session_resumes_the_first_and_is_the_same_peer_by_name() -> None:
    pair = Pair()
    pair.connect()
    pair.client.restart(SERVER, pair.network.now)
    pair.connect()
    assert pair.names(CLIENT) == [*_FULL, "SessionClosed restarted", *_FULL]
    # The old session stood until the new one was complete.
    assert pair.names(SERVER) == [*_FULL, "SessionClosed replaced", *_FULL]
    assert pair.client.counters.resumed == pair.server.counters.resumed == 1
    pair.send(b"again")
    pair.run()
    ((data, peer),) = pair.server.datagrams_received()
    assert (data, peer.endpoint_name) == (b"again", ENDPOINT)
    assert security_of(peer) == PeerSecurity("psk", IDENTITY)


def test_a_server_that_was_restarted_makes_a_full_handshake() -> None:
    pair = Pair()
    pair.connect()
    pair.start_server(pair.server._context.credentials)
    pair.client.restart(SERVER, pair.network.now)
    pair.connect()
    assert pair.server.counters.as_dict()["established"] == 1
    assert pair.server.counters.resumed == 0


def test_with_a_key_no_ticket_is_asked_for_unless_it_is_set() -> None:
    pair = Pair(settings=DtlsSettings())
    for _ in range(2):
        pair.client.restart(SERVER, pair.network.now)
        pair.connect()
    assert pair.server.counters.as_dict()["established"] == 2
    assert pair.server.counters.resumed == 0


def test_without_resumption_no_ticket_is_given() -> None:
    pair = Pair(settings=DtlsSettings(offers_resumption=False, resumes_psk=True))
    pair.connect()
    pair.client.restart(SERVER, pair.network.now)
    pair.connect()
    assert pair.server.counters.resumed == 0


@pytest.mark.parametrize(
    ("table", "reason"),
    [({}, "unknown_identity"), ({IDENTITY: b"\x09" * 16}, "credentials_changed")],
)
def test_a_ticket_does_not_outlive_the_credential(table: dict[str, bytes], reason: str) -> None:
    known = {IDENTITY: KEY}

    def look_up(identity: str) -> tuple[str | None, bytes] | None:
        return (None, known[identity]) if identity in known else None

    pair = Pair(server=ServerCredentials(key_of=look_up))
    pair.connect()
    known.clear()
    known.update(table)
    pair.client.restart(SERVER, pair.network.now)
    pair.send(b"x")
    pair.run()
    assert pair.server.counters.failed[reason] >= 1
    assert not pair.client.is_established(SERVER)
    assert pair.received() == []


def test_a_changed_key_is_used_in_full_once_the_ticket_was_refused() -> None:
    known = {IDENTITY: KEY}
    pair = Pair(server=ServerCredentials(key_of=lambda identity: (None, known[identity])))
    pair.connect()
    known[IDENTITY] = b"\x05" * 16
    pair.credentials = PskCredentials(IDENTITY, b"\x05" * 16)
    pair.client.restart(SERVER, pair.network.now)
    pair.connect()
    # The client offers no ticket of other credentials.
    assert pair.server.counters.failed == {}
    assert pair.server.counters.resumed == 0


def test_no_suite_in_common_is_told_to_both() -> None:
    first, second, *_ = SUITES
    pair = Pair(
        settings=DtlsSettings(suites=(first,)), client_settings=DtlsSettings(suites=(second,))
    )
    pair.client.connect(SERVER, 0.0)
    pair.run()
    assert pair.names(CLIENT) == ["HandshakeFailed alert_handshake_failure"]
    assert pair.names(SERVER) == ["HandshakeFailed no_shared_suite"]


@pytest.mark.parametrize("from_client", [True, False])
def test_close_notify_ends_a_session_on_both_sides(from_client: bool) -> None:
    pair = Pair()
    pair.connect()
    peer = pair.events[SERVER][0].peer
    if from_client:
        pair.client.close(pair.network.now)
    else:
        pair.server.close(pair.network.now)
    pair.run()
    ours, theirs = (CLIENT, SERVER) if from_client else (SERVER, CLIENT)
    assert pair.names(ours) == [*_FULL, "SessionClosed closed_here"]
    assert pair.names(theirs) == [*_FULL, "SessionClosed close_notify"]
    assert pair.server.session_count == pair.client.session_count == 0
    pair.server.send(peer, b"to nobody", pair.network.now)
    assert pair.server.datagrams_to_send() == []
    assert pair.server.counters.unsent_datagrams == 1


def test_after_the_servers_close_notify_the_next_datagram_resumes() -> None:
    pair = Pair()
    pair.connect()
    pair.server.close(pair.network.now)
    pair.run()
    pair.send(b"back")
    pair.run()
    assert pair.received() == [b"back"]
    assert pair.client.counters.resumed == 1


@pytest.mark.parametrize("maker", PSK_MAKERS)
def test_an_error_of_the_key_table_reaches_the_caller_and_costs_one_handshake(maker: str) -> None:
    def fail(identity: str) -> None:
        raise RuntimeError("the table is gone")

    pair = Pair(server=ServerCredentials(key_of=fail), settings=PSK_MAKERS[maker])
    pair.client.connect(SERVER, 0.0)
    with pytest.raises(RuntimeError, match="the table is gone"):
        pair.run()
    pair.run()
    assert pair.server.handshake_count == 0
    assert pair.server.counters.as_dict()["established"] == 0
    assert len(pair.server.counters.failed) == 1


def test_no_repr_shows_a_key() -> None:
    made = certificates()
    pair = Pair()
    pair.connect()
    shown = repr(
        [
            PSK,
            made.client_credentials(),
            made.server_credentials(key_of=key_of),
            pair.events,
            pair.server,
            pair.client,
        ]
    )
    for secret in (KEY, made.client_key, made.server_key):
        forms = (repr(secret)[2:-1], secret.hex())
        assert not any(form in shown for form in itertools.chain(forms))
