"""One run of a scenario: the verbs that a story uses, and what happens around it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from contracts.api import (
    FINAL_COMMAND_STATES,
    CommandRecord,
    CommandRequest,
    ImportJob,
    IngestionCounts,
    RowErrors,
)
from contracts.data_interface import Value
from contracts.journal import (
    CommandConcluded,
    CommandIssued,
    ImportEnded,
    Note,
    PhaseBegan,
)
from contracts.manifest import ManifestRow
from fake_devices.devices import MODELS
from harness.bench import configs
from harness.bench.bench import Bench, tap_identity
from harness.runner.cohort import Cohort
from harness.runner.live import Live, NotReached
from harness.runner.progress import Progress
from harness.runner.scenario import RunOptions
from harness.taps import BrokerTap, ProcessTap, StoreTap
from mqtt.transport.client import MqttClient, client_tls
from runtime.clock import Clock
from runtime.http_client import HttpClient
from runtime.journal import JournalSink

DEVICES_PER_S = 50.0
COMMAND_EXPIRES_S = 60.0
# Longer than a device that has to register again takes, shorter than CoAP's own patience.
PATIENCE_S = 25.0
FLEET_ENDS_WITHIN_S = 10.0
TAP_CONNECTS_WITHIN_S = 5.0
LARGE_RUN_DEVICES = 1_000
LARGE_RUN_TELEMETRY_S = 62.0
# In reporting intervals after a device's first connection.
INCIDENT_BEGINS_AFTER = 2.5
INCIDENT_ENDS_AFTER = 5.5
SERVER_POINTS = frozenset({"credentials_received_not_written", "command_sent_no_outcome"})


class Run:
    """What a story holds: the bench, the rows it is about, live conditions, and its verbs."""

    def __init__(
        self,
        options: RunOptions,
        bench: Bench,
        cohort: Cohort,
        journal: JournalSink,
        clock: Clock,
        live: Live,
        progress: Progress,
    ) -> None:
        self.options = options
        self.bench = bench
        self.rows = cohort.rows
        self._cohort = cohort
        self.journal = journal
        self.clock = clock
        self.live = live
        self._progress = progress
        self._rate_per_s = options.rate_per_s or DEVICES_PER_S

    # ---- what it is about ----

    @property
    def report_every_s(self) -> float:
        """Seconds between two packs of one device."""
        return self.options.reporting_interval_s(len(self.rows))

    @property
    def command_rate_per_s(self) -> float:
        """Commands posted per second: as fast as devices were switched on, 100 at most."""
        return min(100.0, self._rate_per_s)

    def lamps(self) -> list[str]:
        """The endpoints of all street lamps."""
        return [row.endpoint for row in self.rows if row.model == "street_lamp"]

    def models(self) -> int:
        """How many models there are among the devices."""
        return len({row.model for row in self.rows})

    def telemetry_left_s(self, began_s: float) -> float:
        """How long telemetry has to go on so that it lasts as long as the options ask."""
        wanted = self.options.telemetry_s
        if wanted is None:
            wanted = LARGE_RUN_TELEMETRY_S if len(self.rows) >= LARGE_RUN_DEVICES else 0.0
        return max(0.0, wanted - (self.clock.now_ns() / 1e9 - began_s))

    # ---- verbs ----

    def begin(self, phase: str) -> None:
        """Say that the story has come to its next part."""
        self.journal.record(PhaseBegan(at_ns=self.clock.now_ns(), phase=phase))
        self._progress.phase(phase, self.live)

    def note(self, name: str, *, endpoint: str = "", value: float = 0.0, text: str = "") -> None:
        """Record a fact that a check needs."""
        self.journal.record(
            Note(at_ns=self.clock.now_ns(), name=name, endpoint=endpoint, value=value, text=text)
        )

    async def provision_rows(self) -> ImportJob:
        """Import the manifest of the run's devices."""
        return await self.provision(self._cohort.manifest, self._cohort.content_type)

    async def start_fleet(
        self,
        rows: Sequence[ManifestRow] | None = None,
        *,
        with_demonstration_incidents: bool = False,
    ) -> None:
        """Build the simulated devices (all rows by default); `switch_on` starts them."""
        chosen = self.rows if rows is None else rows
        incidents = self._demonstration_incidents(chosen) if with_demonstration_incidents else []
        credentials = await self.bench.device_credentials(chosen)
        config = configs.fleet(self.bench, chosen, self.options, incidents, credentials)
        await self.bench.start_fleet(config)

    async def provision(self, manifest: bytes, content_type: str = "text/csv") -> ImportJob:
        """Import a manifest and wait until the job has finished. Raises `HarnessError`."""
        self.begin("provisioning")
        began_ns = self.clock.now_ns()
        job = await self.bench.import_manifest(manifest, content_type)
        client = self.bench.http("provisioning")
        errors = await client.get(f"/v1/imports/{job.id}/errors?limit=100", RowErrors)
        self.journal.record(
            ImportEnded(
                at_ns=self.clock.now_ns(),
                rows=job.rows,
                accepted=job.accepted,
                rejected=job.rejected,
                duration_s=(self.clock.now_ns() - began_ns) / 1e9,
                reasons=[(error.row, error.field, error.reason) for error in errors.errors],
            )
        )
        await client.close()
        return job

    def switch_on(self, *, rate_per_s: float = DEVICES_PER_S) -> None:
        """Let the fleet start its devices open-loop: as the user asks, else at `rate_per_s`."""
        self.begin("onboarding")
        self._rate_per_s = self.options.rate_per_s or rate_per_s
        self._tell_fleet({"start": {"rate_per_s": self._rate_per_s}})

    async def until_registered(self, count: int, *, within_s: float = 60.0) -> None:
        """Wait until the fleet says that `count` devices are registered."""
        await self._reach(
            f"{count} devices registered", lambda: self.live.registered >= count, within_s
        )

    async def until_online(self, expected: int | None = None) -> bool:
        """Wait until the first reading of every device is stored; whether it was.

        Gives up, and says so, when nobody has come online for `PATIENCE_S` after the last device
        was to be switched on.
        """
        wanted = len(self.rows) if expected is None else expected
        patience_s = len(self.rows) / self._rate_per_s + PATIENCE_S
        while (online := len(self.live.online)) < wanted:
            try:
                await self.live.until(
                    "one more device online",
                    lambda: len(self.live.online) > online,
                    patience_s,
                )
            except NotReached:
                self._give_up(f"{online} of {wanted} devices came online")
                return False
            patience_s = PATIENCE_S
        return True

    async def let_telemetry_flow(self, seconds: float, *, phase: str = "telemetry") -> None:
        """Let devices report for `seconds`."""
        self.begin(phase)
        await asyncio.sleep(seconds)

    async def until_alarms(self, models: int, *, within_s: float) -> None:
        """Wait until as many kinds of alarm have been raised and cleared as there are models."""
        await self._reach(
            f"{models} kinds of alarm raised and cleared",
            lambda: len({alarm for alarm, raised in self.live.alarms if not raised}) >= models,
            within_s,
        )

    async def until_readings(self, count: int, *, within_s: float) -> None:
        """Wait until every reported path of every device that is online has `count` readings."""
        await self._reach(
            f"{count} readings per stream",
            lambda: bool(self.live.readings) and min(self.live.readings.values()) >= count,
            within_s,
        )

    async def dim(
        self, lamps: Iterable[str], level: int, *, rate_per_s: float
    ) -> list[CommandRecord]:
        """Post one dim command to each lamp, open-loop, and wait for every final state."""
        self.begin("commands")
        client = self.bench.http("control")
        began_ns = self.clock.now_ns()
        waits = []
        for number, endpoint in enumerate(lamps):
            intended_ns = began_ns + int(number / rate_per_s * 1e9)
            await asyncio.sleep(max(0.0, (intended_ns - self.clock.now_ns()) / 1e9))
            waits.append(await self._post_dim(client, endpoint, level, intended_ns))
        ended = await self._conclude(client, waits)
        await client.close()
        return ended

    async def until_lamps_follow(
        self, lamps: Sequence[str], level: int, *, within_s: float
    ) -> None:
        """Wait until the latest stored dimming level of each lamp is the commanded one."""
        wanted = level / 100
        await self._reach(
            f"every lamp reports {level} %",
            lambda: all(
                abs(float(self.live.latest.get((lamp, "/3416/0/3"), -1)) - wanted) < 1e-9
                for lamp in lamps
            ),
            within_s,
        )

    async def drain(self, within_s: float = 15.0) -> None:
        """Stop new readings and wait until what was acknowledged is stored."""
        self.begin("drain")
        self._tell_fleet({"quiesce": {"within_s": within_s}})
        await self._reach(
            "the fleet is quiet", lambda: self.live.unacknowledged is not None, within_s + 2
        )
        client = self.bench.http("ingestion")
        due_ns = self.clock.now_ns() + int(within_s * 1e9)
        while (counts := await client.get("/v1/counts", IngestionCounts)).backlog:
            if self.clock.now_ns() > due_ns:
                self._give_up(f"ingestion has {counts.backlog} packs to store after {within_s:g} s")
                break
            await asyncio.sleep(0.05)
        await client.close()
        await self._reach(
            "the store tap has seen every commit",
            lambda: self.live.stored >= counts.stored,
            within_s,
        )

    async def end_fleet(self) -> None:
        """Let the fleet write down how each device ended, and end."""
        fleet = self.bench.processes["fleet"]
        fleet.is_wanted = False
        self._tell_fleet({"end": {}})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLEET_ENDS_WITHIN_S):
                await fleet.until_ended()

    async def kill_at(self, point: str, occurrence: int, target: str, *, within_s: float) -> bool:
        """Hold `target` still at a named point, SIGKILL it there, and bring it back.

        `occurrence` counts from now. Returns whether the point was reached.
        """
        holder = self.bench.processes["server" if point in SERVER_POINTS else "broker"]
        seen = len(self.live.gates)
        holder.tell({"arm": {"point": point, "occurrence": occurrence}})
        reached = await self._reach(
            f"{point} number {occurrence}", lambda: len(self.live.gates) > seen, within_s
        )
        if reached:
            endpoint = str(self.live.gates[-1].get("endpoint", ""))
            self.bench.kill(target, point, endpoint)
            await self.bench.restart(target)
        if holder.name != target:
            holder.tell({"release": point})
        return reached

    # ---- inside ----

    def _demonstration_incidents(self, rows: Sequence[ManifestRow]) -> list[dict[str, Any]]:
        """For the first device of each model: its own kind of incident, begun and ended."""
        first = {row.model: row for row in reversed(rows)}
        return [
            {
                "endpoint": row.endpoint,
                "kind": MODELS[model].demonstration_incident,
                "begins_after_s": INCIDENT_BEGINS_AFTER * self.report_every_s,
                "ends_after_s": INCIDENT_ENDS_AFTER * self.report_every_s,
            }
            for model, row in sorted(first.items())
        ]

    async def _reach(self, claim: str, condition: Callable[[], bool], within_s: float) -> bool:
        try:
            await self.live.until(claim, condition, within_s)
        except NotReached as error:
            self._give_up(str(error))
            return False
        return True

    def _give_up(self, text: str) -> None:
        """The checks judge, from the journal; the story goes on so that there is one."""
        self.note("not_reached", text=text)
        self._progress.warn(text)

    def _tell_fleet(self, message: Mapping[str, Any]) -> None:
        self.bench.processes["fleet"].tell(message)

    async def _post_dim(
        self, client: HttpClient, endpoint: str, level: int, intended_ns: int
    ) -> CommandRecord:
        record = await client.post(
            f"/v1/devices/{endpoint}/commands",
            CommandRequest(
                operation="write",
                path="/3416/0/1",
                values=[Value(path="/3416/0/1", type="integer", value=level)],
                expires_in_s=COMMAND_EXPIRES_S,
            ),
            CommandRecord,
        )
        self.journal.record(
            CommandIssued(
                at_ns=self.clock.now_ns(),
                id=record.id,
                endpoint=endpoint,
                path=record.path,
                intended_at_ns=intended_ns,
                value=level,
            )
        )
        return record

    async def _conclude(
        self, client: HttpClient, issued: Sequence[CommandRecord]
    ) -> list[CommandRecord]:
        ended = []
        for record in issued:
            while record.state not in FINAL_COMMAND_STATES:
                record = await client.get(f"/v1/commands/{record.id}", CommandRecord)
                if record.state not in FINAL_COMMAND_STATES:
                    await asyncio.sleep(0.05)
            outcome = record.outcome
            self.journal.record(
                CommandConcluded(
                    at_ns=self.clock.now_ns(),
                    id=record.id,
                    endpoint=record.endpoint,
                    state=record.state,
                    code=(outcome.code or "") if outcome else "",
                )
            )
            ended.append(record)
        return ended


@contextlib.asynccontextmanager
async def taps_on(
    bench: Bench, journal: JournalSink, clock: Clock, live: Live, *, broker: bool
) -> AsyncIterator[None]:
    """The instruments, running while the block runs."""
    store = StoreTap(bench.http("ingestion"), journal, clock, live.feed_seen)
    processes = ProcessTap(lambda: bench.processes.values(), journal, clock)
    tasks = [asyncio.create_task(store.run()), asyncio.create_task(processes.run())]
    try:
        if broker:
            tap = BrokerTap(bench.plan.topics, journal, clock, live.message_seen)
            client = _broker_tap_client(bench, tap, clock)
            tasks.append(asyncio.create_task(client.run()))
            async with asyncio.timeout(TAP_CONNECTS_WITHIN_S):
                await client.connected.wait()
        yield
    finally:
        processes.sample()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _broker_tap_client(bench: Bench, tap: BrokerTap, clock: Clock) -> MqttClient:
    host, _, port = bench.address("broker", "mqtt").rpartition(":")
    files = configs.client_files(bench.plan, tap_identity())
    draw = random.Random(0)  # spreads reconnects only
    return MqttClient(
        client_id=tap_identity(),
        address=(host, int(port)),
        tls=client_tls(files["ca_file"], files["certificate_file"], files["key_file"]),
        clock=clock,
        chance=draw.random,
        subscriptions=[(topic_filter, 0) for topic_filter in tap.filters],
        on_message=tap.receive,
    )
