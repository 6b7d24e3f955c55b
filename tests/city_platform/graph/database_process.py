"""A process that serves a database until its input ends, and says when it can be asked."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

# A JVM's start takes 10 s on a machine that does nothing else.
_WITHIN_S = 120


class DatabaseProcess:
    """Writes its log into `folder`; none of its methods waits for longer than two minutes."""

    def __init__(
        self, command: Sequence[str], folder: Path, added: dict[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "log").open("wb")
        # A variable of the shell must not change how a JVM speaks.
        kept = {name: value for name, value in os.environ.items() if name != "JAVA_TOOL_OPTIONS"}
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=kept | (added or {}),
        )

    def tell(self, line: bytes) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def wait_for(self, line: bytes) -> None:
        """Return when it has said this line. Raises `TimeoutError`, and `EOFError` at its end."""
        assert self._process.stdout is not None
        until_s, said = time.monotonic() + _WITHIN_S, b""
        while line not in said.splitlines():
            left_s = max(0.0, until_s - time.monotonic())
            if not select.select([self._process.stdout], [], [], left_s)[0]:
                raise TimeoutError(f"no {line!r} within {_WITHIN_S} s: see {self._log.name}")
            if not (part := os.read(self._process.stdout.fileno(), 4_096)):
                raise EOFError(f"the database has ended: see {self._log.name}")
            said += part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            # Ends its input; what it says at its end is dropped, and must not fill the pipe.
            self._process.communicate(timeout=_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        finally:
            self._log.close()
