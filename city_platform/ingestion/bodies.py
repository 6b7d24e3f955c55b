"""The bodies of ingestion's HTTP interface beside those of `contracts.api` (JSON)."""

from __future__ import annotations

from typing import Final

import msgspec

from city_platform.ingestion.changes import DeviceChange, PresenceShown
from city_platform.ingestion.live import StateRow
from city_platform.ingestion.replays import ReplayOutcome
from city_platform.stores.alarm_register import AlarmStep
from city_platform.stores.alarm_states import AlarmEpisode, AlarmLevel, AlarmSource, AlarmState
from city_platform.stores.dead_letters import DeadLetterReason
from contracts.telemetry import ReadingValue, Severity

NOTE_LENGTH_MAX: Final = 500


class AlarmShown(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm from its raising to its end. Times in microseconds: of the device, but for
    `received_us` (its last change, when it came) and `acknowledged_us`.

    `is_raised` is what was said last; `raises` how often it was raised; `source` whether the device
    sent an alarm, or a signal among its readings was mapped to one.
    """

    id: str
    endpoint: str
    tenant: str
    path: str
    alarm: str
    severity: Severity
    state: AlarmState
    is_raised: bool
    source: AlarmSource
    raised_us: int
    changed_us: int
    cleared_us: int | None
    received_us: int
    raises: int
    value: float | None
    threshold: float | None
    acknowledged_us: int | None
    acknowledged_by: str
    note: str


class AlarmPage(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms, those that came last first; `next_cursor` is None at the end."""

    alarms: list[AlarmShown]
    next_cursor: str | None = None


class AlarmHistory(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm and each change of its state: time, state, who, note."""

    alarm: AlarmShown
    steps: list[AlarmStep]


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What who acknowledges has to say."""

    note: str = ""


class ShownBucket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The readings from `from_us` on, for one bucket's width; what was not asked for is absent.

    `min`, `max`, `mean` and `sum` are of the numbers among them (true is 1, false 0), absent where
    there is none; `last` is the value at `last_us`; `count` is all of them.
    """

    from_us: int
    count: int | None = None
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    sum: float | None = None
    last: ReadingValue | None = None
    last_us: int | None = None


class Aggregates(msgspec.Struct, frozen=True, kw_only=True):
    """Readings of one path by buckets of time, in their order; those without readings are left out.

    `unit` is SenML's; None: no unit.
    """

    endpoint: str
    path: str
    unit: str | None
    bucket_s: int
    buckets: list[ShownBucket]
    next_cursor: str | None = None


class ShownValue(msgspec.Struct, frozen=True, kw_only=True):
    """The newest value of a path, with its device time and SenML unit."""

    value: ReadingValue
    time_us: int
    unit: str | None
    time_source: str


class LatestValues(msgspec.Struct, frozen=True, kw_only=True):
    """The newest value of each path of a device."""

    endpoint: str
    values: dict[str, ShownValue]


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """A device now. `presence` is None when nothing was told of its connection, `since_us` is since
    when it is so; `last_seen_us` is when its last pack came, 0 when none did."""

    endpoint: str
    tenant: str
    presence: PresenceShown | None
    since_us: int
    last_seen_us: int
    alarm: AlarmLevel
    values: dict[str, ShownValue]
    alarms: list[AlarmShown]


class StatePage(msgspec.Struct, frozen=True, kw_only=True):
    """Devices by name: endpoint, tenant, presence, since_us, alarm, last_seen_us."""

    states: list[StateRow]
    next_cursor: str | None = None


class ChangesAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Changes behind a cursor, and the cursor to ask with next.

    With `resync` they are pages of the state of all devices: forget what was known at the first,
    and go on with the cursor; the answers without it that follow are changes again.
    """

    cursor: str
    changes: list[DeviceChange]
    resync: bool = False


class LetterShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that could not be stored. `outcome`: it waits, or it was put back and is pending,
    accepted, or refused again as the letter `replayed_as`."""

    id: str
    reason: DeadLetterReason
    topic: str
    detail: str
    endpoint: str
    claimed: str
    received_us: int
    payload_bytes: int
    outcome: ReplayOutcome
    replayed_us: int | None = None
    replayed_by: str | None = None
    replayed_as: str | None = None


class LetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters in the order they came; `next_cursor` is None at the end."""

    dead_letters: list[LetterShown]
    next_cursor: str | None = None


class WholeLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter with its bytes in base64. `redacted` says why they are not shown, if so; their
    SHA-256 is there in any case."""

    dead_letter: LetterShown
    payload: str | None
    sha256: str
    redacted: str | None = None


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which letters to put back; what is None is not asked. Times are of the receipt."""

    reason: DeadLetterReason | None = None
    endpoint: str | None = None
    topic: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    limit: int = 100


class ReplayedLetters(msgspec.Struct, frozen=True, kw_only=True):
    """How many letters were put back; `has_more`: ask again."""

    replayed: int
    has_more: bool


def shown_alarm(episode: AlarmEpisode) -> AlarmShown:
    """An episode as the outside sees it."""
    fields = {name: getattr(episode, name) for name in AlarmShown.__struct_fields__}
    return AlarmShown(**{**fields, "id": str(episode.id)})
