"""What every telemetry store does, embedded and on DynamoDB: the same answers, line by line."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from city_platform.stores.telemetry_records import (
    AlarmRecord,
    ReadingRecord,
    TelemetryBatch,
    UnstampedPack,
    outward_rows,
)
from city_platform.stores.telemetry_store import OutOfOrder, SqliteTelemetryStore, TelemetryStore
from contracts.api import AlarmStored, Commit, DeadLettered
from contracts.telemetry import Alarm
from tests.city_platform.stores.aws.emulators import account, installation

FOREVER = 2**62
WINDOW_US = 1_000_000
Open = Callable[[], contextlib.AbstractAsyncContextManager[TelemetryStore]]
Tell = Callable[[Callable[[Open], Awaitable[None]]], None]


@pytest.fixture(
    params=["embedded", pytest.param("aws", marks=[pytest.mark.moto, pytest.mark.slow])]
)
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Tell:
    """Runs a story with what opens its store, which may be opened again."""
    url = request.getfixturevalue("moto") if request.param == "aws" else None
    config = None if url is None else installation(url)
    clock = itertools.count(1_000)

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[TelemetryStore]:
        if config is None:
            store = SqliteTelemetryStore(
                tmp_path / "telemetry.sqlite", now_ns=lambda: next(clock), window_us=WINDOW_US
            )
            yield store
            store.close()
            return
        from city_platform.stores.aws.opening import open_telemetry

        async with account(config) as aws:
            yield await open_telemetry(aws, now_ns=lambda: next(clock), window_us=WINDOW_US)

    async def run(story: Callable[[Open], Awaitable[None]]) -> None:
        await story(opened)

    return lambda story: asyncio.run(run(story))


def reading(time_us: int, value: float | int | str = 1.0, **changes: object) -> ReadingRecord:
    made = ReadingRecord("lamp-1", "/3416/0/3", time_us, value, "number", "/", "device", "harbour")
    return made._replace(**changes)  # type: ignore[arg-type]  # fields by name


def batch(first: int, readings: list[ReadingRecord], **changes: object) -> TelemetryBatch:
    made = TelemetryBatch(first, first + 1, 77_000_000, readings, [], [], [])
    return made._replace(**changes)  # type: ignore[arg-type]  # fields by name


async def commit(store: TelemetryStore, first: int, readings: list[ReadingRecord]) -> Commit:
    lines = await store.commit(batch(first, readings))
    return msgspec.json.decode(lines[0].line, type=Commit)


def alarm(time_us: int, name: str = "lamp_failure", *, raised: bool = True) -> AlarmRecord:
    found = Alarm("lamp-1", "/3416/0/1", time_us, name, raised, "major", 1, 0.5, None)
    return AlarmRecord(found, "boot", "harbour")


def test_a_batch_that_does_not_continue_is_refused(tell: Tell) -> None:
    async def story(opened: Open) -> None:
        async with opened() as store:
            await commit(store, 0, [reading(1)])
            for first in (0, 2):
                with pytest.raises(OutOfOrder):
                    await store.commit(batch(first, [reading(2)]))

    tell(story)


def test_repetitions_and_contradictions_are_told_apart(tell: Tell) -> None:
    async def story(opened: Open) -> None:
        async with opened() as store:
            given = [reading(1), reading(1), reading(1, 2.0), reading(1, 2.0), reading(2)]
            found = await commit(store, 0, [*given, reading(1)])
            first, second, other = outward_rows([reading(1), reading(2), reading(1, 2.0)])
            assert found.readings == [first, second]
            assert found.conflicts == [other]
            assert found.duplicates == [first, other, first]
            again = await commit(store, 1, [reading(2), reading(1, 3.0), reading(1, 2.0)])
            assert again.readings == []
            assert again.conflicts == outward_rows([reading(1, 3.0)])
            assert again.duplicates == [second, other]

    tell(story)


def test_values_come_back_as_they_were(tell: Tell) -> None:
    values: list[tuple[float | int | str, str]] = [
        (0.1, "number"), (1e300, "number"), (-5e-324, "number"), (2**62, "number"),
        (1, "boolean"), ("Ω", "text"), ("AAE=", "opaque"), (str(2**64 - 1), "big_integer"),
    ]  # fmt: skip

    async def story(opened: Open) -> None:
        async with opened() as store:
            given = [
                reading(number, value, kind=kind) for number, (value, kind) in enumerate(values)
            ]
            await commit(store, 0, given)
            found = await store.readings("lamp-1", None, 0, FOREVER, 100)
            assert found == outward_rows(given)[::-1]
            assert [type(row[3]) for row in found[::-1]] == [
                float, float, float, int, bool, str, str, int,
            ]  # fmt: skip

    tell(story)


def test_true_and_one_are_not_the_same_value(tell: Tell) -> None:
    async def story(opened: Open) -> None:
        async with opened() as store:
            await commit(store, 0, [reading(1, 1, kind="boolean")])
            found = await commit(store, 1, [reading(1, 1), reading(1, 1, kind="boolean")])
            assert found.conflicts == [("lamp-1", "/3416/0/3", 1, 1)]
            assert found.duplicates == [("lamp-1", "/3416/0/3", 1, True)]

    tell(story)


def test_a_commit_that_fails_leaves_nothing_told(tell: Tell) -> None:
    async def story(opened: Open) -> None:
        async with opened() as store:
            with pytest.raises(OverflowError):
                await store.commit(batch(0, [reading(1), reading(2**70)]))
            assert await store.position() == 0
            found = await commit(store, 0, [reading(1)])
            assert found.readings == outward_rows([reading(1)])

    tell(story)


def test_readings_are_found_by_path_and_time_newest_first(tell: Tell) -> None:
    async def story(opened: Open) -> None:
        async with opened() as store:
            given = [reading(t, t, path=f"/3/0/{t % 2}") for t in range(-3, 10)]
            await commit(store, 0, given)
            found = await store.readings("lamp-1", "/3/0/1", 3, 9, 2)
            assert [row[2] for row in found] == [7, 5]
            found = await store.readings("lamp-1", None, -FOREVER, FOREVER, 10_000)
            assert [row[2] for row in found] == list(range(9, -4, -1))
            assert await store.readings("nobody", None, 0, FOREVER, 1) == []
            assert await store.readings("lamp-1", None, 5, 5, 9) == []
            assert await store.readings("lamp-1", None, 0, FOREVER, 0) == []

    tell(story)


def test_positions_and_counts_outlive_the_process(tell: Tell) -> None:
    async def story(opened: Open) -> None:
        async with opened() as store:
            await commit(store, 0, [reading(1)])
            await commit(store, 1, [reading(1)])
            await store.set_archived(1)
            counts = await store.counts()
        async with opened() as store:
            assert await store.counts() == counts
            assert (counts.packs, counts.stored, counts.duplicates) == (2, 1, 1)
            positions = (await store.position(), await store.archived(), await store.newest())
            assert positions == (2, 1, 2)

    tell(story)


def test_an_alarm_is_stored_once_and_found_newest_first(tell: Tell) -> None:
    async def story(opened: Open) -> None:
        async with opened() as store:
            given = [alarm(5), alarm(7, raised=False), alarm(5), alarm(7, "door_open")]
            lines = await store.commit(batch(0, [], alarms=given))
            told = [msgspec.json.decode(line.line, type=AlarmStored) for line in lines]
            assert [(one.alarm, one.time_us) for one in told] == [
                ("lamp_failure", 5), ("lamp_failure", 7), ("door_open", 7),
            ]  # fmt: skip
            found = await store.alarms("lamp-1", 2)
            assert found == [alarm(7, "door_open").alarm, alarm(7, raised=False).alarm]
            assert (await store.counts()).alarms == 3
            assert await store.commit(batch(1, [], alarms=given)) == []

    tell(story)


def test_a_pack_without_times_is_known_within_its_window(tell: Tell) -> None:
    def pack(received_us: int) -> UnstampedPack:
        made = reading(received_us, time_source="received")
        return UnstampedPack(b"digest", received_us, [made])

    async def story(opened: Open) -> None:
        async with opened() as store:
            stored = []
            for position, at_us in enumerate((10, 20, WINDOW_US + 11, WINDOW_US + 12)):
                lines = await store.commit(batch(position, [], unstamped=[pack(at_us)]))
                stored += [
                    len(msgspec.json.decode(one.line, type=Commit).readings) for one in lines
                ]
            assert stored == [1, 0, 1, 0]

    tell(story)


def test_the_feed_has_what_was_committed_in_order_and_stamped(tell: Tell) -> None:
    letter = DeadLettered(
        cursor=0, at_ns=0, reason="malformed", topic="t", detail="d", endpoint="e", claimed="",
        payload_bytes=1,
    )  # fmt: skip

    async def story(opened: Open) -> None:
        async with opened() as store:
            first = await store.commit(batch(0, [reading(1)], dead_letters=[letter]))
            second = await store.commit(batch(1, [reading(2)]))
            page = await store.feed(0, 10)
            assert page.lines == [*first, *second]
            assert page.oldest == 1
            assert [one.cursor for one in (await store.feed(1, 1)).lines] == [2]
            assert (await store.feed(3, 10)).lines == []
            assert all(b'"at_ns":0' not in one.line for one in page.lines)

    tell(story)
