"""What a fleet's starter says on standard input, one JSON object a line."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator

import msgspec


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


class Quiesce(msgspec.Struct, frozen=True):
    """Measure nothing more, and say when every pack is acknowledged or the time is over."""

    within_s: float


class End(msgspec.Struct, frozen=True):
    """End the process. Brokers hear a good-bye; at the LwM2M server nothing is de-registered."""


class CommandLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line: exactly one of the fields is there."""

    start: Start | None = None
    follow: Follow | None = None
    quiesce: Quiesce | None = None
    end: End | None = None


Command = Start | Follow | Quiesce | End

_decoder = msgspec.json.Decoder(CommandLine)


class IllegalCommand(ValueError):
    """A line that is no command; the text says why."""


def parse_command(line: bytes) -> Command:
    """The command of one line. Raises `IllegalCommand`."""
    try:
        found = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IllegalCommand(f"not a command: {error}") from error
    named = (found.start, found.follow, found.quiesce, found.end)
    given = [each for each in named if each is not None]
    if len(given) != 1:
        raise IllegalCommand(
            'expected one of {"start": …}, {"follow": {}}, {"quiesce": …}, {"end": {}}'
        )
    command = given[0]
    if isinstance(command, Start) and not command.rate_per_s > 0:
        raise IllegalCommand("rate_per_s must be above 0")
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
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(descriptor), "rb")
    )
    try:
        while line := await reader.readline():
            yield line
    finally:
        transport.close()
