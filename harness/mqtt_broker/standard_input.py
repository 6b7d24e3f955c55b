"""What a broker is told while it runs: JSON lines on standard input, and SIGHUP."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NoReturn

import msgspec

from harness.mqtt_broker.steps import GateLine
from runtime.component import ConfigError, say

_log = logging.getLogger(__name__)

Reload = Callable[[], Awaitable[dict[str, int]]]
"""Reads the certificates' files again; what came of it, in numbers. Raises `ConfigError`, and then
nothing has changed."""


class Reloader:
    """Reloads one at a time; what is asked for while one runs is one more, after it.

    SIGHUP asks too, from the moment that there is a reloader: make it before the ready line. Each
    says how it ended: `{"reloaded": {"anchors": 2, "revoked": 5, "ended": 1}}`, or
    `{"reload_failed": "…"}`.
    """

    def __init__(self, reload: Reload) -> None:
        self._reload = reload
        self._asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.ask)

    def ask(self) -> None:
        """Reload soon."""
        self._asked.set()

    async def run(self) -> NoReturn:
        """Reload whenever asked, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._reload_and_say()

    async def _reload_and_say(self) -> None:
        try:
            found = await self._reload()
        except ConfigError as error:
            # What is in force stays: a broker that is up is worth more than one that is not.
            _log.error("nothing was reloaded: %s", error)
            say({"reload_failed": str(error)})
        else:
            _log.info("reloaded: %s", found)
            say({"reloaded": found})


async def obey(
    reloader: Reloader,
    gates: Callable[[GateLine], None] = lambda _: _log.warning("there are no gates here"),
) -> NoReturn:
    """Take lines from standard input; after its end only SIGHUP counts, until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reloader.run())
        async for line in _input_lines():
            try:
                wanted = msgspec.json.decode(line, type=GateLine)
            except msgspec.DecodeError as error:
                _log.warning("not a line for a broker: %s", error)
                continue
            if wanted.reload:
                reloader.ask()
            if wanted.arm or wanted.release:
                gates(wanted)
    raise AssertionError("the reloader never ends")


async def _input_lines() -> AsyncIterator[bytes]:
    """Lines of standard input when somebody can write to it: a pipe, a socket or a terminal.

    Closed, `/dev/null` or a file, it tells nothing: that needs somebody who waits for the answer.
    """
    if sys.stdin is None or not _is_live(sys.stdin.fileno()):
        return
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while True:
        try:
            line = await reader.readline()
        except ValueError as error:  # longer than a line may be
            _log.warning("not a line for a broker: %s", error)
            continue
        if not line:
            return
        yield line


def _is_live(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)
