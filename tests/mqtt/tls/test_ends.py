"""Both ends of a TLS connection, over bytes cut anywhere, with the standard library as a peer."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt.tls import (
    ClientContext,
    ClientEnd,
    Proof,
    ServerContext,
    TlsEnd,
    TlsFailed,
    UnusableCredentials,
)
from mqtt.tls.bindings import ffi, lib
from tests.mqtt.tls.pki import EXPIRED, FOR_SERVERS, HOST, Authority, Keys, pem

CA = Authority("ca")
OTHER = Authority("other")
BROKER = CA.issue("broker")
LAMP = CA.issue("lamp-1")
SERVER = ServerContext(anchors=[CA.certificate], chain=[BROKER.certificate], key=BROKER.key)
FLEET = ClientContext([CA.certificate], speaks_1_3=False)
SERVICE = ClientContext([CA.certificate], chain=[LAMP.certificate], key=LAMP.key)


def pieces(data: bytes, sizes: Iterator[int]) -> Iterable[bytes]:
    while data:
        size = next(sizes)
        yield data[:size]
        data = data[size:]


def whole() -> Iterator[int]:
    while True:
        yield 1 << 20


def exchange(client: TlsEnd, server: TlsEnd, sizes: Iterator[int] | None = None) -> None:
    """Carry bytes to and fro until neither end has any."""
    cut = sizes or whole()
    for _ in range(10):
        sent = client.data_to_send()
        for piece in pieces(sent, cut):
            assert server.receive(piece) == b""
        answer = server.data_to_send()
        for piece in pieces(answer, cut):
            assert client.receive(piece) == b""
        if not sent and not answer:
            return


def lamp(keys: Keys = LAMP, host: str = HOST) -> ClientEnd:
    return FLEET.open(host, proof=Proof(*keys))


def pair(client: ClientEnd | None = None) -> tuple[ClientEnd, TlsEnd]:
    """Both ends of an established connection."""
    client, server = client or lamp(), SERVER.open()
    exchange(client, server)
    assert client.is_established
    assert server.is_established
    return client, server


@pytest.mark.slow
@pytest.mark.parametrize(("context", "version"), [(FLEET, "TLSv1.2"), (SERVICE, "TLSv1.3")])
@given(cut=st.lists(st.integers(1, 400), min_size=1, max_size=8), sent=st.binary(max_size=600))
def test_bytes_pass_however_they_are_cut(
    context: ClientContext, version: str, cut: list[int], sent: bytes
) -> None:
    def sizes() -> Iterator[int]:
        while True:
            yield from cut

    proof = Proof(*LAMP) if context is FLEET else None
    client, server = context.open(HOST, proof=proof), SERVER.open()
    exchange(client, server, sizes())
    assert client.version == server.version == version
    shown = server.peer_certificate()
    assert shown is not None
    assert shown.common_names == ("lamp-1",)
    for one, other in ((client, server), (server, client)):
        one.send(sent)
        one.send(sent * 100)
        came = b"".join(other.receive(each) for each in pieces(one.data_to_send(), sizes()))
        assert came == sent * 101


def test_many_records_in_one_piece_are_one_answer() -> None:
    client, server = pair()
    for number in range(50):
        client.send(b"%d;" % number)
    client.send(b"")
    assert server.receive(client.data_to_send()) == b"".join(b"%d;" % n for n in range(50))
    client.send(b"x" * 300_000)
    assert server.receive(client.data_to_send()) == b"x" * 300_000


@pytest.mark.parametrize("missing", [0, 1, 20_000])
def test_memory_that_much_at_once_took_is_given_back(missing: int) -> None:
    client, server = pair()
    out, into = client._out, server._into
    client.send(b"x" * 300_000)
    data = client.data_to_send()
    cut = len(data) - missing
    came = server.receive(data[:cut]) + server.receive(data[cut:])
    assert came == b"x" * 300_000
    assert client._out != out
    assert server._into != into
    for one, other in ((client, server), (server, client)):
        one.send(b"on")
        assert other.receive(one.data_to_send()) == b"on"


class StandardClient:
    """A client by the standard library, over its own OpenSSL."""

    def __init__(self, folder: Path, keys: Keys | None) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.load_verify_locations(cadata=pem(CA.certificate).decode())
        if keys is not None:
            file = folder / "client.pem"
            file.write_bytes(keys.pem())
            self.context.load_cert_chain(file)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: ssl.SSLObject | None = None

    def shake_hands(self, server: TlsEnd) -> ssl.SSLObject:
        """Raises what either end raises."""
        tls = self.tls = self.context.wrap_bio(self._in, self._out, server_hostname=HOST)
        while not (server.is_established and tls.version() and not self._out.pending):
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            server.receive(self._out.read())
            self._in.write(server.data_to_send())
        tls.do_handshake()
        return tls


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_of_another_make_is_served(tmp_path: Path, version: ssl.TLSVersion) -> None:
    client, server = StandardClient(tmp_path, LAMP), SERVER.open()
    client.context.minimum_version = client.context.maximum_version = version
    tls = client.shake_hands(server)
    shown = server.peer_certificate()
    assert shown is not None
    assert shown.der() == LAMP.certificate
    tls.write(b"up")
    assert server.receive(client._out.read()) == b"up"
    server.send(b"down")
    client._in.write(server.data_to_send())
    assert tls.read() == b"down"


def test_who_offers_no_forward_secrecy_is_refused(tmp_path: Path) -> None:
    client = StandardClient(tmp_path, LAMP)
    client.context.maximum_version = ssl.TLSVersion.TLSv1_2
    client.context.set_ciphers("AES128-GCM-SHA256")
    with pytest.raises(TlsFailed, match="no shared cipher"):
        client.shake_hands(SERVER.open())


def test_only_the_chain_that_was_given_is_shown(tmp_path: Path) -> None:
    between = Authority("between", under=CA)
    own = between.issue("broker")
    context = ServerContext(
        anchors=[CA.certificate], chain=[own.certificate, between.certificate], key=own.key
    )
    client, server = lamp(), context.open()
    exchange(client, server)
    assert client.is_established
    alone = ServerContext(anchors=[CA.certificate], chain=[own.certificate], key=own.key)
    with pytest.raises(TlsFailed, match="unable to get local issuer certificate"):
        exchange(lamp(), alone.open())


# ---- who is not let in ----


def refused(client: ClientEnd) -> tuple[str, bytes]:
    """Why the server refuses, and what it sends last."""
    server = SERVER.open()
    with pytest.raises(TlsFailed) as caught:
        exchange(client, server)
    assert not server.is_established
    return str(caught.value), server.data_to_send()


def test_who_shows_no_certificate_is_refused() -> None:
    reason, alert = refused(FLEET.open(HOST))
    assert reason == "TLS handshake failed: peer did not return a certificate"
    assert alert[0] == 21  # RFC 5246 §6.2.1: an alert


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (OTHER.issue("lamp-1"), "unable to get local issuer certificate"),
        (CA.issue("lamp-1", until=EXPIRED), "certificate has expired"),
        (CA.issue("lamp-1", usage=FOR_SERVERS), "unsuitable certificate purpose"),
    ],
)
def test_who_shows_a_certificate_that_is_not_good_is_refused_with_the_reason(
    keys: Keys, reason: str
) -> None:
    why, alert = refused(lamp(keys))
    assert why == f"TLS handshake failed: certificate verify failed: {reason}"
    assert alert[0] == 21


def test_a_client_hears_in_tls_1_3_that_it_was_refused() -> None:
    keys = OTHER.issue("svc:control")
    context = ClientContext([CA.certificate], chain=[keys.certificate], key=keys.key)
    client, server = context.open(HOST), SERVER.open()
    with pytest.raises(TlsFailed, match="certificate verify failed"):
        exchange(client, server)
    assert client.is_established  # as far as it knew
    with pytest.raises(TlsFailed, match=r"TLS failed: .*alert unknown ca"):
        client.receive(server.data_to_send())


@pytest.mark.parametrize(
    ("named", "wanted", "why"),
    [
        (("localhost",), HOST, f"does not name {HOST}"),
        ((), HOST, f"does not name {HOST}"),
        (("*.example",), "a.b.example", "does not name a.b.example"),
    ],
)
def test_a_server_must_be_named_by_its_certificate(
    named: tuple[str, ...], wanted: str, why: str
) -> None:
    own = CA.issue("broker", hosts=named)
    server = ServerContext(anchors=[CA.certificate], chain=[own.certificate], key=own.key)
    for _ in range(2):  # what was seen once is not taken for good
        with pytest.raises(TlsFailed, match=why):
            exchange(lamp(host=wanted), server.open())


@pytest.mark.parametrize("speaks_1_3", [True, False])
@pytest.mark.parametrize("host", ["other.example", "127.0.0.2"])
def test_a_server_of_another_name_does_not_learn_who_the_client_is(
    speaks_1_3: bool, host: str
) -> None:
    context = ClientContext(
        [CA.certificate], chain=[LAMP.certificate], key=LAMP.key, speaks_1_3=speaks_1_3
    )
    client, server = context.open(host), SERVER.open()
    with pytest.raises(TlsFailed, match=f"failed: the broker's certificate does not name {host}$"):
        exchange(client, server)
    with pytest.raises(TlsFailed, match="alert bad certificate"):
        server.receive(client.data_to_send())
    assert not server.is_established
    assert server.peer_certificate() is None


def test_a_name_beyond_ascii_is_looked_for_as_it_is_written_in_certificates() -> None:
    own = CA.issue("broker", hosts=("xn--mnchen-3ya.example",))
    server = ServerContext(anchors=[CA.certificate], chain=[own.certificate], key=own.key)
    session = None
    for _ in range(2):
        client = FLEET.open("MÜNCHEN.example", proof=Proof(*LAMP), session=session)
        exchange(client, server.open())
        assert client.is_established
        session = client.end()
    assert client.is_resumed


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "", ".example", "broker\0"])
def test_a_host_that_is_no_name_is_told(host: str) -> None:
    with pytest.raises(UnusableCredentials, match="no host name"):
        lamp(host=host)


# ---- the end ----


def test_each_end_says_good_bye_and_hears_it() -> None:
    client, server = pair()
    client.send(b"last")
    client.close()
    assert server.receive(client.data_to_send()) == b"last"
    assert server.is_closed_by_peer
    server.close()
    assert client.receive(server.data_to_send()) == b""
    assert client.is_closed_by_peer


def test_what_comes_behind_a_good_bye_is_nothing() -> None:
    client, server = pair()
    client.close()
    assert server.receive(client.data_to_send() + b"garbage") == b""
    assert server.is_closed_by_peer


def test_there_is_no_good_bye_of_a_session_that_is_not_there() -> None:
    server = SERVER.open()
    server.close()
    assert server.data_to_send() == b""


def test_who_asks_to_negotiate_anew_is_refused_and_served_on() -> None:
    client, server = pair()
    # RFC 5246 §7.4.1.1: a HelloRequest is the server's way to ask for it.
    assert lib.SSL_renegotiate(server._ssl) == 0
    lib.ERR_clear_error()
    client.send(b"on")
    assert server.receive(client.data_to_send()) == b"on"


# ---- sessions ----


def test_a_ticket_goes_on_with_who_was_proven(tmp_path: Path) -> None:
    client, _ = pair()
    session = client.end()
    assert session is not None
    for _ in range(2):
        again, server = FLEET.open(HOST, proof=Proof(*LAMP), session=session), SERVER.open()
        exchange(again, server)
        assert again.is_resumed
        assert server.is_resumed
        shown = server.peer_certificate()
        assert shown is not None
        assert shown.sha256 == _sha256(LAMP.certificate)
        session = again.end()
        assert session is not None


def test_a_session_is_not_gone_on_with_for_another_host() -> None:
    client, _ = pair()
    again = FLEET.open("other.example", proof=Proof(*LAMP), session=client.end())
    with pytest.raises(TlsFailed, match=r"does not name other\.example"):
        exchange(again, SERVER.open())
    assert not again.is_established


def test_a_server_keeps_nothing_of_who_takes_no_tickets() -> None:
    context = ClientContext([CA.certificate], speaks_1_3=False)
    lib.SSL_CTX_set_options(context._context, lib.SSL_OP_NO_TICKET)
    client, _ = pair(context.open(HOST, proof=Proof(*LAMP)))
    again, _ = pair(context.open(HOST, proof=Proof(*LAMP), session=client.end()))
    assert not again.is_resumed


def test_a_ticket_of_another_context_is_not_gone_on_with() -> None:
    client, _ = pair()
    renewed = ServerContext(anchors=[CA.certificate], chain=[BROKER.certificate], key=BROKER.key)
    again, server = FLEET.open(HOST, proof=Proof(*LAMP), session=client.end()), renewed.open()
    exchange(again, server)
    assert again.is_established
    assert not server.is_resumed
    shown = server.peer_certificate()
    assert shown is not None
    assert shown.common_names == ("lamp-1",)


def test_who_is_not_resumed_and_cannot_prove_itself_is_refused() -> None:
    client, _ = pair()
    renewed = ServerContext(anchors=[CA.certificate], chain=[BROKER.certificate], key=BROKER.key)
    again = FLEET.open(HOST, proof=Proof(b"garbage", b"garbage"), session=client.end())
    with pytest.raises(TlsFailed, match="peer did not return a certificate"):
        exchange(again, renewed.open())


# ---- bytes from outside ----


@pytest.mark.slow
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=5))
def test_strangers_bytes_are_a_failure_or_nothing(pieces_of: list[bytes]) -> None:
    for end in (SERVER.open(), lamp()):
        try:
            for piece in pieces_of:
                assert end.receive(piece) == b""
        except TlsFailed:
            pass
        end.data_to_send()
        end.close()
        assert not end.is_established


@pytest.mark.slow
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7), is_hello=st.booleans())
def test_a_bit_that_was_turned_is_never_taken(at: int, bit: int, is_hello: bool) -> None:
    client, server = lamp(), SERVER.open()
    if not is_hello:
        client, server = pair(client)
        client.send(b"x" * 100)
    data = bytearray(client.data_to_send())
    data[at % len(data)] ^= 1 << bit
    try:
        plain = server.receive(bytes(data))
    except TlsFailed:
        plain = b""
    assert plain == b""


@pytest.mark.slow
@given(st.binary(max_size=300))
def test_garbage_behind_the_handshake_ends_it_or_waits_for_more(garbage: bytes) -> None:
    _, server = pair()
    try:
        assert server.receive(garbage) == b""
    except TlsFailed:
        return
    assert len(garbage) < 5 or int.from_bytes(garbage[3:5], "big") + 5 > len(garbage)


def test_what_somebody_else_left_behind_is_not_taken_for_a_failure() -> None:
    client, server = pair()
    client.send(b"whole")
    data = client.data_to_send()
    bio = lib.BIO_new_mem_buf(b"garbage", 7)
    assert lib.d2i_X509_bio(bio, ffi.NULL) == ffi.NULL
    lib.BIO_free(bio)
    assert server.receive(data[:10]) == b""
    assert server.receive(data[10:]) == b"whole"


def _sha256(der: bytes) -> bytes:
    return hashlib.sha256(der).digest()
