"""Fetches a package by CoAP, block by block (RFC 7959 §2.4), and goes on where it was cut off.

Pure: requests come out, responses go in; connections and waiting are the caller's.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.blocks import BLOCK_SIZES, Block, MalformedBlock, decode_block, encode_block
from lwm2m.coap.requests import Request, Response, find_option
from lwm2m.errors import InvalidValue
from lwm2m.firmware.states import FirmwareResult

# /5/0/8: the protocols by their numbers. Others have no number, and are no URIs of firmware.
PROTOCOLS: Final = {
    "coap": 0,
    "coaps": 1,
    "http": 2,
    "https": 3,
    "coap+tcp": 4,
    "coaps+tcp": 5,
}
_SZX_MAX: Final = len(BLOCK_SIZES) - 1


class FirmwareUri:
    """Where a package is; `server` is scheme, host and port as in a server's URI."""

    __slots__ = ("path", "query", "scheme", "server")

    def __init__(self, uri: str) -> None:
        """Raises `InvalidValue` for a text that is no URI of a known protocol."""
        try:
            parts = urlsplit(uri)
            port = parts.port
        except ValueError:
            raise _invalid("it cannot be read") from None
        if parts.scheme not in PROTOCOLS:
            raise _invalid("it names no protocol that firmware comes by")
        if not parts.hostname or parts.username or parts.fragment:
            raise _invalid("it names no host, or more than host and path")
        self.scheme = parts.scheme
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.server = f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")
        self.path = tuple(unquote(segment) for segment in parts.path.split("/")[1:])
        self.query = tuple(
            f"{name}={value}" if value else name
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        )
        if any(len(each.encode()) > 255 for each in (*self.path, *self.query)):
            raise _invalid("a part of it is longer than an option can be")


class Download:
    """One package on its way; `taken` says how much is there."""

    __slots__ = ("_etag", "_received", "_szx", "_uri")

    def __init__(self, uri: FirmwareUri) -> None:
        self._uri = uri
        self._szx = _SZX_MAX
        self._received = bytearray()
        self._etag: bytes | None = None

    @property
    def taken(self) -> int:
        """Bytes that are there."""
        return len(self._received)

    @property
    def body(self) -> bytes:
        """What is there; the whole package after `take` has said so."""
        return bytes(self._received)

    def next_request(self) -> Request:
        """The request for the next block; after a break the one that got no answer."""
        number = len(self._received) >> (self._szx + 4)
        block = (opt.BLOCK2, encode_block(Block(number, False, self._szx)))
        return Request(codes.GET, self._uri.path, self._uri.query, options=(block,))

    def take(self, response: Response) -> FirmwareResult | bool:
        """Take the answer to `next_request`: True when the package is whole, False when
        `next_request` goes on, or what the download failed with.
        """
        if not codes.is_success(response.code):
            return FirmwareResult.INVALID_URI
        value = find_option(response.options, opt.BLOCK2)
        try:
            block = Block(0, False, self._szx) if value is None else decode_block(value)
        except MalformedBlock:
            return FirmwareResult.CONNECTION_LOST
        etag = find_option(response.options, opt.ETAG)
        if self._received and etag != self._etag:
            # RFC 7959 §2.4: another package is there now, what was fetched is worth nothing.
            self._received.clear()
            return FirmwareResult.CONNECTION_LOST
        if block.offset != len(self._received) or (
            block.more and len(response.payload) != block.size
        ):
            return FirmwareResult.CONNECTION_LOST
        self._etag = etag
        self._received += response.payload
        self._szx = min(self._szx, block.szx)
        return not block.more


def _invalid(reason: str) -> InvalidValue:
    return InvalidValue("Package URI", reason)
