"""The books on readings: what every device made, and what became of each of them.

A reading is identified by endpoint, path and device time. It is stored when the telemetry store
has it under that key, whatever came first or twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from contracts.journal import (
    ClientSeen,
    DeadLetterStored,
    PackAcknowledged,
    PackDropped,
    PackGenerated,
    PackSent,
    ProcessKilled,
    ReadingsStored,
)
from contracts.names import service_identity
from contracts.telemetry import ReadingKey, ReadingValue
from harness.journal import Journal

LATE_AFTER_US = 5_000_000
_SUBSCRIBER = service_identity("ingestion")
_MAY_REDELIVER = frozenset({"ingestion", "broker"})


class PackKey(NamedTuple):
    """What makes a pack the same pack."""

    endpoint: str
    boot: str
    sequence: int


class Fault(NamedTuple):
    """Something that is wrong with one reading."""

    key: ReadingKey
    at_ns: int
    observed: str
    expected: str


class Packs(NamedTuple):
    """Both streams' packs: when first sent, how often, when acknowledged; those given up."""

    sent_ns: Mapping[PackKey, int]
    attempts: Mapping[PackKey, int]
    acknowledged_ns: Mapping[PackKey, int]
    dropped: frozenset[PackKey]


class Accounting(NamedTuple):
    """Counts and faults of all readings of a run."""

    generated: int
    sent: int
    acknowledged: int
    stored: int
    dropped: int
    unknown: int
    redelivered: int
    reordered: int
    late: int
    lost: list[Fault]
    misrouted: list[Fault]
    altered: list[Fault]
    conflicted: list[Fault]
    duplicated: list[Fault]


class _Made(NamedTuple):
    """A reading as its device made it."""

    pack: PackKey
    value: ReadingValue
    at_ns: int


class _Stored(NamedTuple):
    value: ReadingValue
    at_ns: int


def packs(journal: Journal) -> Packs:
    """What the fleet recorded about sending packs, of both streams."""
    sent_ns: dict[PackKey, int] = {}
    attempts: dict[PackKey, int] = {}
    for record in journal.of(PackSent):
        key = PackKey(record.endpoint, record.boot, record.sequence)
        sent_ns.setdefault(key, record.at_ns)
        attempts[key] = max(attempts.get(key, 0), record.attempt)
    acknowledged_ns = {
        PackKey(record.endpoint, record.boot, record.sequence): record.at_ns
        for record in reversed(journal.of(PackAcknowledged))
    }
    dropped = frozenset(
        PackKey(record.endpoint, record.boot, record.sequence) for record in journal.of(PackDropped)
    )
    return Packs(sent_ns, attempts, acknowledged_ns, dropped)


def account(journal: Journal) -> Accounting:
    """Follow every reading from its device to the store."""
    sending = journal.derive(packs)
    made = _made(journal)
    stored, reordered = _stored(journal)
    misrouted, altered = _strangers(stored, made)
    lost, rejected = _missing(journal, made, stored, sending)
    misrouted += rejected
    altered += _altered(stored, made)
    duplicated, redelivered = _duplicated(journal, made, sending)
    counts = Counter(
        name
        for reading in made.values()
        for name, is_so in (
            ("sent", reading.pack in sending.sent_ns),
            ("acknowledged", reading.pack in sending.acknowledged_ns),
            ("dropped", reading.pack in sending.dropped),
        )
        if is_so
    )
    return Accounting(
        generated=len(made),
        sent=counts["sent"],
        acknowledged=counts["acknowledged"],
        stored=sum(key in stored for key in made),
        dropped=counts["dropped"],
        unknown=len(made) - counts["acknowledged"] - counts["dropped"],
        redelivered=redelivered,
        reordered=reordered,
        late=_late(journal, made, stored),
        lost=lost,
        misrouted=misrouted,
        altered=altered,
        conflicted=_conflicted(journal, made),
        duplicated=duplicated,
    )


def _made(journal: Journal) -> dict[ReadingKey, _Made]:
    made: dict[ReadingKey, _Made] = {}
    for record in journal.of(PackGenerated):
        pack = PackKey(record.endpoint, record.boot, record.sequence)
        for path, time_us, value in record.records:
            made[ReadingKey(record.endpoint, path, time_us)] = _Made(pack, value, record.at_ns)
    return made


def _stored(journal: Journal) -> tuple[dict[ReadingKey, _Stored], int]:
    """The store's rows by key, and how many came after a later reading of the same path."""
    stored: dict[ReadingKey, _Stored] = {}
    newest: dict[tuple[str, str], int] = {}
    reordered = 0
    for record in journal.of(ReadingsStored):
        for endpoint, path, time_us, value in record.rows:
            stored[ReadingKey(endpoint, path, time_us)] = _Stored(value, record.at_ns)
            before = newest.get((endpoint, path), 0)
            reordered += time_us < before
            newest[endpoint, path] = max(time_us, before)
    return stored, reordered


def _strangers(
    stored: Mapping[ReadingKey, _Stored], made: Mapping[ReadingKey, _Made]
) -> tuple[list[Fault], list[Fault]]:
    """Rows that their device never made: another's, which is misrouted, or nobody's, altered."""
    strange = {key: row for key, row in stored.items() if key not in made}
    misrouted: list[Fault] = []
    altered: list[Fault] = []
    if not strange:
        return misrouted, altered
    makers: dict[tuple[str, int, ReadingValue], str] = {
        (key.path, key.time_us, reading.value): key.endpoint for key, reading in made.items()
    }
    for key, row in strange.items():
        maker = makers.get((key.path, key.time_us, row.value))
        if maker is None:
            altered.append(Fault(key, row.at_ns, f"{row.value!r} was stored", "never made"))
        else:
            owner = key._replace(endpoint=maker)
            misrouted.append(Fault(owner, row.at_ns, f"stored under {key.endpoint}", maker))
    return misrouted, altered


def _missing(
    journal: Journal,
    made: Mapping[ReadingKey, _Made],
    stored: Mapping[ReadingKey, _Stored],
    sending: Packs,
) -> tuple[list[Fault], list[Fault]]:
    """Acknowledged readings that are not stored: lost, or rejected as somebody else's claim."""
    rejections = _rejections(journal)
    blamed: dict[PackKey, DeadLetterStored] = {}
    lost: list[Fault] = []
    rejected: list[Fault] = []
    for key, reading in made.items():
        if key in stored or reading.pack not in sending.acknowledged_ns:
            continue
        if reading.pack not in blamed and rejections[key.endpoint]:
            blamed[reading.pack] = rejections[key.endpoint].pop()
        letter = blamed.get(reading.pack)
        if letter is None:
            at_ns = sending.acknowledged_ns[reading.pack]
            lost.append(Fault(key, at_ns, "acknowledged and not stored", "stored"))
        else:
            observed = f"came in on {letter.topic}, dead-lettered"
            rejected.append(Fault(key, letter.at_ns, observed, key.endpoint))
    return lost, rejected


def _rejections(journal: Journal) -> defaultdict[str, list[DeadLetterStored]]:
    """Dead letters by the device that their content claims, the first of each last."""
    found: defaultdict[str, list[DeadLetterStored]] = defaultdict(list)
    for letter in reversed(journal.of(DeadLetterStored)):
        if letter.reason == "claims_another_device":
            found[letter.claimed.rstrip("/")].append(letter)
    return found


def _altered(stored: Mapping[ReadingKey, _Stored], made: Mapping[ReadingKey, _Made]) -> list[Fault]:
    return [
        Fault(key, row.at_ns, f"{row.value!r} was stored", f"{made[key].value!r} was made")
        for key, row in stored.items()
        if key in made and not is_same(row.value, made[key].value)
    ]


def is_same(one: ReadingValue, other: ReadingValue) -> bool:
    """Whether two values are the same reading: 1 and 1.0 are, 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _conflicted(journal: Journal, made: Mapping[ReadingKey, _Made]) -> list[Fault]:
    return [
        Fault(
            key := ReadingKey(endpoint, path, time_us),
            record.at_ns,
            f"came again as {value!r}",
            f"{made[key].value!r}" if key in made else "never made",
        )
        for record in journal.of(ReadingsStored)
        for endpoint, path, time_us, value in record.conflicts
    ]


def _duplicated(
    journal: Journal, made: Mapping[ReadingKey, _Made], sending: Packs
) -> tuple[list[Fault], int]:
    """Readings that arrived again without a reason, and how many had one."""
    reconnects_ns = _reconnects_ns(journal)
    faults: list[Fault] = []
    explained = 0
    for record in journal.of(ReadingsStored):
        for endpoint, path, time_us, _ in record.duplicates:
            key = ReadingKey(endpoint, path, time_us)
            reading = made.get(key)
            if reading is not None and (
                sending.attempts.get(reading.pack, 0) > 1
                or any(reading.at_ns <= at_ns <= record.at_ns for at_ns in reconnects_ns)
            ):
                explained += 1
            else:
                faults.append(Fault(key, record.at_ns, "arrived again", "once"))
    return faults, explained


def _reconnects_ns(journal: Journal) -> list[int]:
    """When ingestion lost its connection and may have been sent unacknowledged messages again."""
    connects = [
        seen.at_ns
        for seen in journal.of(ClientSeen)
        if seen.identity == _SUBSCRIBER and seen.event == "connected"
    ]
    kills = [kill.at_ns for kill in journal.of(ProcessKilled) if kill.process in _MAY_REDELIVER]
    return connects[1:] + kills


def _late(
    journal: Journal, made: Mapping[ReadingKey, _Made], stored: Mapping[ReadingKey, _Stored]
) -> int:
    return sum(
        journal.unix_us(row.at_ns) - key.time_us > LATE_AFTER_US
        for key, row in stored.items()
        if key in made
    )
