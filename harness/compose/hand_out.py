"""Gives each container its certificate: provisioning runs this whenever its key files have changed.

The authority's key stays where it is. A key is written before the certificate that needs it, each
file whole or not at all, and only what has changed: who watches a file is not woken for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from harness.compose.installation import CLIENTS, SERVERS
from harness.errors import ScenarioError
from runtime.files import sync_directory, write_atomically, write_secret

FOLDER: Final = "certificates"
_OWN: Final = "own"


class Handed(NamedTuple):
    """A file of provisioning's `pki` and who gets it, under which name."""

    source: str
    holder: str
    name: str


def handed_out() -> Iterator[Handed]:
    """All that is handed out; of each holder in the order in which it is written."""
    for holder, identity in {"broker": "broker", **CLIENTS}.items():
        file = identity.replace(":", "_")
        yield Handed(f"{file}.key", holder, f"{_OWN}.key")
        yield Handed("ca.pem", holder, "ca.pem")
        yield Handed(f"{file}.pem", holder, f"{_OWN}.pem")
    yield Handed("crl.pem", "broker", "crl.pem")
    for nth in range(1, len(SERVERS) + 1):
        # Credentials are sealed to the bridge that passes them on.
        file = CLIENTS[f"bridge-{nth}"].replace(":", "_")
        yield Handed(f"{file}.pem", "bootstrap", f"{file}.pem")


def hand_out(pki: Path, root: Path, done: Path) -> int:
    """Bring the folders below `root` up to date; returns how many files were written.

    `done` is there once everybody has had everything. Raises `ScenarioError`.
    """
    written = 0
    try:
        for source, holder, name in handed_out():
            folder = root / holder / FOLDER
            folder.mkdir(mode=0o700, exist_ok=True)
            data = (pki / source).read_bytes()
            target = folder / name
            if not target.exists() or target.read_bytes() != data:
                write = write_secret if name.endswith(".key") else write_atomically
                write(target, data, sync=True)
                written += 1
        done.touch()
        sync_directory(done.parent)
    except OSError as error:
        raise ScenarioError(
            f"certificates were not handed out: {error.filename}: {error.strerror}"
        ) from None
    return written
