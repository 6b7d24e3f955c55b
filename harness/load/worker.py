"""A Locust worker: its users are devices of a fleet process beside it.

Users only switch devices on and off. What becomes of the devices is read from the fleet's journal
while it is written, so that Locust counts exactly what the journal says.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import gevent
import msgspec
from gevent.event import Event
from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from contracts.journal import Record
from fake_devices.fleet import DeviceLine
from fake_devices.fleet.config import read_devices
from harness.load.config import EARLIER, WorkerConfig
from harness.load.fleet_child import FleetChild
from harness.load.health import FleetHealth
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
from harness.load.operations import FleetOperations, Operation
from harness.load.roster import Roster
from harness.load.shares import (
    SHARE,
    SHARE_WANTED,
    IllegalMessage,
    devices_of,
    parse_share,
    share_wanted,
)
from runtime.component import say
from runtime.files import write_secret

# Locust spawns a whole second's users at once; their devices are spread over it.
SPREAD_S: Final = 1.0
_ASK_EVERY_S: Final = 1.0
_FAULTS_EVERY_S: Final = 5.0
_ATTRIBUTE: Final = "lamplighter_worker"
_log = logging.getLogger(__name__)


class DeviceFailure(Exception):
    """An operation of a device failed; the text says how."""


def worker_of(environment: Environment) -> Worker:
    """The worker that this process is. Raises `RuntimeError` where Locust was started alone."""
    found = getattr(environment, _ATTRIBUTE, None)
    if not isinstance(found, Worker):
        raise RuntimeError("devices need a fleet beside Locust: start it by `lamplighter load`")
    return found


def fire(operation: Operation) -> None:
    """Let Locust, and whoever listens to its events, count one operation."""
    failure = DeviceFailure(operation.failure) if operation.failure else None
    events.request.fire(
        request_type=operation.kind,
        name=operation.name,
        response_time=operation.milliseconds,
        response_length=0,
        exception=failure,
        context={},
    )


def install(config: WorkerConfig) -> None:
    """Have a worker made as soon as Locust is there. Raises `ConfigError` for its devices file."""
    devices = read_devices(Path(config.devices_file))

    def begin(environment: Environment, runner: Any, **_: object) -> None:
        assert isinstance(runner, WorkerRunner)
        worker = Worker(config, devices, environment, runner)
        setattr(environment, _ATTRIBUTE, worker)
        worker.begin()

    events.init.add_listener(begin)


class Worker:
    """What the process is beside a Locust worker."""

    def __init__(
        self,
        config: WorkerConfig,
        devices: Sequence[DeviceLine],
        environment: Environment,
        runner: WorkerRunner,
    ) -> None:
        self._config = config
        self._devices = devices
        self._environment = environment
        self._runner = runner
        self._has_share = Event()
        self._roster = Roster([])
        self._share: list[DeviceLine] = []
        self._first_address = 0
        self._fleet: FleetChild | None = None
        self._tests = 0
        self._operations = FleetOperations()
        self._health = FleetHealth()
        self._on: list[int] = []
        self._off: list[int] = []
        self._lacks_devices = False
        self._is_settling = False

    def begin(self) -> None:
        """Ask for the share, and listen."""
        self._runner.register_message(SHARE, self._share_given)
        self._runner.register_message(SETTLE, self._settle, concurrent=True)
        events.test_start.add_listener(self._test_started)
        events.report_to_master.add_listener(self._report)
        say({"ready": {}})
        gevent.spawn(self._ask)
        gevent.spawn(self._watch_health)

    # ---- what users want ----

    def switch_on(self, model: str | None) -> tuple[int, str] | None:
        """The position and the endpoint name of a device that is switched on now, None of none."""
        position = self._roster.take(model)
        if position is None:
            if not self._lacks_devices:
                self._lacks_devices = True
                _log.error(
                    "no %s is left of this worker's %d devices: use a larger devices file, or "
                    "fewer users",
                    model or "device",
                    len(self._roster),
                )
            return None
        self._flush_later()
        self._on.append(position)
        return position, self._share[position].endpoint

    def switch_off(self, position: int) -> None:
        """Switch a device off that a user had."""
        self._flush_later()
        self._off.append(position)
        self._roster.give_back(position)

    def _flush_later(self) -> None:
        # Users that Locust spawns or stops together become one command.
        if not self._on and not self._off:
            gevent.spawn(self._flush)

    def _flush(self) -> None:
        switched_on, self._on = self._on, []
        switched_off, self._off = self._off, []
        if self._fleet is None:
            return
        if switched_off:
            self._fleet.tell({"switch_off": {"positions": switched_off}})
        if switched_on:
            over_s = SPREAD_S if len(switched_on) > 1 else 0.0
            self._fleet.tell({"switch_on": {"positions": switched_on, "over_s": over_s}})

    # ---- share and fleet ----

    def _ask(self) -> None:
        wanted = share_wanted(device.endpoint for device in self._devices)
        # The master may not listen yet; asking twice is harmless.
        while not self._has_share.is_set():
            self._runner.send_message(SHARE_WANTED, {"digests": wanted.digests})
            self._has_share.wait(_ASK_EVERY_S)

    def _share_given(self, environment: Environment, msg: Any, **_: object) -> None:
        if self._has_share.is_set():
            return
        try:
            share = parse_share(msg.data)
        except IllegalMessage as error:
            _log.warning("the master's message is ignored: %s", error)
            return
        self._has_share.set()
        if share.refused:
            self._fail(share.refused)
            return
        self._share = devices_of(self._devices, share)
        # On loopback, where a device has an address of its own, no two of a machine have the same.
        self._first_address = share.index * -(-len(self._devices) // share.of)
        file = Path(self._config.state_dir) / f"{self._config.name}.ndjson"
        write_secret(file, b"\n".join(msgspec.json.encode(device) for device in self._share))
        self._start_fleet()

    def _start_fleet(self) -> None:
        config = self._config
        self._roster = Roster([device.model for device in self._share])
        self._operations, self._health = FleetOperations(), FleetHealth()
        self._lacks_devices = self._is_settling = False
        self._tests += 1
        # The test's number last, and worker-1's files are not taken for worker-11's.
        name = f"fleet-{config.name}" + (f".{self._tests}" if self._tests > 1 else "")
        self._fleet = FleetChild(
            {
                **config.fleet,
                "devices_file": str(Path(config.state_dir) / f"{config.name}.ndjson"),
                "process": f"fleet-{config.name}",
                "first_address": self._first_address,
            },
            Path(config.journal_dir) / f"{name}.jsonl",
            Path(config.log_dir) / f"{name}.log",
            self._take,
            name,
        )
        gevent.spawn(self._watch, self._fleet)

    def _watch(self, fleet: FleetChild) -> None:
        gevent.wait([fleet.ready, fleet.ended], count=1)
        if fleet.ready.is_set() and not fleet.ended.is_set():
            _log.info("%d devices are ready to be switched on", len(self._share))
            say({"fleet": {"pid": fleet.pid}})
            self._send(READY, Ready(len(self._share), self._roster.models))
        fleet.ended.wait()
        if not self._is_settling:
            self._fail(f"its fleet process ended: {fleet.last_words()}")

    def _test_started(self, **_: object) -> None:
        journals = Path(self._config.journal_dir)
        earlier = journals / EARLIER
        for journal in journals.glob(f"fleet-{self._config.name}.*jsonl"):
            earlier.mkdir(exist_ok=True)
            journal.rename(earlier / journal.name)
        if self._fleet is not None:
            self._fleet.keep_journal()

    # ---- what the fleet recorded ----

    def _take(self, records: Sequence[Record]) -> None:
        for record in records:
            for operation in self._health.take(record):
                fire(operation)
            for operation in self._operations.take(record):
                fire(operation)

    def _watch_health(self) -> None:
        while True:
            gevent.sleep(_FAULTS_EVERY_S)
            self._tell_faults()

    def _tell_faults(self) -> None:
        for fault in self._health.new_faults():
            _log.warning(
                "SATURATED: the fleet of this worker does not keep its schedule: %s. Latencies of "
                "this test are void; use more workers, or machines.",
                fault,
            )

    def _report(self, client_id: str, data: dict[str, Any]) -> None:
        data[FIGURES] = msgspec.to_builtins(self._health.figures(self._config.name))

    def _settle(self, environment: Environment, msg: Any, **_: object) -> None:
        """Bring the fleet to rest and count what it recorded to the last line."""
        settle = parse_message(msg.data, Settle)
        fleet = self._fleet
        if fleet is None or self._is_settling:
            return
        self._is_settling = True
        within_s = self._config.settle_within_s
        fleet.end(within_s / 2, within_s / 2)
        self._tell_faults()
        # Before the word that all is counted, on the same connection.
        self._runner._send_stats()
        self._send(SETTLED, Settled(self._health.figures(self._config.name)))
        if settle.again:
            self._start_fleet()

    def _fail(self, reason: str) -> None:
        _log.error("this worker has no fleet: %s", reason)
        self._send(FAILED, Failed(f"{self._config.name}: {reason}"))

    def _send(self, kind: str, message: msgspec.Struct) -> None:
        self._runner.send_message(kind, msgspec.to_builtins(message))
