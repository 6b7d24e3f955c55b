"""Fetches Eclipse Leshan's libraries from Maven Central and compiles the peer that uses them.

`python -m tests.interop.fetch_leshan` prints the class path. The folder is
`~/.cache/lamplighter/leshan/VERSION` unless `LAMPLIGHTER_LESHAN` names another; nothing of it
belongs into the repository.

Leshan's client, server and bootstrap server libraries are what its demos are made of. The demos
themselves are not all published on Maven Central in a current version (only an old server demo
was found there), so the peer is a program of ours, `leshan/*.java`, around those libraries.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from tests.maven import PeerMissing, fetch_jars, run_tool

VERSION = "2.0.0-M15"
SOURCES = Path(__file__).parent / "leshan"
_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>lamplighter</groupId><artifactId>leshan-peer</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.eclipse.leshan</groupId>
      <artifactId>leshan-server-cf</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.eclipse.leshan</groupId>
      <artifactId>leshan-client-cf</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
# Less than a test may take.
_FETCH_WITHIN_S = 100
_COMPILE_WITHIN_S = 60


def folder() -> Path:
    """Where the jars are kept."""
    given = os.environ.get("LAMPLIGHTER_LESHAN")
    return Path(given) if given else Path.home() / ".cache" / "lamplighter" / "leshan" / VERSION


def fetch() -> list[str]:
    """The class path of the compiled peer, fetched and compiled where that was not done yet.

    Raises `PeerMissing` with what is missing: java, javac, mvn, or the jars.
    """
    missing = [name for name in ("java", "javac") if shutil.which(name) is None]
    if missing:
        raise PeerMissing(f"no {' and no '.join(missing)} on this machine")
    jars = fetch_jars(folder(), _POM.format(version=VERSION), "Leshan", _FETCH_WITHIN_S)
    return [str(_compiled(jars)), f"{jars}/*"]


def _compiled(jars: Path) -> Path:
    sources = sorted(SOURCES.glob("*.java"))
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()[:12]
    classes = folder() / f"classes-{digest}"
    if not classes.exists():
        # Several test processes may do this at once: what is in place is always whole.
        unfinished = folder() / f"unfinished-{os.getpid()}"
        paths = [str(each) for each in sources]
        command = ["javac", "-nowarn", "-cp", f"{jars}/*", "-d", str(unfinished), *paths]
        run_tool(command, folder(), _COMPILE_WITHIN_S, "javac could not compile the peer")
        try:
            unfinished.rename(classes)
        except OSError:
            shutil.rmtree(unfinished)  # another process was first
    return classes


def main() -> int:
    """Fetch, compile, and print the class path."""
    try:
        found = fetch()
    except PeerMissing as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(":".join(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
