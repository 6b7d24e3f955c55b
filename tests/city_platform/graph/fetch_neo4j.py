"""Fetches a Neo4j from Maven Central: `python -m tests.city_platform.graph.fetch_neo4j`.

The folder is `~/.cache/lamplighter/neo4j/VERSION` unless `LAMPLIGHTER_NEO4J` names another; nothing
of it belongs into the repository. Neo4j 5 is GPL: it is a peer in tests, in a process of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

VERSION: Final = "5.26.12"
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>lamplighter</groupId><artifactId>neo4j-peer</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.neo4j.test</groupId>
      <artifactId>neo4j-harness</artifactId><version>{VERSION}</version></dependency>
  </dependencies>
</project>
"""
_FETCH_WITHIN_S = 300


class Neo4jMissing(Exception):
    """Neo4j cannot be had here; the text says what is missing."""


def folder() -> Path:
    """Where the jars are kept."""
    given = os.environ.get("LAMPLIGHTER_NEO4J")
    return Path(given) if given else Path.home() / ".cache" / "lamplighter" / "neo4j" / VERSION


def fetch() -> Path:
    """The folder of the jars, fetched where that was not done yet. Raises `Neo4jMissing`."""
    # The peer is one source file, which a JDK of 17 or newer compiles as it starts it.
    missing = [name for name in ("java", "javac") if shutil.which(name) is None]
    if missing:
        raise Neo4jMissing(f"no {' and no '.join(missing)} on this machine (JDK 17 is needed)")
    jars = folder() / "lib"
    if not (folder() / "complete").exists():
        if shutil.which("mvn") is None:
            raise Neo4jMissing(f"no mvn on this machine, and no jars in {jars}")
        _fetch(jars)
        (folder() / "complete").touch()
    return jars


def _fetch(jars: Path) -> None:
    jars.mkdir(parents=True, exist_ok=True)
    (folder() / "pom.xml").write_text(_POM)
    command = ["mvn", "-B", "-q", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    try:
        done = subprocess.run(
            command,
            cwd=folder(),
            capture_output=True,
            text=True,
            timeout=_FETCH_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Neo4jMissing(f"Maven could not fetch Neo4j within {_FETCH_WITHIN_S} s") from None
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
        raise Neo4jMissing(f"Maven could not fetch Neo4j: {' '.join(lines[:2])[:500]}")


def main() -> int:
    """Fetch, and print the folder."""
    try:
        jars = fetch()
    except Neo4jMissing as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{jars}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
