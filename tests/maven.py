"""Libraries from Maven Central for peers in tests, kept in a folder outside the repository."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_ANOTHER_LOOK_S = 0.2


class PeerMissing(Exception):
    """A peer cannot be had here; the text says what is missing."""


def fetch_jars(folder: Path, pom: str, what: str, within_s: float) -> Path:
    """The folder of `pom`'s dependencies, fetched where that was not done yet, by one process.

    Raises `PeerMissing` where Maven is missing, fails, or takes longer, and where another process
    that is fetching them does.
    """
    jars = folder / "lib"
    if (folder / "complete").exists():
        return jars
    if shutil.which("mvn") is None:
        raise PeerMissing(f"no mvn on this machine, and no jars in {jars}")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock", f"another process fetches {what} longer", within_s):
        if not (folder / "complete").exists():
            (folder / "pom.xml").write_text(pom)
            command = [
                "mvn",
                "-B",
                "-q",
                "dependency:copy-dependencies",
                f"-DoutputDirectory={jars}",
            ]
            run_tool(command, folder, within_s, f"Maven could not fetch {what}")
            (folder / "complete").touch()
    return jars


def run_tool(command: Sequence[str], folder: Path, within_s: float, failure: str) -> None:
    """Run Maven or a compiler in `folder`. Raises `PeerMissing`, which begins with `failure`."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=within_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise PeerMissing(f"{failure} within {within_s:.0f} s") from None
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
        raise PeerMissing(f"{failure}: {' '.join(lines[:2])[:500]}")


@contextlib.contextmanager
def _alone(path: Path, otherwise: str, within_s: float) -> Iterator[None]:
    """Hold a lock that no other process holds meanwhile."""
    until_s = time.monotonic() + within_s
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until_s:
                    raise PeerMissing(f"{otherwise} than {within_s:.0f} s") from None
                # Nothing tells when a lock of another process is free within a bounded time.
                time.sleep(_ANOTHER_LOOK_S)
        yield
