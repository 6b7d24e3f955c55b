"""Things, their certificates, policies and groups: the interface, and SQLite.

It holds no private key and no pre-shared key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from city_platform.stores.certificate_register import (
    CertificateRegister,
    SqliteCertificateRegister,
)
from city_platform.stores.sqlite import open_database, transaction
from city_platform.stores.worker import Worker
from contracts.policy import Policy

_SCHEMA = """
CREATE TABLE things (
    name TEXT PRIMARY KEY, type TEXT NOT NULL, serial TEXT NOT NULL, policy TEXT NOT NULL,
    certificate TEXT NOT NULL, manifest_digest BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE certificates (
    sha256 TEXT PRIMARY KEY, thing TEXT NOT NULL, der BLOB NOT NULL, made_for BLOB NOT NULL,
    expires_at_us INTEGER NOT NULL, active INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX certificates_of_thing ON certificates (thing);
CREATE TABLE policies (name TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE group_members (
    thing TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (thing, name)
) WITHOUT ROWID;
CREATE INDEX things_of_group ON group_members (name, thing)
"""

_GROUPS = "SELECT name, count(*) FROM group_members GROUP BY name ORDER BY name"


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A device's certificate (DER). `made_for` is a digest of what it was issued for: when that
    changes, another is issued."""

    sha256: str
    der: bytes
    made_for: bytes
    expires_at_us: int


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """A device as the registry knows it. `manifest_digest` is of the row it was made from."""

    name: str
    type: str
    serial: str
    policy_name: str
    policy: Policy
    groups: list[str]
    certificate: Certificate
    manifest_digest: bytes


class ThingRegistry(Protocol):
    """Things by name. A thing has one active certificate; earlier ones are kept as inactive."""

    @property
    def register(self) -> CertificateRegister:
        """What became of the certificates, and what is to be done with them."""

    async def put(self, things: Sequence[Thing]) -> None:
        """Put or replace all of them, or none."""

    async def get(self, names: Iterable[str]) -> dict[str, Thing]:
        """Those of `names` that exist."""

    async def members(self, group: str) -> list[str]:
        """The things of a group, sorted."""

    async def groups(self) -> dict[str, int]:
        """All groups by name, and how many things each has."""

    async def policy(self, name: str) -> Policy | None:
        """The policy of this name, or None."""

    async def names(self, after: str, limit: int) -> list[str]:
        """Things by name, of names past `after`."""

    async def count(self) -> int:
        """How many things there are."""

    def close(self) -> None:
        """Let go of what is held."""


class SqliteThingRegistry:
    """`ThingRegistry` in one SQLite file; a commit survives a power cut."""

    def __init__(self, path: Path) -> None:
        self._connection = open_database(path, _SCHEMA)
        self._worker = Worker("thing-registry")
        self._register = SqliteCertificateRegister(self._connection, self._worker)

    @property
    def register(self) -> CertificateRegister:
        """See `ThingRegistry`."""
        return self._register

    async def put(self, things: Sequence[Thing]) -> None:
        """See `ThingRegistry`."""
        await self._worker.do(self._put, things)

    async def get(self, names: Iterable[str]) -> dict[str, Thing]:
        """See `ThingRegistry`."""
        return await self._worker.do(self._get, list(names))

    async def members(self, group: str) -> list[str]:
        """See `ThingRegistry`."""
        return await self._worker.do(self._members, group)

    async def groups(self) -> dict[str, int]:
        """See `ThingRegistry`."""
        return dict(await self._worker.do(self._all, _GROUPS))

    async def policy(self, name: str) -> Policy | None:
        """See `ThingRegistry`."""
        rows = await self._worker.do(
            self._all, "SELECT document FROM policies WHERE name = ?", (name,)
        )
        return msgspec.json.decode(rows[0][0], type=Policy) if rows else None

    async def names(self, after: str, limit: int) -> list[str]:
        """See `ThingRegistry`."""
        rows = await self._worker.do(
            self._all,
            "SELECT name FROM things WHERE name > ? ORDER BY name LIMIT ?",
            (after, limit),
        )
        return [name for (name,) in rows]

    async def count(self) -> int:
        """See `ThingRegistry`."""
        return await self._worker.do(self._count)

    def close(self) -> None:
        """See `ThingRegistry`."""
        self._worker.close()
        self._connection.close()

    def _put(self, things: Sequence[Thing]) -> None:
        names = [(thing.name,) for thing in things]
        with transaction(self._connection) as connection:
            connection.executemany("DELETE FROM group_members WHERE thing = ?", names)
            connection.executemany("UPDATE certificates SET active = 0 WHERE thing = ?", names)
            connection.executemany(
                "INSERT OR REPLACE INTO things VALUES (?, ?, ?, ?, ?, ?)",
                [_thing_row(thing) for thing in things],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO certificates VALUES (?, ?, ?, ?, ?, 1)",
                [_certificate_row(thing) for thing in things],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO policies VALUES (?, ?)",
                [(thing.policy_name, msgspec.json.encode(thing.policy)) for thing in things],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO group_members VALUES (?, ?)",
                [(thing.name, group) for thing in things for group in thing.groups],
            )

    def _get(self, names: list[str]) -> dict[str, Thing]:
        wanted = msgspec.json.encode(names).decode()
        groups: dict[str, list[str]] = {}
        for name, group in self._connection.execute(
            "SELECT thing, name FROM group_members"
            " WHERE thing IN (SELECT value FROM json_each(?)) ORDER BY thing, name",
            (wanted,),
        ):
            groups.setdefault(name, []).append(group)
        rows = self._connection.execute(
            "SELECT t.name, t.type, t.serial, t.policy, t.manifest_digest, p.document,"
            " c.sha256, c.der, c.made_for, c.expires_at_us FROM things t"
            " JOIN certificates c ON c.sha256 = t.certificate"
            " JOIN policies p ON p.name = t.policy"
            " WHERE t.name IN (SELECT value FROM json_each(?))",
            (wanted,),
        )
        return {row[0]: _thing(row, groups.get(row[0], [])) for row in rows}

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()

    def _members(self, group: str) -> list[str]:
        rows = self._connection.execute(
            "SELECT thing FROM group_members WHERE name = ? ORDER BY thing", (group,)
        )
        return [name for (name,) in rows]

    def _count(self) -> int:
        found: int = self._connection.execute("SELECT count(*) FROM things").fetchone()[0]
        return found


def _thing_row(thing: Thing) -> tuple[str, str, str, str, str, bytes]:
    return (
        thing.name,
        thing.type,
        thing.serial,
        thing.policy_name,
        thing.certificate.sha256,
        thing.manifest_digest,
    )


def _certificate_row(thing: Thing) -> tuple[str, str, bytes, bytes, int]:
    found = thing.certificate
    return (found.sha256, thing.name, found.der, found.made_for, found.expires_at_us)


def _thing(row: tuple[Any, ...], groups: list[str]) -> Thing:
    name, kind, serial, policy_name, digest, document, sha256, der, made_for, expires = row
    return Thing(
        name=name,
        type=kind,
        serial=serial,
        policy_name=policy_name,
        policy=msgspec.json.decode(document, type=Policy),
        groups=groups,
        certificate=Certificate(sha256=sha256, der=der, made_for=made_for, expires_at_us=expires),
        manifest_digest=digest,
    )
