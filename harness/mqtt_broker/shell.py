"""The embedded broker on the event loop: TLS with required client certificates, one protocol object
a connection, writes of a turn joined."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from harness.mqtt_broker.core import Broker
from harness.mqtt_broker.session import Session
from mqtt.packets import Connect, MalformedPacket, Packet, Parser
from mqtt.tls import Certificate

GOOD_BYE_S_MAX = 2.0
_NEVER = float("inf")


class BrokerConnection(asyncio.Protocol):
    """One client, from its TLS handshake to its end."""

    def __init__(
        self,
        broker: Broker,
        open_connections: set[BrokerConnection],
        objection: Callable[[Certificate], str | None] = lambda _: None,
    ) -> None:
        self.session: Session | None = None
        self.is_held = False
        self._broker = broker
        self._open_connections = open_connections
        self._objection = objection
        self._loop = asyncio.get_running_loop()
        self._parser = Parser(broker.limits.packet_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._certificate: Certificate | None = None
        self._has_begun = self._ended = False
        self._packets: deque[Packet] = deque()
        self._held_bytes = 0
        self._chunks: list[bytes] = []
        self._chunk_bytes = 0
        self._flush_scheduled = False
        # Why nothing is read, and whether the transport knows: the core wants it so, a hold has
        # heard enough, or the client asks and never reads the answers.
        self._is_paused = self._is_choked = self._is_reading_stopped = False
        self._is_full = False
        self._reason = "connection lost"
        self._heard_at = self._loop.time()
        self._patience_s = broker.limits.connect_within_s
        self._timer = self._loop.call_later(self._patience_s, self._check_silence)
        broker.counts["accepted"] += 1

    # ---- asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is established: the certificate has been verified against the platform's CA."""
        transport = self._transport = cast(asyncio.Transport, transport)
        self._broker.counts["secured"] += 1
        if self._ended:  # the handshake took all the time there was
            transport.abort()
            return
        transport.set_write_buffer_limits(high=self._broker.limits.write_buffer_bytes)
        self._certificate = transport.get_extra_info("peer_certificate")
        self._open_connections.add(self)
        if len(self._open_connections) > self._broker.limits.connections_max:
            self._broker.counts["too_many_connections"] += 1
            self.end("too many connections")

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._ended:
            return
        if self._has_begun:  # before CONNECT a trickle of bytes buys no time
            self._heard_at = self._loop.time()
        if self.is_held:
            self._held_bytes += len(data)
            self._set_reading()
        try:
            self._packets.extend(self._parser.receive_bytes(data))
        except MalformedPacket as error:
            self._packets.extend(error.packets)
            self._work()
            self._broker.counts["malformed"] += 1
            self.end(f"malformed: {error}")
            return
        self._work()

    def eof_received(self) -> None:
        """The client will send no more."""
        self._reason = "connection closed by the client"

    def pause_writing(self) -> None:
        """The client does not read."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_full = self._is_choked = False
        self._set_reading()
        self._broker.room_again(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._timer.cancel()
        self._open_connections.discard(self)
        self._ended = True
        self._packets.clear()
        self._broker.lost(self, str(exc) if exc else self._reason)

    # ---- what the core asks ----

    def send(self, data: bytes) -> None:
        """See `core.Connection`."""
        self._chunks.append(data)
        self._chunk_bytes += len(data)
        if not self._flush_scheduled and not self.is_held:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def room(self) -> int:
        """See `core.Connection`."""
        if self._is_full or self.is_held or self._ended:
            return 0
        return self._broker.limits.write_buffer_bytes - self._chunk_bytes

    def end(self, reason: str) -> None:
        """See `core.Connection`."""
        if self._ended:
            return
        self._ended = True
        self._packets.clear()
        self._broker.lost(self, reason)
        self._flush()
        self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
            # Who reads nothing does not read the good-bye either.
            self._timer = self._loop.call_later(GOOD_BYE_S_MAX, self._transport.abort)

    def pause(self) -> None:
        """See `core.Connection`."""
        self._is_paused = True
        self._set_reading()

    def resume(self) -> None:
        """See `core.Connection`."""
        self._is_paused = False
        # What it said meanwhile is still to be read: its patience begins anew.
        self._heard_at = self._loop.time()
        self._set_reading()

    def hold(self) -> None:
        """See `core.Connection`."""
        self._flush()
        self.is_held = True

    def unhold(self) -> None:
        """See `core.Connection`."""
        self.is_held = False
        self._held_bytes = 0
        self._heard_at = self._loop.time()
        self._loop.call_soon(self._go_on)

    def objection(self) -> str | None:
        """Why the client's certificate may not be used now; None when it may."""
        certificate = self._certificate
        return None if certificate is None else self._objection(certificate)

    def cut(self, reason: str) -> None:
        """End it for this reason at once: whoever is cut off is owed no good-bye."""
        self.end(reason)
        self.abort()

    def abort(self) -> None:
        """Cut the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # ---- inside ----

    def _work(self) -> None:
        while self._packets and not self.is_held and not self._ended:
            packet = self._packets.popleft()
            if self._has_begun:
                self._broker.receive(self, packet)
            elif isinstance(packet, Connect):
                self._begin(packet)
            else:
                self.end("the first packet must be CONNECT")

    def _begin(self, packet: Connect) -> None:
        # Now and not at the handshake: what a client shows may have been revoked since, and a
        # session that TLS resumes was verified only when it began.
        objection = self.objection()
        if objection is not None:
            self._broker.refuse(self, packet, objection)
        elif self._broker.connect(self, packet, common_name(self._certificate)):
            self._has_begun = True
            self._heard_at = self._loop.time()
            # §3.1.2.10: one and a half times the keep-alive; 0 turns it off.
            self._patience_s = packet.keep_alive_s * 1.5 or _NEVER
            self._timer.cancel()
            self._check_silence()

    def _go_on(self) -> None:
        self._flush()
        self._set_reading()
        self._broker.room_again(self)
        self._work()

    def _check_silence(self) -> None:
        silent_s = self._loop.time() - self._heard_at
        if silent_s >= self._patience_s and not self.is_held and not self._is_paused:
            self.end("silent for too long" if self._has_begun else "no CONNECT in time")
        elif self._patience_s != _NEVER:
            left_s = max(0.01, self._patience_s - silent_s)
            self._timer = self._loop.call_later(left_s, self._check_silence)

    def _set_reading(self) -> None:
        has_heard_enough = self._held_bytes > self._broker.limits.held_back_bytes_max
        stop = self._is_paused or self._is_choked or has_heard_enough
        if self._ended or self._transport is None or stop == self._is_reading_stopped:
            return
        self._is_reading_stopped = stop
        if stop:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self.is_held or not self._chunks or self._transport is None:
            return
        data = b"".join(self._chunks)
        limit = self._broker.limits.write_buffer_bytes
        was_full = self._chunk_bytes >= limit
        self._chunks.clear()
        self._chunk_bytes = 0
        if self._transport.is_closing():
            return
        self._transport.write(data)
        if self._is_full and self._transport.get_write_buffer_size() > 2 * limit:
            # Messages stop at the limit: the rest are answers that it does not read.
            self._is_choked = True
            self._broker.counts["heard_no_more"] += 1
            self._set_reading()
        elif was_full and not self._is_full:
            self._broker.room_again(self)


def common_name(certificate: Certificate | None) -> str | None:
    """The one common name in a verified certificate's subject; None when there is not just one."""
    names = () if certificate is None else certificate.common_names
    return names[0] if len(names) == 1 else None
