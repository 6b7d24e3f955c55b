"""Which files of an installation's folder are stores, in which order they are copied, and which of
them hold keys. Data, and a rule for what it does not name.

The order makes copies that belong together although nothing stops: what refers to something is
copied before it, since it was written after it.
"""

from __future__ import annotations

import fnmatch
import stat
from typing import Final, Literal, NamedTuple

Kind = Literal["sqlite", "spool", "file"]

SQLITE_HEADER: Final = b"SQLite format 3\x00"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_KEY_MARK: Final = b"PRIVATE KEY"
HEAD_BYTES: Final = 4_096


class _Named(NamedTuple):
    """Stores by the pattern of their path below the folder."""

    pattern: str
    has_keys: bool
    # Lower ones are copied first.
    order: int = 2


_NAMED: Final = (
    # A thing is put when its key, its place and its credentials are there.
    _Named("*things.sqlite", has_keys=False, order=0),
    # Its positions say what of dead letters and archive is there.
    _Named("*telemetry.sqlite", has_keys=False, order=0),
    _Named("*keys.sqlite", has_keys=True),
    _Named("*users.sqlite", has_keys=True),
    _Named("*audit.sqlite", has_keys=False),
    _Named("*audit_outbox*.sqlite", has_keys=False),
    _Named("*control.sqlite", has_keys=False),
    _Named("*objects/audit/*", has_keys=False),
    _Named("*_token", has_keys=True),
    _Named("*.key", has_keys=True),
    _Named("*uploads/*", has_keys=True),
)
_FILES_ORDER: Final = 3
# Made and ended with a connection or a write: what they hold is copied from beside them.
_PASSING: Final = ("*-wal", "*-shm", "*-journal", "*/.*.tmp", ".*.tmp", "*.partial")


class Store(NamedTuple):
    """What a file is to a backup."""

    kind: Kind
    has_keys: bool
    order: int


def is_passing(name: str) -> bool:
    """Whether a file is part of a write or a connection, and no store of its own."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _PASSING)


def store_of(name: str, mode: int, head: bytes) -> Store:
    """What the file `name` (its path below the folder) is, by its mode and its first bytes.

    A file that no row names and that its owner alone may read, or that begins as a private key
    does, is taken to hold keys.
    """
    kind: Kind = "file"
    if head.startswith(SQLITE_HEADER):
        kind = "sqlite"
    elif name.endswith(".spool"):
        kind = "spool"
    for row in _NAMED:
        if fnmatch.fnmatchcase(name, row.pattern):
            return Store(kind, row.has_keys, row.order if kind == "sqlite" else _FILES_ORDER)
    has_keys = _KEY_MARK in head or not stat.S_IMODE(mode) & _OTHERS
    return Store(kind, has_keys and kind != "spool", 2 if kind == "sqlite" else _FILES_ORDER)
