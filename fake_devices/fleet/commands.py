"""What a fleet's starter says on standard input, one JSON object a line."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from lwm2m.bootstrap import parse_uri

# The positions of a million devices.
_LINE_BYTES_MAX: Final = 8 * 1024 * 1024
_Seconds = Annotated[float, Meta(ge=0.0, le=86_400.0)]
_Ratio = Annotated[float, Meta(gt=0.0, le=1.0)]


class Start(msgspec.Struct, frozen=True):
    """Begin the load: devices are switched on as the profile says or, if it does not, `rate_per_s`
    of them each second, whatever becomes of them.

    `began_ns` (monotonic) is the moment that its times count from; 0: now.
    """

    rate_per_s: float
    began_ns: int = 0


class Follow(msgspec.Struct, frozen=True):
    """Follow the schedule file besides, from `began_ns` (monotonic) on; 0: from now."""

    began_ns: int = 0


class SwitchOn(msgspec.Struct, frozen=True):
    """Switch these devices on, for the first time or again, spread evenly over so many seconds from
    now. Positions count the lines of the devices file from 0."""

    positions: list[int]
    over_s: _Seconds = 0.0


class SwitchOff(msgspec.Struct, frozen=True):
    """Switch these devices off, as when their power is cut; of one that is still to be switched on,
    too."""

    positions: list[int]


class Move(msgspec.Struct, frozen=True):
    """Give these devices another LwM2M server, `coap://host:port` or `coaps://host:port`: they
    register there, and the old one is told nothing. Those that are not on yet stay where they are.
    """

    positions: list[int]
    server: str


class CutPower(msgspec.Struct, frozen=True):
    """Cut the power of this part of the devices at `began_ns` (monotonic; 0: now). They come back
    in random order within a window that begins `outage_s` later; fleets that share a run, each told
    the same, share it."""

    outage_s: _Seconds
    return_within_s: _Seconds
    ratio: _Ratio = 1.0
    began_ns: int = 0


class Quiesce(msgspec.Struct, frozen=True):
    """Measure nothing more, and say when every pack is acknowledged or the time is over.

    `ends_samples`: the test is over as well; what the process does from now on is nobody's load.
    """

    within_s: float
    ends_samples: bool = False


class End(msgspec.Struct, frozen=True):
    """End the process. Brokers hear a good-bye; at the LwM2M server nothing is de-registered."""


class CommandLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line: exactly one of the fields is there."""

    start: Start | None = None
    follow: Follow | None = None
    switch_on: SwitchOn | None = None
    switch_off: SwitchOff | None = None
    move: Move | None = None
    cut_power: CutPower | None = None
    quiesce: Quiesce | None = None
    end: End | None = None


Command = Start | Follow | SwitchOn | SwitchOff | Move | CutPower | Quiesce | End

_decoder = msgspec.json.Decoder(CommandLine)


class IllegalCommand(ValueError):
    """A line that is no command; the text says why."""


def parse_command(line: bytes, devices: int) -> Command:
    """The command of one line to so many devices. Raises `IllegalCommand`."""
    try:
        found = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IllegalCommand(f"not a command: {error}") from error
    names = CommandLine.__struct_fields__
    given: list[Command] = [each for name in names if (each := getattr(found, name)) is not None]
    if len(given) != 1:
        raise IllegalCommand(f"expected one of {', '.join(names)}")
    command = given[0]
    if isinstance(command, Start) and not command.rate_per_s > 0:
        raise IllegalCommand("rate_per_s must be above 0")
    if isinstance(command, SwitchOn | SwitchOff | Move):
        wrong = next((each for each in command.positions if not 0 <= each < devices), None)
        if wrong is not None:
            raise IllegalCommand(f"position {wrong}: there are {devices} devices")
    if isinstance(command, Move) and parse_uri(command.server) is None:
        raise IllegalCommand(f"server {command.server[:60]!r}: expected coap://host:port")
    return command


async def lines_of(descriptor: int) -> AsyncGenerator[bytes, None]:
    """The lines that arrive on a descriptor, until its end."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode) or os.path.samestat(
        os.fstat(descriptor), os.stat(os.devnull)
    ):
        # The event loop cannot wait for a plain file or the null device, and need not.
        with os.fdopen(os.dup(descriptor), "rb") as file:
            for line in file.read().splitlines():
                yield line
        return
    reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(descriptor), "rb")
    )
    try:
        while line := await reader.readline():
            yield line
    finally:
        transport.close()
