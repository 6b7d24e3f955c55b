"""A bridge as a process: the core between a WebSocket to the server and an MQTT client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from city_platform.bridge.config import BridgeConfig
from city_platform.bridge.core import BridgeCore
from city_platform.bridge.credentials import OpenSealed
from city_platform.bridge.link import Link, PeerError
from city_platform.bridge.publications import Token
from city_platform.bridge.telling import StatusTeller
from city_platform.broker_access import (
    BrokerAccess,
    Draw,
    chance_from,
    open_client,
    read_token,
    split_address,
)
from city_platform.sealing import renewed_opener
from contracts.names import bridge_identity
from mqtt.connection import InboundMessage
from mqtt.transport.client import MqttClient
from runtime.clock import Clock
from runtime.component import Ready
from runtime.websocket import CLOSE_GOING_AWAY, WebSocketConnection, connect_websocket

_log = logging.getLogger(__name__)

# The core's timer only gives up what is long overdue.
TIMER_PERIOD_S = 30.0
# How long the server may take to answer the closing handshake.
CLOSE_WITHIN_S = 1.0
CLOSE_PROTOCOL_ERROR = 1002
INSTANCE_BYTES = 8


async def run(config: BridgeConfig, clock: Clock, ready: Ready, *, draw: Draw = os.urandom) -> None:
    """Relay between one server and the broker until cancelled; ready once both are reached."""
    open_sealed = _own_opener(config.broker)
    lanes = 1 + len(config.more_connections)
    core = BridgeCore(config.server, config.topics, open_sealed, config.limits, lanes)
    shell = BridgeShell(core, config, clock, draw)
    try:
        async with asyncio.TaskGroup() as tasks, _serving_counts(config, core) as addresses:
            for client in shell.clients:
                tasks.create_task(client.run())
            tasks.create_task(shell.keep_connected())
            tasks.create_task(shell.keep_time())
            tasks.create_task(shell.status.run())
            for client in shell.clients:
                await client.connected.wait()
            await shell.live.wait()
            ready(addresses)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                shell.status.say_stopped()
    finally:
        _log.info("counts: %s", dict(sorted(core.counts.items())))


class BridgeShell:
    """Moves bytes between the core, the server's WebSocket and the MQTT clients.

    The first client reads and publishes, the others only publish; each has its lane of the core's.
    One that is away keeps what is its own, and the others go on.
    """

    def __init__(self, core: BridgeCore, config: BridgeConfig, clock: Clock, draw: Draw) -> None:
        self.live = asyncio.Event()
        self._core = core
        self._config = config
        self._clock = clock
        self._chance = chance_from(draw)
        self._loop = asyncio.get_running_loop()
        self._connection: WebSocketConnection | None = None
        self._ended: asyncio.Future[str] | None = None
        self._flush_is_due = False
        self._is_paused = False
        self._peer_failed = False
        self.status = StatusTeller(core, config, clock, draw(INSTANCE_BYTES).hex())
        accesses = [config.broker, *config.more_connections]
        self.clients = [self._open(number, access, draw) for number, access in enumerate(accesses)]
        self.status.use(self.clients[0])

    async def keep_connected(self) -> None:
        """Connect to the server, and again with back-off, until cancelled."""
        token = read_token(self._config.token_file)
        failures = 0
        while True:
            self._ended = self._loop.create_future()
            self._peer_failed, was_live = False, False
            try:
                connection = await connect_websocket(self._config.data_interface, self, token=token)
                reason, was_live = await self._until_ended(connection)
            except OSError as error:
                reason = f"unreachable: {error.strerror or error}"
            # A server that breaks the protocol, or took another bridge, is not asked in a hurry.
            failures = 0 if was_live and not self._peer_failed else failures + 1
            _log.info("server %s: %s", self._config.server, reason)
            await asyncio.sleep(self._backoff_s(failures))

    def _open(self, lane: int, access: BrokerAccess, draw: Draw) -> MqttClient:
        return open_client(
            access,
            bridge_identity(self._config.server, lane + 1),
            self._clock,
            subscriptions=() if lane else self._core.subscriptions,
            on_message=self._message_arrived,
            on_connected=self.status.look if lane else self.status.broker_is_back,
            draw=draw,
            will=None if lane else self.status.will,
        )

    async def keep_time(self) -> None:
        """Let the core give up what is overdue."""
        while True:
            await asyncio.sleep(TIMER_PERIOD_S)
            self._core.handle_timer(self._clock.wall_us())

    async def _until_ended(self, connection: WebSocketConnection) -> tuple[str, bool]:
        assert self._ended is not None
        try:
            # Shielded: `closed` is told to this future also while this task is being cancelled.
            reason = await asyncio.shield(self._ended)
            return reason, self.live.is_set()
        finally:
            self.live.clear()
            connection.close(CLOSE_GOING_AWAY)
            await asyncio.wait([self._ended], timeout=CLOSE_WITHIN_S)

    def _backoff_s(self, failures: int) -> float:
        config = self._config
        longest = min(config.reconnect_s_max, config.reconnect_s * 2.0 ** min(failures, 30))
        return longest * (0.5 + 0.5 * self._chance())

    # ---- WebSocketUser ----

    def opened(self, connection: WebSocketConnection) -> None:
        """The server let us in."""
        self._connection = connection
        self._is_paused = False
        self._core.server_connected()
        self._flush()

    def received(self, text: bytes) -> None:
        """One frame arrived."""
        connection = self._connection
        if connection is None or self._peer_failed:
            return
        try:
            self._core.receive_frame(text, self._clock.wall_us())
        except PeerError as error:
            self._peer_failed = True
            _log.warning("server %s: %s", self._config.server, error)
            connection.close(CLOSE_PROTOCOL_ERROR, str(error)[:100])
            return
        if not self._flush_is_due:
            self._flush_soon()

    def closed(self, reason: str) -> None:
        """The connection is gone, or was refused."""
        if self._connection is not None:
            self._connection = None
            self._core.server_disconnected()
            self.status.look()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    # ---- MQTT ----

    def _message_arrived(self, message: InboundMessage) -> None:
        self._core.receive_message(message.topic, message.payload, message, self._clock.wall_us())
        self._flush_soon()

    # ---- both ----

    def _flush_soon(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        self._note_link()
        self._publish()
        for message in self._core.messages_to_acknowledge():
            assert isinstance(message, InboundMessage)
            self.clients[0].acknowledge(message)
        if self._connection is not None:
            self._connection.send_all(self._core.frames_to_send())
            if self._is_paused and self._core.has_room_again:
                self._is_paused = False
                self._connection.resume_reading()

    def _note_link(self) -> None:
        """What frames have changed, looked at once for all that came together."""
        core, connection = self._core, self._connection
        if core.link is Link.LIVE:
            self.live.set()
        self.status.look()
        for complaint in core.complaints_to_log():
            _log.warning("server %s refused %s", self._config.server, complaint)
        if core.is_full and not self._is_paused and connection is not None:
            self._is_paused = True
            connection.pause_reading()

    def _publish(self) -> None:
        now_us = self._clock.wall_us()
        for lane, client in enumerate(self.clients):
            room = client.queue_max - client.outstanding
            for topic, payload, token in self._core.publications_to_send(room, now_us, lane):
                client.publish(topic, payload, on_acknowledged=partial(self._acknowledged, token))

    def _acknowledged(self, token: Token) -> None:
        self._core.publication_acknowledged(token)
        self._flush_soon()


def _own_opener(access: BrokerAccess) -> OpenSealed:
    certificate, key = Path(access.certificate_file), Path(access.key_file)
    return renewed_opener(lambda: (certificate.read_bytes(), key.read_bytes()))


@contextlib.asynccontextmanager
async def _serving_counts(config: BridgeConfig, core: BridgeCore) -> AsyncIterator[dict[str, str]]:
    if config.http is None:
        yield {}
        return
    from city_platform.counts_http import serving_counts

    async with serving_counts(split_address(config.http), lambda: core.counts, "bridge") as address:
        yield {"http": address}
