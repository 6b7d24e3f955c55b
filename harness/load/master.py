"""The Locust master of a load: gives shares, waits for fleets, and writes the totals.

Where the bench runs on the same machine, it also follows the journals of the bench's own observers,
and so shows stages that no device can know of, such as that a first reading is stored.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gevent
import msgspec
from gevent.event import Event
from gevent.fileobject import FileObject
from locust import events
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner
from locust.stats import CSV_STATS_INTERVAL_SEC

from contracts.journal import DeviceStarted, Record
from harness.load.config import Entry, Figures, MasterConfig, Totals
from harness.load.messages import (
    FAILED,
    FIGURES,
    READY,
    SETTLE,
    SETTLED,
    Failed,
    Ready,
    Settle,
    Settled,
    parse_message,
)
from harness.load.operations import BenchOperations, Operation
from harness.load.shares import SHARE, SHARE_WANTED, IllegalMessage, ShareBook, parse_share_wanted
from harness.load.tail import JournalTail
from harness.load.worker import fire
from runtime.component import say
from runtime.files import write_atomically

EXIT_OTHER: Final = 3
READY_WITHIN_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.2
_COMMANDS_END_WITHIN_S: Final = 1.0
_PROGRESS_EVERY_S: Final = 1.0
_STARTED: Final = b'{"k":"device_started"'
_log = logging.getLogger(__name__)


def install(config: MasterConfig) -> None:
    """Have a master made as soon as Locust is there."""

    def begin(environment: Environment, runner: Any, web_ui: Any, **_: object) -> None:
        assert isinstance(runner, MasterRunner)
        Master(config, environment, runner, web_ui).begin()

    events.init.add_listener(begin)


class Master:
    """What the process is beside a Locust master."""

    def __init__(
        self, config: MasterConfig, environment: Environment, runner: MasterRunner, web_ui: Any
    ) -> None:
        self._config = config
        self._environment = environment
        self._runner = runner
        self._web_ui = web_ui
        self._shares = ShareBook(config.expect_workers)
        self._ready: dict[str, Ready] = {}
        self._settled: dict[str, Figures] = {}
        self._figures: dict[str, Figures] = {}
        self._missing = 0
        self._changed = Event()
        self._is_settling = False
        self._is_over = False
        self._observers = _Observers(config)

    def begin(self) -> None:
        """Listen; without a page, wait until every fleet can begin."""
        for kind, listener in (
            (SHARE_WANTED, self._share_wanted),
            (READY, self._worker_ready),
            (SETTLED, self._worker_settled),
            (FAILED, self._worker_failed),
        ):
            self._runner.register_message(kind, listener)
        events.worker_report.add_listener(self._report)
        events.test_start.add_listener(self._test_started)
        events.test_stopping.add_listener(self._test_stopping)
        events.quit.add_listener(self._write_totals)
        gevent.spawn(self._obey)
        gevent.spawn(self._tell_progress)
        gevent.spawn(self._observers.follow)
        say({"ready": {"master": f"{self._runner.master_bind_host}:{self._runner.server.port}"}})
        if self._web_ui is None:
            # Locust's own --run-time begins after this.
            self._until_ready()

    # ---- before a test ----

    def _share_wanted(self, environment: Environment, msg: Any, **_: object) -> None:
        try:
            wanted = parse_share_wanted(msg.data)
        except IllegalMessage as error:
            _log.warning("a message of worker %s is ignored: %s", msg.node_id, error)
            return
        for worker, share in self._shares.ask(msg.node_id, wanted).items():
            self._runner.send_message(SHARE, msgspec.to_builtins(share), worker)

    def _worker_ready(self, environment: Environment, msg: Any, **_: object) -> None:
        self._note(msg, Ready, self._ready.__setitem__)

    def _until_ready(self) -> None:
        expected = self._config.expect_workers
        self._wait(lambda: self._is_over or len(self._ready) >= expected, READY_WITHIN_S)
        if self._is_over:
            return
        if len(self._ready) < expected:
            self._give_up(
                f"{len(self._ready)} of {expected} workers had their devices ready within "
                f"{READY_WITHIN_S:g} s: see --expect-workers, and the logs of the workers"
            )
            return
        devices = sum(ready.devices for ready in self._ready.values())
        _log.info("%d workers have %d devices ready", len(self._ready), devices)

    def _test_started(self, **_: object) -> None:
        self._until_ready()
        self._settled.clear()
        self._figures.clear()
        self._observers.restart()
        say({"testing": True})

    # ---- after a test ----

    def _test_stopping(self, **_: object) -> None:
        """Let all fleets come to rest and be counted, before Locust stops its users."""
        if self._is_settling:
            return
        self._is_settling = True
        workers = set(self._ready)
        again = self._web_ui is not None and not self._is_over
        say({"testing": False})
        if self._config.bench_journals:
            # Commands under way find their devices still there.
            gevent.sleep(_COMMANDS_END_WITHIN_S)
        self._ready.clear()
        self._runner.send_message(SETTLE, msgspec.to_builtins(Settle(again)))
        # Who is gone is not waited for.
        self._wait(
            lambda: not (workers - self._settled.keys()) & self._heard(),
            self._config.settle_within_s + READY_WITHIN_S,
        )
        self._missing = len(workers - self._settled.keys())
        if self._missing:
            _log.error(
                "%d of %d workers did not count to the end: totals are too low",
                self._missing,
                len(workers),
            )
        self._figures.update(self._settled)
        self._observers.read()
        self._judge_load()
        # Locust writes its CSV files once a second, and not at the end.
        gevent.sleep(CSV_STATS_INTERVAL_SEC + _LOOK_EVERY_S)
        self._is_settling = False

    def _heard(self) -> set[str]:
        """The workers that Locust still hears of; those that it does not it calls missing."""
        return {client.id for client in self._runner.clients.all if client.state != STATE_MISSING}

    def _worker_settled(self, environment: Environment, msg: Any, **_: object) -> None:
        self._note(
            msg, Settled, lambda worker, said: self._settled.__setitem__(worker, said.figures)
        )

    def _worker_failed(self, environment: Environment, msg: Any, **_: object) -> None:
        self._note(msg, Failed, lambda worker, said: self._give_up(f"worker {said.reason}"))

    def _report(self, client_id: str, data: dict[str, Any]) -> None:
        if FIGURES in data:
            self._figures[client_id] = parse_message(data[FIGURES], Figures)

    def _judge_load(self) -> None:
        faults = [
            f"{figures.worker}: {fault}"
            for figures in self._figures.values()
            for fault in figures.faults
        ]
        for fault in faults:
            _log.warning("SATURATED: %s: latencies of this test are void", fault)
        if faults or self._missing:
            self._environment.process_exit_code = EXIT_OTHER

    def _write_totals(self, **_: object) -> None:
        self._observers.close()
        totals = totals_of(self._runner, list(self._figures.values()), self._missing)
        write_atomically(Path(self._config.totals_file), msgspec.json.encode(totals))

    # ---- the starter, and the end ----

    def _obey(self) -> None:
        """The starter's one command is to end; its own end is one too."""
        stdin = FileObject(sys.stdin.fileno(), "rb", close=False)
        stdin.readline()
        self._quit()

    def _give_up(self, reason: str) -> None:
        _log.error("%s", reason)
        say({"failed": reason})
        self._environment.process_exit_code = EXIT_OTHER
        gevent.spawn(self._quit)

    def _quit(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._changed.set()
            self._runner.quit()
            if self._web_ui is not None:
                self._web_ui.stop()

    def _tell_progress(self) -> None:
        while True:
            gevent.sleep(_PROGRESS_EVERY_S)
            total = self._runner.stats.total
            say(
                {
                    "progress": {
                        "users": self._runner.user_count,
                        "operations": total.num_requests,
                        "failures": total.num_failures,
                        "per_s": round(total.current_rps, 1),
                        "state": self._runner.state,
                    }
                }
            )

    def _note(self, msg: Any, kind: type[Any], take: Callable[[str, Any], None]) -> None:
        try:
            take(msg.node_id, parse_message(msg.data, kind))
        except IllegalMessage as error:
            _log.warning("a message of worker %s is ignored: %s", msg.node_id, error)
        self._changed.set()

    def _wait(self, condition: Callable[[], bool], within_s: float) -> None:
        with gevent.Timeout(within_s, False):
            while not condition():
                # Locust tells nobody that a worker is missing.
                self._changed.wait(_LOOK_EVERY_S)
                self._changed.clear()


class _Observers:
    """Follows the journals of the bench's own observers."""

    def __init__(self, config: MasterConfig) -> None:
        self._operations = BenchOperations()
        self._tails = [JournalTail(Path(name)) for name in config.bench_journals]
        self._directory = config.fleet_journals_dir
        self._fleets: dict[str, JournalTail] = {}

    def follow(self) -> None:
        while self._tails:
            self.read()
            gevent.sleep(_LOOK_EVERY_S)

    def restart(self) -> None:
        self._operations = BenchOperations()

    def read(self) -> None:
        for name in self._new_fleets():
            # Of the fleets only who was switched on, and when it was meant to be.
            self._fleets[name] = JournalTail(Path(name), prefix=_STARTED)
        for tail in self._fleets.values():
            self._read(tail, self._started)
        for tail in self._tails:
            self._read(tail, self._observed)

    def close(self) -> None:
        for tail in (*self._tails, *self._fleets.values()):
            tail.close()

    def _new_fleets(self) -> list[str]:
        if self._directory is None or not self._tails:
            return []
        files = sorted(Path(self._directory).glob("fleet-*.jsonl"))
        return [str(file) for file in files if str(file) not in self._fleets]

    def _read(self, tail: JournalTail, take: Callable[[Record], None]) -> None:
        while (records := tail.read()) is not None:
            for record in records:
                take(record)
            gevent.sleep(0)

    def _started(self, record: Record) -> None:
        assert isinstance(record, DeviceStarted)
        self._fire(list(self._operations.started(record)))

    def _observed(self, record: Record) -> None:
        self._fire(list(self._operations.take(record)))

    def _fire(self, operations: list[Operation]) -> None:
        for operation in operations:
            fire(operation)


def totals_of(runner: MasterRunner, figures: list[Figures], missing: int) -> Totals:
    """Locust's statistics as values."""
    stats = runner.stats
    entries = [
        Entry(
            kind=entry.method,
            name=entry.name,
            count=entry.num_requests,
            failures=entry.num_failures,
            latencies={f"{ms:g}": count for ms, count in sorted(entry.response_times.items())},
            max_ms=None if entry.min_response_time is None else entry.max_response_time,
            per_s={str(second): n for second, n in sorted(entry.num_reqs_per_sec.items())},
        )
        for entry in stats.entries.values()
    ]
    return Totals(
        entries=sorted(entries, key=lambda entry: (entry.kind, entry.name)),
        figures=sorted(figures, key=lambda each: each.worker),
        errors={
            f"{error.method} {error.name}: {error.error}": error.occurrences
            for error in stats.errors.values()
        },
        workers_missing=missing,
        began_at_unix_s=stats.total.start_time or 0.0,
        ended_at_unix_s=stats.total.last_request_timestamp or 0.0,
    )
