"""The change feed: each device's latest, for the caller's tenants, and anew when it must be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from city_platform.ingestion.changes import PATHS_MAX, Changes, DeviceChange
from city_platform.ingestion.component import Ingestion
from city_platform.stores.telemetry_records import ReadingRecord
from contracts.presence import PresenceMessage, encode_presence
from harness.testing.clock import HandMovedClock
from tests.city_platform.ingestion.asking import Asking
from tests.city_platform.ingestion.packs import (
    alarm,
    alarm_topic,
    ingesting,
    state,
    state_topic,
    stored,
)
from tests.processes import WITHIN_S

Story = Callable[[Ingestion, HandMovedClock], Awaitable[None]]


def run(folder: Path, story: Story, **settings: Any) -> None:
    async def whole() -> None:
        clock = HandMovedClock()
        async with ingesting(folder, clock, **settings) as found:
            await story(found, clock)

    asyncio.run(whole())


async def take(found: Ingestion, *packs: tuple[str, bytes]) -> None:
    for pack in packs:
        await found.intake.accept(*pack)
    await stored(found)


def pack(sequence: int, endpoint: str = "lamp-1", **values: Any) -> tuple[str, bytes]:
    given = {name.replace("_", "/"): value for name, value in values.items()} or {"3416/0/3": 0.5}
    return state_topic(endpoint), state(endpoint, sequence, given)


async def caught_up(ask: Asking) -> str:
    """The cursor behind the state of all devices."""
    page = await ask.get("/v1/changes")
    assert page["resync"]
    while page.get("resync"):
        cursor = str(page["cursor"])
        page = await ask.get(f"/v1/changes?after={cursor}")
    return str(page["cursor"])


def reading(path: str, time_us: int, value: float, endpoint: str = "lamp-1") -> ReadingRecord:
    return ReadingRecord(endpoint, path, time_us, value, "number", None, "device", "harbour")


def test_a_reader_begins_with_the_state_of_all_devices_in_pages(tmp_path: Path) -> None:
    async def story(found: Ingestion, clock: HandMovedClock) -> None:
        ask = Asking(found)
        await take(found, *[pack(1, f"lamp-{n}") for n in range(5)], (alarm_topic(), alarm()))
        seen: list[tuple[str, Any]] = []
        cursor = ""
        for _ in range(3):
            page = await ask.get(f"/v1/changes?limit=2&after={cursor}")
            assert page["resync"]
            seen += [(one["endpoint"], one["alarm"]) for one in page["changes"]]
            cursor = page["cursor"]
        assert seen == [
            ("lamp-0", "none"), ("lamp-1", "warning"), ("lamp-2", "none"), ("lamp-3", "none"),
            ("lamp-4", "none"),
        ]  # fmt: skip
        page = await ask.get(f"/v1/changes?after={cursor}")
        assert page == {"cursor": cursor, "changes": []}

    run(tmp_path, story)


def test_what_happens_while_the_state_is_read_comes_behind_it(tmp_path: Path) -> None:
    async def story(found: Ingestion, clock: HandMovedClock) -> None:
        ask = Asking(found)
        await take(found, pack(1, "lamp-1"), pack(1, "lamp-2"))
        first = await ask.get("/v1/changes?limit=1")
        await take(found, pack(2, "lamp-1"))
        second = await ask.get(f"/v1/changes?limit=1&after={first['cursor']}")
        third = await ask.get(f"/v1/changes?after={second['cursor']}")
        assert [one["endpoint"] for one in third["changes"]] == ["lamp-1"]

    run(tmp_path, story)


def test_changes_are_the_latest_of_each_device_once(tmp_path: Path) -> None:
    async def story(found: Ingestion, clock: HandMovedClock) -> None:
        ask = Asking(found)
        cursor = await caught_up(ask)
        will = PresenceMessage(cause="will", boot="b1", connection=1, began_us=1)
        await take(
            found,
            *[pack(n, "lamp-1", **{"3416_0_3": n / 4, "3416_0_9": True}) for n in range(1, 4)],
            pack(1, "lamp-2"),
            (alarm_topic(), alarm()),
            ("devices/lamp-2/presence", encode_presence(will)),
        )
        page = await ask.get(f"/v1/changes?after={cursor}")
        assert "resync" not in page
        at = clock.wall_us()
        by_name = {one["endpoint"]: one for one in page["changes"]}
        assert by_name == {
            "lamp-1": {
                "endpoint": "lamp-1", "tenant": "", "at": at, "alarm": "warning",
                "values": {"/3416/0/3": 0.75, "/3416/0/9": True},
            },
            "lamp-2": {
                "endpoint": "lamp-2", "tenant": "", "at": at, "presence": "offline",
                "values": {"/3416/0/3": 0.5},
            },
        }  # fmt: skip
        await take(found, pack(9, "lamp-1", **{"3416_0_3": 1.0}))
        page = await ask.get(f"/v1/changes?after={page['cursor']}")
        assert page["changes"] == [
            {"endpoint": "lamp-1", "tenant": "", "at": at, "values": {"/3416/0/3": 1.0}}
        ]

    run(tmp_path, story)


def test_a_reader_waits_until_something_changes(tmp_path: Path) -> None:
    async def story(found: Ingestion, clock: HandMovedClock) -> None:
        ask = Asking(found)
        cursor = await caught_up(ask)
        waiting = asyncio.ensure_future(ask.get(f"/v1/changes?after={cursor}&wait_s=25"))
        async with asyncio.timeout(WITHIN_S):
            while not found.live.readers:  # noqa: ASYNC110 - a bounded look from outside
                await asyncio.sleep(0)
        await take(found, pack(1))
        async with asyncio.timeout(WITHIN_S):
            page = await waiting
        assert [one["endpoint"] for one in page["changes"]] == ["lamp-1"]
        assert found.live.readers == 0

    run(tmp_path, story)


def test_a_cursor_of_another_process_begins_anew(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandMovedClock()
        async with ingesting(tmp_path, clock) as found:
            await take(found, pack(1))
            cursor = await caught_up(Asking(found))
        clock.advance(1)
        async with ingesting(tmp_path, clock) as found:
            for after in (cursor, "x", "1.2.3.4", "0.1", f"{found.live.epoch}.99"):
                page = await Asking(found).get(f"/v1/changes?after={after}")
                assert page["resync"], after
                assert [one["endpoint"] for one in page["changes"]] == ["lamp-1"]

    asyncio.run(story())


def test_a_cursor_behind_more_devices_than_are_kept_begins_anew(tmp_path: Path) -> None:
    async def story(found: Ingestion, clock: HandMovedClock) -> None:
        ask = Asking(found)
        cursor = await caught_up(ask)
        await take(found, *[pack(1, f"lamp-{n}") for n in range(3)])
        assert "resync" not in await ask.get(f"/v1/changes?after={cursor}")
        await take(found, *[pack(1, f"meter-{n}") for n in range(3)])
        assert (await ask.get(f"/v1/changes?after={cursor}"))["resync"]

    run(tmp_path, story, changes_devices_max=4)


def test_who_was_away_for_long_begins_anew_because_nothing_was_kept(tmp_path: Path) -> None:
    async def story(found: Ingestion, clock: HandMovedClock) -> None:
        ask = Asking(found)
        cursor = await caught_up(ask)
        clock.advance(91)
        await take(found, pack(1))
        assert (await ask.get(f"/v1/changes?after={cursor}"))["resync"]
        cursor = await caught_up(ask)
        clock.advance(91)
        assert (await ask.get(f"/v1/changes?after={cursor}"))["resync"]

    run(tmp_path, story)


def test_a_backlog_of_old_values_is_no_change_of_newer_ones() -> None:
    changes = Changes(10)
    changes.read_pack([reading("/1/0/1", 20, 2.0)], 1)
    changes.read_pack([reading("/1/0/1", 10, 1.0), reading("/1/0/2", 10, 5.0)], 2)
    found, newest = changes.after(0, None, 10)
    assert newest == changes.newest
    assert found == [
        DeviceChange(
            endpoint="lamp-1", tenant="harbour", at=2, values={"/1/0/1": 2.0, "/1/0/2": 5.0}
        )
    ]  # fmt: skip


def test_pages_of_changes_cut_between_devices_and_lose_none() -> None:
    changes = Changes(10)
    for number in range(6):
        changes.read_pack([reading("/1/0/1", number, 1.0, f"lamp-{number % 4}")], number)
    seen, number = [], 0
    while number != changes.newest:
        found, number = changes.after(number, None, 1)
        seen += [one.endpoint for one in found]
    assert seen == ["lamp-2", "lamp-3", "lamp-0", "lamp-1"]


def test_only_the_callers_tenants_are_told_and_others_do_not_hold_the_page_up() -> None:
    changes = Changes(10)
    changes.read_pack([reading("/1/0/1", 1, 1.0)], 1)
    assert changes.after(0, {"hills"}, 10) == ([], 1)
    assert [one.endpoint for one in changes.after(0, {"harbour"}, 10)[0]] == ["lamp-1"]


def test_a_device_of_endless_paths_is_bounded() -> None:
    changes = Changes(10)
    for number in range(PATHS_MAX + 3):
        changes.read_pack([reading(f"/1/0/{number}", 1, 1.0)], 1)
    assert len(changes.values("lamp-1")) == PATHS_MAX
    assert changes.forgotten == 3
