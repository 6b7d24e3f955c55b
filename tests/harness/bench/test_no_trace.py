"""A bench leaves no process and no open port behind, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.processes import WITHIN_S

pytestmark = [pytest.mark.slow, pytest.mark.bench]

ALL_PROCESSES = 10
UP_WITHIN_S = 120.0
LOOKED_AT_EVERY_S = 0.1


@contextmanager
def running(out: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process]]]:
    """A run of the main job with all of its children started, and those children."""
    command = [
        sys.executable, "-c", "from harness.cli import main; main()",
        "run", "onboarding.city_block_comes_online", "--devices", "30", "--rate", "0.2",
        "--out", str(out),
    ]  # fmt: skip
    with (out / "terminal").open("wb") as terminal:
        runner = subprocess.Popen(command, stdout=terminal, stderr=terminal)
        try:
            yield runner, children_of(runner)
        finally:
            runner.kill()
            runner.wait()


def children_of(runner: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All processes of the bench, once they listen."""
    due = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < due:
        children = psutil.Process(runner.pid).children(recursive=True)
        listening = [child for child in children if listens(child)]
        if len(children) >= ALL_PROCESSES and len(listening) >= 6:
            return children
        with suppress(subprocess.TimeoutExpired):
            runner.wait(LOOKED_AT_EVERY_S)
            raise AssertionError("the runner ended before the bench was up")
    raise AssertionError("the bench did not come up")


def listens(process: psutil.Process) -> bool:
    try:
        return any(each.status == psutil.CONN_LISTEN for each in process.net_connections("tcp"))
    except psutil.Error:
        return False


def left_of(children: list[psutil.Process]) -> list[str]:
    """Who of `children` does not end: a slow disk alone can hold up the removal of the keys."""
    _, alive = psutil.wait_procs(children, timeout=WITHIN_S)
    return [child.name() for child in alive]


def test_a_killed_runner_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as (runner, children):
        runner.send_signal(signal.SIGKILL)
        runner.wait()
        assert left_of(children) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_runner_tears_down_and_exits_3(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path) as (runner, children):
        runner.send_signal(number)
        assert runner.wait(WITHIN_S) == 3
        assert left_of(children) == []
        assert "interrupted" in (tmp_path / "terminal").read_text()
