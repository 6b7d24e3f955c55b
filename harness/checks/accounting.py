"""The books on readings: what every device made, and what became of each of them.

A reading is identified by endpoint, path and device time. It is stored when the telemetry store
has it under that key, whatever came first or twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
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


# A run has hundreds of thousands of readings: plain tuples cost a quarter of named ones to make.
_Key = tuple[str, str, int]
"""Endpoint, path, device time: a `ReadingKey` in all but name."""
_Made = dict[_Key, tuple[PackKey, ReadingValue, int]]
"""The pack, the value and the moment (`at_ns`) of every reading that a device made."""
_Stored = dict[_Key, tuple[ReadingValue, int]]
"""The value and the moment of the commit of every row of the store."""


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
    rows = _stored(journal)
    stored = rows.first
    misrouted, altered = _strangers(stored, made)
    lost, rejected = _missing(journal, made, stored, sending)
    duplicated, redelivered = _duplicated(journal, made, sending)
    acknowledged = _count(made, sending.acknowledged_ns)
    dropped = _count(made, sending.dropped)
    return Accounting(
        generated=len(made),
        sent=_count(made, sending.sent_ns),
        acknowledged=acknowledged,
        stored=len(made.keys() & stored.keys()),
        dropped=dropped,
        unknown=len(made) - acknowledged - dropped,
        redelivered=redelivered,
        reordered=rows.reordered,
        late=_late(journal, made, stored),
        lost=lost,
        misrouted=misrouted + rejected,
        altered=altered + rows.overwritten + _altered(stored, made),
        conflicted=_conflicted(journal, made),
        duplicated=duplicated + rows.repeated,
    )


def _count(made: _Made, among: Container[PackKey]) -> int:
    """Readings whose pack is among these."""
    return sum(pack in among for pack, _, _ in made.values())


def _made(journal: Journal) -> _Made:
    made: _Made = {}
    for record in journal.of(PackGenerated):
        endpoint, at_ns = record.endpoint, record.at_ns
        pack = PackKey(endpoint, record.boot, record.sequence)
        for path, time_us, value in record.records:
            made[endpoint, path, time_us] = (pack, value, at_ns)
    return made


class _Rows(NamedTuple):
    """The store's rows by key; those that were stored again, with the same value or another."""

    first: _Stored
    repeated: list[Fault]
    overwritten: list[Fault]
    reordered: int


def _stored(journal: Journal) -> _Rows:
    """What the store committed, in its order; `reordered` counts rows behind a later reading."""
    stored: _Stored = {}
    repeated: list[Fault] = []
    overwritten: list[Fault] = []
    newest: dict[tuple[str, str], int] = {}
    reordered = 0
    for record in journal.of(ReadingsStored):
        at_ns = record.at_ns
        for endpoint, path, time_us, value in record.rows:
            key = (endpoint, path, time_us)
            first = stored.get(key)
            if first is None:
                stored[key] = (value, at_ns)
            else:
                fault = Fault(
                    ReadingKey(*key), at_ns, f"stored again as {value!r}", f"{first[0]!r}, once"
                )
                (repeated if first[0] == value else overwritten).append(fault)
            stream = (endpoint, path)
            if time_us < newest.get(stream, 0):
                reordered += 1
            else:
                newest[stream] = time_us
    return _Rows(stored, repeated, overwritten, reordered)


def _strangers(stored: _Stored, made: _Made) -> tuple[list[Fault], list[Fault]]:
    """Rows that their device never made: another's, which is misrouted, or nobody's, altered."""
    misrouted: list[Fault] = []
    altered: list[Fault] = []
    strange = [key for key in stored if key not in made]
    if not strange:
        return misrouted, altered
    makers = {
        (path, time_us, value): endpoint
        for (endpoint, path, time_us), (_, value, _) in made.items()
    }
    for key in strange:
        (endpoint, path, time_us), (value, at_ns) = key, stored[key]
        maker = makers.get((path, time_us, value))
        if maker is None:
            altered.append(
                Fault(ReadingKey(*key), at_ns, f"stored as {value!r}", "no such reading")
            )
        else:
            owner = ReadingKey(maker, path, time_us)
            misrouted.append(Fault(owner, at_ns, f"stored under {endpoint}", maker))
    return misrouted, altered


def _missing(
    journal: Journal, made: _Made, stored: _Stored, sending: Packs
) -> tuple[list[Fault], list[Fault]]:
    """Acknowledged readings that are not stored: lost, or rejected as somebody else's claim."""
    rejections = _rejections(journal)
    blamed: dict[PackKey, DeadLetterStored] = {}
    lost: list[Fault] = []
    rejected: list[Fault] = []
    for key, (pack, _, _) in made.items():
        if key in stored or pack not in sending.acknowledged_ns:
            continue
        reading, claims = ReadingKey(*key), rejections[pack.endpoint]
        if pack not in blamed and claims:
            blamed[pack] = claims.pop()
        letter = blamed.get(pack)
        if letter is None:
            at_ns = sending.acknowledged_ns[pack]
            lost.append(Fault(reading, at_ns, "acknowledged and not stored", "stored"))
        else:
            observed = f"came in on {letter.topic}, dead-lettered"
            rejected.append(Fault(reading, letter.at_ns, observed, pack.endpoint))
    return lost, rejected


def _rejections(journal: Journal) -> defaultdict[str, list[DeadLetterStored]]:
    """Dead letters by the device that their content claims, the first of each last."""
    found: defaultdict[str, list[DeadLetterStored]] = defaultdict(list)
    for letter in reversed(journal.of(DeadLetterStored)):
        if letter.reason == "claims_another_device":
            found[letter.claimed.rstrip("/")].append(letter)
    return found


def _altered(stored: _Stored, made: _Made) -> list[Fault]:
    return [
        Fault(ReadingKey(*key), at_ns, f"stored as {value!r}", f"{made[key][1]!r}")
        for key, (value, at_ns) in stored.items()
        if key in made and not is_same(value, made[key][1])
    ]


def is_same(one: ReadingValue, other: ReadingValue) -> bool:
    """Whether two values are the same reading: 1 and 1.0 are, 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _conflicted(journal: Journal, made: _Made) -> list[Fault]:
    faults = []
    for record in journal.of(ReadingsStored):
        for endpoint, path, time_us, value in record.conflicts:
            key = ReadingKey(endpoint, path, time_us)
            expected = f"{made[key][1]!r}" if key in made else "no such reading"
            faults.append(Fault(key, record.at_ns, f"came again as {value!r}", expected))
    return faults


def _duplicated(journal: Journal, made: _Made, sending: Packs) -> tuple[list[Fault], int]:
    """Readings that arrived again without a reason, and how many had one."""
    reconnects_ns = _reconnects_ns(journal)
    faults: list[Fault] = []
    explained = 0
    for record in journal.of(ReadingsStored):
        for endpoint, path, time_us, _ in record.duplicates:
            key = ReadingKey(endpoint, path, time_us)
            if key in made and _is_explained(made[key], record.at_ns, sending, reconnects_ns):
                explained += 1
            else:
                faults.append(Fault(key, record.at_ns, "arrived again", "once"))
    return faults, explained


def _is_explained(
    reading: tuple[PackKey, ReadingValue, int],
    again_ns: int,
    sending: Packs,
    reconnects_ns: Sequence[int],
) -> bool:
    pack, _, made_ns = reading
    return sending.attempts.get(pack, 0) > 1 or any(
        made_ns <= at_ns <= again_ns for at_ns in reconnects_ns
    )


def _reconnects_ns(journal: Journal) -> list[int]:
    """When ingestion lost its connection and may have been sent unacknowledged messages again."""
    connects = [
        seen.at_ns
        for seen in journal.of(ClientSeen)
        if seen.identity == _SUBSCRIBER and seen.event == "connected"
    ]
    kills = [kill.at_ns for kill in journal.of(ProcessKilled) if kill.process in _MAY_REDELIVER]
    return connects[1:] + kills


def _late(journal: Journal, made: _Made, stored: _Stored) -> int:
    # What was stored later than its device time and the grace: compared in the calendar's µs.
    offset_us = journal.unix_us(journal.began_ns) - journal.began_ns // 1_000 - LATE_AFTER_US
    return sum(
        at_ns // 1_000 + offset_us > key[2] for key, (_, at_ns) in stored.items() if key in made
    )
