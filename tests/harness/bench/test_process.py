"""A process of a bench is ended within a bound, and what could not be ended is said."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from harness.bench.process import BenchProcess
from harness.errors import BenchFailed
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow

AT_ONCE_S = 0.05
# Ready, and deaf to being asked to end.
DEAF = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
{more}
print('{{"ready": {{}}}}', flush=True)
sys.stdin.read()
{end}
"""
# Starts a process that outlives it and has its output.
WITH_HEIR = DEAF.format(
    more=f"""
import subprocess
heir = subprocess.Popen(["sleep", "{WITHIN_S:g}"])
print('{{"heir": %d}}' % heir.pid)
""",
    end="",
)


class World:
    """One process, which is ready, and what it has said."""

    def __init__(self, log: Path, code: str) -> None:
        self.said: dict[str, Any] = {}
        self.process = BenchProcess("lamp", "fleet", ["-c", code], log, self._heard)

    def _heard(self, name: str, message: Mapping[str, Any]) -> None:
        self.said |= message


@pytest.fixture(params=["asyncio", "uvloop"])
def play(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[str, Callable[[World], Awaitable[None]]], World]:
    """Lets a story happen with a process of this code, on each loop that a bench may have."""

    async def scenario(world: World, story: Callable[[World], Awaitable[None]]) -> None:
        await world.process.start()
        try:
            await world.process.until_ready(WITHIN_S)
            await story(world)
        finally:
            world.process.kill()

    def run(code: str, story: Callable[[World], Awaitable[None]]) -> World:
        world = World(tmp_path / "lamp.log", code)
        (uvloop.run if request.param == "uvloop" else asyncio.run)(scenario(world, story))
        return world

    return run


def test_a_process_that_is_deaf_is_killed_and_nothing_of_it_is_left(play: Any) -> None:
    async def story(world: World) -> None:
        assert await world.process.stop() == ""
        assert world.process.returncode == -signal.SIGKILL
        assert not world.process.is_left

    play(DEAF.format(more="", end=""), story)


def test_what_holds_the_output_of_a_killed_process_is_named_and_not_waited_for(play: Any) -> None:
    async def story(world: World) -> None:
        heir = world.said["heir"]
        left = await world.process.stop(killed_within_s=AT_ONCE_S)
        os.kill(heir, signal.SIGKILL)
        assert left == f"lamp: ended, but sleep (process {heir}) that it started holds its output"

    play(WITH_HEIR, story)


def test_a_process_that_is_there_after_its_time_is_an_error_with_its_number(play: Any) -> None:
    async def story(world: World) -> None:
        number = world.process.pid
        with pytest.raises(
            BenchFailed, match=rf"lamp: killed, and still there 0.05 s later \(process {number}\)"
        ):
            # It was not killed: the kernel cannot be made to take its time.
            await world.process.until_killed(AT_ONCE_S)
        world.process.kill()
        await world.process.until_killed(WITHIN_S)

    play(DEAF.format(more="", end=""), story)


def test_who_waits_for_an_end_is_told_of_it_though_the_process_was_started_again(play: Any) -> None:
    async def story(world: World) -> None:
        first = world.process.starts
        ended = asyncio.ensure_future(world.process.until_ended())
        await asyncio.sleep(0)
        world.process.kill()
        await world.process.until_killed(WITHIN_S)
        await world.process.start()
        async with asyncio.timeout(WITHIN_S):
            assert await ended == -signal.SIGKILL
        assert world.process.starts == first + 1
        world.process.kill()
        await world.process.until_killed(WITHIN_S)

    play(DEAF.format(more="", end=""), story)
