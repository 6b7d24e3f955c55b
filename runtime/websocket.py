"""A WebSocket as an asyncio protocol: text messages in by callback, out joined to one write a turn.

The protocol logic is the websockets library's sans-I/O core; this is its shell for both ends. Plain
texts, of which there are thousands a second, go past it (`websocket_frames`).
A server lets in who asks for its path with its bearer token; both ends ping when nothing came for
a while and give up a silent peer; what the other side does not read is bounded.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Protocol as Interface
from typing import cast

import msgspec
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import CLOSED, OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from runtime.websocket_frames import FrameReader, masked

_log = logging.getLogger(__name__)
# The library logs headers and frames at DEBUG: they hold tokens and keys.
_log.setLevel(logging.INFO)

MESSAGE_BYTES_MAX = 4 * 1024 * 1024

# RFC 6455 §7.4.1, those that Lamplighter uses.
CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_UNSUPPORTED_DATA = 1003
CLOSE_POLICY = 1008
CLOSE_TOO_BIG = 1009
CLOSE_TRY_AGAIN = 1013

_FINAL_TEXT = 0x81
_HEADERS_END = b"\r\n\r\n"


class WebSocketLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds and times of one connection."""

    # Larger messages close the connection with 1009.
    message_bytes_max: int = MESSAGE_BYTES_MAX
    # Sent and not taken by the other side: more than this drops the connection.
    write_bytes_max: int = 64 * 1024 * 1024
    # Above `high`, `is_full` is true; it is false again, and `on_drained` called, below `low`.
    write_bytes_high: int = 1024 * 1024
    write_bytes_low: int = 256 * 1024
    # Nothing received for so long: a ping is sent; nothing for as long again: the peer is gone.
    keep_alive_s: float = 30.0
    # TCP connected, upgrade not finished.
    handshake_timeout_s: float = 10.0
    # The close frame is sent and the other side does not close.
    close_timeout_s: float = 1.0


class WebSocketUser(Interface):
    """Who uses a connection; each method is called from the event loop."""

    def opened(self, connection: WebSocketConnection) -> None:
        """The handshake is done; messages may be sent."""

    def received(self, text: bytes) -> None:
        """One whole text message arrived."""

    def closed(self, reason: str) -> None:
        """The connection is gone (or never opened); nothing more will come."""


# What a server says about an upgrade request: None lets it in, else HTTP status and text.
_Gate = Callable[[Request], tuple[int, str] | None]


class WebSocketConnection(asyncio.Protocol):
    """One end of a WebSocket. `send` never blocks: watch `is_full` to hold back."""

    def __init__(
        self,
        protocol: ClientProtocol | ServerProtocol,
        user: WebSocketUser,
        limits: WebSocketLimits,
        *,
        gate: _Gate | None = None,
        token: str | None = None,
    ) -> None:
        self._protocol = protocol
        self._user = user
        self._limits = limits
        self._gate = gate
        self._token = token
        self._masks = isinstance(protocol, ClientProtocol)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._texts: list[bytes] = []
        self._fragments = bytearray()
        self._is_fragmented = False
        # What came of the handshake last, to find its end; then what splits frames.
        self._headers_tail = b""
        self._frames: FrameReader | None = None
        self._flush_scheduled = False
        self._opened = False
        self._closing = False
        self._closed = False
        self._heard = False
        self._reason = ""
        # True while more than `write_bytes_high` waits for the other side.
        self.is_full = False
        # Called when `is_full` has become false again.
        self.on_drained: Callable[[], None] | None = None

    # ---- what the user calls ----

    @property
    def buffered_bytes(self) -> int:
        """How much has been sent that the kernel has not yet taken."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    @property
    def peer(self) -> str:
        """The other side's `host:port`, empty when unknown."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return f"{name[0]}:{name[1]}" if name else ""

    def pause_reading(self) -> None:
        """Take no more from the other side until `resume_reading`."""
        if self._transport and not self._closed:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on after `pause_reading`."""
        if self._transport and not self._closed:
            self._transport.resume_reading()

    def send(self, text: bytes) -> None:
        """Send one text message; messages of one turn of the loop leave in one write."""
        self.send_all((text,))

    def send_all(self, texts: Iterable[bytes]) -> None:
        """Send text messages; dropped when the connection is closing."""
        if self._closing or self._protocol.state is not OPEN:
            return
        if self._masks:
            for text in texts:
                self._texts.append(masked(_text_header(len(text)), text, secrets.token_bytes(4)))
        else:
            said = list(texts)
            framed = [b""] * (2 * len(said))
            framed[0::2] = map(_text_header, map(len, said))
            framed[1::2] = said
            self._texts += framed
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        """Send what was said, then the close frame; dropped when the other side does not close."""
        if self._closing:
            return
        self._flush()
        self._closing = True
        self._reason = self._reason or f"closed here: {code} {reason}".rstrip()
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, _reason_of_123_bytes(reason))
            self._flush()
            self._set_timer(self._limits.close_timeout_s, self.abort)
        else:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport:
            self._transport.abort()

    # ---- what asyncio calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the TCP connection exists; a client asks for the upgrade."""
        # Not an `isinstance` check: uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(
            high=self._limits.write_bytes_high, low=self._limits.write_bytes_low
        )
        self._set_timer(self._limits.handshake_timeout_s, self._give_up_handshake)
        if isinstance(self._protocol, ClientProtocol):
            request = self._protocol.connect()
            if self._token is not None:
                request.headers["Authorization"] = f"Bearer {self._token}"
            self._protocol.send_request(request)
            self._flush()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        self._heard = True
        if self._frames is None:
            data = self._shake_hands(data)
        if self._frames is not None:
            self._frames.receive(data)
            self._take_frames(self._frames)
        self._flush()

    def eof_received(self) -> None:
        """asyncio: the other side will send no more."""
        if self._frames is not None:
            self._protocol.receive_data(self._frames.take_rest())
        self._protocol.receive_eof()
        self._handle_events()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the TCP connection is gone."""
        if self._closed:
            return
        self._closed = self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._user.closed(self._reason or (str(exc) if exc else "connection closed"))

    def pause_writing(self) -> None:
        """asyncio: the other side is slower than we are."""
        self.is_full = True

    def resume_writing(self) -> None:
        """asyncio: the other side has caught up."""
        self.is_full = False
        if self.on_drained is not None and not self._closing:
            self.on_drained()

    # ---- inside ----

    def _shake_hands(self, data: bytes) -> bytes:
        """Hand on what is of the handshake; what follows it, when it has opened the connection."""
        whole = self._headers_tail + data
        end = whole.find(_HEADERS_END)
        rest = whole[end + len(_HEADERS_END) :] if end >= 0 else b""
        self._headers_tail = whole[-len(_HEADERS_END) + 1 :]
        self._protocol.receive_data(data[: len(data) - len(rest)])
        self._handle_events()
        if self._opened:
            self._frames = FrameReader(
                is_masked=not self._masks, payload_bytes_max=self._limits.message_bytes_max
            )
        elif rest:
            self._protocol.receive_data(rest)
            self._handle_events()
        return rest

    def _take_frames(self, frames: FrameReader) -> None:
        while True:
            if not (self._closing or self._is_fragmented):
                text = frames.next_text()
                if text is not None:
                    self._user.received(text)
                    continue
            raw = frames.next_raw()
            if not raw:
                return
            self._protocol.receive_data(raw)
            self._handle_events()

    def _handle_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._handle_frame(event)
            elif isinstance(event, Request):
                self._answer_upgrade(event)
        self._note_handshake()
        error = self._protocol.parser_exc
        if error is not None and not self._closing and not self._reason:
            cut = isinstance(error, EOFError)
            self._reason = "cut off" if cut else f"the other side broke the protocol: {error}"

    def _answer_upgrade(self, request: Request) -> None:
        assert isinstance(self._protocol, ServerProtocol)
        refusal = self._gate(request) if self._gate is not None else None
        if refusal is None:
            response = self._protocol.accept(request)
        else:
            response = self._protocol.reject(refusal[0], refusal[1] + "\n")
            self._reason = f"upgrade refused: {refusal[0]} {refusal[1]}"
        self._protocol.send_response(response)

    def _note_handshake(self) -> None:
        error = self._protocol.handshake_exc
        if error is not None:
            self._reason = self._reason or _handshake_reason(error)
        elif self._protocol.state is OPEN and not self._opened:
            self._opened = True
            self._set_timer(self._limits.keep_alive_s, self._keep_alive)
            self._flush()  # the handshake's own bytes go before what the user sends now
            self._user.opened(self)

    def _handle_frame(self, frame: Frame) -> None:
        self._note_handshake()  # frames may come in one piece with the handshake's answer
        if frame.opcode is Opcode.CLOSE:
            self._note_close()
        elif self._closing:
            return
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
            self._handle_text(frame)
        elif frame.opcode is Opcode.BINARY:
            self.close(CLOSE_UNSUPPORTED_DATA, "messages are text")

    def _handle_text(self, frame: Frame) -> None:
        self._is_fragmented = not frame.fin
        if frame.fin and not self._fragments:
            self._user.received(bytes(frame.data))
            return
        # The library counts the fragments and fails the connection beyond its `max_size`.
        self._fragments += frame.data
        if frame.fin:
            whole = bytes(self._fragments)
            self._fragments.clear()
            self._user.received(whole)

    def _note_close(self) -> None:
        close = self._protocol.close_rcvd
        if close is not None and not self._closing:
            self._reason = f"closed by the other side: {close.code} {close.reason}".rstrip()
        self._closing = True

    def _flush(self) -> None:
        self._flush_scheduled = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        chunks = self._protocol.data_to_send()
        data = b"".join(self._texts) + b"".join(chunks)
        self._texts.clear()
        if data:
            transport.write(data)
        if self._protocol.eof_sent or self._protocol.state is CLOSED:
            transport.close()
        elif self._protocol.close_expected():
            self._closing = True
            self._set_timer(self._limits.close_timeout_s, self.abort)
        elif transport.get_write_buffer_size() > self._limits.write_bytes_max:
            self._reason = "the other side does not read"
            self.abort()

    def _keep_alive(self) -> None:
        if not self._heard:
            self._reason = "the other side is silent"
            self.abort()
            return
        self._heard = False
        self._protocol.send_ping(b"")
        self._flush()
        self._set_timer(self._limits.keep_alive_s, self._keep_alive)

    def _give_up_handshake(self) -> None:
        self._reason = "the handshake took too long"
        self.abort()

    def _set_timer(self, delay_s: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, action)


async def listen_websocket(
    host: str,
    port: int,
    make_user: Callable[[], WebSocketUser],
    *,
    path: str | None = None,
    token: str | None = None,
    limits: WebSocketLimits | None = None,
) -> asyncio.Server:
    """Accept WebSocket connections to `path` with the bearer `token`; each gets its own user.

    None lets any path, or anybody, in. Others are answered 404 or 401, and their user is told
    `closed` without `opened`. Raises `OSError` when the port is taken.
    """
    bounds = limits or WebSocketLimits()

    def accept() -> WebSocketConnection:
        protocol = ServerProtocol(max_size=bounds.message_bytes_max, logger=_log)
        return WebSocketConnection(protocol, make_user(), bounds, gate=_make_gate(path, token))

    return await asyncio.get_running_loop().create_server(accept, host, port)


async def connect_websocket(
    url: str,
    user: WebSocketUser,
    *,
    token: str | None = None,
    limits: WebSocketLimits | None = None,
) -> WebSocketConnection:
    """Open a connection to `ws://host:port/path`, with `token` as bearer.

    Returns once TCP is connected; `user.opened` tells that the server let us in, `user.closed`
    that it did not. Raises `OSError` when nobody listens there.
    """
    bounds = limits or WebSocketLimits()
    uri = parse_uri(url)

    def make() -> WebSocketConnection:
        protocol = ClientProtocol(uri, max_size=bounds.message_bytes_max, logger=_log)
        return WebSocketConnection(protocol, user, bounds, token=token)

    _, connection = await asyncio.get_running_loop().create_connection(make, uri.host, uri.port)
    return connection


def _make_gate(path: str | None, token: str | None) -> _Gate:
    expected = None if token is None else f"Bearer {token}".encode()

    def gate(request: Request) -> tuple[int, str] | None:
        if expected is not None:
            given = ", ".join(request.headers.get_all("Authorization"))
            if not hmac.compare_digest(given.encode(errors="surrogateescape"), expected):
                return 401, "send Authorization: Bearer <token>"
        if path is not None and request.path.partition("?")[0] != path:
            return 404, f"the data interface is at {path}"
        return None

    return gate


@lru_cache(maxsize=1_024)  # a fleet's events are of few lengths
def _text_header(length: int) -> bytes:
    """The header of an unmasked, final text frame (RFC 6455 §5.2)."""
    if length < 126:
        return bytes((_FINAL_TEXT, length))
    if length < 65_536:
        return struct.pack("!BBH", _FINAL_TEXT, 126, length)
    return struct.pack("!BBQ", _FINAL_TEXT, 127, length)


def _reason_of_123_bytes(reason: str) -> str:
    # RFC 6455 §5.5: a control frame carries 125 bytes, two of them the code.
    return reason.encode()[:123].decode(errors="ignore")


def _handshake_reason(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        response: Response = error.response
        text = bytes(response.body or b"").decode(errors="replace").strip()
        return f"upgrade refused: {response.status_code} {text}".rstrip()
    return f"handshake failed: {error}"
