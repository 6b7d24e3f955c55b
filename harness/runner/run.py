"""One run of a scenario: the verbs that a story uses, and what happens around it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
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
from contracts.load import LoadAsked, LoadPlanned
from contracts.manifest import ManifestRow
from contracts.schedule import ScheduleReader
from fake_devices.devices import MODELS
from fake_devices.load_profiles import KINDS, LoadProfile
from harness.bench import configs
from harness.bench.bench import READY_WITHIN_S, Bench
from harness.runner.cohort import Cohort
from harness.runner.live import Live, NotReached
from harness.runner.offering import COMMAND_EXPIRES_S, COMMANDS_END_WITHIN_S, CommandOffering
from harness.runner.progress import Progress
from harness.runner.scenario import RunOptions
from runtime.clock import Clock
from runtime.http_client import HttpClient
from runtime.journal import JournalSink

DEVICES_PER_S = 50.0
# No claim of a scenario: what takes a healthy machine a moment may take one that is slow, or busy
# with others, most of a minute.
PATIENCE_S = 60.0
# For each device more, where something has to be done for all of them one after the other.
PATIENCE_S_A_DEVICE = 0.01
# What a defect breaks on purpose never comes: longer than a device that registers again takes.
DEFECT_PATIENCE_S = 20.0
FLEET_ENDS_WITHIN_S = 60.0
START_LEAD_NS = 100_000_000
SCHEDULE_ENDS_S = 0.5
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
        self._profile = options.profile
        self._schedule_file: Path | None = None
        self._began_ns = 0
        self._offering: asyncio.Task[None] | None = None

    # ---- what it is about ----

    @property
    def report_every_s(self) -> float:
        """Seconds between two packs of one device."""
        return self.options.reporting_interval_s(len(self.rows))

    @property
    def patience_s(self) -> float:
        """How long a story waits for what is due now, before it goes on without."""
        if self.options.defect is not None:
            return DEFECT_PATIENCE_S
        return PATIENCE_S + PATIENCE_S_A_DEVICE * len(self.rows)

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
        now_s = self.clock.now_ns() / 1e9
        return max(0.0, wanted - (now_s - began_s), self.load_ends_s - now_s)

    @property
    def load_ends_s(self) -> float:
        """When the load profile is over, monotonic seconds; 0 without one."""
        return 0.0 if self._profile is None else self._began_ns / 1e9 + self._profile.duration_s

    def arrivals_take_s(self) -> float:
        """From the first device that is switched on to the last, as intended."""
        if self._profile is not None and self._profile.registrations:
            return self._profile.ends_s("registrations")
        return len(self.rows) / self._rate_per_s

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
        profile: LoadProfile | None = None,
        schedule_file: Path | None = None,
        within_s: float = READY_WITHIN_S,
        own_keys: Mapping[str, str] | None = None,
    ) -> None:
        """Build the simulated devices (all rows by default); `switch_on` starts them.

        They follow the user's load profile or, without one, the story's, and with
        `follow_schedule` a schedule. `own_keys` are files of MQTT keys that devices keep.
        """
        chosen = self.rows if rows is None else rows
        incidents = self._demonstration_incidents(chosen) if with_demonstration_incidents else []
        credentials = dict(await self.bench.device_credentials(chosen))
        for endpoint, file in (own_keys or {}).items():
            credentials[endpoint] = {**credentials.get(endpoint, {}), "mqtt_key": file}
        self._profile = self._profile or profile
        self._schedule_file = schedule_file
        await self.bench.start_fleets(
            configs.fleets(
                self.bench,
                chosen,
                self.options,
                incidents,
                credentials,
                profile=self._profile,
                schedule_file=schedule_file,
            ),
            within_s,
        )

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
        """Let the fleet start its devices open-loop: as the user asks, else at `rate_per_s`.

        A load profile begins now, with everything in it.
        """
        self.begin("onboarding")
        # Several processes hear of it one after the other; they begin together.
        lead_ns = 0 if len(self.bench.fleets) == 1 else START_LEAD_NS
        self._began_ns = self.clock.now_ns() + lead_ns
        # Each of several starts its share of the devices.
        self._rate_per_s = self.options.rate_per_s or rate_per_s
        own_per_s = self._rate_per_s / len(self.bench.fleets)
        self.journal.record(self._planned())
        self._tell_fleet({"start": {"rate_per_s": own_per_s, "began_ns": self._began_ns}})
        if self._profile is not None and self._profile.commands:
            self._offering = asyncio.create_task(self._offer_commands(self._profile))

    async def follow_schedule(self) -> None:
        """Have the fleet follow the schedule of `start_fleet`, and wait until it is over."""
        assert self._schedule_file is not None
        with self._schedule_file.open("rb") as lines:
            header = ScheduleReader(lines, str(self._schedule_file)).header
        self.begin("schedule")
        self._tell_fleet({"follow": {"began_ns": self.clock.now_ns() + START_LEAD_NS}})
        # To its very end: what is due then is issued by a loop that may be late.
        await self.let_pass(START_LEAD_NS / 1e9 + header.duration_s + SCHEDULE_ENDS_S)

    @property
    def began_ns(self) -> int:
        """When the load began: what its times count from; 0 before."""
        return self._began_ns

    async def until_registered(self, count: int, *, within_s: float | None = None) -> None:
        """Wait until the fleet says that so many are registered, in `patience_s` by default."""
        within_s = self.patience_s if within_s is None else within_s
        await self.reach(
            f"{count} devices registered", lambda: self.live.registered >= count, within_s
        )

    async def until_online(self, expected: int | None = None) -> bool:
        """Wait until the first reading of every device is stored; whether it was.

        Gives up, and says so, when nobody has come online for `patience_s` after the last device
        was to be switched on.
        """
        wanted = len(self.rows) if expected is None else expected
        patience_s = self.arrivals_take_s() + self.patience_s
        while (online := len(self.live.online)) < wanted:
            try:
                await self.live.until(
                    "one more device online",
                    lambda: len(self.live.online) > online,
                    patience_s,
                )
            except NotReached:
                self.give_up(f"{online} of {wanted} devices came online")
                return False
            patience_s = self.patience_s
        return True

    async def let_telemetry_flow(self, seconds: float, *, phase: str = "telemetry") -> None:
        """Let devices report for `seconds`."""
        self.begin(phase)
        await self.let_pass(seconds)

    async def until_alarms(self, models: int, *, within_s: float) -> None:
        """Wait until as many kinds of alarm have been raised and cleared as there are models."""
        await self.reach(
            f"{models} kinds of alarm raised and cleared",
            lambda: len({alarm for alarm, raised in self.live.alarms if not raised}) >= models,
            within_s,
        )

    async def until_readings(self, count: int, *, within_s: float) -> None:
        """Wait until every reported path of every device that is online has `count` readings."""
        await self.reach(
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
        await self.reach(
            f"every lamp reports {level} %",
            lambda: all(
                abs(float(self.live.latest.get((lamp, "/3416/0/3"), -1)) - wanted) < 1e-9
                for lamp in lamps
            ),
            within_s,
        )

    async def drain(self) -> None:
        """Stop new readings and wait until what was acknowledged is stored: `patience_s` for each.

        A load profile is followed to its end first.
        """
        within_s = self.patience_s
        await self.let_pass(max(0.0, self.load_ends_s - self.clock.now_ns() / 1e9))
        if self._offering is not None:
            await self._offering
        self.begin("drain")
        self._tell_fleet({"quiesce": {"within_s": within_s}})
        await self.reach(
            "the fleet is quiet", lambda: self.live.unacknowledged is not None, within_s + 2
        )
        client = self.bench.http("ingestion")
        due_ns = self.clock.now_ns() + int(within_s * 1e9)
        while (counts := await client.get("/v1/counts", IngestionCounts)).backlog:
            if self.clock.now_ns() > due_ns:
                self.give_up(f"ingestion has {counts.backlog} packs to store after {within_s:g} s")
                break
            await asyncio.sleep(0.05)
        await client.close()
        await self.reach(
            "the store tap has seen every commit",
            lambda: self.live.stored >= counts.stored,
            within_s,
        )

    async def end_fleet(self) -> None:
        """Let the fleet write down how each device ended, and end."""
        fleets = self.bench.fleets
        for fleet in fleets:
            fleet.is_wanted = False
        self._tell_fleet({"end": {}})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLEET_ENDS_WITHIN_S):
                await asyncio.gather(*(fleet.until_ended() for fleet in fleets))

    async def abandon(self) -> None:
        """The story is over, however: nothing more is offered."""
        if self._offering is not None:
            self._offering.cancel()
            await asyncio.gather(self._offering, return_exceptions=True)

    async def kill_at(self, point: str, occurrence: int, target: str, *, within_s: float) -> bool:
        """Hold `target` still at a named point, SIGKILL it there, and bring it back.

        `occurrence` counts from now. Returns whether the point was reached.
        """
        holder = self.bench.processes["server" if point in SERVER_POINTS else "broker"]
        seen = len(self.live.gates)
        holder.tell({"arm": {"point": point, "occurrence": occurrence}})
        reached = await self.reach(
            f"{point} number {occurrence}", lambda: len(self.live.gates) > seen, within_s
        )
        if reached:
            endpoint = str(self.live.gates[-1].get("endpoint", ""))
            self.bench.kill(target, point, endpoint)
            await self.bench.restart(target)
        if holder.name != target:
            holder.tell({"release": point})
        return reached

    def want(self, **wanted: float) -> None:
        """Say what checks have to find in this run; see `contracts.load.LoadAsked`."""
        self.journal.record(LoadAsked(at_ns=self.clock.now_ns(), wanted=wanted))

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

    async def reach(self, claim: str, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until `condition` holds; whether it did. If not, the report says so."""
        try:
            await self.live.until(claim, condition, within_s)
        except NotReached as error:
            self.give_up(str(error))
            return False
        return True

    def give_up(self, text: str) -> None:
        """The checks judge, from the journal; the story goes on so that there is one."""
        self.note("not_reached", text=text)
        self._progress.warn(text)

    def _tell_fleet(self, message: Mapping[str, Any]) -> None:
        for fleet in self.bench.fleets:
            fleet.tell(message)

    async def let_pass(self, seconds: float) -> None:
        """Let time pass; what fails meanwhile ends the story."""
        due_s = self.clock.now_ns() / 1e9 + seconds
        with contextlib.suppress(NotReached):
            await self.live.until(
                "the time is over", lambda: self.clock.now_ns() / 1e9 >= due_s, seconds
            )

    async def _offer_commands(self, profile: LoadProfile) -> None:
        offering = CommandOffering(
            lambda: self.bench.http("control"),
            lambda: self.live.online_in_order,
            self.journal,
            self.clock,
        )
        await offering.follow(profile.times_s("commands", self.options.seed), self._began_ns)

    def _planned(self) -> LoadPlanned:
        profile = self._profile or LoadProfile()
        return LoadPlanned(
            at_ns=self.clock.now_ns(),
            profile=profile.name,
            began_ns=self._began_ns,
            events={kind: profile.count(kind) for kind in KINDS if profile.phases(kind)},
            duration_s=profile.duration_s,
            fleet_processes=len(self.bench.fleets),
            limits=profile.limits,
        )

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
        ended: list[CommandRecord] = []
        due_ns = self.clock.now_ns() + int(COMMANDS_END_WITHIN_S * 1e9)
        for number, issued_record in enumerate(issued):
            record = issued_record
            while record.state not in FINAL_COMMAND_STATES:
                if self.clock.now_ns() > due_ns:
                    self.give_up(
                        f"{len(issued) - number} commands have no final state "
                        f"{COMMANDS_END_WITHIN_S:g} s after the last was posted"
                    )
                    return ended
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
