"""The fleet as a process: builds the devices, obeys its starter, tells how far it is, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from contracts.journal import LoopSample
from contracts.load import FleetBuilt
from fake_devices.device import Device
from fake_devices.fleet.addresses import CountingLink, address_of, choose_mode
from fake_devices.fleet.arrivals import arrival_order, at_rate, of_profile
from fake_devices.fleet.assembly import assembled
from fake_devices.fleet.building import make_devices
from fake_devices.fleet.commands import (
    End,
    Follow,
    IllegalCommand,
    Quiesce,
    Start,
    lines_of,
    parse_command,
)
from fake_devices.fleet.config import FleetConfig, main_server, read_devices, read_load
from fake_devices.fleet.fleet import Fleet
from fake_devices.fleet.schedule import FleetSchedule
from runtime.clock import Clock
from runtime.component import Ready, say
from runtime.journal import JournalFile, JournalSink, NoJournal

_WATCHED_EVERY_S: Final = 0.05
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
        lines_of_devices = arrival_order(read_devices(Path(config.devices_file)), config.seed)

        def make(peers: Sequence[Hashable]) -> list[Device]:
            made = make_devices(config, lines_of_devices, peers, clock, journal)
            # Each device has what it needs of its line.
            lines_of_devices.clear()
            return made

        count = len(lines_of_devices)
        async with assembled(config, clock, count, make) as (fleet, link):
            load = _Load(config, fleet, clock, [device.endpoint for device in fleet.devices])
            journal.record(_built(config, count, clock))
            # Devices live until the end: keep the collector from walking them.
            gc.collect()
            gc.freeze()
            ready({})
            watcher = asyncio.create_task(_watch_loop(fleet, clock))
            reporter = asyncio.create_task(_report(fleet, link, config, clock, journal, tell))
            try:
                await _obey(fleet, load, lines, tell)
            finally:
                watcher.cancel()
                reporter.cancel()
                fleet.end()
                _sample(fleet, link, config.process, clock, journal)
    finally:
        if isinstance(journal, JournalFile):
            journal.close()


async def _obey(fleet: Fleet, load: _Load, lines: AsyncIterator[bytes], tell: Say) -> None:
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
                load.start(command)
            elif isinstance(command, Follow):
                load.follow(command)
            elif isinstance(command, Quiesce) and quieting is None:
                quieting = asyncio.create_task(_quiesce(fleet, command.within_s, tell))
    finally:
        if quieting is not None:
            quieting.cancel()


async def _quiesce(fleet: Fleet, within_s: float, tell: Say) -> None:
    quiet = asyncio.Event()
    fleet.quiesce(quiet.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await quiet.wait()
    tell({"quiet": {"unacknowledged": fleet.unacknowledged}})


async def _watch_loop(fleet: Fleet, clock: Clock) -> None:
    """Measure the event loop's delay again and again, until cancelled: devices' own timers come
    when there is much to do, and would tell of nothing else."""
    while True:
        asked_ns = clock.now_ns()
        await asyncio.sleep(_WATCHED_EVERY_S)
        fleet.health.add([max(0, clock.now_ns() - asked_ns - round(_WATCHED_EVERY_S * 1e9))])


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
        await asyncio.sleep(config.progress_every_s)
        now_ns = clock.now_ns()
        tell({"progress": fleet.counts.as_dict()})
        if now_ns >= sample_at_ns:
            sample_at_ns = now_ns + round(config.sample_every_s * 1e9)
            _sample(fleet, link, config.process, clock, journal)


def _sample(
    fleet: Fleet, link: CountingLink, process: str, clock: Clock, journal: JournalSink
) -> None:
    delays = fleet.take_loop_delays()
    drops, retransmissions = link.take_counts()
    at_ns = clock.now_ns()
    journal.record(
        LoopSample(
            at_ns=at_ns,
            process=process,
            delay_p99_ns=delays.p99_ns,
            delay_max_ns=delays.max_ns,
            socket_drops=drops,
            retransmissions=retransmissions,
            delays=delays.buckets,
        )
    )
    for record in fleet.lags.take(process, at_ns):
        journal.record(record)


def _built(config: FleetConfig, devices: int, clock: Clock) -> FleetBuilt:
    addresses = choose_mode(config.addresses, main_server(config), devices)
    return FleetBuilt(
        at_ns=clock.now_ns(),
        process=config.process,
        devices=devices,
        addresses=addresses,
        first_address=address_of(config.first_address) if addresses == "shared" else "",
    )


class _Load:
    """What the fleet was told to follow; read before the run, so that faults show then.

    Raises `ConfigError`.
    """

    def __init__(
        self, config: FleetConfig, fleet: Fleet, clock: Clock, endpoints: Sequence[str]
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._clock = clock
        self._devices = len(endpoints)
        self._profile = read_load(Path(config.profile_file)) if config.profile_file else None
        self._schedule: FleetSchedule | None = None
        if config.schedule_file:
            numbers = {endpoint: number for number, endpoint in enumerate(endpoints)}
            self._schedule = FleetSchedule(Path(config.schedule_file), numbers)
        self._has_started = self._is_following = False

    def start(self, command: Start) -> None:
        """Begin. A second call changes nothing."""
        if self._has_started:
            return
        self._has_started = True
        began_ns = command.began_ns or self._clock.now_ns()
        profile, schedule, config = self._profile, self._schedule, self._config
        if profile is None or not profile.registrations:
            first: Sequence[int] = range(self._devices)
            if schedule is not None:
                first = [each for each in first if schedule.is_there_from_the_start(each)]
            self._fleet.follow(at_rate(first, command.rate_per_s), began_ns)
        if profile is not None:
            work = of_profile(profile, self._devices, config.seed, config.share)
            self._fleet.follow(work, began_ns)

    def follow(self, command: Follow) -> None:
        """Follow the schedule. A second call changes nothing, nor one without a schedule."""
        if self._schedule is None or self._is_following:
            _log.warning("there is no schedule to follow, or it is followed already")
            return
        self._is_following = True
        self._fleet.follow_schedule(self._schedule, command.began_ns or self._clock.now_ns())


def with_addresses(config: FleetConfig, addresses: str | None) -> FleetConfig:
    """The configuration with the address mode of the command line, if one was given."""
    if addresses is None:
        return config
    given = msgspec.to_builtins(config) | {"addresses": addresses}
    return msgspec.convert(given, FleetConfig)
