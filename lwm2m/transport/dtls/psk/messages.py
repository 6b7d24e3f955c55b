"""The messages of a handshake with a pre-shared key as bytes, and putting fragments together.

RFC 5246 §7.4, RFC 6347 §4.2.2 and §4.2.3, RFC 4279 §2, RFC 5489 §2, RFC 8422 §5.4.
"""

from __future__ import annotations

import struct

import msgspec

from lwm2m.transport.dtls.records import HANDSHAKE_HEADER_BYTES

SERVER_HELLO, SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE, CLIENT_KEY_EXCHANGE = 2, 12, 14, 16
HELLO_REQUEST = 0
RANDOM_BYTES = 32
VERIFY_DATA_BYTES = 12
VERSION = b"\xfe\xfd"

# RFC 8422 §5.1, RFC 7366, RFC 7627, RFC 5077, RFC 8446 §4.2.1, RFC 5746.
GROUPS, POINT_FORMATS, ENCRYPT_THEN_MAC = 10, 11, 22
EXTENDED_MASTER_SECRET, SESSION_TICKET, SUPPORTED_VERSIONS = 23, 35, 43
RENEGOTIATION_INFO = 0xFF01
# RFC 5746 §3.3: in the list of suites, for who sends no extension.
RENEGOTIATION_SCSV = 0x00FF

# type and length, message number, offset and length of the fragment (24 bits each)
_HEADER = struct.Struct(">IHHI")
_LENGTH_MASK = 0xFFFFFF
_PAIR = struct.Struct(">HH")
# The longest that is needed here is a ServerKeyExchange with a hint. Also of all parts together.
_MESSAGE_BYTES_MAX = 4_096
_AHEAD_MAX = 4
_NULL_COMPRESSION = b"\0"
_NAMED_CURVE = 3


class Chosen(msgspec.Struct, frozen=True):
    """What a server chose of what was offered: all of a ServerHello but version and random."""

    suite_number: int
    compression: int
    extensions: dict[int, bytes]


class Offer(msgspec.Struct, frozen=True, gc=False):
    """What a ClientHello offers: suites by number, compression methods, extensions."""

    suites: frozenset[int]
    compressions: bytes
    extensions: dict[int, bytes]


class ServerKeyExchange(msgspec.Struct, frozen=True, gc=False):
    """A server's ECDHE_PSK parameters: the group's number and its public key."""

    group: int
    point: bytes


class MessageReader:
    """Handshake messages in order, from records that may be lost, repeated, reordered or cut.

    `next_sequence` is the number of the message that is waited for.
    """

    __slots__ = ("_parts", "next_sequence")

    def __init__(self, next_sequence: int) -> None:
        self.next_sequence = next_sequence
        # By message number: type and length, the body, which bytes of it came as bits.
        self._parts: dict[int, tuple[int, bytearray, int]] | None = None

    def read(self, content: bytes) -> list[bytes]:
        """The messages that a handshake record's content completes, each with its header as if it
        had not been cut. What is no message ends the content without a word.
        """
        found: list[bytes] = []
        position, size = 0, len(content)
        while size - position >= HANDSHAKE_HEADER_BYTES:
            outline, sequence, high, low = _HEADER.unpack_from(content, position)
            length, part_length = outline & _LENGTH_MASK, low & _LENGTH_MASK
            offset = high << 8 | low >> 24
            end = position + HANDSHAKE_HEADER_BYTES + part_length
            if end > size or offset + part_length > length or length > _MESSAGE_BYTES_MAX:
                break
            if sequence == self.next_sequence and part_length == length:
                # Whole and in order, as nearly all come.
                found.append(content[position:end])
                self.next_sequence += 1
            elif self.next_sequence <= sequence < self.next_sequence + _AHEAD_MAX:
                part = content[position + HANDSHAKE_HEADER_BYTES : end]
                self._keep(outline, sequence, offset, part)
            if self._parts:
                found += self._take_whole()
            position = end
        return found

    def _keep(self, outline: int, sequence: int, offset: int, part: bytes) -> None:
        if self._parts is None:
            self._parts = {}
        made = self._parts.get(sequence)
        if made is None:
            length = outline & _LENGTH_MASK
            if length + sum(len(body) for _, body, _ in self._parts.values()) > _MESSAGE_BYTES_MAX:
                return  # it comes again, when those before it are whole
            made = outline, bytearray(length), 0
        kept, body, came = made
        if kept == outline:
            body[offset : offset + len(part)] = part
            self._parts[sequence] = kept, body, came | ((1 << len(part)) - 1) << offset

    def _take_whole(self) -> list[bytes]:
        found: list[bytes] = []
        while self._parts and self.next_sequence in self._parts:
            outline, body, came = self._parts[self.next_sequence]
            if came != (1 << len(body)) - 1:
                break
            del self._parts[self.next_sequence]
            found.append(_HEADER.pack(outline, self.next_sequence, 0, len(body)) + body)
            self.next_sequence += 1
        return found


def encode_message(message_type: int, sequence: int, body: bytes) -> bytes:
    """A handshake message in one fragment."""
    length = len(body)
    return _HEADER.pack(message_type << 24 | length, sequence, 0, length) + body


def encode_offer(suites: list[int], extensions: dict[int, bytes]) -> bytes:
    """What a ClientHello has after its cookie."""
    numbers = b"".join(number.to_bytes(2, "big") for number in suites)
    return b"".join(
        (
            len(numbers).to_bytes(2, "big"),
            numbers,
            _short_vector(_NULL_COMPRESSION),
            encode_extensions(extensions),
        )
    )


def encode_extensions(extensions: dict[int, bytes]) -> bytes:
    """The extensions of a hello; nothing at all when there are none."""
    if not extensions:
        return b""
    return _vector(
        b"".join(_PAIR.pack(kind, len(data)) + data for kind, data in extensions.items())
    )


def encode_client_hello(random: bytes, cookie: bytes, offer: bytes) -> bytes:
    """The body of a ClientHello without a session; `offer` as `encode_offer` makes it."""
    return b"%b%b\0%c%b%b" % (VERSION, random, len(cookie), cookie, offer)


def encode_server_hello(random: bytes, suite_number: int, extensions: bytes) -> bytes:
    """The body of a ServerHello without a session; `extensions` as encoded."""
    return b"%b%b\0%b\0%b" % (VERSION, random, suite_number.to_bytes(2, "big"), extensions)


def encode_client_key_exchange(identity: bytes, point: bytes | None) -> bytes:
    """The body of a ClientKeyExchange; `point` is the client's public key with ECDHE."""
    return _vector(identity) + (b"" if point is None else _short_vector(point))


def parse_offer(rest: bytes) -> Offer | None:
    """What a ClientHello has after its cookie; None when it is malformed."""
    reader = _Reader(rest)
    suites = reader.vector(2)
    compressions = reader.vector(1)
    extensions = _parse_extensions(reader)
    if suites is None or compressions is None or extensions is None or len(suites) % 2:
        return None
    numbers = frozenset(number for (number,) in struct.iter_unpack(">H", suites))
    return Offer(numbers, compressions, extensions)


def parse_hello_verify_request(body: bytes) -> bytes | None:
    """The cookie; None when the body is malformed."""
    # The version before it says nothing (RFC 6347 §4.2.1).
    reader = _Reader(body, 2)
    cookie = reader.vector(1)
    return cookie if reader.is_at_end() else None


def parse_chosen(rest: bytes) -> Chosen | None:
    """What a ServerHello has after its random; None when it is malformed."""
    reader = _Reader(rest)
    session = reader.vector(1)
    chosen = reader.take(3)
    extensions = _parse_extensions(reader)
    if session is None or chosen is None or extensions is None:
        return None
    return Chosen(int.from_bytes(chosen[:2], "big"), chosen[2], extensions)


def parse_hint(body: bytes) -> bool:
    """Whether the body is a ServerKeyExchange with a hint and no more (RFC 4279 §2)."""
    reader = _Reader(body)
    return reader.vector(2) is not None and reader.is_at_end()


def parse_server_key_exchange(body: bytes) -> ServerKeyExchange | None:
    """An ECDHE_PSK ServerKeyExchange with a named group; None when it is malformed."""
    reader = _Reader(body)
    hint, group = reader.vector(2), reader.take(3)
    point = reader.vector(1)
    if hint is None or group is None or point is None or not reader.is_at_end():
        return None
    if group[0] != _NAMED_CURVE:
        return None
    return ServerKeyExchange(int.from_bytes(group[1:], "big"), point)


def parse_client_key_exchange(body: bytes) -> bytes | None:
    """The identity in a plain PSK ClientKeyExchange; None when it is malformed."""
    reader = _Reader(body)
    identity = reader.vector(2)
    return identity if reader.is_at_end() else None


def premaster_secret(key: bytes, shared: bytes | None = None) -> bytes:
    """RFC 4279 §2, with the ECDH secret RFC 5489 §2."""
    return _vector(bytes(len(key)) if shared is None else shared) + _vector(key)


def _parse_extensions(reader: _Reader) -> dict[int, bytes] | None:
    """The extensions to the end; none is fine, twice the same is not (RFC 5246 §7.4.1.4)."""
    found: dict[int, bytes] = {}
    if reader.is_at_end():
        return found
    data = reader.vector(2)
    if data is None or not reader.is_at_end():
        return None
    inner = _Reader(data)
    while not inner.is_at_end():
        kind = inner.take(2)
        value = inner.vector(2)
        if kind is None or value is None or (number := int.from_bytes(kind, "big")) in found:
            return None
        found[number] = value
    return found


def _vector(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _short_vector(data: bytes) -> bytes:
    return b"%c%b" % (len(data), data)


class _Reader:
    """Takes bytes from the front; once something is missing, everything after it is."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._position = position

    def is_at_end(self) -> bool:
        """Whether all was taken, and nothing was missing."""
        return self._position == len(self._data)

    def take(self, size: int) -> bytes | None:
        """So many bytes; None when there are fewer."""
        start, self._position = self._position, self._position + size
        return None if self._position > len(self._data) else self._data[start : self._position]

    def vector(self, length_bytes: int) -> bytes | None:
        """What a length of so many bytes announces; None when it is not there."""
        length = self.take(length_bytes)
        return None if length is None else self.take(int.from_bytes(length, "big"))
