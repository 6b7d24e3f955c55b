"""The bodies of the platform's HTTP interfaces (all JSON; errors are RFC 9457 problems).

Every request carries `Authorization: Bearer <token>`; `/healthz` and `/readyz` need none.

| component    | route | answer |
|--------------|-------|--------|
| provisioning | `POST /v1/imports` (CSV, JSON or NDJSON, streamed) | 202 `ImportJob` |
|              | `GET /v1/imports/{id}` | `ImportJob` |
|              | `GET /v1/imports/{id}/errors?after=0&limit=1000` | `RowErrors` |
|              | `GET /v1/devices/{endpoint}` | `DeviceRecord` |
|              | `PUT /v1/settings` `Settings` | `Settings` |
| control      | `POST /v1/devices/{endpoint}/commands` `CommandRequest` | 202 `CommandRecord` |
|              | `GET /v1/commands/{id}` | `CommandRecord` |
| ingestion    | `GET /v1/feed?after=0` (NDJSON stream, stays open) | `FeedLine` a line |
|              | `GET /v1/devices/{endpoint}/readings?path=&from_us=&to_us=&limit=` | `Readings` |
|              | `GET /v1/devices/{endpoint}/alarms?limit=` | `Alarms` |
|              | `GET /v1/counts` | `IngestionCounts` |
"""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.data_interface import Operation, Outcome, Value
from contracts.manifest import RowError
from contracts.telemetry import Alarm

ImportState = Literal["running", "finished", "failed"]
CommandState = Literal["queued", "sent", "delivered", "succeeded", "refused", "expired", "unknown"]
FINAL_COMMAND_STATES: frozenset[CommandState] = frozenset(
    {"succeeded", "refused", "expired", "unknown"}
)


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457: what is wrong (`title`), where and what to do (`detail`)."""

    title: str
    status: int
    detail: str = ""
    type: str = "about:blank"


class ImportJob(msgspec.Struct, frozen=True, kw_only=True):
    """How far an import has come. `failed` means the file as a whole could not be read."""

    id: str
    state: ImportState
    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    reason: str | None = None

    @property
    def accepted(self) -> int:
        """Rows that are now provisioned as the manifest says."""
        return self.created + self.updated + self.unchanged


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


class CommandRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator asks of a device. `expires_in_s` counts from the request."""

    operation: Operation
    path: str
    values: list[Value] | None = None
    arguments: str | None = None
    mode: Literal["replace", "update"] = "replace"
    format: int | None = None
    expires_in_s: float = 60.0


class CommandRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command and how far it has come. Times are Unix microseconds.

    `detail` says why it goes no further for now, for a person.
    """

    id: str
    endpoint: str
    operation: Operation
    path: str
    state: CommandState
    issued_at_us: int
    expires_at_us: int
    ended_at_us: int | None = None
    outcome: Outcome | None = None
    detail: str | None = None


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
    reason: Literal["malformed", "claims_another_device", "illegal_topic", "unknown_device"]
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


class Readings(msgspec.Struct, frozen=True):
    """Readings of one device, newest first."""

    readings: list[ReadingRow]


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
