"""`lamplighter load`: a bench or a server by URL, Locust's processes, and the report at the end.

Neither Locust nor gevent is imported here: they live in the processes that this one starts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from rich.console import Console

from contracts.journal import ProcessSample, ProcessStarted, RunStarted
from contracts.report import EXIT_OTHER
from harness.bench.bench import bench_up
from harness.bench.process import BenchProcess, Side
from harness.bench.state import temporary_state
from harness.errors import HarnessError
from harness.load.checks import CHECKS
from harness.load.commander import MODEL, Commander
from harness.load.config import MasterConfig, Totals, WorkerConfig
from harness.load.figures import (
    CLAIM,
    SCENARIO,
    Ended,
    figures_from,
    parts_of,
    write_load_report,
)
from harness.load.operations import NO_ANSWER, REGISTERED
from harness.load.options import (
    SETTLE_WITHIN_S,
    LoadOptions,
    master_arguments,
    run_time_s,
    worker_arguments,
)
from harness.load.ports import check_ports
from harness.load.target import Target, bench_target, plan_of, url_target
from harness.runner.cohort import choose
from harness.runner.execute import make_run_directory, point_latest_to
from harness.runner.instruments import taps_on
from harness.runner.live import Live
from harness.runner.run import Run
from harness.runner.scenario import RunOptions, Scenario
from harness.runner.secrets import outputs_of, scan
from runtime.clock import Clock, SystemClock
from runtime.journal import JournalFile

TOTALS_FILE: Final = "locust.json"
MASTER: Final = "locust-master"
_SAMPLE_EVERY_S: Final = 0.5
_MASTER_READY_WITHIN_S: Final = 60.0
# Locust takes its time to stop thousands of users, and writes its pages then.
_LOCUST_ENDS_WITHIN_S: Final = 30.0
_COMMANDS_END_WITHIN_S: Final = 10.0
# Locust asks sixty times for a master that is not there, every five seconds.
_CONNECTS_WITHIN_S: Final = 330.0
# The command line asks again every few seconds until it is heard: this is longer than an end takes.
_CANCELS_MAX: Final = 20


async def _no_story(run: Run) -> None:
    """Locust tells it."""


# Only for its name and claim: what happens is Locust's affair.
_SCENARIO: Final = Scenario(SCENARIO, CLAIM, _no_story, CHECKS)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A load that has ended, and where everything is."""

    exit_code: int
    directory: Path


async def run_load(options: LoadOptions, console: Console) -> Loaded:
    """Run a load and write its report. Raises `LamplighterError` when it cannot.

    Ctrl-C ends the test in good order: what was counted until then is reported. Before the test has
    begun there is nothing to report, and everything is taken down at once.
    """
    stop = _Stop()
    work = asyncio.ensure_future(_load(options, console, stop))
    for _ in range(_CANCELS_MAX):
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.done():
                return work.result()
            stop.ask(console, work)
    work.cancel()
    return await work


class _Stop:
    """The user's wish to end, and whether there is a test to be ended in good order."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.has_test = False

    def ask(self, console: Console, work: asyncio.Future[Loaded]) -> None:
        """End the test, or give `work` up where none has begun. May be called again."""
        if not self.asked.is_set():
            told = (
                "ending the test: what is under way is counted …"
                if self.has_test
                else "no test has begun: taking everything down …"
            )
            console.print(told)
            self.asked.set()
        if not self.has_test:
            work.cancel()


async def _load(options: LoadOptions, console: Console, stop: _Stop) -> Loaded:
    clock = SystemClock()
    await check_ports(options)
    directory = make_run_directory(options.out, _SCENARIO, RunOptions(seed=options.seed), clock)
    journal = JournalFile(directory / "journal" / "runner.jsonl")
    try:
        # The devices' keys are kept apart from the bench's state, which is searched for keys.
        with temporary_state() as state, temporary_state() as private:
            places = Places(directory, state, private)
            journal.record(_run_started(options, directory, clock))
            ended = await _record(options, places, journal, clock, console, stop)
            found = scan(ended.secrets, outputs_of(directory, state))
            journal.record(found.recorded(clock.now_ns()))
    finally:
        journal.close()
    exit_code = write_load_report(options, directory, ended, clock, console)
    if options.server and nobody_was_answered(ended.totals):
        console.print(_silent(options.server, directory), style="yellow", soft_wrap=True)
    point_latest_to(directory)
    return Loaded(exit_code, directory)


def nobody_was_answered(totals: Totals | None) -> bool:
    """Whether no device heard anything of the server, not even that it is refused."""
    if totals is None:
        return False  # the master, which is elsewhere, knows
    registered = sum(e.count - e.failures for e in totals.entries if e.kind == REGISTERED)
    answers = (text for text in totals.errors if text.startswith(f"{REGISTERED} "))
    return not registered and all(NO_ANSWER in text for text in answers)


def _silent(server: str, directory: Path) -> str:
    return (
        f"{server} answered no device: is a server there, and with coaps, does it know these "
        f"devices? {directory / 'logs'}/fleet-*.log may say more"
    )


@dataclass(frozen=True, slots=True)
class Places:
    """The run's folder, the bench's state, and where devices files with keys are."""

    directory: Path
    state: Path
    private: Path


async def _record(
    options: LoadOptions,
    places: Places,
    journal: JournalFile,
    clock: Clock,
    console: Console,
    stop: _Stop,
) -> Ended:
    """Let the test happen. Returns what Locust counted."""
    live = Live()
    async with contextlib.AsyncExitStack() as stack:
        commander = None
        if options.server:
            target = url_target(options, places.private)
        else:
            cohort = choose(options.manifest, options.devices, options.seed)
            plan = plan_of(options, places.directory, places.state)
            console.print("starting the bench …")
            bench = await stack.enter_async_context(
                bench_up(plan, journal, clock, _nobody, live.fail)
            )
            await bench.import_manifest(cohort.manifest, cohort.content_type)
            target = await bench_target(options, bench, cohort.rows, places.private)
            await stack.enter_async_context(
                taps_on(bench, journal, clock, live, broker=options.taps)
            )
            if options.commands_per_s:
                lamps = [row.endpoint for row in cohort.rows if row.model == MODEL]
                control = partial(bench.http, "control")
                commander = Commander(lamps, options.commands_per_s, journal, clock, control)
        processes = _Processes(options, places, target, journal, clock, console, stop)
        await stack.enter_async_context(processes.up())
        if options.master_host:
            await processes.until_connected()
            # Nobody here hears when the test of a master elsewhere begins.
            stop.has_test = True
        await _commanded(commander, live, processes, stop)
        return Ended(processes.totals(), processes.exit_code, target.secrets())


async def _commanded(
    commander: Commander | None, live: Live, processes: _Processes, stop: _Stop
) -> None:
    """Let the test come to its end, with commands meanwhile if there are to be any."""
    if commander is None:
        await processes.until_over(live, stop)
        return
    posting = asyncio.create_task(commander.run(live.online, lambda: processes.is_testing))
    try:
        await processes.until_over(live, stop)
    finally:
        posting.cancel()
        await asyncio.wait({posting})
    if not posting.cancelled() and posting.exception() is not None:
        raise HarnessError(f"commands could not be posted: {posting.exception()}")
    await commander.conclude(_COMMANDS_END_WITHIN_S)


class _Processes:
    """The Locust master and workers of this machine."""

    def __init__(
        self,
        options: LoadOptions,
        places: Places,
        target: Target,
        journal: JournalFile,
        clock: Clock,
        console: Console,
        stop: _Stop,
    ) -> None:
        self._stop = stop
        self._options = options
        self._directory = places.directory
        self._private = places.private
        self._target = target
        self._journal = journal
        self._clock = clock
        self._console = console
        self._processes: dict[str, BenchProcess] = {}
        self._fleets: dict[str, psutil.Process] = {}
        self._failure = ""
        self._lost = asyncio.Event()
        self._watches: list[asyncio.Task[None]] = []
        self._shown = ""
        self.is_testing = False

    @property
    def exit_code(self) -> int:
        """Of the master, or, where it is elsewhere, the worst of the workers'.

        A process that was killed has none of its own: that is `EXIT_OTHER`.
        """
        judges = [self._processes[MASTER]] if MASTER in self._processes else self._workers()
        codes = (each.returncode or 0 for each in judges)
        return max(code if 0 <= code <= EXIT_OTHER else EXIT_OTHER for code in codes)

    def totals(self) -> Totals | None:
        """What Locust counted; None where the master is elsewhere. Raises `HarnessError`."""
        if MASTER not in self._processes:
            return None
        file = self._directory / TOTALS_FILE
        if not file.exists():
            master = self._processes[MASTER]
            why = self._failure or f"its master ended (code {master.returncode})"
            raise HarnessError(
                f"Locust ended before anything was counted: {why}; {master.last_words()}"
            )
        return msgspec.json.decode(file.read_bytes(), type=Totals)

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """The processes, while the block runs; a sampler of what they cost, too."""
        sampler = asyncio.create_task(self._sample_often())
        try:
            if not self._options.master_host:
                await self._start(MASTER, "instruments", "master", self._master_config())
                await self._processes[MASTER].until_ready(_MASTER_READY_WITHIN_S)
                self._tell_addresses()
            for number in range(self._options.workers):
                name = f"worker-{number + 1}"
                await self._start(f"locust-{name}", "instruments", "worker", self._worker(name))
                if MASTER in self._processes:
                    watch = self._watch(self._processes[f"locust-{name}"])
                    self._watches.append(asyncio.create_task(watch))
            yield
        finally:
            for task in (sampler, *self._watches):
                task.cancel()
            stops = (each.stop() for each in self._processes.values())
            for left in filter(None, await asyncio.gather(*stops)):
                self._console.out(left, style="yellow", highlight=False)

    async def until_connected(self) -> None:
        """Wait until a master elsewhere has the workers. Raises `BenchFailed` when it has not."""
        host, port = self._options.master_host, self._options.master_port
        self._console.print(f"connecting to the master at {host}:{port} …", highlight=False)
        await asyncio.gather(
            *(each.until_ready(_CONNECTS_WITHIN_S) for each in self._workers()),
        )

    async def until_over(self, live: Live, stop: _Stop) -> None:
        """Wait until the test has ended, by itself or by `stop`. Raises why the bench failed."""
        leaders = [self._processes[MASTER]] if MASTER in self._processes else self._workers()
        ends = asyncio.create_task(_until_ended(leaders))
        stopped = asyncio.create_task(stop.asked.wait())
        lost = asyncio.create_task(self._lost.wait())
        failure = asyncio.create_task(live.until("the bench fails", lambda: False, 1e9))
        try:
            waits: set[asyncio.Future[Any]] = {ends, stopped, lost, failure}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if failure.done():
                failure.result()
            if lost.done():
                raise HarnessError(self._failure)
            if not ends.done():
                for leader in leaders:
                    leader.tell({"end": {}})
                await asyncio.wait({ends}, timeout=SETTLE_WITHIN_S + _LOCUST_ENDS_WITHIN_S)
        finally:
            for task in (ends, stopped, lost, failure):
                task.cancel()
        # Workers hear of the end from their master: not from one that was killed.
        if all(each.returncode is None or each.returncode >= 0 for each in leaders):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOCUST_ENDS_WITHIN_S):
                    await _until_ended(self._workers())

    async def _watch(self, worker: BenchProcess) -> None:
        """Say it when a worker ends that should not have: its devices are gone with it."""
        code = await worker.until_ended()
        # When all is over, and when it gave a reason, there is nothing to add.
        if self._failure or (self._stop.has_test and not self.is_testing):
            return
        told = f"{worker.name} ended (code {code}): {worker.last_words()}"
        if self._stop.has_test:
            self._console.out(f"{told}. Its devices are gone", style="yellow", highlight=False)
        else:
            self._failure = told
            self._lost.set()

    def _workers(self) -> list[BenchProcess]:
        return [each for name, each in self._processes.items() if name != MASTER]

    async def _start(self, name: str, side: Side, role: str, config: msgspec.Struct) -> None:
        log = self._directory / "logs" / f"{name}.log"
        process = BenchProcess(name, side, ["-m", "harness.load", role], log, self._said)
        self._processes[name] = process
        await process.start()
        process.configure(msgspec.to_builtins(config))
        self._journal.record(
            ProcessStarted(at_ns=self._clock.now_ns(), process=name, side=side, pid=process.pid)
        )

    def _master_config(self) -> MasterConfig:
        journals = self._directory / "journal"
        observers = [journals / "server.jsonl", journals / "runner.jsonl"]
        return MasterConfig(
            arguments=master_arguments(self._options, self._directory, self._target.uri),
            expect_workers=self._options.wanted_workers,
            settle_within_s=SETTLE_WITHIN_S,
            totals_file=str(self._directory / TOTALS_FILE),
            bench_journals=tuple(map(str, observers)) if self._target.has_bench else (),
            fleet_journals_dir=str(journals) if self._target.has_bench else None,
        )

    def _worker(self, name: str) -> WorkerConfig:
        # A master that binds every interface is asked by the loopback one.
        host, port = self._options.master_host, self._options.master_port
        if MASTER in self._processes:
            host = _reachable(self._options.master_bind_host)
            # The port that was asked for may be 0, a free one.
            port = int(self._processes[MASTER].addresses["master"].rpartition(":")[2])
        return WorkerConfig(
            arguments=worker_arguments(self._options, host, port),
            devices_file=str(self._target.devices_file),
            state_dir=str(self._private),
            journal_dir=str(self._directory / "journal"),
            log_dir=str(self._directory / "logs"),
            name=name,
            fleet=self._target.fleet,
            settle_within_s=SETTLE_WITHIN_S,
        )

    def _tell_addresses(self) -> None:
        options = self._options
        if not options.headless:
            self._console.print(f"Locust's page: http://{options.web_host}:{options.web_port}")
        if options.wanted_workers > options.workers:
            missing = options.wanted_workers - options.workers
            port = self._processes[MASTER].addresses["master"].rpartition(":")[2]
            self._console.print(
                f"waiting for {missing} workers of other machines: lamplighter load --master-host "
                f"THIS_HOST --master-port {port} …"
            )

    def _said(self, name: str, message: Mapping[str, Any]) -> None:
        if "fleet" in message:
            fleet = f"fleet-{name.removeprefix('locust-')}"
            pid = message["fleet"]["pid"]
            with contextlib.suppress(psutil.Error):
                self._fleets[fleet] = psutil.Process(pid)
            self._journal.record(
                ProcessStarted(at_ns=self._clock.now_ns(), process=fleet, side="fleet", pid=pid)
            )
        elif "failed" in message:
            self._failure = str(message["failed"])
            self._console.out(self._failure, style="yellow", highlight=False)
        elif "testing" in message:
            self.is_testing = bool(message["testing"])
            self._stop.has_test = self._stop.has_test or self.is_testing
        elif "progress" in message:
            self._show(message["progress"])

    def _show(self, progress: Mapping[str, Any]) -> None:
        shown = "{users} users, {operations} operations ({failures} failed), {per_s}/s".format(
            **progress
        )
        if shown != self._shown and self._console.is_terminal:
            self._shown = shown
            self._console.print(shown, end="\r", highlight=False)

    async def _sample_often(self) -> None:
        while True:
            await asyncio.sleep(_SAMPLE_EVERY_S)
            found: list[tuple[str, Side, float, int]] = []
            for name, process in self._processes.items():
                found.append((name, process.side, *process.sample()))
            for name, fleet in self._fleets.items():
                with contextlib.suppress(psutil.Error), fleet.oneshot():
                    cpu, memory = fleet.cpu_times(), fleet.memory_info()
                    found.append((name, "fleet", cpu.user + cpu.system, memory.rss))
            for name, side, cpu_s, rss_bytes in found:
                if rss_bytes:
                    self._journal.record(
                        ProcessSample(
                            at_ns=self._clock.now_ns(),
                            process=name,
                            side=side,
                            cpu_s=cpu_s,
                            rss_bytes=rss_bytes,
                        )
                    )


async def _until_ended(processes: Iterable[BenchProcess]) -> None:
    await asyncio.gather(*(each.until_ended() for each in processes))


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("*", "0.0.0.0") else host  # compared, not bound


def _nobody(process: str, message: Mapping[str, Any]) -> None:
    """What the bench's processes say has no reader here."""


def _run_started(options: LoadOptions, directory: Path, clock: Clock) -> RunStarted:
    return RunStarted(
        at_ns=clock.now_ns(),
        run_id=directory.name,
        scenario=SCENARIO,
        seed=options.seed,
        devices=options.users,
        broker="" if options.server else options.broker,
        defect="",
        at_unix_us=clock.wall_us(),
        options={
            "figures_from": figures_from(options),
            "users": str(options.users),
            "spawn_rate_per_s": f"{options.spawn_rate_per_s:g}",
            "workers": str(options.wanted_workers),
            "run_time_s": str(run_time_s(options.run_time)),
            "locustfile": options.locustfile.name,
            "server": options.server or "bench",
            "security": options.security if not options.server else "by URL",
            "report_every_s": f"{options.reporting_interval_s():g}",
            "taps": "on" if options.taps and not options.server else "off",
            **parts_of(options),
        },
    )
