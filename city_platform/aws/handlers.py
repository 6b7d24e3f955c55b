"""The entry points that deploy/aws/template.yaml names.

The one place of the platform with state in its module: Lambda keeps a process between events, and
a client of AWS takes a third of a second to make. Nothing else is kept; time and chance are the
machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Any

from city_platform.aws.bootstrap import answer_event, drive
from city_platform.aws.commands import conclude, get_command, post_command
from city_platform.aws.envelopes import read_published
from city_platform.aws.installation import Installation, read_environment
from city_platform.aws.presence import follow_presence
from city_platform.aws.transform import transform_records
from city_platform.broker_access import chance_from
from city_platform.control.names import ResourceNames
from city_platform.control.requests import builtin_names
from city_platform.stores.aws.calls import Aws
from runtime.clock import SystemClock

Event = dict[str, Any]


class _Process:
    """What a function's process keeps between events."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._installation: Installation | None = None
        self._names: ResourceNames | None = None

    def run(self, work: Callable[[Installation], Awaitable[Event]]) -> Event:
        """What `work` answers, on the loop that the clients belong to."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(self._work(work))

    @property
    def names(self) -> ResourceNames:
        """Names of the object definitions: read once."""
        if self._names is None:
            self._names = builtin_names()
        return self._names

    async def _work(self, work: Callable[[Installation], Awaitable[Event]]) -> Event:
        if self._installation is None:
            environment = read_environment(os.environ)
            # Lambda ends the process, never the clients.
            aws = Aws(environment.stores, contextlib.AsyncExitStack(), chance_from(os.urandom))
            self._installation = Installation(environment, aws, SystemClock(), os.urandom)
        return await work(self._installation)


_process = _Process()


def on_event(event: Event, context: object) -> Event:
    """A message of an event topic: `registered`, `bootstrap`."""
    published = read_published(event)
    return _process.run(lambda installation: answer_event(published, installation))


def on_schedule(event: Event, context: object) -> Event:
    """Every minute: credentials that were not confirmed go out again."""
    return _process.run(drive)


def on_presence(event: Event, context: object) -> Event:
    """A message of a device's presence topic, or of AWS IoT Core's lifecycle events."""
    published = read_published(event)
    return _process.run(lambda installation: follow_presence(published, installation))


def on_records(event: Event, context: object) -> Event:
    """Firehose asks for records to be transformed."""
    return _process.run(lambda installation: transform_records(event, installation))


def on_command(event: Event, context: object) -> Event:
    """API Gateway: `POST /v1/devices/{endpoint}/commands`, `GET /v1/commands/{id}`."""
    if event.get("routeKey", "").startswith("GET"):
        return _process.run(lambda installation: get_command(event, installation))
    names = _process.names
    return _process.run(lambda installation: post_command(event, installation, names))


def on_result(event: Event, context: object) -> Event:
    """A message of an event topic: `result`."""
    published = read_published(event)
    return _process.run(lambda installation: conclude(published, installation))
