"""A client's end, and what the ends of one client, or of a whole fleet, share.

All devices of a fleet share one context and each connection brings its own certificate: a context
per device would cost 2.1 ms and 72 KB a connection, the standard library's 318 KB.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from mqtt.tls.bindings import MODE_NO_AUTO_CHAIN, ffi, lib, load_certificate, load_private_key
from mqtt.tls.contexts import add_anchors, new_context, show
from mqtt.tls.end import TlsEnd
from mqtt.tls.errors import TlsFailed, UnusableCredentials
from mqtt.tls.host_names import ascii_name, is_address, names_host

# Hosts, and certificates with the hosts that they name, that are not looked at again.
_KNOWN_MAX: Final = 1_000
# RFC 6125 §6.4.3 and §6.4.4: a wildcard is a whole label, and the subject's name does not count.
_HOST_FLAGS: Final = (
    lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | lib.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
)
_NOT_NAMED: Final = (lib.X509_V_ERR_HOSTNAME_MISMATCH, lib.X509_V_ERR_IP_ADDRESS_MISMATCH)


class _Host(NamedTuple):
    """The host that the server's certificate must name: its name, or its address, packed."""

    name: bytes
    address: bytes

    def want(self, ssl: Any) -> None:
        """Have OpenSSL refuse a server that is another's, before it learns who the client is."""
        wanted = lib.SSL_get0_param(ssl)
        if self.address:
            # RFC 6066 §3: a ClientHello does not ask for an address.
            done = lib.X509_VERIFY_PARAM_set1_ip(wanted, self.address, len(self.address))
        else:
            lib.X509_VERIFY_PARAM_set_hostflags(wanted, _HOST_FLAGS)
            done = lib.X509_VERIFY_PARAM_set1_host(wanted, self.name, len(self.name))
            lib.SSL_set_tlsext_host_name(ssl, self.name)
        if done != 1:
            lib.ERR_clear_error()
            raise UnusableCredentials("the broker's host is no host name")


class Session:
    """What a later connection may resume: of the same client, to the same server."""

    __slots__ = ("handle",)

    def __init__(self, handle: Any) -> None:
        self.handle = handle


class Proof(NamedTuple):
    """A client's certificate and its key, PKCS #8; both DER."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Proof(…)"

    def show(self, ssl: Any) -> None:
        """Have a connection prove itself by it. Raises `UnusableCredentials`."""
        certificate = load_certificate(self.certificate)
        if certificate is None or lib.SSL_use_certificate(ssl, certificate) != 1:
            lib.ERR_clear_error()
            raise UnusableCredentials("the client certificate is not a DER certificate")
        key = load_private_key(self.key)
        if key is None or lib.SSL_use_PrivateKey(ssl, key) != 1:
            lib.ERR_clear_error()
            raise UnusableCredentials("the key is unreadable or not the certificate's")


class ClientContext:
    """Whom a client trusts: servers with a certificate of one of `anchors` that names their host.

    `chain` and `key` are the client's own where all connections have the same; else each brings a
    `Proof`. All is DER. `speaks_1_3` is off for who wants the cheapest handshake and a session to
    resume at its end. Raises `UnusableCredentials`.
    """

    def __init__(
        self,
        anchors: Sequence[bytes],
        *,
        chain: Sequence[bytes] = (),
        key: bytes = b"",
        speaks_1_3: bool = True,
    ) -> None:
        context = self._context = new_context(lib.TLS_client_method())
        lib.SSL_CTX_set_min_proto_version(context, lib.TLS1_2_VERSION)
        if not speaks_1_3:
            lib.SSL_CTX_set_max_proto_version(context, lib.TLS1_2_VERSION)
        lib.SSL_CTX_set_verify(context, lib.SSL_VERIFY_PEER, ffi.NULL)
        lib.SSL_CTX_set_session_cache_mode(context, lib.SSL_SESS_CACHE_OFF)
        lib.SSL_CTX_set_mode(context, MODE_NO_AUTO_CHAIN)
        add_anchors(context, anchors)
        if chain:
            show(context, chain, key)
        self.stand_in = load_certificate(anchors[0]) if anchors else None
        self._named: set[tuple[bytes, str]] = set()
        self._hosts: dict[str, _Host] = {}

    def open(
        self, host: str, *, proof: Proof | None = None, session: Session | None = None
    ) -> ClientEnd:
        """A client's end that will talk to `host`, and has its first message to send.

        It resumes `session`, which an earlier end with the same proof and host left behind, if the
        server lets it. Raises `UnusableCredentials`, without repeating what it was given.
        """
        ssl = ffi.gc(lib.SSL_new(self._context), lib.SSL_free)
        lib.SSL_set_connect_state(ssl)
        (self._hosts.get(host) or self._look_at(host)).want(ssl)
        return ClientEnd(ssl, self, host, proof, session)

    def check_host(self, end: TlsEnd, host: str) -> None:
        """Raise `TlsFailed` unless the certificate of a session that is resumed names the host."""
        # OpenSSL does not verify it again, and whose session it is was the caller's word.
        certificate = end.peer_certificate()
        if certificate is None:
            raise TlsFailed("the broker showed no certificate")
        known = (certificate.sha256, host)
        if known in self._named:
            return
        if not names_host(certificate.der(), host):
            raise TlsFailed(_does_not_name(host))
        if len(self._named) >= _KNOWN_MAX:
            self._named.clear()
        self._named.add(known)

    def _look_at(self, host: str) -> _Host:
        if len(self._hosts) >= _KNOWN_MAX:
            self._hosts.clear()
        if is_address(host):
            found = _Host(b"", ipaddress.ip_address(host).packed)
        else:
            found = _Host(ascii_name(host), b"")
        self._hosts[host] = found
        return found


class ClientEnd(TlsEnd):
    """One client's end. See `TlsEnd`."""

    __slots__ = ("_context", "_handle", "_host", "_proof")

    def __init__(
        self,
        ssl: Any,
        context: ClientContext,
        host: str,
        proof: Proof | None,
        session: Session | None,
    ) -> None:
        super().__init__(ssl)
        self._context = context
        self._host = host
        self._proof = proof
        self._handle = None
        if session is not None:
            lib.SSL_set_session(ssl, session.handle)
        if proof is not None:
            if session is None:
                proof.show(ssl)
            else:
                # Only a server that does not resume asks for the proof: to read it costs as much
                # as to resume.
                self._handle = ffi.new_handle(proof)
                lib.SSL_set_cert_cb(ssl, _prove_after_all, self._handle)
        self.shake_hands()

    def end(self) -> Session | None:
        """The session, for a later connection; None when there was none. Nothing follows it."""
        if not self.is_established:
            return None
        # As far as OpenSSL knows a session that was cut off is bad, and would not be resumed; since
        # TLS 1.1 it may be (RFC 4346 §7.2.1).
        lib.SSL_set_shutdown(self._ssl, lib.SSL_SENT_SHUTDOWN | lib.SSL_RECEIVED_SHUTDOWN)
        session = lib.SSL_get1_session(self._ssl)
        if session == ffi.NULL:
            return None
        return Session(ffi.gc(session, lib.SSL_SESSION_free))

    def _check_peer(self) -> None:
        if self.is_resumed:
            self._context.check_host(self, self._host)

    def _objection(self, verified: int) -> str:
        if verified in _NOT_NAMED:
            return _does_not_name(self._host)
        return super()._objection(verified)

    def _settle(self) -> None:
        super()._settle()
        proof, self._proof = self._proof, None
        if proof is None:
            return
        if self._handle is not None:
            lib.SSL_set_cert_cb(self._ssl, ffi.NULL, ffi.NULL)
            self._handle = None
        # Nobody asks for the proof again. OpenSSL lets go of certificate and key, seven of forty
        # kilobytes, when it is given a certificate that the key is not of: one that all share.
        lib.SSL_use_certificate(self._ssl, self._context.stand_in)
        lib.ERR_clear_error()


def _does_not_name(host: str) -> str:
    return f"the broker's certificate does not name {host}"


@ffi.callback("int(SSL *, void *)")  # type: ignore[untyped-decorator]  # cffi has no types
def _prove_after_all(ssl: Any, handle: Any) -> int:
    """Called when the server asks for a certificate: it does not resume what it was offered."""
    # Without a proof the server refuses the handshake, and says so.
    with contextlib.suppress(UnusableCredentials):
        ffi.from_handle(handle).show(ssl)
    return 1
