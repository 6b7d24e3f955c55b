"""TLS of a device's MQTT connection over memory buffers: bytes in, bytes out, no socket.

One context per trusted CA is shared by all devices and each connection brings its own certificate:
a context per device would cost 2.1 ms and 72 KB a connection, the standard library's 318 KB.
"""

from __future__ import annotations

import contextlib
import ipaddress
import warnings
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from OpenSSL import SSL, crypto

from lwm2m.transport.dtls.bindings import lib

_READ_BYTES: Final = 16_384
# OpenSSL's name of the state after the server's Certificate message.
_READ_CERTIFICATE: Final = b"SSLv3/TLS read server certificate"


class CredentialsUnusable(ValueError):
    """The certificate, key or CA that the device was given cannot be used; the text says which."""


class PeerNotTrusted(Exception):
    """The broker's certificate is not what the device was told to trust, or TLS failed."""


class _Trust(NamedTuple):
    """A context, and the CA certificate that it trusts."""

    context: SSL.Context
    anchor: crypto.X509


class TlsContexts:
    """The shared contexts, one per CA certificate."""

    def __init__(self) -> None:
        self._contexts: dict[bytes, _Trust] = {}
        self._checked: set[tuple[bytes, str]] = set()

    def open(
        self,
        *,
        host: str,
        ca: bytes,
        certificate: bytes,
        key: bytes,
        session: SSL.Session | None = None,
    ) -> TlsPipe:
        """A client's end that will talk to `host`. All three are DER, the key PKCS #8.

        It resumes `session`, which an earlier pipe with the same credentials and host left behind
        (`end`), if the broker lets it. Raises `CredentialsUnusable` for what cannot be one, without
        repeating what it was given.
        """
        trust = self._trust(ca)
        connection = SSL.Connection(trust.context, None)
        if session is None:
            _prove(connection, certificate, key)
        else:
            connection.set_session(session)
            # Only a broker that does not resume it asks for them again; to read them costs twice as
            # much as to resume.
            connection.set_app_data((certificate, key))
        return TlsPipe(connection, host, trust.anchor, self._checked)

    def _trust(self, ca: bytes) -> _Trust:
        trust = self._contexts.get(ca)
        if trust is None:
            trust = self._contexts[ca] = _make_trust(ca)
        return trust


def _prove(connection: SSL.Connection, certificate: bytes, key: bytes) -> None:
    """Have the client prove itself with these. Raises `CredentialsUnusable`."""
    try:
        _use(connection, crypto.load_certificate(crypto.FILETYPE_ASN1, certificate))
    except (crypto.Error, SSL.Error):
        raise CredentialsUnusable("the client certificate is not a DER certificate") from None
    try:
        _use(connection, crypto.load_privatekey(crypto.FILETYPE_ASN1, key))
    except (crypto.Error, SSL.Error):
        raise CredentialsUnusable("the key is unreadable or not the certificate's") from None


def _use(connection: SSL.Connection, made: crypto.X509 | crypto.PKey) -> None:
    # pyOpenSSL wants cryptography's objects, encodes them and reads them again: that is half of
    # what a connection costs before its handshake, and a copy of what all could share.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if isinstance(made, crypto.X509):
            connection.use_certificate(made)
        else:
            connection.use_privatekey(made)


def _prove_after_all(connection: SSL.Connection, where: int, value: int) -> None:
    """Called at each step of a handshake: the broker shows its certificate, so that it does not
    resume the session that it was offered, and will ask for ours."""
    if (
        where & SSL.SSL_CB_LOOP
        and connection.get_app_data() is not None
        and connection.get_state_string() == _READ_CERTIFICATE
    ):
        certificate, key = connection.get_app_data()
        connection.set_app_data(None)
        # Without them the broker refuses the handshake, and says so.
        with contextlib.suppress(CredentialsUnusable):
            _prove(connection, certificate, key)


class TlsPipe:
    """One client's end. Feed `receive`, write with `send`, and take `data_to_send` after each."""

    __slots__ = (
        "_checked", "_connection", "_has_large_buffers", "_host", "_stand_in", "is_established",
    )  # fmt: skip

    def __init__(
        self,
        connection: SSL.Connection,
        host: str,
        stand_in: crypto.X509,
        checked: set[tuple[bytes, str]],
    ) -> None:
        self._connection = connection
        self._stand_in = stand_in
        self._host = host
        self._checked = checked
        self.is_established = False
        self._has_large_buffers = True
        connection.set_connect_state()
        if not _is_address(host):
            connection.set_tlsext_host_name(_ascii_name(host))
        self._shake_hands()

    @property
    def is_resumed(self) -> bool:
        """Whether this goes on with an earlier session; only after `is_established`."""
        return bool(lib.SSL_session_reused(self._connection._ssl))

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
        if self._has_large_buffers and self.is_established:
            # Both are empty: what was to be sent has just been taken, and `receive` reads until
            # there is no more.
            self._has_large_buffers = False
            _renew_buffers(self._connection)
        return b"".join(pieces)

    def end(self) -> SSL.Session | None:
        """The session, for a later connection; None when there was none. Nothing follows it."""
        if not self.is_established:
            return None
        # As far as OpenSSL knows a session that was cut off is bad, and would not be resumed; since
        # TLS 1.1 it may be (RFC 4346 §7.2.1).
        self._connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        return self._connection.get_session()

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
        self._connection.set_app_data(None)
        # Nobody asks for the proof again. OpenSSL lets go of certificate and key, seven of forty
        # kilobytes, when it is given a certificate that the key is not of: one that all share.
        _use(self._connection, self._stand_in)
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


def _renew_buffers(connection: SSL.Connection) -> None:
    """Replace the memory buffers, which are empty: they have grown to the flights of a handshake,
    and would keep 2.4 KB of them for as long as the connection lives."""
    into, out = lib.BIO_new(lib.BIO_s_mem()), lib.BIO_new(lib.BIO_s_mem())
    # OpenSSL frees the old ones. pyOpenSSL has no other way to give a connection new ones.
    lib.SSL_set_bio(connection._ssl, into, out)
    connection._into_ssl, connection._from_ssl = into, out


def _make_trust(ca: bytes) -> _Trust:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    # TLS 1.2: its handshake costs a client the least, and AWS IoT Core and both brokers speak it.
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_PEER)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Without renegotiation, an established connection only writes what it is given. Tickets: who
    # comes back after a power cut does not prove itself anew, which costs a third of the CPU.
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_info_callback(_prove_after_all)
    try:
        trusted = crypto.X509.from_cryptography(x509.load_der_x509_certificate(ca))
    except ValueError:
        raise CredentialsUnusable("the CA certificate is not a DER certificate") from None
    store = context.get_cert_store()
    assert store is not None
    store.add_cert(trusted)
    return _Trust(context, trusted)


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
