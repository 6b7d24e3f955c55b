"""A fork server starts processes that are as if each had an interpreter of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from harness.bench.command_line import fitted
from harness.bench.fork_server import main_module
from harness.bench.fork_servers import ForkServer, started_by
from harness.bench.forking import can_fork
from harness.bench.process import BenchProcess
from harness.errors import BenchFailed, HarnessError
from tests.processes import WITHIN_S, line_of, running

needs_fork = pytest.mark.skipif(not can_fork(), reason="this system has no pidfd_open")

READY_S = WITHIN_S
# Reads its configuration, does what is put in, says that it is ready and waits for its end.
CHILD = """
import json, os, sys
config = json.loads(sys.stdin.readline())
found = {{}}
{body}
print(json.dumps({{"found": found}}))
print(json.dumps({{"ready": {{}}}}), flush=True)
sys.stdin.readline()
{end}
"""


class World:
    """A fork server, the modules that it is to run, and what their processes have said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, Any] = {}
        self.processes: list[BenchProcess] = []
        self.server = ForkServer("fork-server", folder / "fork-server.log", self._heard)

    def _heard(self, name: str, message: Mapping[str, Any]) -> None:
        self.said[name] = message["found"]

    def module(self, name: str, body: str = "", end: str = "", imported: str = "") -> None:
        """Something to run; `imported` is done already where it is only imported."""
        text = CHILD.format(body=body, end=end)
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        (self.folder / f"{name}.py").write_text(
            f"{imported}\nif __name__ == '__main__':\n{indented}"
        )

    def process(self, name: str, module: str | None = None) -> BenchProcess:
        log = self.folder / f"{name}.log"
        arguments = ["-m", module or name]
        process = BenchProcess(name, "fleet", arguments, log, self._heard, self.server)
        self.processes.append(process)
        return process

    async def started(self, name: str, module: str | None = None) -> BenchProcess:
        """A process that is ready."""
        process = self.process(name, module)
        await process.start()
        process.configure({})
        await process.until_ready(READY_S)
        return process


@contextlib.asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[World]:
    world = World(folder)
    process = world.server.process
    await process.start()
    world.server.configure()
    try:
        yield world
    finally:
        await process.stop()
        world.server.close()
        for each in world.processes:
            await each.until_ended()


Story = Callable[[World], Awaitable[None]]
Play = Callable[[Story], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Lets a story happen in a world of its own, on each event loop that a starter may have."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def scenario(story: Story) -> None:
        async with _serving(tmp_path) as world:
            await story(world)

    run = uvloop.run if request.param == "uvloop" else asyncio.run
    return lambda story: run(scenario(story))


slow = [pytest.mark.slow, needs_fork]


class TestLikeOneOfItsOwn:
    pytestmark = slow

    def test_a_forked_process_reads_says_and_ends_as_an_executed_one(self, play: Play) -> None:
        async def story(world: World) -> None:
            world.module("one", "found['config'] = config", end="sys.exit(5)")
            process = world.process("one")
            await process.start()
            process.configure({"some": "thing"})
            await process.until_ready(READY_S)
            assert world.said["one"] == {"config": {"some": "thing"}}
            assert psutil.Process(process.pid).ppid() == world.server.process.pid
            process.tell({})
            assert await process.until_ended() == 5

        play(story)

    def test_a_forked_process_that_fails_leaves_its_traceback_in_its_own_log(
        self, play: Play
    ) -> None:
        async def story(world: World) -> None:
            world.module("fails", "raise ValueError('no such lamp')")
            process = world.process("fails")
            await process.start()
            process.configure({})
            with pytest.raises(BenchFailed, match="fails ended: ValueError: no such lamp"):
                await process.until_ready(READY_S)
            assert await process.until_ended() == 1
            assert (world.folder / "fork-server.log").read_text() == ""

        play(story)

    def test_a_module_that_cannot_be_imported_fails_alone(self, play: Play) -> None:
        async def story(world: World) -> None:
            world.module("broken", imported="import there_is_no_such_module")
            world.module("sound")
            process = world.process("broken")
            await process.start()
            with pytest.raises(BenchFailed, match="No module named 'there_is_no_such_module'"):
                await process.until_ready(READY_S)
            assert not process.has_pid
            assert (await world.started("sound")).is_running

        play(story)

    def test_a_killed_process_is_told_with_its_signal_and_can_be_started_again(
        self, play: Play
    ) -> None:
        async def story(world: World) -> None:
            world.module("lamp")
            process = await world.started("lamp")
            first = process.pid
            process.kill()
            assert await process.until_ended() == -signal.SIGKILL
            assert not psutil.pid_exists(first)
            await process.start()
            process.configure({})
            await process.until_ready(READY_S)
            assert process.pid != first
            await process.stop()
            assert process.returncode == -signal.SIGTERM

        play(story)

    def test_an_end_is_told_while_the_server_imports_for_another(self, play: Play) -> None:
        async def story(world: World) -> None:
            world.module("lamp")
            gate = world.folder / "gate"
            # The import ends when the test lets it.
            waits = f"import os\nwhile not os.path.exists({str(gate)!r}): pass"
            world.module("slow", imported=waits)
            lamp = await world.started("lamp")
            slow = world.process("slow")
            await slow.start()
            lamp.tell({})
            assert await lamp.until_ended() == 0
            assert not slow.has_pid
            gate.touch()
            slow.configure({})
            await slow.until_ready(READY_S)

        play(story)

    def test_one_that_is_stopped_before_its_turn_never_runs(self, play: Play) -> None:
        async def story(world: World) -> None:
            world.module("lamp")
            os.kill(world.server.process.pid, signal.SIGSTOP)
            process = world.process("lamp")
            await process.start()
            await process.stop()
            assert process.returncode == -signal.SIGTERM
            assert not process.has_pid
            os.kill(world.server.process.pid, signal.SIGCONT)
            other = await world.started("other", "lamp")
            alive = psutil.Process(world.server.process.pid).children()
            assert [each.pid for each in alive if each.status() != "zombie"] == [other.pid]

        play(story)

    def test_a_process_has_its_streams_and_no_descriptor_of_the_server_or_of_others(
        self, play: Play
    ) -> None:
        async def story(world: World) -> None:
            listing = (
                "for each in os.listdir('/proc/self/fd'):\n"
                "    try: found[each] = os.readlink('/proc/self/fd/' + each)\n"
                "    except OSError: pass"
            )
            world.module("lists", listing)
            await world.started("first", "lists")
            second = await world.started("second", "lists")
            assert sorted(map(int, world.said["second"])) == [0, 1, 2]
            assert world.said["second"]["2"] == str(world.folder / "second.log")
            both = set(world.said["first"].values()) & set(world.said["second"].values())
            assert both == set()
            assert second.descriptors() == 3
            # The server keeps its streams and the socket, however many it has started.
            assert world.server.process.descriptors() == 4

        play(story)

    def test_a_process_has_its_own_session_chance_signals_and_time(self, play: Play) -> None:
        async def story(world: World) -> None:
            asked = (
                "import gc, random, signal, resource; "
                "found.update(session=os.getsid(0), pid=os.getpid(), drawn=random.random(), "
                "collects=gc.isenabled(), interrupt=signal.getsignal(2).__name__, "
                "ends=[int(signal.getsignal(number)) for number in (15, 17)], "
                "held=list(signal.pthread_sigmask(0, [])), main=__name__, argv=sys.argv[1:], "
                "used=resource.getrusage(resource.RUSAGE_SELF).ru_utime)"
            )
            # In its past the server draws, and uses a second.
            busy = "import random, time; random.random()\nwhile time.process_time() < 1.0: pass"
            world.module("asks", asked, imported=busy)
            await world.started("first", "asks")
            await world.started("second", "asks")
            first, second = world.said["first"], world.said["second"]
            assert first["session"] == first["pid"]
            assert first["drawn"] != second["drawn"]
            assert (first["collects"], first["main"]) == (True, "__main__")
            assert (first["interrupt"], first["ends"]) == ("default_int_handler", [0, 0])
            assert first["held"] == []
            assert first["argv"] == ["--config", "-"]
            executed = random.Random(1)
            assert executed.random() != first["drawn"]
            assert second["used"] < 1.0

        play(story)

    def test_a_process_is_listed_under_what_it_runs(self, play: Play) -> None:
        async def story(world: World) -> None:
            world.module("lamp")
            process = await world.started("lamp")
            assert psutil.Process(process.pid).cmdline()[1:] == ["-m", "lamp", "--config", "-"]
            server = psutil.Process(world.server.process.pid)
            assert server.cmdline()[1:3] == ["-m", "harness.bench.fork_server"]

        play(story)

    def test_what_a_process_uses_is_counted_for_it_alone(self, play: Play) -> None:
        async def story(world: World) -> None:
            world.module("works", "import time\nwhile time.process_time() < 0.3: pass")
            process = await world.started("works")
            server_s, _ = world.server.process.sample()
            own_s, rss_bytes = process.sample()
            assert own_s >= 0.29
            everything_s = sum(psutil.Process(world.server.process.pid).cpu_times()[:2])
            assert server_s <= everything_s < server_s + 0.2
            assert rss_bytes > 0

        play(story)


class TestUnsafe:
    pytestmark = slow

    def test_a_server_in_which_an_import_starts_a_thread_forks_nothing_and_says_so(
        self, play: Play
    ) -> None:
        async def story(world: World) -> None:
            world.module(
                "threaded",
                imported="from threading import Event, Thread\n"
                "Thread(target=Event().wait, daemon=True, name='spins').start()",
            )
            world.module("plain")
            for name in ("threaded", "plain"):
                process = world.process(name)
                await process.start()
                with pytest.raises(BenchFailed, match=r"has threads \(spins\) since an import"):
                    await process.until_ready(READY_S)
                assert not process.has_pid
            assert psutil.Process(world.server.process.pid).children() == []

        play(story)

    def test_a_server_in_which_an_import_leaves_a_file_open_forks_nothing_and_says_so(
        self, play: Play
    ) -> None:
        async def story(world: World) -> None:
            world.module("open", imported="import os; LEFT = os.open(__file__, os.O_RDONLY)")
            process = world.process("open")
            await process.start()
            with pytest.raises(BenchFailed, match=r"an import has left \S*open.py open"):
                await process.until_ready(READY_S)

        play(story)


class TestDeath:
    pytestmark = slow

    def test_what_it_forked_dies_with_a_killed_server_and_is_told_so(self, play: Play) -> None:
        async def story(world: World) -> None:
            world.module("lamp")
            lamp = await world.started("lamp")
            found = psutil.Process(lamp.pid)
            world.server.process.kill()
            assert await world.server.process.until_ended() == -signal.SIGKILL
            world.server.close()
            assert await lamp.until_ended() == -signal.SIGKILL
            assert psutil.wait_procs([found], timeout=WITHIN_S)[1] == []
            late = world.process("late", "lamp")
            await late.start()
            with pytest.raises(BenchFailed, match="late ended"):
                await late.until_ready(READY_S)

        play(story)

    def test_an_end_that_a_server_held_still_does_not_tell_is_not_waited_for(
        self, play: Play
    ) -> None:
        async def story(world: World) -> None:
            world.module("lamp")
            lamp = await world.started("lamp")
            world.server.process.pid_signal(signal.SIGSTOP)
            left = await lamp.stop(killed_within_s=0.05)
            world.server.process.pid_signal(signal.SIGCONT)
            assert left == "lamp: killed, and its fork server does not tell its end (0.05 s)"

        play(story)

    def test_server_and_processes_die_with_their_starter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[3]}")
        (tmp_path / "lamp.py").write_text(
            "if __name__ == '__main__': import sys; print('{}', flush=True); sys.stdin.read()"
        )
        (tmp_path / "starter.py").write_text(STARTER)
        with running([sys.executable, "-m", "starter", str(tmp_path)]) as starter:
            pids = [int(pid) for pid in line_of(starter).split()]
            family = [psutil.Process(pid) for pid in pids]
            assert len(family) == 2
            starter.kill()
        assert psutil.wait_procs(family, timeout=WITHIN_S)[1] == []


STARTER = """
import asyncio, pathlib, sys
from harness.bench.fork_servers import ForkServer
from harness.bench.process import BenchProcess

async def main(folder):
    server = ForkServer("s", folder / "s.log", print)
    await server.process.start()
    server.configure()
    lamp = BenchProcess("lamp", "fleet", ["-m", "lamp"], folder / "l.log", lambda *_: None, server)
    await lamp.start()
    await lamp.until_running()
    print(server.process.pid, lamp.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def test_a_package_is_run_by_its_main_module_and_a_module_by_itself() -> None:
    assert main_module("city_platform") == "city_platform.__main__"
    assert main_module("harness.bench.event_reader") == "harness.bench.event_reader"
    with pytest.raises(ModuleNotFoundError, match="there_is_none"):
        main_module("there_is_none")


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (40, b"/opt/lamps/python -m city".ljust(39, b"\0") + b"."),
        (20, b"python -m city".ljust(19, b"\0") + b"."),
        (13, b"python -m c\0."),
    ],
)
def test_a_command_line_is_shown_as_far_as_there_is_room(size: int, shown: bytes) -> None:
    assert fitted(["/opt/lamps/python", "-m", "city"], size) == shown


@needs_fork
def test_processes_are_forked_unless_something_else_is_asked_for() -> None:
    assert started_by({}) == "fork"
    assert started_by({"LAMPLIGHTER_START": "exec"}) == "exec"
    assert started_by({"LAMPLIGHTER_START": "fork"}) == "fork"


def test_an_unknown_way_to_start_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(HarnessError, match="'spawn' is neither fork nor exec"):
        started_by({"LAMPLIGHTER_START": "spawn"})


LOADS_ALL = """
import os, sys
from harness.bench import configs
from harness.bench.fork_messages import Start
from harness.bench.fork_server import load

before = len(os.listdir("/proc/self/fd"))
for side, arguments in configs.PROCESSES.values():
    load(Start(1, arguments[1], arguments[2:]))
print(len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")) - before)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@needs_fork
@pytest.mark.slow
def test_importing_for_every_process_of_a_bench_leaves_one_thread_and_nothing_open() -> None:
    # In a process of its own: this one has imported what it likes.
    done = subprocess.run(
        [sys.executable, "-c", LOADS_ALL],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=WITHIN_S,
    )
    counts, modules = done.stdout.splitlines()
    assert counts == "1 0"
    assert {"city_platform", "lwm2m", "fake_devices", "joserfc", "uvicorn"} <= set(modules.split())
    assert not {"aiobotocore", "grpc", "kglite", "locust", "neo4j"} & set(modules.split())
