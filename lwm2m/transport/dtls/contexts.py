"""OpenSSL's contexts for servers and clients, and the callbacks by which it asks for keys.

One context serves all handshakes of one kind: which handshake OpenSSL is asking for is known
because it only runs while `current` has been set.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable
from typing import Any, Protocol

from lwm2m.transport.dtls.bindings import ffi, last_error, lib, load_certificate, load_private_key
from lwm2m.transport.dtls.credentials import (
    IDENTITY_BYTES_MAX,
    KEY_BYTES_MAX,
    KeyOf,
    PskCredentials,
    ServerCredentials,
    X509Credentials,
    check_key,
)
from lwm2m.transport.dtls.errors import UnusableCredentials
from lwm2m.transport.dtls.records import DTLS_1_2
from lwm2m.transport.dtls.settings import DtlsSettings
from lwm2m.transport.dtls.suites import SUITES, openssl_cipher_list

# RFC 7925 §4.4: P-256 is what devices have; X25519 for those that prefer it.
_GROUPS = b"P-256:X25519"
_SESSION_ID_CONTEXT = b"lwm2m"
_DECOY_KEY_BYTES = 16
_DIGEST_BYTES = 8
_SECRET_BYTES = 32


class PskAnswer:
    """What the server's PSK callback found for one handshake."""

    __slots__ = ("endpoint_name", "identity", "is_known", "key_digest")

    def __init__(self) -> None:
        self.identity: str | None = None
        self.endpoint_name: str | None = None
        self.is_known = False
        self.key_digest = b""


class AnswersPsk(Protocol):
    """A server's handshake, as its context sees it."""

    psk: PskAnswer


class ServerContext:
    """Everything that a server's handshakes share. Raises `UnusableCredentials`."""

    def __init__(
        self,
        credentials: ServerCredentials,
        settings: DtlsSettings,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.credentials = credentials
        self.current: PskAnswer | None = None
        self._secret = random_bytes(_SECRET_BYTES)
        self._pending: BaseException | None = None
        self.has_tickets = settings.offers_resumption
        self.suites = _suites_for(credentials, settings)
        self.ssl_context = _make_context(settings, self.suites, has_tickets=self.has_tickets)
        # Kept here: cffi frees a callback with its last reference.
        self._callbacks = [
            ffi.callback("unsigned int(SSL *, char *, unsigned char *, unsigned int)", self._psk),
            ffi.callback("int(SSL *, unsigned char *, unsigned int)", _accept_cookie),
            ffi.callback("int(SSL *, unsigned char *, unsigned int *)", _refuse_to_make_cookie),
        ]
        psk, accept_cookie, make_cookie = self._callbacks
        context = self.ssl_context
        lib.SSL_CTX_set_cookie_verify_cb(context, accept_cookie)
        lib.SSL_CTX_set_cookie_generate_cb(context, make_cookie)
        lib.SSL_CTX_set_session_id_context(context, _SESSION_ID_CONTEXT, len(_SESSION_ID_CONTEXT))
        if credentials.key_of is not None:
            lib.SSL_CTX_set_psk_server_callback(context, psk)
        if not credentials.certificate_chain:
            _sign_nothing(context)
        if credentials.certificate_chain:
            _use_certificate_chain(context, credentials.certificate_chain, credentials.private_key)
            _trust(context, credentials.trust_anchors, ask_by_name=True)
            # A client without a certificate is none: both must prove who they are.
            mode = lib.SSL_VERIFY_PEER | lib.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
            lib.SSL_CTX_set_verify(context, mode, ffi.NULL)

    def raise_pending(self) -> None:
        """Raise what the application's `key_of` raised while OpenSSL could not be interrupted."""
        pending, self._pending = self._pending, None
        if pending is not None:
            raise pending

    def look_up(self, identity: str) -> tuple[str | None, bytes] | None:
        """The endpoint name and the digest of the key of an identity; None when it is unknown."""
        key_of: KeyOf | None = self.credentials.key_of
        found = None if key_of is None else key_of(identity)
        if found is None:
            return None
        check_key(found[1])
        return found[0], self._digest(found[1])

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._secret, digest_size=_DIGEST_BYTES).digest()

    def _psk(self, ssl: Any, identity: Any, out: Any, size: int) -> int:
        try:
            answer = self.current
            if answer is None:
                return 0
            key = self.answer_psk(answer, ffi.string(identity))
            answer.key_digest = self._digest(key)
            if len(key) > size:
                return 0
            ffi.memmove(out, key, len(key))
            return len(key)
        except Exception as error:
            # It must not unwind through C: the caller of OpenSSL raises it.
            self._pending = error
            return 0

    def answer_psk(self, answer: PskAnswer, identity_bytes: bytes) -> bytes:
        """The key for an identity; who it is goes into `answer`. Raises what `key_of` raises."""
        # An unknown identity goes on with a key that nobody has: the client sees no more, and no
        # sooner, than one with a wrong key (RFC 4279 §2).
        key = hashlib.blake2b(
            identity_bytes, key=self._secret, digest_size=_DECOY_KEY_BYTES
        ).digest()
        answer.identity = identity_bytes.decode(errors="replace")
        if len(identity_bytes) <= IDENTITY_BYTES_MAX and self.credentials.key_of is not None:
            found = self.credentials.key_of(answer.identity)
            if found is not None:
                answer.endpoint_name, key = found
                check_key(key)
                answer.is_known = True
        return key


class ClientContext:
    """Everything that the handshakes of clients with credentials of one kind share."""

    def __init__(
        self, credentials: PskCredentials | X509Credentials, settings: DtlsSettings
    ) -> None:
        self.current: PskCredentials | None = None
        authentication = "psk" if isinstance(credentials, PskCredentials) else "x509"
        self.has_tickets = settings.offers_resumption and (
            authentication == "x509" or settings.resumes_psk
        )
        self.ssl_context = _make_context(
            settings,
            _suites_of(settings, lambda found: found == authentication),
            has_tickets=self.has_tickets,
        )
        self._callback = ffi.callback(
            "unsigned int(SSL *, char *, char *, unsigned int, unsigned char *, unsigned int)",
            self._psk,
        )
        if isinstance(credentials, PskCredentials):
            lib.SSL_CTX_set_psk_client_callback(self.ssl_context, self._callback)
            _sign_nothing(self.ssl_context)
            return
        _add_chain(self.ssl_context, credentials.certificate_chain[1:])
        if credentials.trust_anchors:
            _trust(self.ssl_context, credentials.trust_anchors, ask_by_name=False)
            lib.SSL_CTX_set_verify(self.ssl_context, lib.SSL_VERIFY_PEER, ffi.NULL)

    @staticmethod
    def kind_of(credentials: PskCredentials | X509Credentials) -> object:
        """Credentials of an equal kind may share a context."""
        if isinstance(credentials, PskCredentials):
            return "psk"
        return credentials.certificate_chain[1:], credentials.trust_anchors

    def _psk(
        self, ssl: Any, hint: Any, identity: Any, identity_size: int, out: Any, size: int
    ) -> int:
        credentials = self.current
        if credentials is None:
            return 0
        encoded = credentials.identity.encode() + b"\0"
        if len(encoded) > identity_size or len(credentials.key) > min(size, KEY_BYTES_MAX):
            return 0
        ffi.memmove(identity, encoded, len(encoded))
        ffi.memmove(out, credentials.key, len(credentials.key))
        return len(credentials.key)


def use_client_certificate(ssl: Any, credentials: X509Credentials) -> None:
    """Prove with this certificate, and ask of the server what the credentials say.

    Raises `UnusableCredentials` when OpenSSL does not take the certificate or its key.
    """
    certificate = load_certificate(credentials.certificate_chain[0])
    key = load_private_key(credentials.private_key)
    if (
        certificate is None
        or key is None
        or lib.SSL_use_certificate(ssl, certificate) != 1
        or lib.SSL_use_PrivateKey(ssl, key) != 1
    ):
        last_error()
        raise UnusableCredentials("the client's certificate and key are unreadable or no pair")
    if credentials.server_name is not None:
        _expect_server(ssl, credentials.server_name, check=bool(credentials.trust_anchors))


def set_verification_time(ssl: Any, unix_s: float) -> None:
    """Judge validity of certificates at this time instead of the system's."""
    lib.X509_VERIFY_PARAM_set_time(lib.SSL_get0_param(ssl), int(unix_s))


def _expect_server(ssl: Any, name: str, *, check: bool) -> None:
    parameters = lib.SSL_get0_param(ssl)
    try:
        address = ipaddress.ip_address(name).packed
    except ValueError:
        encoded = name.encode("idna")
        # RFC 6066 §3: host names only, never addresses.
        lib.SSL_set_tlsext_host_name(ssl, encoded)
        if check:
            lib.X509_VERIFY_PARAM_set1_host(parameters, encoded, len(encoded))
        return
    if check:
        lib.X509_VERIFY_PARAM_set1_ip(parameters, address, len(address))


def _make_context(settings: DtlsSettings, suites: tuple[str, ...], *, has_tickets: bool) -> Any:
    context = ffi.gc(lib.SSL_CTX_new(lib.DTLS_method()), lib.SSL_CTX_free)
    lib.SSL_CTX_set_min_proto_version(context, DTLS_1_2)
    lib.SSL_CTX_set_max_proto_version(context, DTLS_1_2)
    if lib.SSL_CTX_set_cipher_list(context, openssl_cipher_list(suites)) != 1:
        raise UnusableCredentials(f"OpenSSL takes none of the suites: {last_error()[1]}")
    lib.SSL_CTX_set1_curves_list(context, _GROUPS)
    options = (
        lib.SSL_OP_NO_QUERY_MTU
        | lib.SSL_OP_NO_COMPRESSION
        | lib.SSL_OP_NO_RENEGOTIATION
        | lib.SSL_OP_CIPHER_SERVER_PREFERENCE
    )
    if not has_tickets:
        options |= lib.SSL_OP_NO_TICKET
    lib.SSL_CTX_set_options(context, options)
    lib.SSL_CTX_set_mode(context, lib.SSL_MODE_RELEASE_BUFFERS)
    # Tickets instead of a cache: nothing is kept for a client that may never come again.
    lib.SSL_CTX_set_session_cache_mode(context, lib.SSL_SESS_CACHE_OFF)
    lib.SSL_CTX_set_timeout(context, int(settings.ticket_lifetime_s))
    return context


def _sign_nothing(context: Any) -> None:
    """Name one signature algorithm instead of twenty: pre-shared keys need none, and either side
    goes through the list of the other, which is a twentieth of a handshake.
    """
    lib.SSL_CTX_set1_sigalgs_list(context, b"ECDSA+SHA256")


def _suites_for(credentials: ServerCredentials, settings: DtlsSettings) -> tuple[str, ...]:
    usable = {"psk"} if credentials.key_of is not None else set()
    if credentials.certificate_chain:
        usable.add("x509")
    return _suites_of(settings, usable.__contains__)


def _suites_of(settings: DtlsSettings, is_usable: Callable[[str], bool]) -> tuple[str, ...]:
    # Names that are unknown stay in, for the error that names them.
    return tuple(
        name
        for name in settings.suites
        if name not in SUITES or is_usable(SUITES[name].authentication)
    )


def _use_certificate_chain(context: Any, chain: tuple[bytes, ...], private_key: bytes) -> None:
    certificate, key = load_certificate(chain[0]), load_private_key(private_key)
    if (
        certificate is None
        or key is None
        or lib.SSL_CTX_use_certificate(context, certificate) != 1
        or lib.SSL_CTX_use_PrivateKey(context, key) != 1
    ):
        last_error()
        raise UnusableCredentials("the server's certificate and key are unreadable or no pair")
    _add_chain(context, chain[1:])


def _add_chain(context: Any, chain: tuple[bytes, ...]) -> None:
    for der in chain:
        certificate = load_certificate(der)
        if certificate is None:
            raise UnusableCredentials("a certificate of the chain is unreadable")
        # The context owns what it is given here.
        ffi.gc(certificate, None)
        lib.SSL_CTX_add_extra_chain_cert(context, certificate)


def _trust(context: Any, anchors: tuple[bytes, ...], *, ask_by_name: bool) -> None:
    store = lib.SSL_CTX_get_cert_store(context)
    for der in anchors:
        certificate = load_certificate(der)
        if certificate is None:
            raise UnusableCredentials("a trust anchor is no certificate")
        lib.X509_STORE_add_cert(store, certificate)
        if ask_by_name:
            # Clients with several certificates choose by it (RFC 5246 §7.4.4).
            lib.SSL_CTX_add_client_CA(context, certificate)


def _accept_cookie(ssl: Any, cookie: Any, size: int) -> int:
    # Ours was checked before OpenSSL saw the ClientHello.
    return 1


def _refuse_to_make_cookie(ssl: Any, out: Any, size: Any) -> int:
    return 0
