"""The fleet as a process: builds the devices, obeys its starter, tells how far it is, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from pathlib import Path

import msgspec

from contracts.journal import LoopSample
from fake_devices.device import Device
from fake_devices.fleet.addresses import CountingLink
from fake_devices.fleet.arrivals import arrival_order
from fake_devices.fleet.assembly import assembled
from fake_devices.fleet.building import make_devices
from fake_devices.fleet.commands import End, IllegalCommand, Quiesce, Start, lines_of, parse_command
from fake_devices.fleet.config import FleetConfig, read_devices
from fake_devices.fleet.fleet import Fleet
from runtime.clock import Clock
from runtime.component import Ready, say
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
        lines_of_devices = arrival_order(read_devices(Path(config.devices_file)), config.seed)

        def make(peers: Sequence[Hashable]) -> list[Device]:
            return make_devices(config, lines_of_devices, peers, clock, journal)

        count = len(lines_of_devices)
        async with assembled(config, clock, count, make) as (fleet, link):
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
        async with asyncio.timeout(within_s):
            await quiet.wait()
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


def with_addresses(config: FleetConfig, addresses: str | None) -> FleetConfig:
    """The configuration with the address mode of the command line, if one was given."""
    if addresses is None:
        return config
    given = msgspec.to_builtins(config) | {"addresses": addresses}
    return msgspec.convert(given, FleetConfig)
