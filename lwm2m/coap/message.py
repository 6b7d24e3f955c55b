"""One CoAP message and its bytes (RFC 7252 §3, with the extended tokens of RFC 8974 §2.1).

Strict: whatever §3 and §4 call a message format error is `MalformedMessage`. What an option means,
and whether it is known, is not decided here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

import msgspec

from lwm2m.coap.codes import code_text
from lwm2m.coap.options import Options
from lwm2m.coap.redaction import show, shown_fields
from lwm2m.errors import LwM2mError

CON = 0
NON = 1
ACK = 2
RST = 3

HEADER_BYTES = 4
TYPE_NAMES = ("CON", "NON", "ACK", "RST")
# RFC 8974 §2.1: lengths up to 12 stand in the header; 13 and 14 announce one or two more bytes.
SHORT_TOKEN_BYTES_MAX = 12
TOKEN_BYTES_MAX = 65_804
PAYLOAD_MARKER = 0xFF
VERSION_1 = 0x40
_OPTION_NUMBER_MAX = 65_535
pack_header = struct.Struct(">BBH").pack

Fault = Literal["truncated", "version", "token", "code", "empty", "option", "payload_marker"]
_HIDDEN = frozenset({"payload"})


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message. Options are (number, value) in the order of their numbers."""

    type: int
    code: int
    message_id: int
    token: bytes = b""
    options: Options = ()
    payload: bytes = b""

    def __repr__(self) -> str:
        return show(self, _HIDDEN)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]  # a generator
        return shown_fields(self, _HIDDEN)


class MalformedMessage(LwM2mError, ValueError):
    """A datagram that breaks RFC 7252 §3 or §4.

    `fault` says which rule; `type` and `message_id` are of its header, or -1 when the header itself
    cannot be trusted (too short, another version): such a datagram is never answered.
    """

    def __init__(self, fault: Fault, detail: str, type_: int = -1, message_id: int = -1) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault: Fault = fault
        self.detail = detail
        self.type = type_
        self.message_id = message_id


def _verdict(type_: int, code: int) -> Fault | None:
    code_class = code >> 5
    if code == 0:
        # §4.3: a NON must not be empty; §4.2: an ACK or RST may, and an empty CON is a ping.
        return "empty" if type_ == NON else None
    if code_class in (1, 6, 7):
        return "code"
    if type_ == RST or (type_ == ACK and code_class == 0):
        return "code"
    return None


# Index: type << 8 | code. Which codes a type may carry (RFC 7252 §4.2, §4.3, table 1).
_VERDICTS = tuple(_verdict(index >> 8, index & 255) for index in range(1024))


def decode_message(data: bytes) -> Message:
    """Decode one datagram. Raises `MalformedMessage`, and nothing else, for any bytes."""
    size = len(data)
    if size < HEADER_BYTES:
        raise MalformedMessage("truncated", f"{size} bytes, a header has 4")
    first = data[0]
    if first & 0xC0 != VERSION_1:
        raise MalformedMessage("version", f"version {first >> 6}, this is CoAP version 1")
    code = data[1]
    token_at, at = 4, 4 + (first & 15)
    if _VERDICTS[(first & 0x30) << 4 | code] is not None:
        raise _header_fault(data)
    if code == 0:
        return _decode_empty(data)
    if at > 16:
        token_at, at = _extended_token(data)
    if at > size:
        raise _fault(data, "token", f"token of {at - token_at} bytes, {size - token_at} left")
    token = data[token_at:at]
    if at == size:
        return Message((first >> 4) & 3, code, data[2] << 8 | data[3], token)
    options, payload = _decode_options(data, at, size)
    return Message((first >> 4) & 3, code, data[2] << 8 | data[3], token, options, payload)


def _extended_token(data: bytes) -> tuple[int, int]:
    """Where the token of a length that does not fit the header begins, and where it ends."""
    nibble = data[0] & 15
    if nibble == 15:
        raise _fault(data, "token", "token length 15 is reserved")
    begin = 4 + nibble - 12
    if begin > len(data):
        raise _fault(data, "token", "the token's length is cut off")
    base = 13 if nibble == 13 else 269
    return begin, begin + base + int.from_bytes(data[4:begin], "big")


def _decode_empty(data: bytes) -> Message:
    type_, message_id = (data[0] >> 4) & 3, data[2] << 8 | data[3]
    if len(data) != 4:
        # §4.1: an Empty message has neither token, options nor payload.
        detail = f"{len(data) - 4} bytes after the header of an Empty message"
        raise MalformedMessage("empty", detail, type_, message_id)
    return Message(type_, 0, message_id)


# Index: the first byte of an option. Its value's length, or -1 for the payload marker and for
# whatever needs more bytes to tell delta and length.
SHORT_LENGTHS = tuple(head & 15 if head >> 4 < 13 and head & 15 < 13 else -1 for head in range(256))


def _decode_options(data: bytes, at: int, size: int) -> tuple[Options, bytes]:
    options: list[tuple[int, bytes]] = []
    append = options.append
    number = 0
    payload = b""
    while at < size:
        head = data[at]
        length = SHORT_LENGTHS[head]
        at += 1
        if length >= 0:
            number += head >> 4
        elif head == PAYLOAD_MARKER:
            payload = data[at:]
            if not payload:
                raise _fault(data, "payload_marker", "a payload marker without payload")
            break
        else:
            delta, length, at = _extended(data, at, head >> 4, head & 15)
            number += delta
        end = at + length
        if end > size:
            raise _fault(data, "option", f"option {number} needs {length} bytes, {size - at} left")
        append((number, data[at:end]))
        at = end
    if number > _OPTION_NUMBER_MAX:
        raise _fault(data, "option", f"option number {number} is above {_OPTION_NUMBER_MAX}")
    return tuple(options), payload


def _extended(data: bytes, at: int, delta: int, length: int) -> tuple[int, int, int]:
    delta, at = _extended_value(data, at, delta)
    length, at = _extended_value(data, at, length)
    return delta, length, at


def _extended_value(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble < 13:
        return nibble, at
    if nibble == 15:
        raise _fault(data, "option", f"a reserved option nibble before offset {at}")
    end = at + nibble - 12
    if end > len(data):
        raise _fault(data, "option", f"an option header is cut off at offset {at}")
    base = 13 if nibble == 13 else 269
    return base + int.from_bytes(data[at:end], "big"), end


def _header_fault(data: bytes) -> MalformedMessage:
    type_, code = (data[0] >> 4) & 3, data[1]
    verdict = _VERDICTS[type_ << 8 | code]
    assert verdict is not None
    return _fault(data, verdict, f"a {TYPE_NAMES[type_]} with code {code_text(code)}")


def _fault(data: bytes, fault: Fault, detail: str) -> MalformedMessage:
    return MalformedMessage(fault, detail, (data[0] >> 4) & 3, data[2] << 8 | data[3])


def encode_message(message: Message) -> bytes:
    """Encode one message. Raises `ValueError` when its fields break RFC 7252 §3."""
    _check_header(message)
    head = encode_header(message.type, message.code, message.message_id, message.token)
    parts = [head]
    append_options(parts, message.options)
    if message.payload:
        parts.append(b"\xff")
        parts.append(message.payload)
    return b"".join(parts)


def _check_header(message: Message) -> None:
    if not (0 <= message.type <= 3 and 0 <= message.message_id <= 0xFFFF):
        raise ValueError(f"type {message.type} or message id {message.message_id} out of range")
    if not 0 <= message.code <= 0xFF or _VERDICTS[message.type << 8 | message.code] is not None:
        raise ValueError(f"a {TYPE_NAMES[message.type]} cannot carry code {message.code:#04x}")
    if len(message.token) > TOKEN_BYTES_MAX:
        raise ValueError(f"a token has at most {TOKEN_BYTES_MAX} bytes, not {len(message.token)}")
    if message.code == 0 and (message.token or message.options or message.payload):
        raise ValueError("an Empty message has neither token, options nor payload")


def encode_header(type_: int, code: int, message_id: int, token: bytes) -> bytes:
    """Header and token. The caller vouches for the ranges; `encode_message` checks them."""
    if len(token) > SHORT_TOKEN_BYTES_MAX:
        return _encode_long_header(type_, code, message_id, token)
    return pack_header(VERSION_1 | type_ << 4 | len(token), code, message_id) + token


def _encode_long_header(type_: int, code: int, message_id: int, token: bytes) -> bytes:
    nibble, extension = _extend(len(token))
    head = (VERSION_1 | type_ << 4 | nibble) << 24 | code << 16 | message_id
    return head.to_bytes(4, "big") + extension + token


def append_options(parts: list[bytes], options: Options) -> None:
    """Append the encoded options. Raises `ValueError` when numbers do not ascend or fit."""
    previous = 0
    for number, value in options:
        parts += (option_header(number - previous, len(value)), value)
        previous = number
    if previous > _OPTION_NUMBER_MAX:
        raise ValueError(f"option number {previous} is above {_OPTION_NUMBER_MAX}")


def _extend(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes([value - 13])
    return 14, (value - 269).to_bytes(2, "big")


def _make_option_header(delta: int, length: int) -> bytes:
    delta_nibble, delta_bytes = _extend(delta)
    length_nibble, length_bytes = _extend(length)
    return bytes([delta_nibble << 4 | length_nibble]) + delta_bytes + length_bytes


_TABLE_DELTAS = 32
# Index: delta << 8 | length, for the deltas and lengths that nearly all options have.
HEADERS_OF_SHORT_OPTIONS: tuple[bytes, ...] = tuple(
    _make_option_header(delta, length) for delta in range(_TABLE_DELTAS) for length in range(256)
)


def option_header(delta: int, length: int) -> bytes:
    """The bytes before an option's value (RFC 7252 §3.1)."""
    if 0 <= delta < _TABLE_DELTAS and length < 256:
        return HEADERS_OF_SHORT_OPTIONS[delta << 8 | length]
    if delta < 0 or delta > _OPTION_NUMBER_MAX or length > 65_804:
        raise ValueError(f"options must ascend and fit: delta {delta}, {length} bytes")
    return _make_option_header(delta, length)
