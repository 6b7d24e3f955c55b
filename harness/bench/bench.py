"""Brings the emulated services, the system under test and the fleet up, and takes them down.

The platform is started by entry-point name in processes of its own and is never imported. All
processes but the fleets start at once, and import while the addresses that they need are still
being found; each then gets its configuration on standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from contracts.api import ImportJob
from contracts.journal import BenchDown, BenchReady, ProcessExited, ProcessKilled, ProcessStarted
from contracts.manifest import ManifestRow
from contracts.names import service_identity
from contracts.topics import Topics
from harness.bench import configs, topology
from harness.bench.device_security import (
    DeviceKey,
    certificate_fields,
    make_server_identity,
    new_keys,
    psk_fields,
    stored_keys,
    write_psk_files,
)
from harness.bench.fork_servers import ForkServers, StartedBy
from harness.bench.operators import ADMINISTRATOR, Operators
from harness.bench.ports import ReservedPort
from harness.bench.process import BenchProcess, Side
from harness.errors import BenchFailed, HarnessError
from harness.security import Security
from runtime.clock import Clock
from runtime.files import write_secret
from runtime.http_client import HttpClient
from runtime.journal import JournalSink

READY_WITHIN_S = 60.0
SETTLE_S = 0.3
IMPORT_ASKED_EVERY_S = 0.02
IMPORT_STANDS_S = 120.0
# Components whose address others are told before they listen: a port is kept for each.
RESERVED = ("identity", "audit")
# Whose token is used for what a component offers; each has but its role.
OPERATOR_FOR = {
    "provisioning": "provisioner",
    "control": "controller",
    "identity": ADMINISTRATOR,
    "audit": ADMINISTRATOR,
}


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a bench consists of and where it writes. `ports` None takes free ones."""

    output_dir: Path
    state_dir: Path
    broker: str = "embedded"
    defect: Mapping[str, Any] | None = None
    server: str = "server-1"
    # How many LwM2M servers there are, each with a bridge of its own; devices spread over them.
    servers: int = 1
    # Whether devices are given a topic on which to say that they are connected.
    presence: bool = False
    topics: Topics = Topics()
    # How devices and the LwM2M server know each other; `none` is CoAP without DTLS.
    security: Security = "none"
    # Where devices reach the LwM2M server and the broker; everything else is on loopback.
    host: str = "127.0.0.1"
    # Whether the server listens for plain CoAP beside DTLS; its devices then get no credentials.
    listens_for_nosec: bool = False
    journals: bool = True
    with_fleet: bool = True
    # Whether the pages for people are served too.
    with_dashboard: bool = False
    # How many processes share the devices.
    fleet_processes: int = 1
    ports: Mapping[str, int] = {}
    # False: only the LwM2M server and the fleet; nothing of MQTT or the platform is there.
    with_platform: bool = True
    # How many registrations the server has to hold at least.
    devices: int = 0
    # Further fields of the server's configuration and of the fleet's, as the scenario wants them.
    server_settings: Mapping[str, Any] = {}
    fleet_settings: Mapping[str, Any] = {}
    # The same of provisioning's configuration.
    provisioning_settings: Mapping[str, Any] = {}
    # Where the platform keeps its data; empty: in `state_dir`.
    stores: Mapping[str, Any] = {}
    # How its processes are started; None: as LAMPLIGHTER_START says, or as the system can.
    started_by: StartedBy | None = None

    @property
    def serves_nosec(self) -> bool:
        """Whether the server takes datagrams without security."""
        return self.security == "none" or self.listens_for_nosec


class Bench:
    """One running instance of everything. Use `bench_up` to make one."""

    def __init__(
        self,
        plan: BenchPlan,
        journal: JournalSink,
        clock: Clock,
        said: Callable[[str, Mapping[str, Any]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.plan = plan
        self.processes: dict[str, BenchProcess] = {}
        self._journal = journal
        self._clock = clock
        self._heard = said
        self._failed = failed
        self._configs: dict[str, Mapping[str, Any]] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._pki_there = asyncio.Event()
        self._set_up_link: str | None = None
        self._reserved: list[ReservedPort] = []
        self._operators: Operators | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._fork_servers = ForkServers(plan.started_by, plan.output_dir / "logs", self._said)

    # ---- up ----

    async def bring_up(self) -> None:
        """Start everything and wait until every readiness condition holds."""
        began_ns = self._clock.now_ns()
        self._prepare()
        await self._start_all(lambda name: not configs.is_fleet(name))
        for pair in topology.pairs(self.plan):
            self._configure(pair.server_process, configs.server(self.plan, pair))
        if self.plan.with_platform:
            await self._bring_platform_up()
        else:
            await self._until_ready("server")
        ready_s = (self._clock.now_ns() - began_ns) / 1e9
        self._journal.record(BenchReady(at_ns=self._clock.now_ns(), ready_s=ready_s))
        # Devices come later, when a manifest was imported: until now the cores were others'.
        await self._start_all(configs.is_fleet)

    async def _start_all(self, are_wanted: Callable[[str], bool]) -> None:
        for name, (side, arguments) in configs.processes(self.plan).items():
            if are_wanted(name):
                await self._start(name, side, arguments)

    async def _bring_platform_up(self) -> None:
        addresses = {name: self._reserve(name) for name in RESERVED}
        self._configure("identity", configs.identity(self.plan, addresses))
        # The operators sign in while everything else comes up.
        signing_in = asyncio.create_task(self._sign_in(addresses["identity"]))
        try:
            await self._bring_components_up(addresses)
            await signing_in
            if self.plan.with_dashboard:
                await self._bring_dashboard_up(addresses)
        finally:
            signing_in.cancel()
            await asyncio.gather(signing_in, return_exceptions=True)
        self._keeping = asyncio.create_task(self.operators.keep_tokens_good())

    async def _bring_components_up(self, addresses: dict[str, str]) -> None:
        self._configure("provisioning", configs.provisioning(self.plan, addresses))
        await self._wait_for_pki()
        self._configure("broker", configs.broker(self.plan))
        pairs = topology.pairs(self.plan)
        await self._until_ready("broker", *(pair.server_process for pair in pairs))
        addresses |= {
            "mqtt": self.address("broker", "mqtt"),
            "data": self.address("server", "data"),
            "security": self.address("server", "admin"),
        }
        components = ("bootstrap", "control", "ingestion", "audit")
        for pair in pairs:
            data = {"data": self.address(pair.server_process, "data")}
            self._configure(pair.bridge_process, configs.bridge(self.plan, addresses | data, pair))
        for name in components:
            self._configure(name, getattr(configs, name)(self.plan, addresses))
        bridges = (pair.bridge_process for pair in pairs)
        await self._until_ready("provisioning", *bridges, *components)
        addresses["bootstrap"] = self.address("bootstrap", "http")
        await self._tell_provisioning(addresses)

    async def _bring_dashboard_up(self, addresses: Mapping[str, str]) -> None:
        served = ("provisioning", "control", "ingestion")
        known = {**addresses, **{name: self.address(name, "http") for name in served}}
        self._configure("dashboard", configs.dashboard(self.plan, known))
        await self._until_ready("dashboard")

    async def start_fleet(self, config: Mapping[str, Any]) -> BenchProcess:
        """Configure the fleet process and wait until its devices are built."""
        self._configure("fleet", config)
        await self._until_ready("fleet")
        return self.processes["fleet"]

    async def start_fleets(
        self, configs_of: Mapping[str, Mapping[str, Any]], within_s: float = READY_WITHIN_S
    ) -> None:
        """Configure every fleet process by its name and wait until all devices are built."""
        for name, config in configs_of.items():
            self._configure(name, config)
        await self._until_ready(*configs_of, within_s=within_s)

    @property
    def fleets(self) -> list[BenchProcess]:
        """The fleet processes."""
        return [each for name, each in self.processes.items() if configs.is_fleet(name)]

    def address(self, process: str, what: str) -> str:
        """`host:port` that a process listens on."""
        return self.processes[process].addresses[what]

    @property
    def operators(self) -> Operators:
        """Those who may ask the platform for something."""
        assert self._operators is not None, "there is no platform, or it is not up yet"
        return self._operators

    def http(self, process: str, operator: str | None = None) -> HttpClient:
        """A client of a platform component's HTTP interface.

        It asks as the operator whose role the component's operations need, or as `operator`.
        """
        who = operator or OPERATOR_FOR.get(process, "analyst")
        return HttpClient(self.address(process, "http"), self.operators.bearer(who))

    def server_admin(self, process: str = "server") -> HttpClient:
        """A client of an LwM2M server's administration."""
        return HttpClient(self.address(process, "admin"), self.token())

    def server_uri(self, nth: int) -> str:
        """Where devices reach the nth server, from 0."""
        what = "coap" if self.plan.security == "none" else "coaps"
        return f"{what}://{self.address(topology.pair_of(self.plan, nth).server_process, what)}"

    async def start_further(
        self, name: str, side: Side, arguments: list[str], config: Mapping[str, Any]
    ) -> BenchProcess:
        """A process beside the usual ones; it is ready when this returns."""
        await self._start(name, side, arguments)
        self._configure(name, config)
        await self._until_ready(name)
        return self.processes[name]

    def token(self) -> str:
        """The bearer token of the services among themselves, and of the server's administration."""
        return configs.token_file(self.plan).read_text().strip()

    def secrets(self) -> list[bytes]:
        """What was secret at some time and is in no file any more: passwords, tokens, links."""
        return [] if self._operators is None else self._operators.secrets()

    async def device_credentials(self, rows: Sequence[ManifestRow]) -> dict[str, Mapping[str, str]]:
        """What each device proves itself with, as fields of its line in the devices file.

        A device without a key at the server gets one there: who its maker is is not what the
        platform decides by.
        """
        if self.plan.security == "none":
            return {}
        if self.plan.security == "x509":
            endpoints = [row.endpoint for row in rows]
            return dict(certificate_fields(self.plan.state_dir, endpoints, self._clock.wall_us()))
        keys = stored_keys(self.plan.state_dir)
        made = new_keys(row for row in rows if row.endpoint not in keys)
        if made:
            client = self.server_admin()
            body = b"\n".join(msgspec.json.encode(row) for row in made)
            await client.send("POST", "/v1/security", body, msgspec.Raw, "application/x-ndjson")
            await client.close()
            keys.update((row.endpoint, row) for row in made)
        await self._share_keys([keys[row.endpoint] for row in rows])
        return {row.endpoint: psk_fields(keys, row.endpoint) for row in rows}

    async def _share_keys(self, keys: Sequence[DeviceKey]) -> None:
        """Imports and devices tell the first server of their keys; any may come to another."""
        body = b"\n".join(msgspec.json.encode(row) for row in keys)
        for pair in topology.pairs(self.plan)[1:]:
            client = self.server_admin(pair.server_process)
            await client.send("POST", "/v1/security", body, msgspec.Raw, "application/x-ndjson")
            await client.close()

    async def write_device_keys(self, rows: Sequence[ManifestRow]) -> None:
        """Put what each device proves itself with into a file, for devices that people run."""
        await self.device_credentials(rows)
        if self.plan.security == "psk":
            write_psk_files(self.plan.state_dir, stored_keys(self.plan.state_dir))

    async def import_manifest(self, manifest: bytes, content_type: str) -> ImportJob:
        """Import a manifest and wait until it is finished. Raises `HarnessError` when it failed."""
        client = self.http("provisioning")
        job = await client.send("POST", "/v1/imports", manifest, ImportJob, content_type)
        moved_ns = self._clock.now_ns()
        while job.state == "running":
            await asyncio.sleep(IMPORT_ASKED_EVERY_S)
            before, job = job, await client.get(f"/v1/imports/{job.id}", ImportJob)
            if job != before:
                moved_ns = self._clock.now_ns()
            elif self._clock.now_ns() - moved_ns > IMPORT_STANDS_S * 1e9:
                raise HarnessError(
                    f"the import has not come further for {IMPORT_STANDS_S:g} s, at row {job.rows}"
                )
        await client.close()
        if job.state == "failed":
            raise HarnessError(f"the import failed: {job.reason}")
        return job

    # ---- disturb ----

    def kill(self, process: str, point: str, endpoint: str = "") -> None:
        """SIGKILL a process, as the story wants."""
        self.processes[process].is_wanted = False
        self.processes[process].kill()
        self._journal.record(
            ProcessKilled(
                at_ns=self._clock.now_ns(), process=process, point=point, endpoint=endpoint
            )
        )

    async def restart(self, process: str) -> None:
        """Bring a killed process back with the state and the ports it had."""
        target = self.processes[process]
        await target.until_killed()
        config = configs.with_ports(self._configs[process], target.addresses)
        await self._launch(target)
        self._configure(process, config)
        await self._until_ready(process)

    async def settle(self) -> None:
        """Give the end of a process the moment that it takes to be noticed."""
        await asyncio.sleep(SETTLE_S)

    # ---- down ----

    async def take_down(self) -> None:
        """End every process and journal what was left."""
        began_ns = self._clock.now_ns()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        running = [process for process in self.processes.values() if process.has_started]
        left = await self._fork_servers.stop(running)
        for watcher in list(self._watchers):
            watcher.cancel()
        for port in self._reserved:
            port.release()
        down_s = (self._clock.now_ns() - began_ns) / 1e9
        told = {each.partition(":")[0] for each in left}
        left += [each.name for each in running if each.is_left and each.name not in told]
        self._journal.record(BenchDown(at_ns=self._clock.now_ns(), down_s=down_s, left=left))

    # ---- inside ----

    def _prepare(self) -> None:
        for directory in ("logs", "journal"):
            (self.plan.output_dir / directory).mkdir(parents=True, exist_ok=True)
        self.plan.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.plan.security == "x509":
            make_server_identity(self.plan.state_dir, self.plan.host, self._clock.wall_us())
        for path in (configs.token_file(self.plan), configs.data_token_file(self.plan)):
            if not path.exists():  # another bench may be using this state: it is refused later
                write_secret(path, secrets.token_urlsafe(32).encode())

    def _reserve(self, name: str) -> str:
        """The address that a component will have: the plan's port, or a free one."""
        if port := self.plan.ports.get(name):
            return f"127.0.0.1:{port}"
        reserved = ReservedPort()
        self._reserved.append(reserved)
        return reserved.address

    async def _sign_in(self, identity: str) -> None:
        await self._until_ready("identity")
        self._operators = Operators(self.plan.state_dir, identity)
        await self._operators.sign_in(self._set_up_link)

    async def _start(self, name: str, side: Side, arguments: list[str]) -> None:
        starter, new_server = self._fork_servers.starter_of(side, arguments)
        if new_server is not None:
            self.processes[new_server.process.name] = new_server.process
            await self._launch(new_server.process)
            new_server.configure()
        log = self.plan.output_dir / "logs" / f"{name}.log"
        process = BenchProcess(name, side, arguments, log, self._said, starter)
        self.processes[name] = process
        await self._launch(process)

    async def _launch(self, process: BenchProcess) -> None:
        await process.start()
        watcher = asyncio.create_task(self._watch(process))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _watch(self, process: BenchProcess) -> None:
        start = process.starts
        await process.until_running()
        if process.has_pid:
            self._journal.record(
                ProcessStarted(
                    at_ns=self._clock.now_ns(),
                    process=process.name,
                    side=process.side,
                    pid=process.pid,
                )
            )
        returncode = await process.until_ended()
        # What was started again has ended as somebody wanted, who may have seen its end first.
        if process.is_wanted and process.starts == start:
            self._journal.record(
                ProcessExited(
                    at_ns=self._clock.now_ns(), process=process.name, returncode=returncode
                )
            )
            self._failed(
                BenchFailed(f"{process.name} ended (code {returncode}): {process.last_words()}")
            )
        # Told before what it has forked ends with it.
        self._fork_servers.lost(process.name)

    def _configure(self, name: str, config: Mapping[str, Any]) -> None:
        self._configs[name] = config
        self.processes[name].configure(config)

    async def _until_ready(self, *names: str, within_s: float = READY_WITHIN_S) -> None:
        await asyncio.gather(*(self.processes[name].until_ready(within_s) for name in names))

    async def _wait_for_pki(self) -> None:
        waits = asyncio.create_task(self._pki_there.wait())
        ready = asyncio.create_task(self.processes["provisioning"].until_ready(READY_WITHIN_S))
        # A provisioning component that fails says so through `ready`; one that works, through pki.
        try:
            await asyncio.wait({waits, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not self._pki_there.is_set():
                await ready
        finally:
            waits.cancel()
            ready.cancel()

    async def _tell_provisioning(self, addresses: Mapping[str, str]) -> None:
        # Not as an operator: where things are is told by the installation itself.
        client = HttpClient(self.address("provisioning", "http"), self.token())
        await client.send(
            "PUT", "/v1/settings", msgspec.json.encode(configs.settings(addresses)), msgspec.Raw
        )
        await client.close()

    def _said(self, name: str, message: Mapping[str, Any]) -> None:
        if "pki" in message:
            self._pki_there.set()
        if "set_up" in message:
            # For whoever opens it first: it goes no further than here.
            self._set_up_link = str(message["set_up"])
            return
        if "pki_changed" in message:
            self._reload_broker()
        self._heard(name, message)

    def _reload_broker(self) -> None:
        """Provisioning does not know the broker: who has started both tells it."""
        broker = self.processes["broker"]
        if broker.is_configured:  # else it reads the files when it is
            broker.tell({"reload": True})


@contextlib.asynccontextmanager
async def bench_up(
    plan: BenchPlan,
    journal: JournalSink,
    clock: Clock,
    said: Callable[[str, Mapping[str, Any]], None],
    failed: Callable[[Exception], None],
) -> AsyncIterator[Bench]:
    """A bench that is up while the block runs and gone afterwards, whatever happens in it."""
    bench = Bench(plan, journal, clock, said, failed)
    try:
        await bench.bring_up()
        yield bench
    finally:
        await bench.take_down()


def tap_identity() -> str:
    """The MQTT identity of the broker tap."""
    return service_identity("tap")
