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
from fake_devices.fleet.arrivals import arrival_order
from fake_devices.fleet.assembly import assembled
from fake_devices.fleet.building import make_devices
from fake_devices.fleet.commands import (
    CutPower,
    End,
    Follow,
    IllegalCommand,
    Move,
    Quiesce,
    Start,
    SwitchOff,
    SwitchOn,
    lines_of,
    parse_command,
)
from fake_devices.fleet.config import FleetConfig, main_server, read_devices
from fake_devices.fleet.fleet import Fleet
from fake_devices.fleet.load import FleetLoad
from runtime.clock import Clock
from runtime.component import Ready, say
from runtime.journal import JournalFile, JournalSink, NoJournal

_WATCHED_EVERY_S: Final = 0.05
# What a device becomes when it is set up stays, too, and is looked through once: after 50,000
# objects that takes 20 to 40 ms, in which every device is late, after so many 3 to 10. What has
# stayed once is looked through again only after 10 million more.
_OBJECTS_BEFORE_A_COLLECTION: Final = 10_000
_BETWEEN_COLLECTIONS_OF_OLDER: Final = (1_000, 50)
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
            load = FleetLoad(config, fleet, clock, [device.endpoint for device in fleet.devices])
            journal.record(_built(config, count, clock))
            # Devices live until the end: keep the collector from walking them.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_OBJECTS_BEFORE_A_COLLECTION, *_BETWEEN_COLLECTIONS_OF_OLDER)
            ready({})
            sampler = _Sampler(fleet, link, config, clock, journal)
            watcher = asyncio.create_task(_watch_loop(fleet, clock))
            reporter = asyncio.create_task(_report(sampler, fleet, config, clock, tell))
            try:
                await _obey(fleet, load, lines, tell, sampler.end)
            finally:
                watcher.cancel()
                reporter.cancel()
                fleet.end()
                sampler.end()
    finally:
        if isinstance(journal, JournalFile):
            journal.close()


async def _obey(
    fleet: Fleet,
    load: FleetLoad,
    lines: AsyncIterator[bytes],
    tell: Say,
    end_samples: Callable[[], None],
) -> None:
    quieting: asyncio.Task[None] | None = None
    try:
        async for line in lines:
            try:
                command = parse_command(line, len(fleet.devices))
            except IllegalCommand as error:
                _log.warning("%s", error)
                continue
            match command:
                case End():
                    return
                case Start():
                    load.start(command)
                case Follow():
                    load.follow(command)
                case SwitchOn():
                    load.switch_on(command)
                case SwitchOff():
                    load.switch_off(command)
                case Move():
                    load.move(command)
                case CutPower():
                    load.cut_power(command)
                case Quiesce() if quieting is None:
                    if command.ends_samples:
                        end_samples()
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
    sampler: _Sampler, fleet: Fleet, config: FleetConfig, clock: Clock, tell: Say
) -> None:
    """Progress lines and loop samples, until cancelled."""
    sample_at_ns = clock.now_ns() + round(config.sample_every_s * 1e9)
    while True:
        await asyncio.sleep(config.progress_every_s)
        now_ns = clock.now_ns()
        tell({"progress": fleet.counts.as_dict()})
        if now_ns >= sample_at_ns:
            sample_at_ns = now_ns + round(config.sample_every_s * 1e9)
            sampler.sample()


class _Sampler:
    """Records how late the event loop runs and work is issued, until its end."""

    def __init__(
        self,
        fleet: Fleet,
        link: CountingLink,
        config: FleetConfig,
        clock: Clock,
        journal: JournalSink,
    ) -> None:
        self._fleet = fleet
        self._link = link
        self._process = config.process
        self._clock = clock
        self._journal = journal
        self._is_over = False

    def end(self) -> None:
        """Sample for the last time."""
        self.sample()
        self._is_over = True

    def sample(self) -> None:
        """Record what was since the last sample; after the end nothing."""
        if self._is_over:
            return
        delays = self._fleet.take_loop_delays()
        drops, retransmissions = self._link.take_counts()
        at_ns = self._clock.now_ns()
        self._journal.record(
            LoopSample(
                at_ns=at_ns,
                process=self._process,
                delay_p99_ns=delays.p99_ns,
                delay_max_ns=delays.max_ns,
                socket_drops=drops,
                retransmissions=retransmissions,
                delays=delays.buckets,
            )
        )
        for record in self._fleet.lags.take(self._process, at_ns):
            self._journal.record(record)


def _built(config: FleetConfig, devices: int, clock: Clock) -> FleetBuilt:
    addresses = choose_mode(config.addresses, main_server(config), devices)
    return FleetBuilt(
        at_ns=clock.now_ns(),
        process=config.process,
        devices=devices,
        addresses=addresses,
        first_address=address_of(config.first_address) if addresses == "shared" else "",
    )


def with_addresses(config: FleetConfig, addresses: str | None) -> FleetConfig:
    """The configuration with the address mode of the command line, if one was given."""
    if addresses is None:
        return config
    given = msgspec.to_builtins(config) | {"addresses": addresses}
    return msgspec.convert(given, FleetConfig)
