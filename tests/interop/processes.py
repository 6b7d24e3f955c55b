"""Other programs as peers: started, spoken to in lines, awaited, ended by their id.

Everything here blocks with a bound: nothing sleeps, and nothing is awaited for ever. A thread per
process reads what it says, so that tests stay plain functions.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

WITHIN_S = 60.0
_END_WITHIN_S = 30.0

Line = dict[str, Any]


class PeerEnded(Exception):
    """The process is gone; the text has what it said last."""


class NotSaid(Exception):
    """What was awaited did not come in time; the text has what came instead."""


class TextProcess:
    """A process that speaks lines of text on standard output and error, together and in order."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=directory,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def write(self, text: str) -> None:
        """Say one line to it. Raises `PeerEnded`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise PeerEnded("\n".join(self.lines[-20:])) from None

    def until(
        self, found: Callable[[str], Any], *, after: int = 0, within_s: float = WITHIN_S
    ) -> Any:
        """The first truthy `found(line)` of lines from number `after` on.

        Raises `NotSaid` or `PeerEnded` with the last lines.
        """
        deadline = time.monotonic() + within_s
        at = after
        with self._said:
            while True:
                while at < len(self.lines):
                    result = found(self.lines[at])
                    if result:
                        return result
                    at += 1
                left = deadline - time.monotonic()
                if self._ended:
                    raise PeerEnded("\n".join(self.lines[-20:]))
                if left <= 0:
                    raise NotSaid("\n".join(self.lines[max(after, len(self.lines) - 20) :]))
                self._said.wait(left)

    def end(self) -> int:
        """Close its standard input, then ask it, then make it end. Returns its exit code."""
        if self._process.stdin is not None:
            # It may have ended before it read what was said last.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        code = self._wait()
        for ask in (self._process.terminate, self._process.kill):
            if code is None:
                ask()
                code = self._wait()
        if code is None:
            raise AssertionError(f"process {self._process.pid} cannot be ended")
        self._reader.join(_END_WITHIN_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code

    def terminate(self) -> int:
        """As `end`, for programs that do not heed their standard input."""
        self._process.terminate()
        return self.end()

    def _wait(self) -> int | None:
        try:
            return self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            return None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._said:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()


def json_line(text: str) -> Line | None:
    """The object of a line, None when the line is none: logs come in between."""
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class JsonProcess(TextProcess):
    """A process that speaks JSON objects, one a line; other lines are its log."""

    def say(self, message: Mapping[str, Any]) -> None:
        """Say one object to it."""
        self.write(json.dumps(message))

    def ready(self, within_s: float = 60.0) -> Line:
        """What its ready line tells."""
        line = self.until_object(lambda line: "ready" in line, within_s=within_s)
        found: Line = line["ready"]
        return found

    def until_object(
        self, found: Callable[[Line], bool], *, after: int = 0, within_s: float = WITHIN_S
    ) -> Line:
        """The first object for which `found` holds, of lines from number `after` on."""

        def matches(text: str) -> Line | None:
            line = json_line(text)
            return line if line is not None and found(line) else None

        result: Line = self.until(matches, after=after, within_s=within_s)
        return result
