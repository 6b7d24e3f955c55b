"""The bodies of the platform's HTTP interfaces (all JSON; errors are RFC 9457 problems).

Every request carries `Authorization: Bearer <token>`; `/healthz` and `/readyz` need none.

| component    | route | answer |
|--------------|-------|--------|
| provisioning | `POST /v1/imports` (CSV, JSON or NDJSON, streamed) | 202 `ImportJob` |
|              | `GET /v1/imports?limit=50&cursor=` | `ImportPage` |
|              | `GET /v1/imports/{id}` | `ImportJob` |
|              | `GET /v1/imports/{id}/errors?after=0&limit=1000` | `RowErrors` |
|              | `GET /v1/devices/{endpoint}` | `DeviceRecord` |
|              | `GET /v1/devices?tenant=&site=&group=&model=&firmware=&feeder=&serial=&text=` | |
|              | `…&attribute=name=value&box=south,west,north,east&near=lat,lon&within_m=` | |
|              | `…&limit=100&cursor=` | `DevicePage` |
|              | `GET /v1/devices/{endpoint}/related?by=feeder&limit=100&cursor=` | `DevicePage` |
|              | `PUT /v1/devices/{endpoint}/firmware` `FirmwareReport` | 204 |
|              | `GET /v1/graph/{kind}?of=` | `GraphNodes` |
|              | `DELETE /v1/devices/{endpoint}` | `RemovedDevice` |
|              | `POST /v1/devices/{endpoint}/certificate` | |
|              | `CertificateRequest` | `IssuedCertificate` |
|              | `GET /v1/certificates?endpoint=&state=` | |
|              | `…&expires_before_us=&limit=&cursor=` | `CertificatePage` |
|              | `POST /v1/certificates/{sha256}/revoke` `Revocation` | `CertificateStatus` |
|              | `GET /v1/revoked` | `RevokedList` |
|              | `POST /v1/rotations` `RotationRequest`, `GET /v1/rotations` | 202 `RotationState` |
|              | `POST /v1/authority` `RolloverRequest`, `GET /v1/authority` | `AuthorityStatus` |
|              | `GET /v1/groups`, `GET /v1/groups/members?name=` | `ThingGroups`, `GroupMembers` |
|              | `GET /v1/policies/{name}` | `Policy` |
|              | `PUT /v1/settings` `Settings` | `Settings` |
| control      | `POST /v1/devices/{endpoint}/commands` `CommandRequest` | 202 `CommandRecord` |
|              | `GET /v1/devices/{endpoint}/commands?state=&from_us=&to_us=` | |
|              | `…&limit=&cursor=`, and `GET /v1/commands?device=…` with the same | `CommandPage` |
|              | `GET /v1/commands/{id}`, `POST /v1/commands/{id}/cancel` | `CommandRecord` |
|              | `POST /v1/commands` `GroupCommandRequest` | 202 `GroupCommandRecord` |
|              | `GET /v1/group-commands?limit=&cursor=` | `GroupCommandPage` |
|              | `GET /v1/group-commands/{id}`, `POST /v1/group-commands/{id}/cancel` | |
|              |  | `GroupCommandRecord` |
|              | `GET /v1/group-commands/{id}/commands?state=&limit=&cursor=` | `CommandPage` |
| ingestion    | `GET /v1/feed?after=0` (NDJSON stream, stays open) | `FeedLine` a line |
|              | `GET /v1/devices/{endpoint}/readings?path=&from_us=&to_us=` | |
|              | `…&limit=&cursor=` | `Readings` |
|              | `GET /v1/devices/{endpoint}/alarms?limit=` | `Alarms` |
|              | `GET /v1/counts` | `IngestionCounts` |
"""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts import commands
from contracts.manifest import RowError
from contracts.telemetry import Alarm

# Control's bodies are of this interface, and in a module of their own.
FINAL_COMMAND_STATES = commands.FINAL_COMMAND_STATES
CommandPage = commands.CommandPage
CommandRecord = commands.CommandRecord
CommandRequest = commands.CommandRequest
CommandState = commands.CommandState
CommandTarget = commands.CommandTarget
GroupCommandPage = commands.GroupCommandPage
GroupCommandRecord = commands.GroupCommandRecord
GroupCommandRequest = commands.GroupCommandRequest
GroupCommandState = commands.GroupCommandState

ImportState = Literal["running", "finished", "failed"]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457: what is wrong (`title`), where and what to do (`detail`)."""

    title: str
    status: int
    detail: str = ""
    type: str = "about:blank"


class ImportJob(msgspec.Struct, frozen=True, kw_only=True):
    """How far an import has come. `failed` means the file as a whole could not be read.

    `name` is the file's, as the request's `X-File-Name` said it. `started_at_us` is when the
    manifest had been taken, 0 for imports of before that was kept; `ended_at_us` is None while it
    waits or runs.
    """

    id: str
    state: ImportState
    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    reason: str | None = None
    name: str = ""
    started_at_us: int = 0
    started_by: str = ""
    ended_at_us: int | None = None

    @property
    def accepted(self) -> int:
        """Rows that are now provisioned as the manifest says."""
        return self.created + self.updated + self.unchanged


class ImportPage(msgspec.Struct, frozen=True, kw_only=True):
    """Imports, newest first; `next_cursor` is None at the end."""

    imports: list[ImportJob]
    next_cursor: str | None = None


class RowErrors(msgspec.Struct, frozen=True):
    """Rejected rows in row order; `next_after` is None at the end."""

    errors: list[RowError]
    next_after: int | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What provisioning learns after its start; what is None stays as it was.

    `broker_uri` is `mqtts://host:port`, `security_api` is `host:port` of the LwM2M server's admin
    API, `bootstrap_api` that of the bootstrap handler, which is told of renewed credentials.
    """

    broker_uri: str | None = None
    security_api: str | None = None
    bootstrap_api: str | None = None


class DeviceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A provisioned device, without any secret."""

    endpoint: str
    serial: str
    model: str
    tenant: str
    site: str
    group: str
    street: str
    latitude: float
    longitude: float
    installed_on: str
    psk_identity: str
    attributes: dict[str, str]
    thing: str
    policy: str
    groups: list[str]
    credentials_version: str
    certificate_expires_at_us: int


ReadingRow = tuple[str, str, int, float | int | bool | str]
"""endpoint, path, device time in microseconds, value (opaque as base64)."""


class Commit(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="commit"):
    """One transaction of the telemetry store. `at_ns` is the monotonic clock, after the sync.

    `duplicates` came again with the same value and changed nothing; `conflicts` came again with
    another value, and the first was kept.
    """

    cursor: int
    at_ns: int
    at_us: int
    readings: list[ReadingRow]
    duplicates: list[ReadingRow] = []
    conflicts: list[ReadingRow] = []


class AlarmStored(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="alarm"):
    """An alarm was raised or cleared."""

    cursor: int
    at_ns: int
    endpoint: str
    path: str
    time_us: int
    alarm: str
    raised: bool
    severity: str
    sequence: int
    value: float | None = None
    threshold: float | None = None


class DeadLettered(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="dead_letter"):
    """A message that could not become readings; its bytes are kept in the dead-letter store."""

    cursor: int
    at_ns: int
    reason: Literal[
        "malformed", "claims_another_device", "illegal_topic", "unknown_device", "time_ahead"
    ]
    topic: str
    detail: str
    endpoint: str = ""
    claimed: str = ""
    payload_bytes: int = 0


class FeedGap(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="gap"):
    """`missed` lines up to `cursor` are no longer kept: the reader was away or too slow."""

    cursor: int
    missed: int


FeedLine = Commit | AlarmStored | DeadLettered | FeedGap


class Readings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Readings of one device, newest first; `next_cursor` is absent at the end."""

    readings: list[ReadingRow]
    next_cursor: str | None = None


class Alarms(msgspec.Struct, frozen=True):
    """Alarms of one device, newest first."""

    alarms: list[Alarm]


class IngestionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Since the component's stores were made. `backlog` packs are spooled and not yet stored."""

    packs: int
    stored: int
    duplicates: int
    conflicts: int
    alarms: int
    dead_letters: int
    backlog: int


GraphKind = Literal["tenant", "site", "group", "model", "firmware", "feeder"]


class FoundDevice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A device as the device graph knows it. `distance_m` is there when a position was asked for.

    `firmware` is what the device reported last, or else its manifest's attribute `firmware`;
    `feeder` is the attribute `feeder`; both are empty when nobody said.
    """

    endpoint: str
    tenant: str
    site: str
    group: str
    model: str
    serial: str
    street: str
    latitude: float
    longitude: float
    installed_on: str
    attributes: dict[str, str]
    firmware: str = ""
    feeder: str = ""
    distance_m: float | None = None


class DevicePage(msgspec.Struct, frozen=True, kw_only=True):
    """Devices by endpoint name. `next_cursor` continues the same search; None at its end."""

    devices: list[FoundDevice]
    next_cursor: str | None = None


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant, site, group, model, firmware or feeder, and how many devices are bound to it.

    `of` is the tenant of a site, group or feeder, and the model of a firmware.
    """

    kind: GraphKind
    name: str
    of: str = ""
    devices: int = 0


class GraphNodes(msgspec.Struct, frozen=True):
    """All nodes of a kind, by name."""

    nodes: list[GraphNode]


class FirmwareReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The firmware that a device says it runs (`/3/0/3`)."""

    version: str


CertificateState = Literal["active", "superseded", "revoked", "expired"]
RevocationReason = Literal[
    "unspecified", "key_compromise", "superseded", "cessation_of_operation", "privilege_withdrawn"
]


class CertificateStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A device's certificate and what became of it. `serial_number` is hexadecimal. `since_us` is
    since when it is in its state: of an active one, when it was issued; 0 of one that was replaced
    so lately that nobody has noted it."""

    sha256: str
    endpoint: str
    state: CertificateState
    expires_at_us: int
    serial_number: str
    since_us: int = 0
    reason: str = ""


class CertificatePage(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates by digest; `next_cursor` is None at the end."""

    certificates: list[CertificateStatus]
    next_cursor: str | None = None


class CertificateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asks for another certificate. With `csr` (PKCS #10, PEM) the device keeps its private key."""

    csr: str | None = None


class IssuedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The new certificate and the authorities to trust, as PEM. Its key is nowhere in here."""

    sha256: str
    certificate: str
    anchors: list[str]
    expires_at_us: int


class Revocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a certificate is revoked (RFC 5280 §5.3.1)."""

    reason: RevocationReason = "unspecified"


class RotationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose certificates are replaced: a group's (`tenant`, `tenant/site`, `tenant/group`), or
    with None everybody's."""

    group: str | None = None


class RotationState(msgspec.Struct, frozen=True, kw_only=True):
    """How many devices wait for another certificate."""

    waiting: int


class DevicesAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asks the bootstrap handler which credentials these devices have."""

    endpoints: list[str]


class ConfirmedVersions(msgspec.Struct, frozen=True, kw_only=True):
    """By endpoint, the version of the credentials that the device was last seen to have taken.
    Those of whom that is not known are left out."""

    versions: dict[str, str]


RolloverState = Literal["one_anchor", "two_anchors", "new_signs"]
RolloverStep = Literal["begin", "switch", "abandon", "finish"]


class RolloverRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of one certificate authority's following another."""

    step: RolloverStep


class AuthorityStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Which authorities are trusted (PEM, the one that signs first), and how many devices still
    have a certificate of the one before."""

    state: RolloverState
    anchors: list[str]
    devices_of_previous: int


class RevokedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `revoked.json`, for brokers that do not read a CRL."""

    sha256: str
    serial_number: str
    identity: str
    at_us: int
    reason: str


class RevokedList(msgspec.Struct, frozen=True, kw_only=True):
    """The file `revoked.json`: all that is revoked and not expired. `number` grows."""

    number: int
    at_us: int
    revoked: list[RevokedCertificate]


class RemovedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that was de-provisioned, and the steps that were taken, in order."""

    endpoint: str
    steps: list[str]


class ThingGroups(msgspec.Struct, frozen=True):
    """All groups and how many things each has."""

    groups: dict[str, int]


class GroupMembers(msgspec.Struct, frozen=True):
    """The things of a group, by name."""

    members: list[str]
