"""The devices of one Locust worker: a fleet whose devices are switched on and off one by one.

It says and hears what the fleet's own process does, one JSON object a line, and besides
`{"switch_on": {"positions": [...], "over_s": 1.0}}` and `{"switch_off": {"positions": [...]}}`.
Positions are those of the devices file. It runs beside Locust's process and not inside it: device
latencies know nothing of greenlets, and one core carries as many devices as without Locust.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from contracts.journal import LoopSample
from contracts.load import FleetBuilt
from fake_devices.device import Device
from fake_devices.fleet import Fleet, FleetConfig
from fake_devices.fleet.addresses import CountingLink, address_of, choose_mode
from fake_devices.fleet.arrivals import Intended
from fake_devices.fleet.assembly import assembled
from fake_devices.fleet.building import make_devices
from fake_devices.fleet.commands import End, Quiesce, lines_of
from fake_devices.fleet.config import main_server, read_devices
from runtime.clock import Clock
from runtime.component import Ready, say
from runtime.journal import JournalFile, JournalSink, NoJournal

Say = Callable[[Mapping[str, object]], None]
_log = logging.getLogger(__name__)


class SwitchOn(msgspec.Struct, frozen=True):
    """Switch these devices on, spread evenly over so many seconds from now."""

    positions: list[int]
    over_s: float = 0.0


class SwitchOff(msgspec.Struct, frozen=True):
    """Switch these devices off, as when their power is cut; they may be switched on again."""

    positions: list[int]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line: exactly one of the fields is there."""

    switch_on: SwitchOn | None = None
    switch_off: SwitchOff | None = None
    quiesce: Quiesce | None = None
    end: End | None = None


Command = SwitchOn | SwitchOff | Quiesce | End
_decoder = msgspec.json.Decoder(Line)


class IllegalLine(ValueError):
    """A line that is no command; the text says why."""


def parse_line(line: bytes, devices: int) -> Command:
    """The command of one line to so many devices. Raises `IllegalLine`."""
    try:
        found = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IllegalLine(f"not a command: {error}") from error
    given = [
        each
        for each in (found.switch_on, found.switch_off, found.quiesce, found.end)
        if each is not None
    ]
    if len(given) != 1:
        raise IllegalLine("expected one of switch_on, switch_off, quiesce, end")
    command = given[0]
    if isinstance(command, SwitchOn | SwitchOff):
        wrong = next((each for each in command.positions if not 0 <= each < devices), None)
        if wrong is not None:
            raise IllegalLine(f"position {wrong}: there are {devices} devices")
    if isinstance(command, SwitchOn) and not 0 <= command.over_s <= 3_600:
        raise IllegalLine(f"over_s {command.over_s:g}: choose 0 to 3600 seconds")
    return command


class Switchboard:
    """Has devices switched on when they are meant to be, open-loop, and off."""

    def __init__(self, fleet: Fleet, devices: int, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._has_been_on = bytearray(devices)

    def switch_on(self, command: SwitchOn) -> None:
        """Plan the starts of these devices, for the first time or again."""
        gap_ns = command.over_s * 1e9 / max(1, len(command.positions))
        work = [
            Intended(round(number * gap_ns), self._kind_of(position), position)
            for number, position in enumerate(command.positions)
        ]
        self._fleet.follow(iter(work), self._clock.now_ns())

    def switch_off(self, command: SwitchOff) -> None:
        """Cut the power of these devices; of one that is still to be switched on, too."""
        work = [Intended(0, "power_off", position) for position in command.positions]
        self._fleet.follow(iter(work), self._clock.now_ns())

    def _kind_of(self, position: int) -> Literal["switch_on", "power_on"]:
        if self._has_been_on[position]:
            return "power_on"
        self._has_been_on[position] = 1
        return "switch_on"


async def run(config: FleetConfig, clock: Clock, ready: Ready) -> None:
    """The component: devices of the configuration, commands from standard input."""
    lines = lines_of(sys.stdin.fileno())
    async with contextlib.aclosing(lines):
        await run_devices(config, clock, ready, lines, say)


async def run_devices(
    config: FleetConfig, clock: Clock, ready: Ready, lines: AsyncIterator[bytes], tell: Say
) -> None:
    """Build the devices, call `ready`, then obey `lines` until they end or say so."""
    journal = JournalFile(Path(config.journal_file)) if config.journal_file else NoJournal()
    try:
        lines_of_devices = read_devices(Path(config.devices_file))

        count = len(lines_of_devices)

        def make(peers: Sequence[Hashable]) -> list[Device]:
            made = make_devices(config, lines_of_devices, peers, clock, journal)
            # Each device has what it needs of its line.
            lines_of_devices.clear()
            return made

        async with assembled(config, clock, count, make) as (fleet, link):
            # Devices live until the end: keep the collector from walking them.
            gc.collect()
            gc.freeze()
            journal.record(_built(config, count, clock))
            board = Switchboard(fleet, count, clock)
            ready({})
            sampler = _Sampler(fleet, link, config, clock, journal)
            sampling = asyncio.create_task(sampler.run())
            try:
                await _obey(fleet, board, count, lines, tell, sampler.end)
            finally:
                sampler.end()
                sampling.cancel()
                fleet.end()
    finally:
        if isinstance(journal, JournalFile):
            journal.close()


def _built(config: FleetConfig, devices: int, clock: Clock) -> FleetBuilt:
    addresses = choose_mode(config.addresses, main_server(config), devices)
    return FleetBuilt(
        at_ns=clock.now_ns(),
        process=config.process,
        devices=devices,
        addresses=addresses,
        first_address=address_of(config.first_address) if addresses == "shared" else "",
    )


async def _obey(
    fleet: Fleet,
    board: Switchboard,
    devices: int,
    lines: AsyncIterator[bytes],
    tell: Say,
    test_is_over: Callable[[], None],
) -> None:
    quieting: asyncio.Task[None] | None = None
    try:
        async for line in lines:
            try:
                command = parse_line(line, devices)
            except IllegalLine as error:
                _log.warning("%s", error)
                continue
            match command:
                case End():
                    return
                case SwitchOn():
                    board.switch_on(command)
                case SwitchOff():
                    board.switch_off(command)
                case Quiesce() if quieting is None:
                    test_is_over()
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


class _Sampler:
    """Records how late the event loop runs and work is issued, until the test is over.

    What the end of a test costs the loop, with thousands of devices to be written down at once, is
    nobody's load.
    """

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
        self._config = config
        self._clock = clock
        self._journal = journal
        self._is_over = False

    async def run(self) -> None:
        """Sample until cancelled."""
        every_s = self._config.sample_every_s
        while True:
            asked_ns = self._clock.now_ns()
            await asyncio.sleep(every_s)
            late_ns = self._clock.now_ns() - asked_ns - round(every_s * 1e9)
            self._fleet.health.add([max(0, late_ns)])
            self._sample()

    def end(self) -> None:
        """Sample for the last time."""
        self._sample()
        self._is_over = True

    def _sample(self) -> None:
        if self._is_over:
            return
        delays = self._fleet.take_loop_delays()
        drops, retransmissions = self._link.take_counts()
        process, at_ns = self._config.process, self._clock.now_ns()
        self._journal.record(
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
        for record in self._fleet.lags.take(process, at_ns):
            self._journal.record(record)
