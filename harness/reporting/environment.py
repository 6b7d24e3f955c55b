"""What a run was made with: versions and machine, as notes for its journal."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import psutil

from contracts.journal import Note

NOTE_VERSION = "version:"
NOTE_MACHINE = "machine:"
# What the figures of a run depend on most.
_PACKAGES = ("lamplighter", "uvloop", "msgspec", "cbor2", "cryptography", "uvicorn")


def environment_notes(at_ns: int) -> list[Note]:
    """Notes that name versions and machine. Neither host name nor user name is among them."""
    facts = {f"{NOTE_VERSION}{name}": text for name, text in _versions().items()}
    facts |= {f"{NOTE_MACHINE}{name}": text for name, text in _machine().items()}
    return [Note(at_ns=at_ns, name=name, text=text) for name, text in facts.items()]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _machine() -> dict[str, str]:
    memory_gib = psutil.virtual_memory().total / 2**30
    return {
        "cores": str(os.cpu_count() or 1),
        "memory": f"{memory_gib:.1f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
