"""Provisions a batch of manifest rows: decides what each needs, makes it, and stores it.

Order of storing: key and credentials file first, the thing last. A thing in the registry is
therefore complete, and a batch that a kill interrupted is done again when the import is repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from city_platform.provisioning.certificates import Authority, Draw, Issuer
from city_platform.provisioning.credentials import CredentialsPlan
from city_platform.provisioning.csr import InvalidRequest, public_key_der, read_request
from city_platform.provisioning.manifest_reader import RawRow
from city_platform.stores.device_directory import DeviceDirectory, DirectoryEntry
from city_platform.stores.object_store import NewObject, ObjectStore, credentials_name
from city_platform.stores.pre_shared_keys import PreSharedKey, PreSharedKeyStore
from city_platform.stores.thing_registry import Certificate, Thing, ThingRegistry
from contracts.manifest import InvalidField, ManifestRow, RowError, read_row
from contracts.names import Principal
from contracts.policy import policy_for

PSK_BYTES = 16
BLOCKED = (
    "its certificate was revoked: ask for another (POST /v1/devices/{endpoint}/certificate), or "
    "remove the device first"
)
Change = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class Stores:
    """Where provisioning keeps what it makes."""

    things: ThingRegistry
    directory: DeviceDirectory
    objects: ObjectStore
    keys: PreSharedKeyStore


class CheckedRow(NamedTuple):
    """A row that keeps to the manifest, and its place in the file. `public` is the key of a device
    that has it to itself."""

    number: int
    row: ManifestRow
    public: ec.EllipticCurvePublicKey | None = None

    def digest(self, plan: CredentialsPlan) -> bytes:
        """See `CredentialsPlan.digest`."""
        return plan.digest(self.row, b"" if self.public is None else public_key_der(self.public))


class Known(NamedTuple):
    """What the stores hold of a batch's devices before it."""

    things: dict[str, Thing]
    keys: dict[str, PreSharedKey]
    holders: dict[str, str]
    credentials: set[str]
    blocked: set[str]


class Provisioned(NamedTuple):
    """All that is stored for one row; `document` None leaves the credentials file as it is."""

    change: Change
    thing: Thing
    entry: DirectoryEntry
    key: PreSharedKey
    document: bytes | None

    def __repr__(self) -> str:
        return f"Provisioned({self.change!r}, {self.thing.name!r}, …)"


class BatchOutcome(NamedTuple):
    """What a batch of rows came to; `renewed` are devices whose credentials were replaced."""

    rows: int
    created: int
    updated: int
    unchanged: int
    errors: list[RowError]
    renewed: list[str]


class MadeBatch(NamedTuple):
    """A batch with its certificates and documents, ready to be stored."""

    made: list[Provisioned]
    outcome: BatchOutcome


class SeenRows:
    """What earlier rows of the same file had: endpoint, serial and PSK identity appear once."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], int] = {}

    def check(self, number: int, row: ManifestRow) -> None:
        """Remember the row. Raises `InvalidField` when it repeats an earlier one's name."""
        names = (
            ("endpoint", row.endpoint),
            ("serial", row.serial),
            ("psk_identity", row.psk_identity),
        )
        for field, value in names:
            first = self._first.get((field, value))
            if first is not None:
                raise InvalidField(field, f"{value!r} appears again, first in row {first}")
        for name in names:
            self._first[name] = number


class Importer:
    """Provisions batches of rows. One import runs at a time: the caller sees to that."""

    def __init__(
        self,
        stores: Stores,
        authority: Callable[[], Authority],
        *,
        lifetime: timedelta,
        wall_us: Callable[[], int],
        draw: Draw,
        executor: Executor,
    ) -> None:
        self._stores = stores
        self._authority = authority
        self._lifetime = lifetime
        self._wall_us = wall_us
        self._draw = draw
        self._executor = executor

    async def make(
        self, raw_rows: list[RawRow], seen: SeenRows, plan: CredentialsPlan
    ) -> MadeBatch:
        """Make what is right among `raw_rows`; the others become errors, by row.

        A batch may be made while an earlier one of the same file is stored: no name is in both.
        """
        rows, errors = check_rows(raw_rows, seen)
        known = await self._look_up(rows)
        rows, taken = _without_refused(rows, known)
        todo = [row for row in rows if not _is_unchanged(row, known, plan)]
        made = await self._make(todo, known, plan)
        created = sum(found.change == "created" for found in made)
        outcome = BatchOutcome(
            rows=len(raw_rows),
            created=created,
            updated=len(made) - created,
            unchanged=len(rows) - len(made),
            errors=sorted(errors + taken, key=lambda error: error.row),
            renewed=[
                found.thing.name
                for found in made
                if found.change == "updated" and found.document is not None
            ],
        )
        return MadeBatch(made, outcome)

    async def store(self, batch: MadeBatch) -> BatchOutcome:
        """Store what was made; returns what the batch came to."""
        if batch.made:
            await self._store(batch.made)
        return batch.outcome

    async def _look_up(self, rows: list[CheckedRow]) -> Known:
        endpoints = [checked.row.endpoint for checked in rows]
        names = {credentials_name(endpoint): endpoint for endpoint in endpoints}
        things, keys, holders, present, blocked = await asyncio.gather(
            self._stores.things.get(endpoints),
            self._stores.keys.get(endpoints),
            self._stores.keys.holders([checked.row.psk_identity for checked in rows]),
            self._stores.objects.present(list(names)),
            self._stores.things.register.blocked(endpoints),
        )
        return Known(things, keys, holders, {names[name] for name in present}, blocked)

    async def _make(
        self, rows: list[CheckedRow], known: Known, plan: CredentialsPlan
    ) -> list[Provisioned]:
        # One thread: the library signs with the interpreter lock held, so that a second one gains
        # nothing, and every draw of chance hands the lock to and fro between them.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._make_all, rows, known, plan)

    def _make_all(
        self, rows: list[CheckedRow], known: Known, plan: CredentialsPlan
    ) -> list[Provisioned]:
        authority = self._authority()
        issuer = authority.for_devices(self._wall_us(), self._lifetime)
        return [self._make_one(checked, known, plan, issuer, authority.der) for checked in rows]

    def _make_one(
        self,
        checked: CheckedRow,
        known: Known,
        plan: CredentialsPlan,
        issuer: Issuer,
        authority_der: bytes,
    ) -> Provisioned:
        row = checked.row
        before = known.things.get(row.endpoint)
        made_for = checked.digest(plan)
        document: bytes | None = None
        if (
            before is not None
            and before.certificate.made_for == made_for
            and row.endpoint in known.credentials
        ):
            certificate = before.certificate
        else:
            certificate, document = self._issue(checked, made_for, plan, issuer, authority_der)
        return Provisioned(
            "created" if before is None else "updated",
            _thing(row, certificate, plan),
            _entry(row),
            self._key(row, known.keys.get(row.endpoint)),
            document,
        )

    def _issue(
        self,
        checked: CheckedRow,
        made_for: bytes,
        plan: CredentialsPlan,
        issuer: Issuer,
        authority_der: bytes,
    ) -> tuple[Certificate, bytes]:
        endpoint, public = checked.row.endpoint, checked.public
        issued = issuer.issue(endpoint) if public is None else issuer.issue_for(endpoint, public)
        document = plan.document(checked.row, issued, authority_der)
        certificate = Certificate(
            sha256=hashlib.sha256(issued.certificate).hexdigest(),
            der=issued.certificate,
            made_for=made_for,
            expires_at_us=issued.expires_at_us,
        )
        return certificate, msgspec.json.encode(document)

    def _key(self, row: ManifestRow, before: PreSharedKey | None) -> PreSharedKey:
        key = row.psk or (before.key if before else self._draw(PSK_BYTES))
        return PreSharedKey(row.endpoint, row.psk_identity, key)

    async def _store(self, made: list[Provisioned]) -> None:
        files = [
            NewObject(credentials_name(found.thing.name), found.document, owner_only=True)
            for found in made
            if found.document is not None
        ]
        await asyncio.gather(
            self._stores.keys.put([found.key for found in made]),
            self._stores.directory.put([found.entry for found in made]),
            self._stores.objects.put(files),
        )
        await self._stores.things.put([found.thing for found in made])


def check_rows(raw_rows: list[RawRow], seen: SeenRows) -> tuple[list[CheckedRow], list[RowError]]:
    """The rows that keep to the manifest, typed, and the reasons why the others do not."""
    rows: list[CheckedRow] = []
    errors: list[RowError] = []
    for number, fields, error in raw_rows:
        if error is not None:
            errors.append(error)
            continue
        try:
            row = read_row(fields)
            public = _public_key(row)
            seen.check(number, row)
        except InvalidField as wrong:
            named = str(fields.get("endpoint", ""))[:128]
            errors.append(RowError(number, wrong.field, wrong.reason, named))
        else:
            rows.append(CheckedRow(number, row, public))
    return rows, errors


def _public_key(row: ManifestRow) -> ec.EllipticCurvePublicKey | None:
    """The key of the row's signing request. Raises `InvalidField`."""
    if row.csr is None:
        return None
    try:
        return read_request(row.csr, row.endpoint)
    except InvalidRequest as error:
        raise InvalidField("csr", str(error)) from None


def manifest_digest(row: ManifestRow) -> bytes:
    """Changes when anything of the row does, but for its keys, which are compared where they are: a
    request for the same key is another one each time that it is signed."""
    content = msgspec.json.encode(msgspec.structs.replace(row, psk=None, csr=None), order="sorted")
    # As before there was such a column: what was imported then has not changed by that.
    content = content.replace(b'"csr":null,', b"", 1)
    if not row.reports:
        # Likewise.
        content = content.replace(b'"reports":[],', b"", 1)
    return hashlib.sha256(content).digest()[:16]


def _without_refused(
    rows: list[CheckedRow], known: Known
) -> tuple[list[CheckedRow], list[RowError]]:
    free: list[CheckedRow] = []
    errors: list[RowError] = []
    for checked in rows:
        row = checked.row
        holder = known.holders.get(row.psk_identity, row.endpoint)
        if row.endpoint in known.blocked:
            errors.append(RowError(checked.number, "endpoint", BLOCKED, row.endpoint))
        elif holder == row.endpoint:
            free.append(checked)
        else:
            reason = f"{row.psk_identity!r} belongs to the device {holder!r}"
            errors.append(RowError(checked.number, "psk_identity", reason, row.endpoint))
    return free, errors


def _is_unchanged(checked: CheckedRow, known: Known, plan: CredentialsPlan) -> bool:
    row = checked.row
    thing, key = known.things.get(row.endpoint), known.keys.get(row.endpoint)
    return (
        thing is not None
        and key is not None
        and thing.manifest_digest == manifest_digest(row)
        and thing.certificate.made_for == checked.digest(plan)
        and row.psk in (None, key.key)
        # After a power cut a file may be gone: it is made again.
        and row.endpoint in known.credentials
    )


def _thing(row: ManifestRow, certificate: Certificate, plan: CredentialsPlan) -> Thing:
    return Thing(
        name=row.endpoint,
        type=row.model,
        serial=row.serial,
        policy_name=f"device:{row.endpoint}",
        policy=policy_for(Principal("device", row.endpoint), plan.topics),
        groups=sorted({row.tenant, f"{row.tenant}/{row.site}", f"{row.tenant}/{row.group}"}),
        certificate=certificate,
        manifest_digest=manifest_digest(row),
    )


def _entry(row: ManifestRow) -> DirectoryEntry:
    return DirectoryEntry(
        endpoint=row.endpoint,
        tenant=row.tenant,
        site=row.site,
        group=row.group,
        model=row.model,
        serial=row.serial,
        street=row.street,
        latitude=row.latitude,
        longitude=row.longitude,
        installed_on=row.installed_on.isoformat(),
        attributes=row.attributes,
    )
