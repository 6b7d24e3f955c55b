"""Who gets in with a certificate, and which server a client takes."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from lwm2m.transport.dtls import (
    DtlsSettings,
    PskCredentials,
    ServerCredentials,
    SessionEstablished,
    UnusableCredentials,
    X509Credentials,
)
from lwm2m.transport.peers import PeerSecurity, security_of
from tests.lwm2m.transport.dtls_pair import (
    CLIENT,
    ENDPOINT,
    KEY,
    NOW_UNIX_S,
    PSK,
    SERVER,
    Authority,
    Pair,
    certificates,
    key_of,
    public_key_of,
)

_DAY_S = 86_400.0


def _pair(client: X509Credentials | None = None, **changes: object) -> Pair:
    made = certificates()
    return Pair(
        server=made.server_credentials(**changes), client=client or made.client_credentials()
    )


def _attempt(pair: Pair) -> tuple[list[str], list[str]]:
    """What server and client are told of one handshake."""
    pair.client.connect(SERVER, pair.network.now)
    pair.run(5.0)
    return pair.names(SERVER), pair.names(CLIENT)


def test_the_endpoint_name_is_the_certificates_common_name() -> None:
    pair = _pair()
    pair.connect()
    (event,) = pair.events[SERVER]
    assert isinstance(event, SessionEstablished)
    assert event.peer.endpoint_name == ENDPOINT
    assert security_of(event.peer) == PeerSecurity("x509", ENDPOINT)
    assert event.security.mode == "x509"


@pytest.mark.parametrize(
    "name", [x509.DNSName("lamp-9.example"), x509.UniformResourceIdentifier("urn:dev:os:lamp-9")]
)
def test_without_a_common_name_the_one_alternative_name_is_it(name: x509.GeneralName) -> None:
    made = certificates()
    der, key = made.authority.issue(None, alternative_names=[name])
    pair = _pair(made.client_credentials(certificate_chain=(der,), private_key=key))
    pair.connect()
    assert pair.events[SERVER][0].peer.endpoint_name == name.value


def test_an_installation_may_read_names_in_its_own_way() -> None:
    pair = _pair(name_of=lambda certificate: f"serial-{certificate.serial_number}")
    pair.connect()
    assert pair.events[SERVER][0].peer.endpoint_name.startswith("serial-")


@pytest.mark.parametrize(
    ("issue", "reason", "alert"),
    [
        ({"shift_days": -5}, "certificate_expired", "alert_certificate_expired"),
        ({"shift_days": 5}, "certificate_not_yet_valid", "alert_bad_certificate"),
        (
            {"usage": ExtendedKeyUsageOID.SERVER_AUTH},
            "certificate_wrong_usage",
            "alert_unsupported_certificate",
        ),
    ],
)
def test_a_certificate_that_does_not_hold_is_refused_and_counted_by_reason(
    issue: dict[str, object], reason: str, alert: str
) -> None:
    made = certificates()
    der, key = made.authority.issue(ENDPOINT, **issue)  # type: ignore[arg-type]  # by name
    pair = _pair(made.client_credentials(certificate_chain=(der,), private_key=key))
    assert _attempt(pair) == ([f"HandshakeFailed {reason}"], [f"HandshakeFailed {alert}"])
    assert pair.server.counters.failed == {reason: 1}


def test_a_certificate_of_an_unknown_authority_is_refused() -> None:
    made = certificates()
    der, key = made.stranger.issue(ENDPOINT)
    pair = _pair(made.client_credentials(certificate_chain=(der,), private_key=key))
    server, client = _attempt(pair)
    assert server == ["HandshakeFailed certificate_unknown_authority"]
    assert client == ["HandshakeFailed alert_unknown_ca"]


@pytest.mark.parametrize("names", [(), ("one", "two")])
def test_a_certificate_without_one_name_is_refused(names: tuple[str, ...]) -> None:
    made = certificates()
    der, key = made.authority.issue(None, common_names=names)
    pair = _pair(made.client_credentials(certificate_chain=(der,), private_key=key))
    server, client = _attempt(pair)
    assert server == ["HandshakeFailed certificate_without_name"]
    # For the client the handshake was complete when the alert came.
    assert client == ["SessionEstablished", "SessionClosed alert_bad_certificate"]


def test_a_certificate_that_expired_since_does_not_come_in_by_its_ticket() -> None:
    made = certificates()
    der, key = made.authority.issue(ENDPOINT)
    pair = _pair(made.client_credentials(certificate_chain=(der,), private_key=key))
    pair.connect()
    pair.client.restart(SERVER, pair.network.now)
    pair.connect()
    assert pair.server.counters.resumed == 1
    pair.unix_s += 1.5 * _DAY_S
    pair.client.restart(SERVER, pair.network.now)
    _attempt(pair)
    assert pair.server.counters.failed["certificate_expired"] >= 1
    assert pair.server.counters.established == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"server_name": "other.example"}, "certificate_wrong_name"),
        ({"server_name": "192.0.2.1"}, "certificate_wrong_name"),
        ({"trust_anchors": "stranger"}, "certificate_unknown_authority"),
        ({"trust_anchors": (), "server_key": b"another"}, "certificate_not_pinned"),
    ],
)
def test_a_client_refuses_a_server_that_is_not_the_one_it_expects(
    changes: dict[str, object], reason: str
) -> None:
    made = certificates()
    if changes.get("trust_anchors") == "stranger":
        changes = {"trust_anchors": (made.stranger.certificate,)}
    pair = _pair(made.client_credentials(**changes))
    _, client = _attempt(pair)
    assert client == [f"HandshakeFailed {reason}"]
    assert not pair.client.is_established(SERVER)


def test_a_client_refuses_a_server_with_an_expired_certificate_or_a_clients() -> None:
    made = certificates()
    for issue, reason in (
        ({"shift_days": -5}, "certificate_expired"),
        ({"usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "certificate_wrong_usage"),
    ):
        names: list[x509.GeneralName] = [x509.DNSName("server.example")]
        der, key = made.authority.issue("server", alternative_names=names, **issue)  # type: ignore[arg-type]  # by name
        pair = _pair(certificate_chain=(der,), private_key=key)
        _, client = _attempt(pair)
        assert client == [f"HandshakeFailed {reason}"]


@pytest.mark.parametrize("form", ["certificate", "public key"])
@pytest.mark.parametrize("anchored", [True, False])
def test_a_pinned_server_is_taken_with_and_without_a_chain(form: str, anchored: bool) -> None:
    made = certificates()
    pinned = made.server if form == "certificate" else public_key_of(made.server)
    pair = _pair(
        made.client_credentials(
            server_key=pinned,
            trust_anchors=(made.authority.certificate,) if anchored else (),
            server_name="server.example" if anchored else None,
        )
    )
    pair.connect()


def test_a_server_is_known_by_its_address() -> None:
    import ipaddress

    made = certificates()
    der, key = made.authority.issue(
        "server", alternative_names=[x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]
    )
    pair = _pair(
        made.client_credentials(server_name="192.0.2.1"), certificate_chain=(der,), private_key=key
    )
    pair.connect()


def test_one_server_takes_keys_and_certificates_side_by_side() -> None:
    made = certificates()
    pair = Pair(server=made.server_credentials(key_of=key_of), client=made.client_credentials())
    pair.connect()
    pair.credentials = PSK
    pair.client.close_peer(SERVER, pair.network.now)
    pair.connect()
    modes = [event.security.mode for event in pair.events[SERVER] if hasattr(event, "security")]
    assert modes == ["x509", "psk"]


def _chain(depth: int, *, is_authority: bool = True) -> tuple[tuple[bytes, ...], bytes]:
    """A device's certificates down to, not including, the root's; and its key."""
    issuer = certificates().authority
    between: list[bytes] = []
    for number in range(depth):
        issuer = Authority(f"Intermediate {number}", NOW_UNIX_S, issuer, is_authority=is_authority)
        between.insert(0, issuer.certificate)
    der, key = issuer.issue(ENDPOINT, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    return (der, *between), key


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("bytes_max", [1_232, 300])
def test_a_device_whose_authority_is_certified_by_another_shows_the_whole_chain(
    depth: int, bytes_max: int
) -> None:
    made = certificates()
    chain, key = _chain(depth)
    pair = Pair(
        server=made.server_credentials(),
        client=made.client_credentials(certificate_chain=chain, private_key=key),
        settings=DtlsSettings(datagram_bytes_max=bytes_max),
    )
    pair.connect()
    assert pair.events[SERVER][0].peer.endpoint_name == ENDPOINT
    pair.send(b"up")
    pair.run()
    assert pair.received() == [b"up"]


def test_devices_of_several_intermediates_share_one_client() -> None:
    made = certificates()
    pair = _pair()
    for depth in (1, 2, 1):
        chain, key = _chain(depth)
        pair.credentials = made.client_credentials(certificate_chain=chain, private_key=key)
        pair.client.close_peer(SERVER, pair.network.now)
        pair.connect()
    assert pair.server.counters.established == 3
    assert pair.server.counters.failed == {}


@pytest.mark.parametrize("case", ["left out", "no authority", "anchored itself"])
def test_a_chain_that_does_not_reach_an_anchor_is_refused(case: str) -> None:
    made = certificates()
    chain, key = _chain(1, is_authority=case != "no authority")
    anchors = (made.authority.certificate,)
    if case == "anchored itself":
        # An intermediate in the anchors' file does not replace the root (RFC 5280 §6.1).
        anchors = (chain[1],)
    shown = chain[:1] if case == "left out" else chain
    pair = Pair(
        server=made.server_credentials(trust_anchors=anchors),
        client=made.client_credentials(certificate_chain=shown, private_key=key),
    )
    server, client = _attempt(pair)
    assert server == ["HandshakeFailed certificate_unknown_authority"]
    assert client[-1].startswith("HandshakeFailed alert_")


def test_a_server_that_knows_the_intermediate_takes_a_device_that_leaves_it_out() -> None:
    made = certificates()
    chain, key = _chain(1)
    pair = Pair(
        server=made.server_credentials(trust_anchors=(made.authority.certificate, chain[1])),
        client=made.client_credentials(certificate_chain=chain[:1], private_key=key),
    )
    pair.connect()


def test_a_client_takes_a_server_with_an_intermediate() -> None:
    made = certificates()
    authority = Authority("Server's intermediate", NOW_UNIX_S, made.authority)
    der, key = authority.issue("server", alternative_names=[x509.DNSName("server.example")])
    pair = _pair(certificate_chain=(der, authority.certificate), private_key=key)
    pair.connect()


def test_a_client_without_certificate_finds_no_suite_with_a_server_of_certificates() -> None:
    made = certificates()
    pair = Pair(server=made.server_credentials())
    assert _attempt(pair)[0] == ["HandshakeFailed no_shared_suite"]


def test_a_long_ticket_is_not_kept_because_its_hello_would_not_fit_a_datagram() -> None:
    made = certificates()
    names: list[x509.GeneralName] = [x509.DNSName(f"{n}.long.example") for n in range(60)]
    der, key = made.authority.issue(ENDPOINT, alternative_names=names)
    pair = _pair(made.client_credentials(certificate_chain=(der,), private_key=key))
    pair.connect()
    pair.client.restart(SERVER, pair.network.now)
    pair.connect()
    assert pair.server.counters.resumed == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda made: PskCredentials("", KEY),
        lambda made: PskCredentials("x" * 129, KEY),
        lambda made: PskCredentials("a\0b", KEY),
        lambda made: PskCredentials("a", b""),
        lambda made: PskCredentials("a", bytes(65)),
        lambda made: made.client_credentials(trust_anchors=()),
        lambda made: made.client_credentials(certificate_chain=()),
        lambda made: ServerCredentials(),
        lambda made: made.server_credentials(trust_anchors=()),
        lambda made: Pair(server=made.server_credentials(trust_anchors=(b"no",))),
        lambda made: Pair(server=made.server_credentials(private_key=made.client_key)),
        lambda made: Pair(server=made.server_credentials(certificate_chain=(made.server, b"x"))),
        lambda made: Pair(settings=DtlsSettings(suites=("TLS_NULL_WITH_NULL_NULL",))),
    ],
)
def test_credentials_that_cannot_be_used_are_refused_at_once(make: object) -> None:
    with pytest.raises(UnusableCredentials) as caught:
        make(certificates())  # type: ignore[operator]  # one of the functions above
    assert KEY.hex() not in str(caught.value)


def test_a_client_with_an_unusable_certificate_is_told_and_hurts_nobody() -> None:
    made = certificates()
    pair = _pair(made.client_credentials(private_key=made.server_key))
    assert _attempt(pair) == ([], ["HandshakeFailed unusable_credentials"])


def test_a_peer_without_credentials_is_not_talked_to() -> None:
    pair = Pair()
    pair.credentials = None
    pair.send(b"never in the clear")
    assert pair.client.datagrams_to_send() == []
    pair.run(1.0)
    assert pair.names(CLIENT) == ["HandshakeFailed no_credentials"]
