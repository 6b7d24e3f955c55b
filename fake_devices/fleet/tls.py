"""TLS of a device's MQTT connection over memory buffers: bytes in, bytes out, no socket.

One context per trusted CA is shared by all devices and each connection brings its own certificate:
a context per device would cost 2.1 ms and 72 KB a connection, the standard library's 318 KB.
"""

from __future__ import annotations

import contextlib
import ipaddress
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509.oid import ExtensionOID
from OpenSSL import SSL, crypto

_READ_BYTES: Final = 16_384


class CredentialsUnusable(ValueError):
    """The certificate, key or CA that the device was given cannot be used; the text says which."""


class PeerNotTrusted(Exception):
    """The broker's certificate is not what the device was told to trust, or TLS failed."""


class TlsContexts:
    """The shared contexts, one per CA certificate."""

    def __init__(self) -> None:
        self._contexts: dict[bytes, SSL.Context] = {}
        self._checked: set[tuple[bytes, str]] = set()

    def open(self, *, host: str, ca: bytes, certificate: bytes, key: bytes) -> TlsPipe:
        """A client's end that will talk to `host`. All three are DER, the key PKCS #8.

        Raises `CredentialsUnusable` for what cannot be one, without repeating what it was given.
        """
        connection = SSL.Connection(self._context(ca), None)
        try:
            connection.use_certificate(x509.load_der_x509_certificate(certificate))
        except (ValueError, SSL.Error):
            raise CredentialsUnusable("the client certificate is not a DER certificate") from None
        try:
            # The check of the key's own arithmetic costs more than all the rest of this method.
            private = load_der_private_key(key, None, unsafe_skip_rsa_key_validation=True)
            connection.use_privatekey(private)  # type: ignore[arg-type]  # a wrong kind is refused
        except (ValueError, TypeError, UnsupportedAlgorithm, SSL.Error):
            raise CredentialsUnusable("the key is unreadable or not the certificate's") from None
        return TlsPipe(connection, host, self._checked)

    def _context(self, ca: bytes) -> SSL.Context:
        context = self._contexts.get(ca)
        if context is None:
            context = self._contexts[ca] = _make_context(ca)
        return context


class TlsPipe:
    """One client's end. Feed `receive`, write with `send`, and take `data_to_send` after each."""

    __slots__ = ("_checked", "_connection", "_host", "is_established")

    def __init__(
        self, connection: SSL.Connection, host: str, checked: set[tuple[bytes, str]]
    ) -> None:
        self._connection = connection
        self._host = host
        self._checked = checked
        self.is_established = False
        connection.set_connect_state()
        if not _is_address(host):
            connection.set_tlsext_host_name(_ascii_name(host))
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """Plain bytes that came out of `data`. Raises `PeerNotTrusted`."""
        self._connection.bio_write(data)
        if not self.is_established:
            self._shake_hands()
            if not self.is_established:
                return b""
        plain = bytearray()
        try:
            while True:
                plain += self._connection.recv(_READ_BYTES)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            pass  # close_notify: the transport's end follows
        except SSL.Error as error:
            raise PeerNotTrusted(f"TLS failed: {_reason(error)}") from None
        return bytes(plain)

    def send(self, plain: bytes) -> None:
        """Encrypt `plain`; only after `is_established`. Raises `PeerNotTrusted`."""
        try:
            self._connection.send(plain)
        except SSL.Error as error:
            raise PeerNotTrusted(f"TLS failed: {_reason(error)}") from None

    def data_to_send(self) -> bytes:
        """Bytes for the broker since the last call."""
        pieces: list[bytes] = []
        try:
            while not pieces or len(pieces[-1]) == _READ_BYTES:
                pieces.append(self._connection.bio_read(_READ_BYTES))
        except SSL.WantReadError:
            pass
        return b"".join(pieces)

    def close(self) -> None:
        """Write close_notify, when there is a session to close."""
        if self.is_established:
            with contextlib.suppress(SSL.Error):
                self._connection.shutdown()

    def _shake_hands(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise PeerNotTrusted(f"TLS handshake failed: {_reason(error)}") from None
        self._check_peer()
        self.is_established = True

    def _check_peer(self) -> None:
        # RFC 9110 §4.3.4's rule, kept by hand: the context is shared, the host is not.
        peer = self._connection.get_peer_certificate(as_cryptography=True)
        if peer is None:
            raise PeerNotTrusted("the broker showed no certificate")
        key = (peer.signature, self._host)
        if key in self._checked:
            return
        if not _names_host(peer, self._host):
            raise PeerNotTrusted(f"the broker's certificate does not name {self._host}")
        self._checked.add(key)


def _make_context(ca: bytes) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    # TLS 1.2: its handshake costs a client the least, and AWS IoT Core and both brokers speak it.
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_PEER)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Without renegotiation, an established connection only writes what it is given.
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    try:
        trusted = crypto.X509.from_cryptography(x509.load_der_x509_certificate(ca))
    except ValueError:
        raise CredentialsUnusable("the CA certificate is not a DER certificate") from None
    store = context.get_cert_store()
    assert store is not None
    store.add_cert(trusted)
    return context


def _names_host(certificate: x509.Certificate, host: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_oid(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        ).value
    except x509.ExtensionNotFound:
        return False
    assert isinstance(names, x509.SubjectAlternativeName)
    if _is_address(host):
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    return any(
        _name_matches(name.lower(), host.lower())
        for name in names.get_values_for_type(x509.DNSName)
    )


def _name_matches(pattern: str, host: str) -> bool:
    # RFC 6125 §6.4.3: a wildcard stands for exactly the leftmost label.
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:]
    return pattern == host


def _ascii_name(host: str) -> bytes:
    try:
        return host.encode("idna")
    except UnicodeError:
        raise CredentialsUnusable("the broker's host is no host name") from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _reason(error: SSL.Error) -> str:
    details = error.args[0] if error.args else ()
    texts = [each[-1] for each in details if each] if isinstance(details, list) else []
    return "; ".join(texts) or "the connection ended"
