"""An MQTT client on the running loop: it connects, subscribes, re-sends and reconnects for ever.

What it publishes within one turn of the loop leaves in one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from mqtt.connection import (
    ClientConnection,
    ConnectionAccepted,
    ConnectionFailed,
    ConnectionRefused,
    Event,
    InboundMessage,
    PublishAcknowledged,
    State,
    SubscriptionsAnswered,
)
from mqtt.packets import Will
from mqtt.tls import ClientContext, TlsFailed, UnusableCredentials, read_certificates, read_key
from mqtt.transport.secured import Failure, SecuredConnection
from runtime.clock import Clock

_log = logging.getLogger(__name__)
_NS: Final = 1_000_000_000
GOOD_BYE_S_MAX: Final = 1.0
_NOT_TRUSTED: Final = "certificate verify failed: "


def client_tls(
    ca_file: str | Path, certificate_file: str | Path, key_file: str | Path
) -> ClientContext:
    """A context that shows one's own certificate and takes servers of that CA only (TLS 1.2+).

    One per identity, not per connection, unless the files may be exchanged meanwhile. Raises
    `OSError` for files that cannot be read, `UnusableCredentials` for what is in them.
    """
    return ClientContext(
        read_certificates(Path(ca_file).read_bytes()),
        chain=read_certificates(Path(certificate_file).read_bytes()),
        key=read_key(Path(key_file).read_bytes()),
    )


def _ignore(*_: object) -> None:
    return None


class MqttClient:
    """A client that stays connected while `run` runs.

    QoS 1 messages are kept in memory until their PUBACK, and sent again with DUP after a reconnect.
    `subscriptions` are (filter, QoS) and renewed on each connection; `connected` is set while all
    of them are granted. `on_message` gets every message; those of QoS 1 must be acknowledged with
    `acknowledge`, else the broker delivers them again on a later connection. `on_disconnected`
    gets the reason of each failed attempt and of each lost connection, such as
    `refused: bad identity`. `chance` draws from [0, 1) and spreads reconnects.

    A `tls` that is a function is called for every connection, so that files which were exchanged
    count from the next one on; what it raises as `OSError` or `UnusableCredentials` is a failed
    attempt.

    With `gather_s` the socket is not read again for so long after something was read: what comes
    meanwhile is handled in one go, for half of what a wake-up for each message costs. A message
    that comes alone is handled at once.
    """

    def __init__(
        self,
        *,
        client_id: str,
        address: tuple[str, int],
        tls: ClientContext | Callable[[], ClientContext] | None,
        clock: Clock,
        chance: Callable[[], float],
        clean_session: bool = True,
        keep_alive_s: int = 60,
        inflight_max: int = 1_000,
        queue_max: int = 20_000,
        packet_bytes_max: int = 1_048_576,
        connect_timeout_s: float = 10.0,
        backoff_s_min: float = 0.1,
        backoff_s_max: float = 10.0,
        gather_s: float = 0.0,
        will: Will | None = None,
        subscriptions: Iterable[tuple[str, int]] = (),
        on_message: Callable[[InboundMessage], None] = _ignore,
        on_connected: Callable[[], None] = _ignore,
        on_disconnected: Callable[[str], None] = _ignore,
    ) -> None:
        self.client_id = client_id
        self.address = address
        self.queue_max = queue_max
        self.gather_s = gather_s
        self.connected = asyncio.Event()
        self._tls = tls
        self._clock = clock
        self._chance = chance
        self._connect_timeout_s = connect_timeout_s
        self._backoff_s_min, self._backoff_s_max = backoff_s_min, backoff_s_max
        self._subscriptions: Sequence[tuple[str, int]] = tuple(subscriptions)
        self._on_message = on_message
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._session = ClientConnection(
            client_id,
            clean_session=clean_session,
            keep_alive_s=keep_alive_s,
            inflight_max=inflight_max,
            queue_max=queue_max,
            packet_bytes_max=packet_bytes_max,
            connect_timeout_s=connect_timeout_s,
            will=will,
        )
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._protocol: _Protocol | None = None
        # That of the current attempt, until TLS is there and afterwards.
        self._secured: SecuredConnection | None = None
        self._connected_at: float | None = None
        self._flush_is_due = False

    def __repr__(self) -> str:
        return f"MqttClient({self.client_id} at {self.address[0]}:{self.address[1]})"

    @property
    def outstanding(self) -> int:
        """Messages published that no PUBACK came for yet."""
        return self._session.outstanding

    async def run(self) -> None:
        """Connect, and reconnect with exponential back-off, until cancelled; then say good-bye."""
        failures = 0
        while True:
            self._connected_at = None
            reason = await self._one_connection()
            failures = 0 if self._has_lasted() else failures + 1
            _log.info("%r: %s", self, reason)
            self._on_disconnected(reason)
            await asyncio.sleep(self._backoff_s(failures))

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int = 1,
        on_acknowledged: Callable[[], None] | None = None,
    ) -> None:
        """Publish now or once connected; `on_acknowledged` is called at the PUBACK.

        At QoS 1 raises `QueueFull`; at QoS 0 (no acknowledgement) `WrongState` while disconnected.
        """
        packet_id = self._session.publish(topic, payload, qos)
        if on_acknowledged is not None and qos:
            self._callbacks[packet_id] = on_acknowledged
        self._flush_soon()

    def acknowledge(self, message: InboundMessage) -> None:
        """Send the message's PUBACK: the broker will not deliver it again."""
        self._session.acknowledge(message)
        self._flush_soon()

    # ---- one connection ----

    async def _one_connection(self) -> str:
        """Connect once; returns why that failed or ended."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        try:
            return await self._open(ended) or await ended
        except asyncio.CancelledError:
            await self._say_good_bye()
            raise
        finally:
            ended.cancel()  # a transport that opens from now on is closed at once
            self._end_connection()

    async def _open(self, ended: asyncio.Future[str]) -> str:
        """Open the transport. Returns why it could not be, or nothing."""
        protocol: asyncio.BaseProtocol = _Protocol(self, ended)
        try:
            tls = self._tls() if callable(self._tls) else self._tls
            if tls is not None:
                protocol = self._secured = self._secure(tls, protocol, ended)
            async with asyncio.timeout(self._connect_timeout_s):
                await ended.get_loop().create_connection(lambda: protocol, *self.address)
        except TimeoutError:
            return self._too_late()
        except (OSError, UnusableCredentials, TlsFailed) as error:
            return failure_reason(error)
        return ""

    def _secure(
        self, tls: ClientContext, protocol: asyncio.BaseProtocol, ended: asyncio.Future[str]
    ) -> SecuredConnection:
        def failed(error: Failure) -> None:
            if not ended.done():
                late = isinstance(error, TimeoutError)
                ended.set_result(self._too_late() if late else failure_reason(error))

        end = tls.open(self.address[0])
        return SecuredConnection(end, protocol, self._connect_timeout_s, failed)

    def _too_late(self) -> str:
        return f"unreachable: no connection within {self._connect_timeout_s:g} s"

    async def _say_good_bye(self) -> None:
        if self._session.state is not State.CONNECTED or self._protocol is None:
            return
        self._session.disconnect()
        self._protocol.write(self._session.data_to_send())
        self._protocol.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOOD_BYE_S_MAX):
                await self._protocol.lost.wait()

    def _end_connection(self) -> None:
        protocol, self._protocol = self._protocol, None
        secured, self._secured = self._secured, None
        self.connected.clear()
        if protocol is not None:
            protocol.close()
        elif secured is not None and not secured.is_closing():
            secured.abort()  # given up between TCP and TLS
        self._session.closed()

    def _has_lasted(self) -> bool:
        # A broker that ends every connection after SUBACK, for what is re-sent on each, must not be
        # stormed.
        since = self._connected_at
        return since is not None and self._now() - since >= self._backoff_s_max

    def _backoff_s(self, failures: int) -> float:
        longest = min(self._backoff_s_max, self._backoff_s_min * 2.0 ** min(failures, 30))
        # Half fixed, half drawn: after an outage the fleet comes back spread out.
        return longest * (0.5 + 0.5 * self._chance())

    # ---- called by the protocol ----

    def opened(self, protocol: _Protocol) -> None:
        """The transport is there."""
        self._protocol = protocol
        self._session.connect(self._now())
        protocol.set_timer()
        self.flush()

    def received(self, data: bytes) -> None:
        """Bytes arrived."""
        for event in self._session.receive_bytes(data):
            _EVENTS[type(event)](self, event)
        self._flush_soon()

    def handle_timer(self) -> None:
        """The session's timer is due."""
        for event in self._session.handle_timer(self._now()):
            _EVENTS[type(event)](self, event)
        self.flush()

    def flush(self) -> None:
        """Write what is due, unless the transport has enough for now."""
        self._flush_is_due = False
        protocol = self._protocol
        if protocol is not None and not protocol.is_paused:
            protocol.write(self._session.data_to_send())

    def timer_delay_s(self) -> float | None:
        """Seconds until the session's timer is due, None when there is none."""
        due = self._session.next_timer()
        return None if due is None else max(0.0, due - self._now())

    def _now(self) -> float:
        return self._clock.now_ns() / _NS

    # ---- events ----

    def _accepted(self, event: ConnectionAccepted) -> None:
        if self._protocol is not None:
            self._protocol.set_timer()  # from waiting for CONNACK to keep-alive
        if self._subscriptions:
            self._session.subscribe(self._subscriptions)
        else:
            self._set_connected()
        self._session.resume()

    def _refused(self, event: ConnectionRefused | ConnectionFailed) -> None:
        self._give_up(event.reason)

    def _subscribed(self, event: SubscriptionsAnswered) -> None:
        if event.refused:
            self._give_up(f"refused: may not read {', '.join(event.refused)}")
        else:
            self._set_connected()

    def _message(self, event: InboundMessage) -> None:
        try:
            self._on_message(event)
        except Exception:
            _log.exception("%r: a message of %s could not be handled", self, event.topic)

    def _acknowledged(self, event: PublishAcknowledged) -> None:
        callback = self._callbacks.pop(event.packet_id, None)
        if callback is None:
            return
        try:
            callback()
        except Exception:
            _log.exception("%r: an acknowledgement could not be handled", self)

    def _set_connected(self) -> None:
        self._connected_at = self._now()
        self.connected.set()
        self._on_connected()

    def _give_up(self, reason: str) -> None:
        if self._protocol is not None:
            self._protocol.end(reason)

    def _flush_soon(self) -> None:
        if self._protocol is not None and not self._flush_is_due:
            self._flush_is_due = True
            self._protocol.loop.call_soon(self.flush)


_EVENTS: Final[dict[type[Event], Callable[[MqttClient, Any], None]]] = {
    ConnectionAccepted: MqttClient._accepted,
    ConnectionRefused: MqttClient._refused,
    ConnectionFailed: MqttClient._refused,
    SubscriptionsAnswered: MqttClient._subscribed,
    InboundMessage: MqttClient._message,
    PublishAcknowledged: MqttClient._acknowledged,
}


class _Protocol(asyncio.Protocol):
    """One transport of a client; after `end` it passes nothing on."""

    def __init__(self, client: MqttClient, ended: asyncio.Future[str]) -> None:
        self.loop = ended.get_loop()
        self.lost = asyncio.Event()
        self.is_paused = False
        self._client = client
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is one by its methods, and not by its class.
        self._transport = cast(asyncio.Transport, transport)
        if self._ended.cancelled():
            self._transport.abort()
        else:
            self._client.opened(self)

    def data_received(self, data: bytes) -> None:
        if not self._ended.done():
            self._client.received(data)
            if self._client.gather_s:
                self._gather()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        if not self._ended.done():
            self._client.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self.end(failure_reason(exc) if exc else "lost: closed by the broker")

    def write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def _gather(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.pause_reading()
        # Not cancelled by `close`: TLS says good-bye by what is read then.
        self.loop.call_later(self._client.gather_s, _read_on, transport)

    def set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = self._client.timer_delay_s()
        self._timer = None if delay is None else self.loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        if not self._ended.done():
            self._client.handle_timer()
            self.set_timer()

    def end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)
        self.close()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()


def _read_on(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()


def failure_reason(error: BaseException) -> str:
    """One line for a person: why a connection could not be made or went away."""
    if isinstance(error, TlsFailed):
        _, was_not_trusted, why = str(error).partition(_NOT_TRUSTED)
        return f"server not trusted: {why}" if was_not_trusted else str(error)
    if isinstance(error, UnusableCredentials):
        return f"TLS is not possible: {error}"
    if isinstance(error, ConnectionRefusedError):
        return "unreachable: nobody listens there"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "lost: reset by the broker"
    return f"unreachable: {error}"
