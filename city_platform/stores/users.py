"""Users, their sessions, links and signing keys: the interface, and SQLite.

One file that its owner alone can read; a commit survives a power cut. Of refresh tokens and links
there are hashes only. A function over the tables runs in one transaction: all of it, or nothing.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from city_platform.identity.accounts import User
from city_platform.identity.attempts import Attempts
from city_platform.identity.families import Family
from city_platform.identity.signing import StoredKey
from city_platform.stores.sqlite import open_database, transaction
from city_platform.stores.worker import Worker

# Sign-in names that are remembered for their wrong passwords; strangers choose them.
ATTEMPTS_KEPT = 100_000
# Places from which one user has signed in, the latest ones.
CLIENTS_KEPT = 20
# Between a user's name and the hash of such a place, where its wrong passwords are counted apart.
FROM_KNOWN = " from "

_SCHEMA = """
CREATE TABLE users (username TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE attempts (
    name TEXT PRIMARY KEY, last_us INTEGER NOT NULL, document BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX attempts_by_time ON attempts (last_us);
CREATE TABLE families (
    id TEXT PRIMARY KEY, username TEXT NOT NULL, expires_at_us INTEGER NOT NULL,
    document BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX families_of_user ON families (username);
CREATE TABLE refresh_tokens (
    hash BLOB PRIMARY KEY, family TEXT NOT NULL, is_current INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX refresh_tokens_of_family ON refresh_tokens (family);
CREATE TABLE links (
    hash BLOB PRIMARY KEY, username TEXT NOT NULL, expires_at_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE signing_keys (id TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID
"""
# What databases of earlier versions do not have.
_ADDED = """
CREATE TABLE IF NOT EXISTS known_clients (
    hash BLOB PRIMARY KEY, username TEXT NOT NULL, expires_at_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS known_clients_of_user ON known_clients (username, expires_at_us)
"""
_T = TypeVar("_T")


class UserTables(Protocol):
    """What a function over the tables can do. Secrets come as text and are kept as hashes."""

    def user(self, username: str) -> User | None:
        """The user."""

    def users(self, after: str = "", limit: int = 1_000_000) -> list[User]:
        """Users by name."""

    def put_user(self, user: User) -> None:
        """Put or replace a user."""

    def attempts(self, name: str) -> Attempts:
        """The wrong passwords of a sign-in name."""

    def put_attempts(self, name: str, attempts: Attempts) -> None:
        """Keep them; none are forgotten at once."""

    def drop_attempts_from_known(self, username: str) -> None:
        """Forget the wrong passwords that came from places that are known."""

    def family_of(self, token: str) -> tuple[Family, bool] | None:
        """The session of a refresh token, and whether it is the session's latest one."""

    def families(self, username: str) -> list[Family]:
        """The sessions of a user."""

    def put_family(self, family: Family, token: str | None = None) -> None:
        """Keep a session; with `token` this is now its latest refresh token."""

    def forget_expired(self, now_us: int) -> None:
        """Drop sessions and links whose time is over."""

    def put_link(self, token: str, username: str, expires_at_us: int) -> None:
        """Keep a link for a user (an empty name: the first start's); former ones go."""

    def link_user(self, token: str, now_us: int) -> str | None:
        """Whose link it is, None when there is none that is still good."""

    def take_link(self, token: str, now_us: int) -> str | None:
        """Use a link up: whose it was, None when there is none that is still good."""

    def drop_links(self, username: str) -> None:
        """A user's links are good no more."""

    def knows_client(self, token: str, username: str, now_us: int) -> bool:
        """Whether this user has signed in from where this token is kept, and not too long ago."""

    def put_client(self, token: str, username: str, expires_at_us: int) -> None:
        """Know the place that keeps this token; of one user so many are known, the latest."""

    def keys(self) -> list[StoredKey]:
        """The signing keys, oldest first."""

    def put_keys(self, keys: list[StoredKey]) -> None:
        """These are the signing keys now."""


class SqliteUserStore:
    """The tables in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._connection = open_database(path, _SCHEMA, owner_only=True)
        with transaction(self._connection):
            for statement in _ADDED.split(";"):
                self._connection.execute(statement)
        self._worker = Worker("users")

    async def do(self, function: Callable[[UserTables], _T]) -> _T:
        """What `function` returns; what it changed is committed, unless it raises."""
        return await self._worker.do(self._do, function)

    def close(self) -> None:
        """Let go of what is held."""
        self._worker.close()
        self._connection.close()

    def _do(self, function: Callable[[UserTables], _T]) -> _T:
        with transaction(self._connection) as connection:
            return function(_Tables(connection))


class _Tables:
    """`UserTables` inside one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def user(self, username: str) -> User | None:
        rows = self._rows("SELECT document FROM users WHERE username = ?", username)
        return msgspec.json.decode(rows[0][0], type=User) if rows else None

    def users(self, after: str = "", limit: int = 1_000_000) -> list[User]:
        rows = self._rows(
            "SELECT document FROM users WHERE username > ? ORDER BY username LIMIT ?", after, limit
        )
        return [msgspec.json.decode(row[0], type=User) for row in rows]

    def put_user(self, user: User) -> None:
        self._rows(
            "INSERT OR REPLACE INTO users VALUES (?, ?)", user.username, msgspec.json.encode(user)
        )

    def attempts(self, name: str) -> Attempts:
        rows = self._rows("SELECT document FROM attempts WHERE name = ?", name)
        return msgspec.json.decode(rows[0][0], type=Attempts) if rows else Attempts()

    def put_attempts(self, name: str, attempts: Attempts) -> None:
        if not attempts.failures:
            self._rows("DELETE FROM attempts WHERE name = ?", name)
            return
        self._rows(
            "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?)",
            name, attempts.last_us, msgspec.json.encode(attempts),
        )  # fmt: skip
        self._rows(
            "DELETE FROM attempts WHERE name IN"
            " (SELECT name FROM attempts ORDER BY last_us DESC LIMIT -1 OFFSET ?)",
            ATTEMPTS_KEPT,
        )

    def drop_attempts_from_known(self, username: str) -> None:
        first = f"{username}{FROM_KNOWN}"
        # Hexadecimal digits follow.
        self._rows("DELETE FROM attempts WHERE name > ? AND name < ?", first, first + "g")

    def family_of(self, token: str) -> tuple[Family, bool] | None:
        rows = self._rows(
            "SELECT document, is_current FROM refresh_tokens JOIN families ON family = id"
            " WHERE hash = ?",
            _hash(token),
        )
        return (msgspec.json.decode(rows[0][0], type=Family), bool(rows[0][1])) if rows else None

    def families(self, username: str) -> list[Family]:
        rows = self._rows("SELECT document FROM families WHERE username = ? ORDER BY id", username)
        return [msgspec.json.decode(row[0], type=Family) for row in rows]

    def put_family(self, family: Family, token: str | None = None) -> None:
        self._rows(
            "INSERT OR REPLACE INTO families VALUES (?, ?, ?, ?)",
            family.id, family.username, family.expires_at_us, msgspec.json.encode(family),
        )  # fmt: skip
        if token is not None:
            self._rows("UPDATE refresh_tokens SET is_current = 0 WHERE family = ?", family.id)
            self._rows("INSERT INTO refresh_tokens VALUES (?, ?, 1)", _hash(token), family.id)

    def forget_expired(self, now_us: int) -> None:
        self._rows(
            "DELETE FROM refresh_tokens WHERE family IN"
            " (SELECT id FROM families WHERE expires_at_us < ?)",
            now_us,
        )
        self._rows("DELETE FROM families WHERE expires_at_us < ?", now_us)
        self._rows("DELETE FROM links WHERE expires_at_us < ?", now_us)
        self._rows("DELETE FROM known_clients WHERE expires_at_us < ?", now_us)

    def put_link(self, token: str, username: str, expires_at_us: int) -> None:
        self.drop_links(username)
        self._rows("INSERT INTO links VALUES (?, ?, ?)", _hash(token), username, expires_at_us)

    def link_user(self, token: str, now_us: int) -> str | None:
        rows = self._rows(
            "SELECT username FROM links WHERE hash = ? AND expires_at_us > ?", _hash(token), now_us
        )
        return rows[0][0] if rows else None

    def take_link(self, token: str, now_us: int) -> str | None:
        rows = self._rows(
            "DELETE FROM links WHERE hash = ? AND expires_at_us > ? RETURNING username",
            _hash(token), now_us,
        )  # fmt: skip
        return rows[0][0] if rows else None

    def drop_links(self, username: str) -> None:
        self._rows("DELETE FROM links WHERE username = ?", username)

    def knows_client(self, token: str, username: str, now_us: int) -> bool:
        rows = self._rows(
            "SELECT 1 FROM known_clients WHERE hash = ? AND username = ? AND expires_at_us > ?",
            _hash(token), username, now_us,
        )  # fmt: skip
        return bool(rows)

    def put_client(self, token: str, username: str, expires_at_us: int) -> None:
        self._rows(
            "INSERT INTO known_clients VALUES (?, ?, ?)", _hash(token), username, expires_at_us
        )
        self._rows(
            "DELETE FROM known_clients WHERE username = ? AND hash NOT IN (SELECT hash"
            " FROM known_clients WHERE username = ? ORDER BY expires_at_us DESC LIMIT ?)",
            username, username, CLIENTS_KEPT,
        )  # fmt: skip

    def keys(self) -> list[StoredKey]:
        rows = self._rows("SELECT document FROM signing_keys")
        found = [msgspec.json.decode(row[0], type=StoredKey) for row in rows]
        return sorted(found, key=lambda key: (key.created_at_us, key.id))

    def put_keys(self, keys: list[StoredKey]) -> None:
        self._rows("DELETE FROM signing_keys")
        for key in keys:
            self._rows("INSERT INTO signing_keys VALUES (?, ?)", key.id, msgspec.json.encode(key))

    def _rows(self, statement: str, *parameters: Any) -> list[Any]:
        return self._connection.execute(statement, parameters).fetchall()


def _hash(token: str) -> bytes:
    """Of a token with 256 bits of chance: nothing slower is needed."""
    return hashlib.sha256(token.encode(errors="replace")).digest()
