"""A real Neo4j in a process of its own, to be stopped and started; see neo4j_peer/."""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).parent / "neo4j_peer" / "Neo4jPeer.java"
# A start takes 10 s on a machine that does nothing else.
_WITHIN_S = 120


class Neo4jServer:
    """Serves `uri` between `start` and `stop`; what it was told stays in `folder`."""

    def __init__(self, jars: Path, folder: Path, port: int) -> None:
        self.uri = f"bolt://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "log").open("wb")
        command = [
            "java",
            # Short-lived: start quickly rather than run fast.
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xmx1g",
            "-cp",
            f"{jars}/*",
            str(SOURCE),
            str(folder / "data"),
            str(port),
        ]
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # A variable of the shell must not change how the JVM speaks.
            env={name: value for name, value in os.environ.items() if name != "JAVA_TOOL_OPTIONS"},
        )

    def start(self) -> None:
        """Serve; returns when Bolt can be asked."""
        self._tell(b"start", b"ready")

    def stop(self) -> None:
        """Stop serving; every connection ends."""
        self._tell(b"stop", b"stopped")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            # Ends its input; what it says at its end is dropped, and must not fill the pipe.
            self._process.communicate(timeout=_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._log.close()

    def _tell(self, command: bytes, answer: bytes) -> None:
        """Raises `TimeoutError`, and `EOFError` when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + b"\n")
        self._process.stdin.flush()
        until_s, said = time.monotonic() + _WITHIN_S, b""
        while answer not in said.splitlines():
            if not select.select([self._process.stdout], [], [], until_s - time.monotonic())[0]:
                raise TimeoutError(
                    f"Neo4j did not {command.decode()} within {_WITHIN_S} s: see {self._log.name}"
                )
            if not (part := os.read(self._process.stdout.fileno(), 4_096)):
                raise EOFError(f"Neo4j has ended: see {self._log.name}")
            said += part
