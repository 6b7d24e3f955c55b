"""Processes of tests are told apart by what they say, and end with the test."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from tests.processes import WITHIN_S, end, ended, line_of, running


def test_lines_come_one_by_one_and_silence_is_an_error() -> None:
    program = "import sys, time; print('one\\ntwo', flush=True); sys.stdin.read()"
    with running([sys.executable, "-c", program], stdin=-1) as process:
        assert line_of(process) == "one"
        assert line_of(process) == "two"
        with pytest.raises(AssertionError, match="no line within"):
            line_of(process, within_s=0.01)
    assert process.returncode is not None


def test_one_that_ends_without_a_line_is_an_error() -> None:
    with (
        running([sys.executable, "-c", "print('half', end='')"]) as process,
        pytest.raises(AssertionError, match="it ended in the line 'half'"),
    ):
        line_of(process)


def test_one_that_does_not_end_with_its_input_is_killed() -> None:
    process = subprocess.Popen(["sleep", "600"], stdin=subprocess.PIPE)
    end(process, within_s=0.05)
    assert process.returncode == -signal.SIGKILL


def test_one_that_does_not_heed_being_asked_is_killed() -> None:
    async def story() -> int | None:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", "trap '' TERM; echo; while true; do sleep 600; done",
            stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            await asyncio.wait_for(process.stdout.readline(), WITHIN_S)
            await ended(process, within_s=0.05)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its `sleep`
        return process.returncode

    assert asyncio.run(story()) == -signal.SIGKILL
