"""Tells brokers that the files of `pki/` have changed: who was revoked, whom to trust.

How a broker hears of it is configuration, since brokers differ: one is told by whoever started
provisioning, one by a signal, one by a program. Nothing is durable here: the files are, and each
start tells of them anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec

RETRY_S_MIN, RETRY_S_MAX = 1.0, 30.0
_DIGITS_MAX: Final = 20

_log = logging.getLogger(__name__)


class SayIt(msgspec.Struct, frozen=True, tag_field="how", tag="say", forbid_unknown_fields=True):
    """One line on standard output, `{"pki_changed": true}`: for a starter that tells the broker."""


class SignalIt(
    msgspec.Struct, frozen=True, tag_field="how", tag="hangup", forbid_unknown_fields=True
):
    """SIGHUP to the process that a file names: a Mosquitto, or our embedded broker."""

    pid_file: str
    """The file that the broker writes its process id to."""


class RunIt(
    msgspec.Struct, frozen=True, tag_field="how", tag="command", forbid_unknown_fields=True
):
    """A program, such as `["systemctl", "reload", "mosquitto"]`: it has nothing secret in its
    arguments, and 0 means that it is done."""

    command: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """The program and its arguments; no shell sees them."""
    within_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """Seconds after which it is killed, and tried again."""


BrokerNotice: TypeAlias = SayIt | SignalIt | RunIt


class NoticeFailed(Exception):
    """A broker could not be told; the text says which and why."""


class BrokerNotices:
    """`run` tells all brokers after each `changed`, and again until each has been told.

    What changes while they are told is told once more afterwards. Counters: `told`, `failed`.
    """

    def __init__(
        self,
        notices: Sequence[BrokerNotice],
        say: Callable[[Mapping[str, Any]], None],
        retry_s_min: float = RETRY_S_MIN,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._notices = notices
        self._say = say
        self._retry_s_min = retry_s_min
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """The files are other ones now, and whole."""
        self._changed.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        pause_s = self._retry_s_min
        while True:
            await self._changed.wait()
            self._changed.clear()
            if await self._tell_all():
                pause_s = self._retry_s_min
                continue
            # Who was told already reads the same files again, which changes nothing.
            self._changed.set()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_S_MAX)

    async def _tell_all(self) -> bool:
        failures = 0
        for notice in self._notices:
            try:
                await self._tell(notice)
                self.counts["told"] += 1
            except NoticeFailed as error:
                failures += 1
                self.counts["failed"] += 1
                _log.error("a broker does not know of changed certificates yet: %s", error)
        return failures == 0

    async def _tell(self, notice: BrokerNotice) -> None:
        match notice:
            case SayIt():
                self._say({"pki_changed": True})
            case SignalIt(pid_file=pid_file):
                _hang_up(Path(pid_file))
            case RunIt(command=command, within_s=within_s):
                await _run(command, within_s)


def _hang_up(pid_file: Path) -> None:
    try:
        text = pid_file.read_text(encoding="ascii").strip()
        pid = int(text) if text.isdecimal() and len(text) < _DIGITS_MAX else 0
        if pid <= 1:  # 0 and 1 would signal everybody, or the first process of the machine
            raise NoticeFailed(f"{pid_file} holds no process id")
        os.kill(pid, signal.SIGHUP)
    except (OSError, UnicodeDecodeError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no process id"
        raise NoticeFailed(f"SIGHUP to the process of {pid_file}: {reason}") from error


async def _run(command: Sequence[str], within_s: float) -> None:
    name = command[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
    except (OSError, ValueError) as error:
        raise NoticeFailed(f"{name}: {error}") from error
    try:
        async with asyncio.timeout(within_s):
            code = await process.wait()
    except TimeoutError:
        raise NoticeFailed(f"{name} took longer than {within_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code:
        raise NoticeFailed(f"{name} ended with code {code}")
