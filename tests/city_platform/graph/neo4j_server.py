"""A real Neo4j in a process of its own, to be stopped and started; see neo4j_peer/."""

from __future__ import annotations

from pathlib import Path

from tests.city_platform.graph.database_process import DatabaseProcess

SOURCE = Path(__file__).parent / "neo4j_peer" / "Neo4jPeer.java"


class Neo4jServer(DatabaseProcess):
    """Serves `uri` between `start` and `stop`; what it was told stays in `folder`."""

    def __init__(self, jars: Path, folder: Path, port: int) -> None:
        self.uri = f"bolt://127.0.0.1:{port}"
        # Short-lived: start quickly rather than run fast.
        options = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g", "-cp", f"{jars}/*")
        super().__init__(("java", *options, str(SOURCE), str(folder / "data"), str(port)), folder)

    def start(self) -> None:
        """Serve; returns when Bolt can be asked."""
        self.tell(b"start")
        self.wait_for(b"ready")

    def stop(self) -> None:
        """Stop serving; every connection ends."""
        self.tell(b"stop")
        self.wait_for(b"stopped")
