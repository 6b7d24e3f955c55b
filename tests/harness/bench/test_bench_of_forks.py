"""A bench whose processes are forked comes up, is disturbed and ends as one of executed ones."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from contracts.journal import BenchDown, ProcessExited, ProcessStarted
from harness.bench.bench import Bench, BenchPlan, bench_up
from harness.bench.fork_servers import StartedBy
from harness.bench.forking import can_fork
from harness.journal import Journal, read_run
from runtime.clock import SystemClock
from runtime.journal import JournalFile
from tests.processes import WITHIN_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.bench,
    pytest.mark.skipif(not can_fork(), reason="this system has no pidfd_open"),
]

FAILED_WITHIN_S = WITHIN_S
FORK_SERVER = "fork-server-bench"

Story = Callable[[Bench, list[str]], Awaitable[None]]


async def on_bench(folder: Path, story: Story, started_by: StartedBy = "fork") -> Journal:
    """What the journal has of a bench of a server and a fleet, once it is down."""
    (folder / "journal").mkdir(parents=True)
    journal = JournalFile(folder / "journal" / "runner.jsonl")
    plan = BenchPlan(
        output_dir=folder,
        state_dir=folder / "state",
        with_platform=False,
        started_by=started_by,
    )
    failures: list[str] = []
    async with bench_up(
        plan,
        journal,
        SystemClock(),
        lambda name, message: None,
        lambda error: failures.append(str(error)),
    ) as bench:
        await story(bench, failures)
    journal.close()
    return read_run(folder)


def group_of(pid: int) -> str:
    """The control groups that a process is accounted to."""
    return Path(f"/proc/{pid}/cgroup").read_text()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(FAILED_WITHIN_S):
        while not condition():  # noqa: ASYNC110 # a bench has no event for it
            await asyncio.sleep(0)


@pytest.mark.parametrize("way", ["fork", "exec"])
def test_every_process_is_journaled_with_its_number_and_none_is_left(
    tmp_path: Path, way: StartedBy
) -> None:
    pids: dict[str, int] = {}

    async def story(bench: Bench, failures: list[str]) -> None:
        await asyncio.gather(*(each.until_running() for each in bench.processes.values()))
        pids.update({name: each.pid for name, each in bench.processes.items()})
        parent = psutil.Process(pids["server"]).ppid()
        assert parent == (pids[FORK_SERVER] if way == "fork" else psutil.Process().pid)
        listed = psutil.Process(pids["server"]).cmdline()
        assert listed[1:3] == ["-m", "harness.lwm2m_server"]
        # Tuned as every component is, and counted where the bench is.
        assert os.sched_getscheduler(pids["server"]) == os.SCHED_BATCH
        assert group_of(pids["server"]) == group_of(os.getpid())

    journal = uvloop.run(on_bench(tmp_path, story, way))
    assert {each.process: each.pid for each in journal.of(ProcessStarted)} == pids
    assert (FORK_SERVER in pids) == (way == "fork")
    assert {"server", "fleet"} <= set(pids)
    assert journal.of(BenchDown)[-1].left == []
    assert journal.of(ProcessExited) == []


def test_a_process_that_is_killed_and_restarted_is_forked_anew_at_its_old_address(
    tmp_path: Path,
) -> None:
    async def story(bench: Bench, failures: list[str]) -> None:
        address, pid = bench.address("server", "coap"), bench.processes["server"].pid
        bench.kill("server", "test")
        await bench.restart("server")
        assert bench.address("server", "coap") == address
        assert bench.processes["server"].pid != pid
        assert failures == []

    journal = uvloop.run(on_bench(tmp_path, story))
    assert [each.process for each in journal.of(ProcessStarted)].count("server") == 2


def test_a_killed_fork_server_is_told_first_and_takes_its_processes_along(tmp_path: Path) -> None:
    async def story(bench: Bench, failures: list[str]) -> None:
        server = psutil.Process(bench.processes["server"].pid)
        bench.processes[FORK_SERVER].kill()
        await until(lambda: any(one.startswith("server ended (code -9)") for one in failures))
        assert failures[0].startswith(f"{FORK_SERVER} ended (code -9)")
        assert psutil.wait_procs([server], timeout=WITHIN_S)[1] == []

    journal = uvloop.run(on_bench(tmp_path, story))
    assert journal.of(BenchDown)[-1].left == []


def test_a_fork_server_that_is_held_still_does_not_keep_a_bench_up(tmp_path: Path) -> None:
    async def story(bench: Bench, failures: list[str]) -> None:
        bench.processes[FORK_SERVER].pid_signal(signal.SIGSTOP)

    journal = uvloop.run(on_bench(tmp_path, story))
    assert journal.of(BenchDown)[-1].left == []


def test_two_benches_at_once_have_fork_servers_of_their_own(tmp_path: Path) -> None:
    async def both() -> None:
        met = asyncio.Barrier(2)
        parents: list[int] = []

        async def story(bench: Bench, failures: list[str]) -> None:
            parents.append(psutil.Process(bench.processes["server"].pid).ppid())
            await met.wait()
            if bench.plan.output_dir.name == "one":
                return  # it goes down while the other stays
            async with bench.server_admin() as client:
                await client.get("/v1/registrations", object)
            assert failures == []

        await asyncio.gather(*(on_bench(tmp_path / name, story) for name in ("one", "two")))
        assert len(set(parents)) == 2

    uvloop.run(both())
