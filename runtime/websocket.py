"""A WebSocket as an asyncio protocol: text messages in by callback, out joined to one write a turn.

The protocol logic is the websockets library's sans-I/O core; this is its shell for both ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol as Interface

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import CLOSED, OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

_log = logging.getLogger(__name__)

MESSAGE_BYTES_MAX = 4 * 1024 * 1024


class WebSocketUser(Interface):
    """Who uses a connection; each method is called from the event loop."""

    def opened(self, connection: WebSocketConnection) -> None:
        """The handshake is done; messages may be sent."""

    def received(self, text: bytes) -> None:
        """One whole text message arrived."""

    def closed(self, reason: str) -> None:
        """The connection is gone (or never opened); nothing more will come."""


class WebSocketConnection(asyncio.Protocol):
    """One end of a WebSocket. `send` never blocks: watch `buffered_bytes` to hold back."""

    def __init__(self, protocol: ClientProtocol | ServerProtocol, user: WebSocketUser) -> None:
        self._protocol = protocol
        self._user = user
        self._transport: asyncio.Transport | None = None
        self._flush_scheduled = False
        self._opened = False
        self._closed = False
        self._fragments = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the TCP connection exists; a client asks for the upgrade."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if isinstance(self._protocol, ClientProtocol):
            self._protocol.send_request(self._protocol.connect())
            self._flush()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        self._protocol.receive_data(data)
        self._handle_events()
        self._flush()

    def eof_received(self) -> None:
        """asyncio: the other side will send no more."""
        self._protocol.receive_eof()
        self._handle_events()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the TCP connection is gone."""
        self._finish(str(exc) if exc else "connection closed")

    @property
    def buffered_bytes(self) -> int:
        """How much has been sent that the kernel has not yet taken."""
        return self._transport.get_write_buffer_size() if self._transport else 0

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
        if self._closed or self._protocol.state is not OPEN:
            return
        self._protocol.send_text(text)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Start the closing handshake."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
        self._flush()
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport:
            self._transport.abort()

    def _handle_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._handle_frame(event)
            else:
                self._handle_handshake(event)

    def _handle_handshake(self, event: Request | Response | object) -> None:
        if isinstance(event, Request) and isinstance(self._protocol, ServerProtocol):
            self._protocol.send_response(self._protocol.accept(event))
        error = self._protocol.handshake_exc
        if error is not None:
            self._finish(_handshake_reason(error))
            return
        if self._protocol.state is OPEN and not self._opened:
            self._opened = True
            self._flush()
            self._user.opened(self)

    def _handle_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.CONT):
            if frame.fin and not self._fragments:
                self._user.received(bytes(frame.data))
                return
            self._fragments += frame.data
            if len(self._fragments) > MESSAGE_BYTES_MAX:
                self.close(1009, "message too big")
            elif frame.fin:
                whole = bytes(self._fragments)
                self._fragments.clear()
                self._user.received(whole)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._transport is None:
            return
        chunks = self._protocol.data_to_send()
        if chunks:
            ends = chunks[-1] == b""
            data = b"".join(chunks)
            if data and not self._transport.is_closing():
                self._transport.write(data)
            if ends and self._transport.can_write_eof():
                self._transport.write_eof()
        if self._protocol.state is CLOSED or self._protocol.close_expected():
            self._transport.close()

    def _finish(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._user.closed(reason)
            if self._transport:
                self._transport.close()


def _handshake_reason(error: Exception) -> str:
    return f"handshake refused: {error}" if isinstance(error, InvalidHandshake) else str(error)


async def listen_websocket(
    host: str, port: int, make_user: Callable[[], WebSocketUser]
) -> asyncio.Server:
    """Accept WebSocket connections; each gets a user of its own."""
    return await asyncio.get_running_loop().create_server(
        lambda: WebSocketConnection(ServerProtocol(max_size=MESSAGE_BYTES_MAX), make_user()),
        host,
        port,
    )


async def connect_websocket(url: str, user: WebSocketUser) -> WebSocketConnection:
    """Open a connection to `ws://host:port/path`. Raises `OSError` when nobody listens there."""
    uri = parse_uri(url)
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: WebSocketConnection(ClientProtocol(uri, max_size=MESSAGE_BYTES_MAX), user),
        uri.host,
        uri.port,
    )
    return connection
