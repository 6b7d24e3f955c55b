"""The fleet process of a Locust worker: started, told, heard and followed, from greenlets."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import gevent
import msgspec
from gevent.event import Event

from contracts.journal import Record
from harness.bench.parent import die_with_parent
from harness.load.tail import JournalTail

# Beside Locust's process and not inside it: device latencies know nothing of greenlets, and one
# core carries as many devices as without Locust.
_ARGUMENTS: Final = ("-m", "fake_devices.fleet", "--config", "-")
_READ_EVERY_S: Final = 0.1
_PENDING: Final = ".pending"
_log = logging.getLogger(__name__)

Take = Callable[[Sequence[Record]], None]


class FleetChild:
    """One fleet process; `take` gets what it records, piece by piece, `ended` is told of its end.

    Its journal becomes one of the run's only with `keep_journal`: a fleet that waits for a test
    that never comes leaves none.
    """

    def __init__(
        self, config: Mapping[str, Any], journal: Path, log: Path, take: Take, name: str
    ) -> None:
        self.ready = Event()
        self.quiet = Event()
        self.ended = Event()
        self._take = take
        self._name = name
        self._log_file = log
        self._journal = journal
        self._pending = journal.with_name(journal.name + _PENDING)
        self._is_kept = False
        self._tail = JournalTail(self._pending)
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, *_ARGUMENTS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                preexec_fn=die_with_parent(),
                start_new_session=True,
            )
        self.tell({**config, "journal_file": str(self._pending)})
        gevent.spawn(self._hear)
        self._following = gevent.spawn(self._follow)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send one JSON line. A process that is gone does not hear it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            _log.debug("%s does not listen any more", self._name)

    def keep_journal(self) -> None:
        """The test begins: what was and will be recorded is the run's."""
        if not self._is_kept and self._tail.open():
            self._is_kept = True
            self._pending.rename(self._journal)

    def end(self, quiet_within_s: float, end_within_s: float) -> None:
        """Let it come to rest, and end it; everything that it recorded is taken when this returns.

        Returns also when the time is over: the process is then killed.
        """
        if not self.ended.is_set():
            self.tell({"quiesce": {"within_s": quiet_within_s, "ends_samples": True}})
            self.quiet.wait(quiet_within_s + 1)
            self.tell({"end": {}})
            if not self.ended.wait(end_within_s):
                _log.warning("%s did not end within %g s: killed", self._name, end_within_s)
                self._process.kill()
                self.ended.wait()
        self._following.join()
        self._tail.close()
        if not self._is_kept:
            self._pending.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The last line of its log, and where that is."""
        lines = self._log_file.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it logged nothing")
        return f"{last.strip()} (log: {self._log_file})"

    def _hear(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                message = msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError:
                continue
            if "ready" in message:
                self.ready.set()
            elif "quiet" in message:
                self.quiet.set()
        self._process.wait()
        self.ended.set()

    def _follow(self) -> None:
        while True:
            # Asked before the file is read: what comes after its end is seen in the same turn.
            has_ended = self.ended.is_set()
            while records := self._tail.read():
                self._take(records)
                gevent.sleep(0)
            if has_ended:
                return
            self.ended.wait(_READ_EVERY_S)
