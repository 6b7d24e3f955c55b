"""The server's side of a handshake with a plain pre-shared key, from the hello with a cookie."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from lwm2m.transport.dtls.contexts import PskAnswer, ServerContext
from lwm2m.transport.dtls.failures import DECRYPT_ERROR, INTERNAL_ERROR
from lwm2m.transport.dtls.hellos import ClientHello
from lwm2m.transport.dtls.psk.flow import Handlers, PskHandshake
from lwm2m.transport.dtls.psk.messages import (
    CLIENT_KEY_EXCHANGE,
    ENCRYPT_THEN_MAC,
    EXTENDED_MASTER_SECRET,
    RANDOM_BYTES,
    RENEGOTIATION_INFO,
    RENEGOTIATION_SCSV,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    SESSION_TICKET,
    SUPPORTED_VERSIONS,
    VERSION,
    MessageReader,
    Offer,
    encode_extensions,
    encode_server_hello,
    parse_client_key_exchange,
    parse_offer,
)
from lwm2m.transport.dtls.records import RECORD_HEADER_BYTES
from lwm2m.transport.dtls.settings import DtlsSettings
from lwm2m.transport.dtls.suites import SUITES, CipherSuite

_NO_RENEGOTIATION_BEFORE = b"\0"
# The numbers of our messages and the client's after the exchange of the cookie (RFC 6347 §4.2.2).
_NEXT_SEQUENCE_SENT, _NEXT_SEQUENCE_AWAITED = 1, 2
_COOKIE_HELLO_SEQUENCE = 1
_CHOICES_KEPT_MAX = 256


class PskChoice(msgspec.Struct, frozen=True):
    """What a server answers to an offer: the suite, and the extensions as they are sent."""

    suite: CipherSuite
    extensions: bytes
    has_extended_master_secret: bool
    has_encrypt_then_mac: bool


class PskChooser:
    """Which hellos have a handshake here, and the answers to them."""

    __slots__ = ("_choices", "_gives_tickets", "_suites")

    def __init__(self, context: ServerContext) -> None:
        self._suites = context.suites
        self._gives_tickets = context.has_tickets
        # By version and offer: a fleet's devices all offer the same.
        self._choices: dict[tuple[bytes, bytes], PskChoice | None] = {}

    def choose(self, hello: ClientHello) -> PskChoice | None:
        """What to answer to a hello that came with our cookie; None leaves it to OpenSSL."""
        if hello.message_sequence != _COOKIE_HELLO_SEQUENCE:
            return None
        asked = hello.version, hello.offer
        if asked not in self._choices:
            if len(self._choices) >= _CHOICES_KEPT_MAX:
                self._choices.clear()
            self._choices[asked] = choose_plain_psk(
                hello, self._suites, gives_tickets=self._gives_tickets
            )
        return self._choices[asked]


def choose_plain_psk(
    hello: ClientHello, suites: tuple[str, ...], *, gives_tickets: bool
) -> PskChoice | None:
    """What to answer when the first of the server's suites that the hello offers is a plain PSK
    one; None when it is not, when the client asks for a ticket that it would get, or when anything
    is out of the ordinary.
    """
    offer = parse_offer(hello.offer)
    if offer is None or not _has_our_version(hello, offer):
        return None
    suite = next((SUITES[name] for name in suites if SUITES[name].number in offer.suites), None)
    is_plain = suite is not None and suite.authentication == "psk" and not suite.has_ecdhe
    extensions = offer.extensions
    if (
        suite is None
        or not is_plain
        or 0 not in offer.compressions
        or (gives_tickets and SESSION_TICKET in extensions)
        or extensions.get(RENEGOTIATION_INFO, _NO_RENEGOTIATION_BEFORE) != _NO_RENEGOTIATION_BEFORE
    ):
        return None
    answer: dict[int, bytes] = {}
    if RENEGOTIATION_SCSV in offer.suites or RENEGOTIATION_INFO in extensions:
        answer[RENEGOTIATION_INFO] = _NO_RENEGOTIATION_BEFORE
    if EXTENDED_MASTER_SECRET in extensions:
        answer[EXTENDED_MASTER_SECRET] = b""
    if ENCRYPT_THEN_MAC in extensions and suite.cipher == "cbc":
        answer[ENCRYPT_THEN_MAC] = b""
    return PskChoice(
        suite,
        encode_extensions(answer),
        EXTENDED_MASTER_SECRET in answer,
        ENCRYPT_THEN_MAC in answer,
    )


def _has_our_version(hello: ClientHello, offer: Offer) -> bool:
    versions = offer.extensions.get(SUPPORTED_VERSIONS)
    if versions is None:
        # DTLS counts down: a client that could speak a newer version says the newest.
        return hello.version <= VERSION
    return VERSION in {versions[place : place + 2] for place in range(1, len(versions), 2)}


class PskServerHandshake(PskHandshake):
    """From the ClientHello with its cookie to our Finished. Begins with `accept`."""

    __slots__ = ("_context",)

    IS_SERVER: ClassVar[bool] = True
    HANDLERS: ClassVar[Handlers] = {
        "client_key_exchange": {CLIENT_KEY_EXCHANGE: "_take_client_key_exchange"},
        "finished": {},
    }

    def __init__(
        self,
        context: ServerContext,
        settings: DtlsSettings,
        random_bytes: Callable[[int], bytes],
        now: float,
    ) -> None:
        super().__init__(settings, random_bytes, PskAnswer(), now)
        self._context = context

    def accept(self, record: bytes, hello: ClientHello, choice: PskChoice, now: float) -> None:
        """Answer a ClientHello whose cookie is ours."""
        # RFC 6347 §4.2.2: the ServerHello goes on from the ClientHello's record number.
        self._sequences[0] = hello.record_sequence
        self._reader = MessageReader(_NEXT_SEQUENCE_AWAITED)
        self._send_sequence = _NEXT_SEQUENCE_SENT
        self._awaited = "client_key_exchange"
        self._suite = choice.suite
        self._has_extended_master_secret = choice.has_extended_master_secret
        self._has_encrypt_then_mac = choice.has_encrypt_then_mac
        random = self._random_bytes(RANDOM_BYTES)
        self._randoms = hello.random, random
        self._transcript.update(record[RECORD_HEADER_BYTES:])
        answer = encode_server_hello(random, choice.suite.number, choice.extensions)
        self._send(
            [self._message(SERVER_HELLO, answer), self._message(SERVER_HELLO_DONE, b"")], now
        )

    def _take_client_key_exchange(self, message: bytes, body: bytes, now: float) -> None:
        identity = parse_client_key_exchange(body)
        if identity is None:
            self._end_malformed()
            return
        self._transcript.update(message)
        answer = self.psk
        assert isinstance(answer, PskAnswer), "a server's handshake has one"
        try:
            key = self._context.answer_psk(answer, identity)
        except Exception:
            # What the application's table raises is for its caller; the client need not wait.
            self._end("internal_error", INTERNAL_ERROR)
            raise
        self._derive(key)
        self._awaited = "finished"

    def _refuse_finished(self) -> None:
        """RFC 4279 §2: an identity that is unknown looks to the client like a wrong key."""
        is_known = isinstance(self.psk, PskAnswer) and self.psk.is_known
        self._end("wrong_key" if is_known else "unknown_identity", DECRYPT_ERROR)

    def _take_finished(self, message: bytes, now: float) -> None:
        self._transcript.update(message)
        self._send(self._ending(), now)
        self._complete()
