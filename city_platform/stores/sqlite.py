"""How the embedded stores open SQLite: WAL, explicit transactions, a chosen level of durability.

`synchronous` FULL: a commit survives a power cut. NORMAL: it survives a kill of the process, and a
power cut takes the last commits but never the consistency. `docs/design/stores.md` has the table.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from runtime.files import OWNER_ONLY

Synchronous = Literal["FULL", "NORMAL"]

# Two processes may make the same database at once (ingestion reads provisioning's directory).
BUSY_TIMEOUT_MS = 5_000

_NO_UPGRADES: Final[Mapping[int, str]] = {}
DAMAGED: Final = ": it is damaged, restore it from a backup"
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class StoreVersionError(ValueError):
    """A database was made by a newer program."""


def open_database(
    path: Path,
    schema: str,
    *,
    version: int = 1,
    synchronous: Synchronous = "FULL",
    owner_only: bool = False,
    cache_kib: int | None = None,
    checkpoint_pages: int | None = None,
    upgrades: Mapping[int, str] = _NO_UPGRADES,
) -> sqlite3.Connection:
    """Open or make the database at `path`; its folders are made.

    `upgrades` are, by version, the statements that make the next one of it: they run in one
    transaction, so that a database is of the one version or of the other.
    `cache_kib` is how much of it this connection keeps in memory, `checkpoint_pages` how long its
    log may grow before its pages go where they belong; None leaves SQLite's 2 MB and 1,000 pages.

    The connection may be used from any one thread at a time and commits only when told to. Raises
    `StoreVersionError` for a database of a newer schema and `sqlite3.Error`, with the path and what
    to do, when it is no database.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if owner_only:
        # SQLite gives its -wal and -shm files the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY))
    with _naming(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        with _naming(path):
            _set_up(connection, path.parent, synchronous, cache_kib, checkpoint_pages)
            with _turn_to_make(path.parent):
                _create(connection, path, schema, version, upgrades)
    except BaseException:
        connection.close()
        raise
    return connection


def is_damage(error: BaseException) -> bool:
    """Whether a database's file is no database any more, or its pages do not fit together."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    # The lowest byte is the error, those above it say more of its kind.
    return isinstance(error, sqlite3.DatabaseError) and code & 0xFF in _DAMAGE


def _set_up(
    connection: sqlite3.Connection,
    folder: Path,
    synchronous: Synchronous,
    cache_kib: int | None,
    checkpoint_pages: int | None,
) -> None:
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    with _turn_to_make(folder):
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        if cache_kib is not None:
            connection.execute(f"PRAGMA cache_size=-{cache_kib}")
        if checkpoint_pages is not None:
            connection.execute(f"PRAGMA wal_autocheckpoint={checkpoint_pages}")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All that the block writes, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        # On a full disk this may fail and leave the transaction open.
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has taken it back by itself after some errors: a full disk, a failed read.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """SQLite does not say which file is wrong, nor what to do."""
    try:
        yield
    except sqlite3.Error as error:
        advice = DAMAGED if is_damage(error) else ""
        found = type(error)(f"{path}: {error}{advice}")
        found.sqlite_errorcode = getattr(error, "sqlite_errorcode", 0)
        raise found from error


@contextlib.contextmanager
def _turn_to_make(folder: Path) -> Iterator[None]:
    """One process at a time: SQLite does not wait for another that turns WAL on, and a schema that
    was not there a moment ago may be there now."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create(
    connection: sqlite3.Connection,
    path: Path,
    schema: str,
    version: int,
    upgrades: Mapping[int, str],
) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > version:
        raise StoreVersionError(
            f"{path} has schema {found}, this program knows up to {version}: upgrade it"
        )
    if found == version:
        return
    scripts = [upgrades[number] for number in range(found, version)] if found else [schema]
    with transaction(connection):
        for statement in ";".join(scripts).split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={version}")
