"""Exchanges of single messages over connections: RFC 8323 as a pure state machine.

Bytes and times go in, bytes and events come out. There are no message ids, acknowledgements or
retransmissions; a request is answered, or its connection ends, or its time is over.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import msgspec

from lwm2m.coap import PeerQueueFull, UnknownExchange, codes
from lwm2m.coap import options as opt
from lwm2m.coap.events import (
    DatagramRejected,
    Event,
    ExchangeFailed,
    FailureReason,
    RejectionReason,
    RequestReceived,
    ResponseReceived,
)
from lwm2m.coap.message import MalformedMessage
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.requests import (
    HANDLED_CRITICAL,
    BadOption,
    Request,
    Response,
    read_request,
    read_response,
)
from lwm2m.coap.timers import TimerWheel
from lwm2m.errors import LwM2mError
from lwm2m.transport.plain_fields import (
    decode_fields,
    encode_request_fields,
    encode_response_fields,
)
from lwm2m.transport.reliable.connection import (
    Connection,
    ReceivedRequest,
    ReliablePeer,
    SentRequest,
    peer_of,
)
from lwm2m.transport.reliable.framing import Frame, MalformedFrame, encode_frame
from lwm2m.transport.reliable.signaling import (
    ABORT,
    CSM,
    PING,
    PONG,
    RELEASE,
    BadSettings,
    abort_message,
    read_diagnostic,
    read_settings,
    settings_message,
    signaling_message,
)

_PROXY_OPTIONS: Final = frozenset({opt.PROXY_URI, opt.PROXY_SCHEME})
_SIGNALING_CLASS: Final = 7
# Beside the largest body: its options.
_MESSAGE_OVERHEAD_BYTES: Final = 4_096
# Own choice: of one connection so many are acted on before others have their turn. The smallest
# message has two bytes: what one read brings can hold a hundred thousand.
MESSAGES_PER_TURN: Final = 128


class ConnectionGone(LwM2mError, LookupError):
    """The connection is closed or closing: nothing can be asked over it any more."""


class ReliableExchanges:
    """All connections of one side."""

    __slots__ = ("_behind", "_by_handle", "_connections", "_events", "_handled",
                 "_message_bytes_max", "_next_handle", "_parameters", "_timers", "_written",
                 "closing", "resumed", "slowed")  # fmt: skip

    def __init__(self, parameters: TransmissionParameters) -> None:
        self._parameters = parameters
        self._handled = HANDLED_CRITICAL | frozenset(parameters.critical_options)
        self._message_bytes_max = parameters.payload_bytes_max + _MESSAGE_OVERHEAD_BYTES
        self._connections: dict[ReliablePeer, Connection] = {}
        self._by_handle: dict[int, SentRequest | ReceivedRequest] = {}
        self._timers: TimerWheel[SentRequest] = TimerWheel()
        self._events: list[Event] = []
        self._next_handle = 1
        # Connections to be closed when their output is written, in order.
        self.closing: list[ReliablePeer] = []
        # Connections that may read on, since an answer made room.
        self.resumed: list[Connection] = []
        # Connections that became full, or are so no more: for whoever reads their sockets.
        self.slowed: dict[ReliablePeer, None] = {}
        # Connections whose next turn is due, in order.
        self._behind: dict[ReliablePeer, Connection] = {}
        # Connections with output.
        self._written: dict[ReliablePeer, Connection] = {}

    # ---- connections ----

    def connect(self, peer: ReliablePeer) -> None:
        """A connection is made: our CSM goes first (§5.3)."""
        connection = self._connections[peer] = Connection(peer, self._message_bytes_max)
        self._write(connection, settings_message(self._message_bytes_max))

    def find(self, peer: Hashable) -> Connection | None:
        """The connection of this peer, while it is there."""
        return self._connections.get(peer_of(peer))

    def disconnect(self, peer: ReliablePeer, detail: str) -> None:
        """A connection is gone. Requests fail as "timeout": the peer may have acted, or not."""
        connection = self._connections.pop(peer, None)
        if connection is None:
            return
        self._behind.pop(peer, None)
        if connection.state != "closed":
            connection.advance("lost")
            self._reject(connection, "reset", detail)
        self._fail_all(connection)

    def release(self, peer: Hashable) -> None:
        """Ask for an orderly end (§5.5): it closes when what is open is answered."""
        connection = self.find(peer)
        if connection is not None and connection.state in ("opening", "open"):
            self._write(connection, signaling_message(RELEASE))
            connection.advance("released")
            self._drain(connection)

    def abort(self, connection: Connection, why: str, bad_option: int | None = None) -> None:
        """End a connection at once, and say why (§5.6)."""
        self._write(connection, abort_message(why, bad_option))
        self._reject(connection, "malformed", why)
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        connection.advance("aborted")
        self.closing.append(connection.peer)
        self._fail_all(connection)

    def _drain(self, connection: Connection) -> None:
        if connection.state == "releasing" and connection.is_drained:
            connection.advance("drained")
            self.closing.append(connection.peer)
            self._fail_all(connection)

    def _fail_all(self, connection: Connection) -> None:
        for sent in list(connection.sent.values()):
            self._end_sent(sent)
            self._fail(sent, "timeout")
        for received in (*connection.pending.values(), *connection.observed.values()):
            self._by_handle.pop(received.handle, None)
            self._fail(received, "cancelled")
        connection.pending.clear()
        connection.observed.clear()

    # ---- what comes ----

    def receive_bytes(self, peer: ReliablePeer, data: bytes) -> None:
        """Take bytes of a connection. Never raises, whatever they are."""
        connection = self._connections.get(peer)
        if connection is not None and connection.state != "closed":
            connection.reader.feed(data)
            if not connection.is_behind:
                self.read_on(connection)

    def read_on(self, connection: Connection) -> None:
        """Act on whole messages that are there, while there is room for their requests.

        After `MESSAGES_PER_TURN` the rest waits for `read_behind`.
        """
        try:
            for _ in range(MESSAGES_PER_TURN):
                if connection.state == "closed" or self.is_full(connection):
                    return
                frame = connection.reader.next_frame()
                if frame is None:
                    return
                self._take_frame(connection, frame)
            self.put_off(connection)
        except BadSettings as error:
            self.abort(connection, str(error), error.number)
        except (MalformedFrame, MalformedMessage) as error:
            self.abort(connection, str(error))

    def put_off(self, connection: Connection) -> None:
        """Let others have their turn first; meanwhile no more is read from this one's socket."""
        connection.is_behind = True
        self._behind[connection.peer] = connection
        self.slowed[connection.peer] = None

    def read_behind(self) -> None:
        """The next turn of the connection that waits the longest."""
        for peer, connection in self._behind.items():
            del self._behind[peer]
            connection.is_behind = False
            self.slowed[peer] = None
            self.read_on(connection)
            return

    @property
    def is_behind(self) -> bool:
        """Whether a connection waits for its next turn."""
        return bool(self._behind)

    def is_full(self, connection: Connection) -> bool:
        """Whether this peer has asked as much as may wait: its bytes stay where they are."""
        return len(connection.pending) >= self._parameters.pending_per_peer_max

    def _take_frame(self, connection: Connection, frame: Frame) -> None:
        if frame.code >> 5 == _SIGNALING_CLASS:
            self._take_signal(connection, frame)
        elif frame.code == codes.EMPTY:
            return  # §3.4: an Empty message keeps a connection alive, and is ignored
        elif connection.state == "opening":
            self.abort(connection, "no CSM came before it")
        elif codes.is_request(frame.code):
            self._take_request(connection, frame)
        else:
            self._take_response(connection, frame)

    def _take_signal(self, connection: Connection, frame: Frame) -> None:
        if frame.code == CSM:
            connection.settings = read_settings(frame.fields, connection.settings)
            connection.advance("settings_received")
        elif connection.state == "opening" and frame.code != ABORT:
            self.abort(connection, "no CSM came before it")
        elif frame.code == PING:
            self._write(connection, signaling_message(PONG, frame.token))
        elif frame.code == PONG:
            self._reject(connection, "reset", "a Pong")
        elif frame.code == RELEASE:
            connection.advance("released")
            self._reject(connection, "reset", f"Release: {read_diagnostic(frame.fields)}")
            self._drain(connection)
        elif frame.code == ABORT:
            self._reject(connection, "reset", f"Abort: {read_diagnostic(frame.fields)}")
            self._close(connection)
        else:
            self.abort(connection, f"signaling code {codes.code_text(frame.code)} is not known")

    def _take_request(self, connection: Connection, frame: Frame) -> None:
        message = decode_fields(frame.code, frame.fields)
        connection.received_count += 1
        try:
            request = read_request(
                frame.code, message.options, message.payload, True, self._handled
            )
        except BadOption as error:
            self._reject(connection, "bad_option", str(error))
            self._answer(connection, frame.token, Response(codes.BAD_OPTION))
            return
        if any(number in _PROXY_OPTIONS for number, _ in request.options):
            self._answer(connection, frame.token, Response(codes.PROXYING_NOT_SUPPORTED))
            return
        old = connection.observed.pop(frame.token, None) if request.observe is not None else None
        if old is not None:
            # RFC 7641 §4.1: the same token registers anew, or cancels.
            self._by_handle.pop(old.handle, None)
            self._fail(old, "cancelled")
        received = ReceivedRequest(self._take_handle(), connection, frame.token, request)
        connection.pending[received.handle] = received
        if self.is_full(connection):
            self.slowed[connection.peer] = None
        self._by_handle[received.handle] = received
        self._events.append(
            RequestReceived(connection.peer, received.handle, request, connection.received_count)
        )

    def _take_response(self, connection: Connection, frame: Frame) -> None:
        message = decode_fields(frame.code, frame.fields)
        sent = connection.sent.get(frame.token)
        if sent is None:
            # §7.2 has no RST: what was cancelled here may still send for a while.
            self._reject(connection, "unexpected", "a response to nothing that was asked")
            return
        try:
            response = read_response(frame.code, message.options, message.payload, self._handled)
        except BadOption as error:
            self._reject(connection, "bad_option", str(error))
            self._end_sent(sent)
            self._fail(sent, "malformed")
            return
        if (
            sent.request.observe == 0
            and response.observe is not None
            and codes.is_success(response.code)
        ):
            sent.is_observing = True
            self._timers.cancel(sent.handle, sent.tick)
        else:
            self._end_sent(sent)
        self._events.append(ResponseReceived(connection.peer, sent.handle, response))
        self._drain(connection)

    # ---- what is asked for ----

    def send_request(self, peer: Hashable, request: Request, now: float) -> int:
        """Send a request. Raises `ConnectionGone`, `PeerQueueFull`, `ValueError`."""
        connection = self._usable(peer)
        return self._send(connection, connection.take_token(), request, now)

    def _usable(self, peer: Hashable) -> Connection:
        connection = self.find(peer)
        if connection is None or connection.state not in ("opening", "open"):
            raise ConnectionGone(f"{peer!r} is gone")
        waiting = len(connection.sent)
        if not connection.is_writable or waiting >= self._parameters.queue_per_peer_max:
            raise PeerQueueFull(f"{waiting} requests are open, or the peer does not read")
        return connection

    def _send(self, connection: Connection, token: bytes, request: Request, now: float) -> int:
        fields = encode_request_fields(request)
        frame = encode_frame(request.code, token, fields)
        if len(frame) > connection.settings.message_bytes_max:
            raise ValueError(f"{len(frame)} bytes are more than this peer takes")
        sent = SentRequest(self._take_handle(), connection, token, request)
        connection.sent[token] = sent
        self._by_handle[sent.handle] = sent
        due = now + self._parameters.response_timeout_s
        sent.tick = self._timers.schedule(sent.handle, sent, due)
        self._write(connection, frame)
        return sent.handle

    def end_observation(self, exchange: int, now: float) -> int:
        """Send the observing request again with Observe 1 and its token (RFC 7641 §3.6)."""
        old = self._by_handle.get(exchange)
        if not isinstance(old, SentRequest) or old.request.observe != 0:
            raise UnknownExchange(f"no observation of ours under {exchange}")
        self._end_sent(old)
        cancelling = msgspec.structs.replace(old.request, observe=1)
        return self._send(old.connection, old.token, cancelling, now)

    def cancel(self, exchange: int, now: float | None = None) -> None:
        """Give up; told as `ExchangeFailed` "cancelled"."""
        found = self._by_handle.get(exchange)
        if found is None:
            return
        if isinstance(found, SentRequest):
            self._end_sent(found)
        else:
            self._end_received(found)
        self._fail(found, "cancelled")
        self._drain(found.connection)

    def respond(self, exchange: int, response: Response, now: float) -> None:
        """Answer. Raises `UnknownExchange`, `ValueError`."""
        received = self._by_handle.get(exchange)
        if not isinstance(received, ReceivedRequest) or received.is_observed:
            raise UnknownExchange(f"nothing waits for an answer under {exchange}")
        connection = received.connection
        self._answer(connection, received.token, response)
        self._take_off(received)
        begins = received.request.observe == 0 and response.observe is not None
        if begins and codes.is_success(response.code):
            received.is_observed = True
            connection.observed[received.token] = received
        else:
            self._by_handle.pop(exchange, None)
        self._drain(connection)

    def notify(
        self, exchange: int, response: Response, now: float, *, confirmable: bool = False
    ) -> None:
        """Notify: there is but one way on a reliable transport. Raises `UnknownExchange`."""
        received = self._by_handle.get(exchange)
        if not isinstance(received, ReceivedRequest) or not received.is_observed:
            raise UnknownExchange(f"nobody observes under {exchange}")
        self._answer(received.connection, received.token, response)
        if response.observe is None or not codes.is_success(response.code):
            # RFC 7641 §4.2: an error, or a response without Observe, ends the observation.
            self._end_received(received)

    def ping(self, peer: Hashable) -> None:
        """Send a Ping (§5.4); its Pong is told as `DatagramRejected` "reset"."""
        connection = self.find(peer)
        if connection is not None and connection.state == "open":
            self._write(connection, signaling_message(PING))

    def _answer(self, connection: Connection, token: bytes, response: Response) -> None:
        frame = encode_frame(response.code, token, encode_response_fields(response))
        if len(frame) > connection.settings.message_bytes_max:
            raise ValueError(f"{len(frame)} bytes are more than this peer takes")
        self._write(connection, frame)

    def _write(self, connection: Connection, data: bytes) -> None:
        connection.output.append(data)
        self._written[connection.peer] = connection

    # ---- time and results ----

    def next_timer(self) -> float | None:
        """When `handle_timer` has to be called."""
        return self._timers.next_deadline()

    def handle_timer(self, now: float) -> None:
        """Give up requests that nobody answers."""
        for sent in self._timers.take_due(now):
            self._end_sent(sent)
            self._fail(sent, "timeout")
            self._drain(sent.connection)

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        found, self._events = self._events, []
        return found

    def take_output(self) -> list[tuple[ReliablePeer, bytes]]:
        """What is to be written, by connection."""
        written, self._written = self._written, {}
        found: list[tuple[ReliablePeer, bytes]] = []
        for peer, connection in written.items():
            if peer in self._connections:
                found.append((peer, b"".join(connection.output)))
                connection.output.clear()
        return found

    def __len__(self) -> int:
        return len(self._connections)

    def _take_handle(self) -> int:
        handle = self._next_handle
        self._next_handle = handle + 1
        return handle

    def _end_sent(self, sent: SentRequest) -> None:
        self._timers.cancel(sent.handle, sent.tick)
        self._by_handle.pop(sent.handle, None)
        if sent.connection.sent.get(sent.token) is sent:
            del sent.connection.sent[sent.token]

    def _end_received(self, received: ReceivedRequest) -> None:
        self._by_handle.pop(received.handle, None)
        connection = received.connection
        self._take_off(received)
        if connection.observed.get(received.token) is received:
            del connection.observed[received.token]

    def _take_off(self, received: ReceivedRequest) -> None:
        """It waits no more for an answer: that may make room for another."""
        connection = received.connection
        if self.is_full(connection):
            self.resumed.append(connection)
            self.slowed[connection.peer] = None
        connection.pending.pop(received.handle, None)

    def _fail(self, found: SentRequest | ReceivedRequest, reason: FailureReason) -> None:
        self._events.append(ExchangeFailed(found.connection.peer, found.handle, reason))

    def _reject(self, connection: Connection, reason: RejectionReason, detail: str) -> None:
        self._events.append(DatagramRejected(connection.peer, reason, detail))
