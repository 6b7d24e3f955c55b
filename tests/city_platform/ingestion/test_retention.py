"""Rows go when they are older, or more, than they may be; and nothing else does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from city_platform.ingestion.component import Ingestion
from city_platform.ingestion.upkeep import Upkeep
from city_platform.stores import telemetry_retention
from city_platform.stores.alarm_register import AlarmQuery
from city_platform.stores.device_directory import SqliteDeviceDirectory
from city_platform.stores.telemetry_retention import RetentionRule
from harness.testing.clock import HandMovedClock
from tests.city_platform.ingestion.packs import (
    NOW_S,
    alarm,
    alarm_topic,
    directory_entry,
    ingesting,
    state,
    state_topic,
    stored,
)

DAY_S = 86_400


def upkeep(found: Ingestion, clock: HandMovedClock, *rules: RetentionRule) -> Upkeep:
    return Upkeep(found.desk, found.letters, found.live, clock, rules, 3_600.0)


async def take(found: Ingestion, *packs: tuple[str, bytes]) -> None:
    for pack in packs:
        await found.intake.accept(*pack)
    await stored(found)


def pack(sequence: int, endpoint: str = "lamp-1") -> tuple[str, bytes]:
    return state_topic(endpoint), state(endpoint, sequence, {"3416/0/3": sequence})


async def kept(found: Ingestion, endpoint: str = "lamp-1") -> list[int]:
    rows = await found.store.readings(endpoint, None, -(2**62), 2**62, 10_000)
    return [round(row[2] / 1e6 - NOW_S) for row in reversed(rows)]


def test_readings_go_by_age_and_by_number(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandMovedClock(wall_s=NOW_S + 2 * DAY_S)
        async with ingesting(tmp_path, clock) as found:
            seconds = [1, DAY_S - 1, DAY_S, DAY_S + 1, 2 * DAY_S]
            await take(found, *[pack(second) for second in seconds])
            old = RetentionRule(kind="readings", age_days_max=1)
            done = await upkeep(found, clock, old).sweep()
            assert done.deleted["readings"] == 2
            assert await kept(found) == seconds[2:]
            await upkeep(found, clock, RetentionRule(kind="readings", rows_max=2)).sweep()
            assert await kept(found) == seconds[3:]
            await upkeep(found, clock).sweep()
            assert await kept(found) == seconds[3:]

    asyncio.run(story())


def test_a_tenants_own_rule_wins(tmp_path: Path) -> None:
    path = tmp_path / "devices.sqlite"

    async def story() -> None:
        directory = SqliteDeviceDirectory(path)
        await directory.put(
            [directory_entry("lamp-1", "harbour"), directory_entry("lamp-2", "hills")]
        )
        directory.close()
        clock = HandMovedClock(wall_s=NOW_S + 2 * DAY_S)
        async with ingesting(tmp_path / "state", clock, directory_file=path) as found:
            await take(found, pack(1), pack(1, "lamp-2"))
            rules = (
                RetentionRule(kind="readings", age_days_max=1),
                RetentionRule(kind="readings", tenant="hills", age_days_max=30),
            )
            await upkeep(found, clock, *rules).sweep()
            assert (await kept(found), await kept(found, "lamp-2")) == ([], [1])

    asyncio.run(story())


def test_a_sweep_is_many_small_steps_and_stores_go_on_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_retention, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(telemetry_retention, "SERIES_AT_ONCE", 2)

    async def story() -> None:
        clock = HandMovedClock(wall_s=NOW_S + 2 * DAY_S)
        async with ingesting(tmp_path, clock) as found:
            for name in ("lamp-1", "lamp-2", "lamp-3"):
                await take(found, *[pack(n, name) for n in range(1, 26)])
            sweeping = asyncio.ensure_future(
                upkeep(found, clock, RetentionRule(kind="readings", age_days_max=1)).sweep()
            )
            counts = 0
            while not sweeping.done():
                counts += 1
                await take(found, pack(2 * DAY_S + counts))
            done = await sweeping
            assert done.deleted["readings"] == 75
            assert done.steps >= 8
            assert counts > 2
            assert await kept(found) == [2 * DAY_S + n for n in range(1, counts + 1)]

    asyncio.run(story())


def test_alarms_that_stand_stay_however_old(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandMovedClock(wall_s=NOW_S + 10 * DAY_S)
        async with ingesting(tmp_path, clock) as found:
            await take(
                found,
                (alarm_topic(), alarm(sequence=1)),
                (alarm_topic("lamp-2"), alarm("lamp-2", 1)),
                (alarm_topic("lamp-2"), alarm("lamp-2", 2, raised=False)),
            )
            rule = RetentionRule(kind="alarms", age_days_max=1)
            done = await upkeep(found, clock, rule).sweep()
            assert done.deleted["alarms"] == 4
            (one,) = await found.desk.episodes(AlarmQuery())
            assert one.endpoint == "lamp-1"
            assert await found.desk.episode(2) is None
            # Its number is not given again: somebody may have it on a note.
            await take(found, (alarm_topic("lamp-2"), alarm("lamp-2", 3)))
            assert [one.id for one in await found.desk.episodes(AlarmQuery())] == [3, 1]

    asyncio.run(story())


def test_alarms_go_by_number_per_device(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandMovedClock()
        async with ingesting(tmp_path, clock) as found:
            for n in range(1, 9, 2):
                named = {"alarm": f"alarm_{n}"}
                await take(
                    found,
                    (alarm_topic(), alarm(sequence=n, **named)),
                    (alarm_topic(), alarm(sequence=n + 1, raised=False, **named)),
                )
            await upkeep(found, clock, RetentionRule(kind="alarms", rows_max=2)).sweep()
            assert [one.id for one in await found.desk.episodes(AlarmQuery())] == [4, 3]
            assert len(await found.store.alarms("lamp-1", 100)) == 2

    asyncio.run(story())


def test_dead_letters_and_states_go_too(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandMovedClock()
        async with ingesting(tmp_path, clock) as found:
            await take(found, (state_topic(), b"rubbish"), pack(1))
            clock.advance(2 * DAY_S)
            await take(found, (state_topic(), b"rubbish"), pack(1, "lamp-2"))
            rules = (
                RetentionRule(kind="dead_letters", age_days_max=1),
                RetentionRule(kind="states", age_days_max=1),
            )
            done = await upkeep(found, clock, *rules).sweep()
            assert (done.deleted["dead_letters"], done.deleted["states"]) == (1, 1)
            assert [one.position for one in await found.letters.read()] == [2]
            assert found.live.state("lamp-1") is None
            assert found.live.state("lamp-2") is not None
            rule = RetentionRule(kind="dead_letters", rows_max=1)
            await take(found, (state_topic(), b"rubbish"))
            await upkeep(found, clock, rule).sweep()
            assert [one.position for one in await found.letters.read()] == [4]

    asyncio.run(story())


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "readings", "age_days_max": 0},
        {"kind": "readings", "age_days_max": 1e9},
        {"kind": "readings", "rows_max": 0},
        {"kind": "states", "rows_max": 3},
        {"kind": "dead_letters", "tenant": "harbour", "rows_max": 3},
        {"kind": "everything"},
        {"kind": "alarms", "days": 3},
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(rule, RetentionRule)
