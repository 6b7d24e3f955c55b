"""The reader of the data interface tells what came, and of what did not."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.data_interface import Event, Snapshot, encode
from contracts.load import EventsDelivered
from harness.bench.event_reader import EventReader, ReaderEnded
from harness.testing import HandMovedClock


class Wire:
    """What the reader sends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, text: bytes) -> None:
        self.sent.append(text)


class Notes:
    """What the reader records."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def record(self, record: Any) -> None:
        self.records.append(record)


class World:
    """A reader that is connected and has a snapshot up to event 4."""

    def __init__(self) -> None:
        self.notes, self.wire, self.faults = Notes(), Wire(), []
        self.reader = EventReader(self.notes, HandMovedClock(), self.faults.append)
        self.reader.opened(self.wire)
        self.reader.received(encode(Snapshot(epoch="e", as_of=4, registrations=[], last=True)))

    def event(self, seq: int, kind: Any = "registered", **fields: Any) -> None:
        self.reader.received(
            encode(
                Event(server="s", epoch="e", seq=seq, kind=kind, endpoint="x", at_us=1, **fields)
            )
        )

    def delivered(self) -> list[tuple[int, int]]:
        self.reader.note()
        return [(each.first, each.last) for each in self.notes.records]


def test_events_that_follow_each_other_are_one_range() -> None:
    world = World()
    for seq in (5, 6, 7):
        world.event(seq)
    assert world.reader.has_snapshot.is_set()
    assert world.delivered() == [(5, 7)]
    [record] = world.notes.records
    assert isinstance(record, EventsDelivered)
    assert record.kinds == {"registered": 3}
    assert world.delivered() == [(5, 7)], "nothing came since"


def test_a_gap_makes_a_range_of_its_own() -> None:
    world = World()
    for seq in (5, 6, 9):
        world.event(seq)
    assert world.delivered() == [(5, 6), (9, 9)]


def test_an_end_is_counted_with_its_reason() -> None:
    world = World()
    world.event(5, "deregistered", reason="expired")
    world.reader.note()
    assert world.notes.records[0].kinds == {"deregistered_expired": 1}


def test_what_came_is_acknowledged_once() -> None:
    world = World()
    world.event(5)
    world.reader.acknowledge()
    world.reader.acknowledge()
    assert [b'"ack"' in each for each in world.wire.sent] == [False, True]


def test_a_connection_that_ends_is_told() -> None:
    world = World()
    world.reader.closed("gone")
    [fault] = world.faults
    with pytest.raises(ReaderEnded, match="gone"):
        raise fault
    world.event(5)
    world.reader.acknowledge()
