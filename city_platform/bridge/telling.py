"""Publishes what a bridge tells of itself: on a change, every so often, after every reconnect."""

from __future__ import annotations

import asyncio
import contextlib

from city_platform.bridge.config import BridgeConfig
from city_platform.bridge.core import BridgeCore
from city_platform.bridge.status import StatusReporter
from contracts.topics import fill
from mqtt.connection import QueueFull
from mqtt.packets import Will
from mqtt.transport.client import MqttClient
from runtime.clock import Clock


class StatusTeller:
    """One per bridge; `will` is for the connection that it tells on. `use` that before `run`."""

    def __init__(self, core: BridgeCore, config: BridgeConfig, clock: Clock, instance: str) -> None:
        self._clock = clock
        self._reporter = StatusReporter(core, instance, config.status_every_s, clock.wall_us())
        self._topic = fill(config.topics.bridge_status, server=config.server)
        self.will = Will(self._topic, self._reporter.will(), qos=1)
        self._client: MqttClient | None = None
        self._is_under_way = False
        # After a reconnect whoever listens has heard the last will.
        self._is_forced = True
        self._wanted = asyncio.Event()

    def use(self, client: MqttClient) -> None:
        """The connection to tell on."""
        self._client = client

    async def run(self) -> None:
        """Tell, until cancelled."""
        while True:
            if self._can_tell and self._has_something():
                self._publish(self._reporter.take(self._clock.wall_us()))
            wait_s = None
            if self._can_tell:
                wait_s = max(0.0, (self._reporter.due_us() - self._clock.wall_us()) / 1e6)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wanted.wait()
            self._wanted.clear()

    def look(self) -> None:
        """Something happened: if it changed the bridge's state, that is told."""
        if self._reporter.has_changed:
            self._wanted.set()

    def broker_is_back(self) -> None:
        """The connection stands again."""
        self._is_forced = True
        self._wanted.set()

    def say_stopped(self) -> None:
        """The bridge was told to end: its good-bye drops the last will, and this stands for it."""
        client = self._client
        if client is not None and client.connected.is_set():
            self._publish(self._reporter.stop(self._clock.wall_us()))

    @property
    def _can_tell(self) -> bool:
        # One at a time, and none while the broker is away: what stands then is told when it is
        # back.
        client = self._client
        return client is not None and client.connected.is_set() and not self._is_under_way

    def _has_something(self) -> bool:
        reporter = self._reporter
        is_due = self._clock.wall_us() >= reporter.due_us()
        return self._is_forced or reporter.has_changed or is_due

    def _publish(self, payload: bytes) -> None:
        assert self._client is not None
        self._is_forced = False
        # A queue that is full takes it the next time: the broker is slow then, and the will tells.
        with contextlib.suppress(QueueFull):
            self._client.publish(self._topic, payload, on_acknowledged=self._told)
            self._is_under_way = True

    def _told(self) -> None:
        self._is_under_way = False
        self._wanted.set()
