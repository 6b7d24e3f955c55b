"""The fleet as a process: builds the devices, obeys its starter, tells how far it is, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import random
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from pathlib import Path

import msgspec

from contracts.journal import LoopSample
from fake_devices.device import (
    Device,
    Environment,
    IncidentPlan,
    ModelTemplate,
    device_models,
    make_template,
)
from fake_devices.devices import MODELS, DeviceIdentity
from fake_devices.fleet.addresses import CountingLink, choose_mode, open_own, open_shared
from fake_devices.fleet.arrivals import arrival_order, phase_of
from fake_devices.fleet.commands import End, IllegalCommand, Quiesce, Start, lines_of, parse_command
from fake_devices.fleet.config import (
    DeviceLine,
    FleetConfig,
    ServerAddress,
    parse_server,
    read_devices,
)
from fake_devices.fleet.fleet import Fleet
from lwm2m.coap import CoapEndpoint, TransmissionParameters
from lwm2m.transport import EndpointDriver
from runtime.clock import Clock
from runtime.component import ConfigError, Ready, say
from runtime.journal import JournalFile, JournalSink, NoJournal

PROCESS = "fleet"
Say = Callable[[Mapping[str, object]], None]
_log = logging.getLogger(__name__)


async def run(config: FleetConfig, clock: Clock, ready: Ready) -> None:
    """The component: devices of the configuration, commands from standard input."""
    lines = lines_of(sys.stdin.fileno())
    async with contextlib.aclosing(lines):
        await run_fleet(config, clock, ready, lines, say)


async def run_fleet(
    config: FleetConfig, clock: Clock, ready: Ready, lines: AsyncIterator[bytes], tell: Say
) -> None:
    """Build the devices, call `ready`, then obey `lines` until they end or say so."""
    journal = JournalFile(Path(config.journal_file)) if config.journal_file else NoJournal()
    try:
        async with _built(config, clock, journal) as (fleet, link):
            # Devices live until the end: keep the collector from walking them.
            gc.collect()
            gc.freeze()
            ready({})
            reporter = asyncio.create_task(_report(fleet, link, config, clock, journal, tell))
            try:
                await _obey(fleet, lines, tell)
            finally:
                reporter.cancel()
                fleet.end()
                _sample(fleet, link, clock, journal)
    finally:
        if isinstance(journal, JournalFile):
            journal.close()


async def _obey(fleet: Fleet, lines: AsyncIterator[bytes], tell: Say) -> None:
    quieting: asyncio.Task[None] | None = None
    try:
        async for line in lines:
            try:
                command = parse_command(line)
            except IllegalCommand as error:
                _log.warning("%s", error)
                continue
            if isinstance(command, End):
                return
            if isinstance(command, Start):
                fleet.start(command.rate_per_s)
            elif isinstance(command, Quiesce) and quieting is None:
                quieting = asyncio.create_task(_quiesce(fleet, command.within_s, tell))
    finally:
        if quieting is not None:
            quieting.cancel()


async def _quiesce(fleet: Fleet, within_s: float, tell: Say) -> None:
    quiet = asyncio.Event()
    fleet.quiesce(quiet.set)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(quiet.wait(), within_s)
    tell({"quiet": {"unacknowledged": fleet.unacknowledged}})


async def _report(
    fleet: Fleet,
    link: CountingLink,
    config: FleetConfig,
    clock: Clock,
    journal: JournalSink,
    tell: Say,
) -> None:
    """Progress lines and loop samples, until cancelled."""
    sample_at_ns = clock.now_ns() + round(config.sample_every_s * 1e9)
    while True:
        asked_ns = clock.now_ns()
        await asyncio.sleep(config.progress_every_s)
        now_ns = clock.now_ns()
        fleet.health.add([max(0, now_ns - asked_ns - round(config.progress_every_s * 1e9))])
        tell({"progress": fleet.counts.as_dict()})
        if now_ns >= sample_at_ns:
            sample_at_ns = now_ns + round(config.sample_every_s * 1e9)
            _sample(fleet, link, clock, journal)


def _sample(fleet: Fleet, link: CountingLink, clock: Clock, journal: JournalSink) -> None:
    p99_ns, max_ns = fleet.take_delays_ns()
    drops, retransmissions = link.take_counts()
    journal.record(
        LoopSample(
            at_ns=clock.now_ns(),
            process=PROCESS,
            delay_p99_ns=p99_ns,
            delay_max_ns=max_ns,
            socket_drops=drops,
            retransmissions=retransmissions,
        )
    )


# ---- building ----


@contextlib.asynccontextmanager
async def _built(
    config: FleetConfig, clock: Clock, journal: JournalSink
) -> AsyncIterator[tuple[Fleet, CountingLink]]:
    server = parse_server(config.server)
    lines = arrival_order(read_devices(Path(config.devices_file)), config.seed)
    endpoint = CoapEndpoint(
        TransmissionParameters(
            ack_timeout_s=config.ack_timeout_s, max_retransmit=config.max_retransmit
        ),
        random.Random(f"{config.seed}/coap/{clock.now_ns()}").randbytes,
    )
    received: list[Fleet] = []
    driver = EndpointDriver(endpoint, lambda events: received[0].handle_coap_events(events))
    link, peers = await _open(config, server, len(lines), driver)
    driver.attach(link)
    try:
        fleet = Fleet(
            _make_devices(config, lines, peers, clock, journal),
            peers,
            driver,
            clock,
            in_flight_max=config.in_flight_max,
            starts_per_turn_max=config.starts_per_turn_max,
        )
        received.append(fleet)
        yield fleet, link
    finally:
        driver.close()


async def _open(
    config: FleetConfig, server: ServerAddress, devices: int, driver: EndpointDriver
) -> tuple[CountingLink, list[Hashable]]:
    mode = choose_mode(config.addresses, server, devices)
    opening = open_shared if mode == "shared" else open_own
    return await opening(server, devices, driver.receive_datagrams)


def _make_devices(
    config: FleetConfig,
    lines: Sequence[DeviceLine],
    peers: Sequence[Hashable],
    clock: Clock,
    journal: JournalSink,
) -> list[Device]:
    city_s = clock.wall_us() / 1e6 + config.city_offset_s
    environment = Environment(
        settings=config,
        record=journal.record,
        chance=random.Random(f"{config.seed}/back-off").random,
        draw_boot_id=_boot_ids(config.seed, clock),
    )
    incidents = _incidents_by_endpoint(config, lines)
    templates: dict[str, ModelTemplate] = {}
    models = device_models()
    devices: list[Device] = []
    for number, line in enumerate(lines):
        model = MODELS[line.model]
        identity = DeviceIdentity(
            line.endpoint, line.serial, line.model, line.latitude, line.longitude, config.seed
        )
        if model.name not in templates:
            templates[model.name] = make_template(
                model, identity, city_s, config.lifetime_s, models
            )
        devices.append(
            Device(
                environment,
                templates[model.name],
                identity,
                model,
                city_s=city_s,
                phase=phase_of(number),
                address=_ip_address(peers[number]),
                incidents=incidents.get(line.endpoint, ()),
            )
        )
    return devices


def _incidents_by_endpoint(
    config: FleetConfig, lines: Sequence[DeviceLine]
) -> dict[str, tuple[IncidentPlan, ...]]:
    known = {line.endpoint for line in lines}
    found: defaultdict[str, list[IncidentPlan]] = defaultdict(list)
    for incident in config.incidents:
        if incident.endpoint not in known:
            raise ConfigError(f"an incident is planned for {incident.endpoint}, which is no device")
        found[incident.endpoint].append(
            IncidentPlan(incident.kind, incident.begins_after_s, incident.ends_after_s)
        )
    return {endpoint: tuple(plans) for endpoint, plans in found.items()}


def _boot_ids(seed: int, clock: Clock) -> Callable[[], str]:
    # New at every start of the process too, so the moment of it goes in beside the seed.
    began = f"{seed}/{clock.wall_us()}"
    count = 0

    def draw() -> str:
        nonlocal count
        count += 1
        return hashlib.sha256(f"{began}/{count}".encode()).hexdigest()[:12]

    return draw


def _ip_address(peer: Hashable) -> str:
    # A shared socket's peers begin with the device's address; a socket of its own has the host's.
    match peer:
        case (str(address), _, _):
            return address
        case _:
            return "127.0.0.1"


def with_addresses(config: FleetConfig, addresses: str | None) -> FleetConfig:
    """The configuration with the address mode of the command line, if one was given."""
    if addresses is None:
        return config
    given = msgspec.to_builtins(config) | {"addresses": addresses}
    return msgspec.convert(given, FleetConfig)
