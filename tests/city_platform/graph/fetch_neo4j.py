"""Fetches a Neo4j from Maven Central: `python -m tests.city_platform.graph.fetch_neo4j`.

The folder is `~/.cache/lamplighter/neo4j/VERSION` unless `LAMPLIGHTER_NEO4J` names another; nothing
of it belongs into the repository. Neo4j 5 is GPL: it is a peer in tests, in a process of its own.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from tests.maven import PeerMissing, fetch_jars

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
_FETCH_WITHIN_S = 900


def folder() -> Path:
    """Where the jars are kept."""
    given = os.environ.get("LAMPLIGHTER_NEO4J")
    return Path(given) if given else Path.home() / ".cache" / "lamplighter" / "neo4j" / VERSION


def kept() -> Path:
    """The folder of the jars. Raises `PeerMissing` where they were not fetched."""
    # The peer is one source file, which a JDK of 17 or newer compiles as it starts it.
    missing = [name for name in ("java", "javac") if shutil.which(name) is None]
    if missing:
        raise PeerMissing(f"no {' and no '.join(missing)} on this machine (JDK 17 is needed)")
    if not (folder() / "complete").exists():
        raise PeerMissing(
            "not fetched: python -m tests.city_platform.graph.fetch_neo4j brings 135 MB from "
            "Maven Central"
        )
    return folder() / "lib"


def main() -> int:
    """Fetch, and print the folder."""
    try:
        jars = fetch_jars(folder(), _POM, "Neo4j", _FETCH_WITHIN_S)
    except PeerMissing as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{jars}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
