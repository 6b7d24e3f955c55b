"""ClientHello and the stateless cookie: nothing is kept of a client that has not shown its address.

RFC 6347 §4.2.1. The cookie is a MAC (keyed BLAKE2b) of the address and the ClientHello under a
secret of ours, which is renewed from time to time; one made under the secret before is still taken.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Hashable

import msgspec

from lwm2m.transport.dtls.records import (
    CLIENT_HELLO,
    DTLS_1_0,
    HANDSHAKE,
    HANDSHAKE_HEADER_BYTES,
    HELLO_VERIFY_REQUEST,
    RECORD_HEADER_BYTES,
    SEQUENCE_MAX,
    encode_handshake_message,
    encode_record,
)

COOKIE_BYTES = 16
RANDOM_BYTES = 32
SECRET_BYTES = 32
_FIXED_BYTES = 2 + RANDOM_BYTES
# Of both headers: epoch with record number; then length, message number, offset and length of the
# fragment (RFC 6347 §4.1, §4.2.2).
_HEADERS = struct.Struct(">3xQ2xx3sH3s3s")
_HEADERS_BYTES = RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES
# Half of all: a client begins at 0.
_RECORD_SEQUENCE_MAX = SEQUENCE_MAX >> 1
_NOTHING = bytes(3)


class ClientHello(msgspec.Struct, frozen=True, gc=False):
    """What the server needs of a ClientHello before it keeps anything.

    `parameters` is the body without the cookie: version, random, session id, suites, extensions.
    """

    record_sequence: int
    random: bytes
    cookie: bytes
    parameters: bytes
    message_sequence: int = 1

    @property
    def version(self) -> bytes:
        """The newest that the client speaks."""
        return self.parameters[:2]

    @property
    def offer(self) -> bytes:
        """What follows the cookie: suites, compression methods, extensions."""
        return self.parameters[_FIXED_BYTES + 1 + self.parameters[_FIXED_BYTES] :]


def parse_client_hello(record: bytes) -> ClientHello | None:
    """The ClientHello in one whole unprotected record; None for anything else.

    One that comes in fragments is not taken: to put it together would need memory before the
    cookie. Nor one whose record has a number that leaves no room for the answers, which go on from
    there.
    """
    if (
        len(record) < _HEADERS_BYTES
        or record[0] != HANDSHAKE
        or record[RECORD_HEADER_BYTES] != CLIENT_HELLO
    ):
        return None
    number, length, message_sequence, offset, fragment_length = _HEADERS.unpack_from(record)
    body = record[_HEADERS_BYTES:]
    if (
        offset != _NOTHING
        or not length == fragment_length == len(body).to_bytes(3, "big")
        # The first is 0, the one with the cookie 1 (RFC 6347 §4.2.2).
        or message_sequence > 1
    ):
        return None
    record_sequence = number & SEQUENCE_MAX
    if record_sequence > _RECORD_SEQUENCE_MAX:
        return None
    return _parse_body(record_sequence, message_sequence, body)


def _parse_body(record_sequence: int, message_sequence: int, body: bytes) -> ClientHello | None:
    if len(body) <= _FIXED_BYTES:
        return None
    session_end = _FIXED_BYTES + 1 + body[_FIXED_BYTES]
    if len(body) <= session_end:
        return None
    cookie_end = session_end + 1 + body[session_end]
    if len(body) < cookie_end:
        return None
    return ClientHello(
        record_sequence,
        body[2:_FIXED_BYTES],
        body[session_end + 1 : cookie_end],
        body[:session_end] + body[cookie_end:],
        message_sequence,
    )


def encode_hello_verify_request(hello: ClientHello, cookie: bytes) -> bytes:
    """The record that asks for the same ClientHello with this cookie."""
    # DTLS 1.0 whatever will be spoken, and the record number of the ClientHello, so that nothing
    # has to be remembered (RFC 6347 §4.2.1).
    body = b"%b%c%b" % (DTLS_1_0.to_bytes(2, "big"), len(cookie), cookie)
    message = encode_handshake_message(HELLO_VERIFY_REQUEST, 0, body)
    return encode_record(HANDSHAKE, DTLS_1_0, 0, hello.record_sequence, message)


class CookieJar:
    """Makes and checks cookies. `random_bytes(n)` gives secrets; each serves `lifetime_s`."""

    __slots__ = ("_before", "_lifetime_s", "_random_bytes", "_renew_at", "_secret")

    def __init__(self, random_bytes: Callable[[int], bytes], lifetime_s: float) -> None:
        self._random_bytes = random_bytes
        self._lifetime_s = lifetime_s
        self._secret = random_bytes(SECRET_BYTES)
        self._before = self._secret
        self._renew_at: float | None = None

    def make(self, address: Hashable, hello: ClientHello, now: float) -> bytes:
        """The cookie for this ClientHello from this address."""
        self._renew(now)
        return _cookie(self._secret, address, hello)

    def is_valid(self, address: Hashable, hello: ClientHello, now: float) -> bool:
        """Whether the ClientHello brings a cookie that we made for it not long ago."""
        if len(hello.cookie) != COOKIE_BYTES:
            return False
        self._renew(now)
        cookie = hello.cookie
        return hmac.compare_digest(cookie, _cookie(self._secret, address, hello)) or (
            hmac.compare_digest(cookie, _cookie(self._before, address, hello))
        )

    def _renew(self, now: float) -> None:
        if self._renew_at is None:
            self._renew_at = now + self._lifetime_s
        elif now >= self._renew_at:
            # After a long silence the one before is too old as well.
            is_recent = now < self._renew_at + self._lifetime_s
            fresh = self._random_bytes(SECRET_BYTES)
            self._before, self._secret = (self._secret if is_recent else fresh), fresh
            self._renew_at = now + self._lifetime_s


def _cookie(secret: bytes, address: Hashable, hello: ClientHello) -> bytes:
    # An address is a tuple of texts and numbers: its repr is as good as its fields.
    bound = repr(address).encode() + b"\0" + hello.parameters
    return hashlib.blake2b(bound, key=secret, digest_size=COOKIE_BYTES).digest()
