"""The client's side of a handshake with a pre-shared key, plain or with ECDHE (RFC 5489)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import ClassVar

import msgspec

from lwm2m.transport.dtls.credentials import PskCredentials
from lwm2m.transport.dtls.failures import (
    DECODE_ERROR,
    HANDSHAKE_FAILURE,
    ILLEGAL_PARAMETER,
    PROTOCOL_VERSION,
    UNSUPPORTED_EXTENSION,
)
from lwm2m.transport.dtls.psk.flow import Handlers, PskHandshake
from lwm2m.transport.dtls.psk.groups import GROUP_NAMES, agree
from lwm2m.transport.dtls.psk.messages import (
    CLIENT_KEY_EXCHANGE,
    ENCRYPT_THEN_MAC,
    EXTENDED_MASTER_SECRET,
    GROUPS,
    POINT_FORMATS,
    RANDOM_BYTES,
    RENEGOTIATION_INFO,
    RENEGOTIATION_SCSV,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    SERVER_KEY_EXCHANGE,
    VERSION,
    ServerKeyExchange,
    encode_client_hello,
    encode_client_key_exchange,
    encode_message,
    encode_offer,
    parse_chosen,
    parse_hello_verify_request,
    parse_hint,
    parse_server_key_exchange,
)
from lwm2m.transport.dtls.records import CLIENT_HELLO, HANDSHAKE, HELLO_VERIFY_REQUEST
from lwm2m.transport.dtls.settings import DtlsSettings
from lwm2m.transport.dtls.suites import SUITES, CipherSuite

_NO_RENEGOTIATION_BEFORE = b"\0"
_UNCOMPRESSED_POINTS = b"\x01\0"
_JUDGED_KEPT_MAX = 256


class Agreement(msgspec.Struct, frozen=True):
    """What a server chose, when it was offered."""

    suite: CipherSuite
    has_extended_master_secret: bool
    has_encrypt_then_mac: bool


class Misfit(msgspec.Struct, frozen=True):
    """Why a server's choice is none of what was offered, and the alert that it gets."""

    reason: str
    alert: int


class PskOffer:
    """What a client's hellos offer: the pre-shared key suites of the settings, in their order."""

    __slots__ = ("_extensions", "_judged", "_suites", "encoded")

    def __init__(self, settings: DtlsSettings) -> None:
        chosen = [SUITES[name] for name in settings.suites if name in SUITES]
        self._suites = {suite.number: suite for suite in chosen if suite.authentication == "psk"}
        extensions = {EXTENDED_MASTER_SECRET: b""}
        if any(suite.cipher == "cbc" for suite in self._suites.values()):
            extensions[ENCRYPT_THEN_MAC] = b""
        if any(suite.has_ecdhe for suite in self._suites.values()):
            groups = b"".join(number.to_bytes(2, "big") for number in GROUP_NAMES)
            extensions[GROUPS] = len(groups).to_bytes(2, "big") + groups
            extensions[POINT_FORMATS] = _UNCOMPRESSED_POINTS
        self._extensions = frozenset(extensions) | {RENEGOTIATION_INFO}
        self.encoded = encode_offer([*self._suites, RENEGOTIATION_SCSV], extensions)
        # By what comes after the random: a server answers all devices of a fleet the same.
        self._judged: dict[bytes, Agreement | Misfit] = {}

    def judge(self, rest: bytes) -> Agreement | Misfit:
        """What a ServerHello has after its random, held against the offer (RFC 5246 §7.4.1.3)."""
        judged = self._judged.get(rest)
        if judged is None:
            if len(self._judged) >= _JUDGED_KEPT_MAX:
                self._judged.clear()
            judged = self._judged[rest] = self._judge(rest)
        return judged

    def _judge(self, rest: bytes) -> Agreement | Misfit:
        chosen = parse_chosen(rest)
        if chosen is None:
            return Misfit("decode_error", DECODE_ERROR)
        suite, extensions = self._suites.get(chosen.suite_number), chosen.extensions
        if suite is None or chosen.compression:
            return Misfit("illegal_parameter", ILLEGAL_PARAMETER)
        if not self._extensions.issuperset(extensions):
            return Misfit("unsupported_extension", UNSUPPORTED_EXTENSION)
        before = extensions.get(RENEGOTIATION_INFO, _NO_RENEGOTIATION_BEFORE)
        if before != _NO_RENEGOTIATION_BEFORE:
            # RFC 5746 §3.4: a splice of somebody else's connection.
            return Misfit("handshake_failure", HANDSHAKE_FAILURE)
        return Agreement(
            suite, EXTENDED_MASTER_SECRET in extensions, ENCRYPT_THEN_MAC in extensions
        )


class PskClientHandshake(PskHandshake):
    """From the first ClientHello to the server's Finished. Begins with `start`."""

    __slots__ = ("_credentials", "_key_exchange", "_offer")

    IS_SERVER: ClassVar[bool] = False
    HANDLERS: ClassVar[Handlers] = {
        "hello": {
            HELLO_VERIFY_REQUEST: "_take_hello_verify_request",
            SERVER_HELLO: "_take_server_hello",
        },
        "verified_hello": {SERVER_HELLO: "_take_server_hello"},
        "hello_done": {
            SERVER_KEY_EXCHANGE: "_take_server_key_exchange",
            SERVER_HELLO_DONE: "_take_server_hello_done",
        },
        "only_hello_done": {SERVER_HELLO_DONE: "_take_server_hello_done"},
        "finished": {},
    }

    def __init__(
        self,
        offer: PskOffer,
        credentials: PskCredentials,
        settings: DtlsSettings,
        random_bytes: Callable[[int], bytes],
        now: float,
    ) -> None:
        super().__init__(settings, random_bytes, credentials, now)
        self._offer = offer
        self._credentials = credentials
        self._key_exchange: ServerKeyExchange | None = None
        self._randoms = random_bytes(RANDOM_BYTES), b""

    def start(self, now: float) -> None:
        """Make the first ClientHello."""
        self._send_hello(b"", now)

    def _send_hello(self, cookie: bytes, now: float) -> None:
        body = encode_client_hello(self._randoms[0], cookie, self._offer.encoded)
        message = encode_message(CLIENT_HELLO, self._send_sequence, body)
        self._send_sequence += 1
        # RFC 6347 §4.2.6: what led to the cookie is not part of the transcript, so it begins here
        # anew.
        self._transcript = hashlib.sha256(message)
        self._send([(HANDSHAKE, 0, message)], now)

    def _take_hello_verify_request(self, message: bytes, body: bytes, now: float) -> None:
        cookie = parse_hello_verify_request(body)
        if cookie is None:
            self._end_malformed()
            return
        self._awaited = "verified_hello"
        self._send_hello(cookie, now)

    def _take_server_hello(self, message: bytes, body: bytes, now: float) -> None:
        end = len(VERSION) + RANDOM_BYTES
        if not body.startswith(VERSION):
            self._end("protocol_version", PROTOCOL_VERSION)
            return
        judged = self._offer.judge(body[end:])
        if isinstance(judged, Misfit):
            self._end(judged.reason, judged.alert)
            return
        self._transcript.update(message)
        self._suite = judged.suite
        self._randoms = self._randoms[0], body[len(VERSION) : end]
        self._has_extended_master_secret = judged.has_extended_master_secret
        self._has_encrypt_then_mac = judged.has_encrypt_then_mac
        self._awaited = "hello_done"

    def _take_server_key_exchange(self, message: bytes, body: bytes, now: float) -> None:
        assert self._suite is not None, "the ServerHello came before"
        self._transcript.update(message)
        self._awaited = "only_hello_done"
        if self._suite.has_ecdhe:
            self._key_exchange = parse_server_key_exchange(body)
        if self._key_exchange is None and (self._suite.has_ecdhe or not parse_hint(body)):
            self._end_malformed()

    def _take_server_hello_done(self, message: bytes, body: bytes, now: float) -> None:
        assert self._suite is not None, "the ServerHello came before"
        self._transcript.update(message)
        agreed: tuple[bytes | None, bytes | None] | None = None, None
        if self._suite.has_ecdhe:
            agreed = None if self._key_exchange is None else agree(self._key_exchange)
        if body or agreed is None:
            self._end("illegal_parameter", ILLEGAL_PARAMETER)
            return
        point, shared = agreed
        identity = self._credentials.identity.encode()
        key = self._message(CLIENT_KEY_EXCHANGE, encode_client_key_exchange(identity, point))
        self._derive(self._credentials.key, shared)
        self._awaited = "finished"
        self._send([key, *self._ending()], now)

    def _refuse_finished(self) -> None:
        # RFC 6347 §4.1.2.7: dropped; perhaps it is somebody else's, and the right one comes yet.
        return

    def _take_finished(self, message: bytes, now: float) -> None:
        self._complete()
