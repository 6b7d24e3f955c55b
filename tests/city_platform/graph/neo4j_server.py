"""A real Neo4j in a process of its own, to be stopped and started; see neo4j_peer/."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Self

from tests.city_platform.graph.fetch_neo4j import fetch

SOURCE = Path(__file__).parent / "neo4j_peer" / "Neo4jPeer.java"


class Neo4jServer:
    """Serves `uri` between `start` and `stop`; what it was told stays in `folder`."""

    def __init__(self, folder: Path, port: int) -> None:
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
            f"{fetch()}/*",
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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        # What it says at its end must not fill the pipe.
        self._process.stdout.read()
        self._process.wait(30)
        self._process.stdout.close()
        self._log.close()

    def _tell(self, command: bytes, answer: bytes) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + b"\n")
        self._process.stdin.flush()
        assert any(line.strip() == answer for line in self._process.stdout), "see its log"
