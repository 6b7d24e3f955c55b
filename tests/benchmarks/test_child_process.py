"""A benchmark waits for no process of its own without a bound, and says for which it waited."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.child_process import killed, lines_of
from benchmarks.publishing import DeviceKeys, Publishers, PublishingConfig
from benchmarks.telemetry import child_up
from runtime.clock import SystemClock
from tests.processes import WITHIN_S, running

pytestmark = pytest.mark.slow

AT_ONCE_S = 0.05
# Says two lines and a part of one, and is deaf to being asked to end.
DEAF = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stdout.write("one\\ntwo\\nthr")
sys.stdout.flush()
signal.pause()
"""


def test_lines_come_whole_and_one_that_does_not_is_waited_for_with_a_bound() -> None:
    with running([sys.executable, "-c", DEAF]) as process:
        lines = lines_of(process, WITHIN_S, "the deaf")
        assert [next(lines), next(lines)] == [b"one", b"two"]
        with pytest.raises(TimeoutError, match=r"the deaf has not come so far within 0.05 s"):
            next(lines_of(process, AT_ONCE_S, "the deaf"))


def test_the_end_of_a_program_is_no_silence() -> None:
    with (
        running([sys.executable, "-c", "print('one')"]) as process,
        pytest.raises(EOFError, match="it ended before that"),
    ):
        assert list(lines_of(process, WITHIN_S, "it")) == [b"one"]


def test_a_program_that_is_deaf_is_killed_after_it_was_asked() -> None:
    with running([sys.executable, "-c", DEAF]) as process:
        assert next(lines_of(process, WITHIN_S, "the deaf")) == b"one"
        killed(process, asked_first_s=AT_ONCE_S)
        assert process.returncode == -signal.SIGKILL


def test_a_child_that_ended_is_named_where_its_answer_is_waited_for(tmp_path: Path) -> None:
    async def heard() -> None:
        async with child_up("benchmarks.publishing", {}, tmp_path / "config.json") as child:
            await child.hear()

    with pytest.raises(EOFError, match=r"benchmarks.publishing has ended"):
        asyncio.run(heard())


def test_publishers_that_wait_in_vain_say_how_many_are_missing(tmp_path: Path) -> None:
    keys = tmp_path / "devices.keys"
    made = DeviceKeys(ca=b"", key=b"", certificates={"lamp-0": b"", "lamp-1": b""})
    keys.write_bytes(msgspec.msgpack.encode(made))

    async def wait() -> None:
        # Nobody listens at port 1, and nobody is asked to connect.
        config = PublishingConfig(address="127.0.0.1:1", keys_file=str(keys), window=1)
        publishers = Publishers(config, SystemClock())
        await publishers._until(asyncio.Event(), AT_ONCE_S)

    with pytest.raises(TimeoutError, match=r"after 0.05 s 0 of 2 devices are not connected"):
        asyncio.run(wait())
