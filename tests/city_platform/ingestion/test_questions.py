"""What people ask ingestion over HTTP: telemetry, alarms, states; and what they are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from city_platform.ingestion.component import Ingestion
from city_platform.stores.device_directory import SqliteDeviceDirectory
from contracts.presence import PresenceMessage, encode_presence
from tests.city_platform.ingestion.asking import NOW_US, Asking
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

Story = Callable[[Ingestion], Awaitable[None]]


def run(folder: Path, story: Story, **settings: Any) -> None:
    async def whole() -> None:
        async with ingesting(folder, **settings) as found:
            await story(found)

    asyncio.run(whole())


async def take(found: Ingestion, *packs: tuple[str, bytes]) -> None:
    for pack in packs:
        await found.intake.accept(*pack)
    await stored(found)


def readings(
    *values: Any, path: str = "3416/0/3", endpoint: str = "lamp-1"
) -> list[tuple[str, bytes]]:
    """One value a second from `NOW_S` + 1 on."""
    return [
        (state_topic(endpoint), state(endpoint, number, {path: value}))
        for number, value in enumerate(values, 1)
    ]


def at(second: int) -> int:
    return int((NOW_S + second) * 1e6)


def test_pages_of_readings_follow_each_other_without_gap_or_repetition(tmp_path: Path) -> None:
    async def story(found: Ingestion) -> None:
        ask = Asking(found)
        await take(found, *[(state_topic(), state(sequence=n)) for n in range(1, 6)])
        target = "/v1/devices/lamp-1/readings?limit=3"
        page = await ask.get(target)
        rows = page["readings"]
        while "next_cursor" in page:
            page = await ask.get(f"{target}&cursor={page['next_cursor']}")
            rows += page["readings"]
        assert [(row[2], row[1]) for row in rows] == [
            (at(n), path) for n in range(5, 0, -1) for path in ("/3416/0/3", "/3416/0/46")
        ]

    run(tmp_path, story)


def test_buckets_have_what_was_asked_for(tmp_path: Path) -> None:
    async def story(found: Ingestion) -> None:
        ask = Asking(found)
        await take(found, *readings(4.0, 1.0, 7.0, 2.0, 9.0))
        base = "/v1/devices/lamp-1/aggregates?path=/3416/0/3&bucket_s=2"
        page = await ask.get(base)
        assert (page["bucket_s"], page["unit"], page["next_cursor"]) == (2, None, None)
        assert page["buckets"] == [
            {"from_us": at(0), "count": 1, "min": 4.0, "max": 4.0, "mean": 4.0, "sum": 4.0,
             "last": 4.0, "last_us": at(1)},
            {"from_us": at(2), "count": 2, "min": 1.0, "max": 7.0, "mean": 4.0, "sum": 8.0,
             "last": 7.0, "last_us": at(3)},
            {"from_us": at(4), "count": 2, "min": 2.0, "max": 9.0, "mean": 5.5, "sum": 11.0,
             "last": 9.0, "last_us": at(5)},
        ]  # fmt: skip
        page = await ask.get(f"{base}&functions=max,count&from_us={at(3)}&to_us={at(5)}")
        assert page["buckets"] == [
            {"from_us": at(2), "count": 1, "max": 7.0},
            {"from_us": at(4), "count": 1, "max": 2.0},
        ]

    run(tmp_path, story)


def test_pages_of_buckets_follow_each_other_over_long_silences(tmp_path: Path) -> None:
    async def story(found: Ingestion) -> None:
        ask = Asking(found)
        seconds = (1, 2, 50_000, 50_001, 90_000_000)
        packs = [(state_topic(), state(sequence=n, values={"3416/0/3": n})) for n in seconds]
        await take(found, *packs)
        target = "/v1/devices/lamp-1/aggregates?path=3416/0/3&bucket_s=1&limit=2&functions=last"
        page = await ask.get(target)
        found_buckets = page["buckets"]
        while page["next_cursor"] is not None:
            assert len(page["buckets"]) == 2
            page = await ask.get(f"{target}&cursor={page['next_cursor']}")
            found_buckets += page["buckets"]
        assert [(one["from_us"], one["last"]) for one in found_buckets] == [
            (at(n), n) for n in seconds
        ]

    run(tmp_path, story, future_s=1e8)


def test_what_is_no_number_is_counted_and_shown_last(tmp_path: Path) -> None:
    async def story(found: Ingestion) -> None:
        ask = Asking(found)
        await take(
            found, *readings("a", "b", path="3/0/3"), *readings(True, False, path="3416/0/9")
        )
        text = await ask.get("/v1/devices/lamp-1/aggregates?path=/3/0/3&bucket_s=60")
        assert text["buckets"] == [{"from_us": at(0), "count": 2, "last": "b", "last_us": at(2)}]
        flag = await ask.get("/v1/devices/lamp-1/aggregates?path=/3416/0/9&bucket_s=60")
        assert (flag["buckets"][0]["mean"], flag["buckets"][0]["last"]) == (0.5, False)

    run(tmp_path, story)


def test_a_device_shows_presence_latest_values_with_units_and_open_alarms(tmp_path: Path) -> None:
    birth = PresenceMessage(cause="birth", boot="b1", connection=1, began_us=1)

    async def story(found: Ingestion) -> None:
        ask = Asking(found)
        assert (await ask("GET", "/v1/devices/lamp-1/state")).status_code == 404
        await take(
            found,
            ("devices/lamp-1/presence", encode_presence(birth)),
            *readings(1.0, 2.0, path="3416/0/46"),
            *readings(0.5, path="3416/0/2"),
            (alarm_topic(), alarm()),
        )
        shown = await ask.get("/v1/devices/lamp-1/state")
        assert (shown["presence"], shown["alarm"], shown["tenant"]) == ("online", "warning", "")
        assert [one["alarm"] for one in shown["alarms"]] == ["lamp_failure"]
        # W is the same number in SenML; /100 is not: nobody knows what the device meant.
        assert shown["values"]["/3416/0/46"] == {
            "value": 2.0, "time_us": at(2), "unit": "W", "time_source": "device",
        }  # fmt: skip
        assert shown["values"]["/3416/0/2"]["unit"] is None
        latest = await ask.get("/v1/devices/lamp-1/latest")
        assert latest == {"endpoint": "lamp-1", "values": shown["values"]}

    run(tmp_path, story)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/devices/lamp-1/readings?limit=x",
        "/v1/devices/lamp-1/readings?limit=-1",
        "/v1/devices/lamp-1/readings?limit=10001",
        "/v1/devices/lamp-1/readings?path=/3416",
        "/v1/devices/lamp-1/readings?path=../../etc",
        f"/v1/devices/lamp-1/readings?from_us={10**30}",
        "/v1/devices/lamp-1/readings?to_us=1.5",
        "/v1/devices/lamp-1/readings?cursor=1",
        "/v1/devices/lamp-1/readings?cursor=99999999999999999999@/1/2/3",
        "/v1/devices/lamp-1/readings?limit=1&limit=2",
        "/v1/devices/lamp-1/readings?colour=red",
        "/v1/devices/lamp-1/aggregates?path=/1/2/3",
        "/v1/devices/lamp-1/aggregates?bucket_s=1",
        "/v1/devices/lamp-1/aggregates?path=/1/2/3&bucket_s=0",
        "/v1/devices/lamp-1/aggregates?path=/1/2/3&bucket_s=60&functions=median",
        "/v1/devices/lamp-1/aggregates?path=/1/2/3&bucket_s=60&limit=1001",
        "/v1/devices/lamp-1/state?x=1",
        "/v1/states?limit=0",
        "/v1/states?cursor=%00",
        "/v1/changes?wait_s=nan",
        "/v1/changes?wait_s=31",
        "/v1/changes?wait_s=-1",
        "/v1/alarms?state=loud",
        "/v1/alarms?severity=minor,",
        "/v1/alarms?cursor=x",
        "/v1/alarms?limit=1001",
        "/v1/dead-letters?reason=bad",
        "/v1/dead-letters?state=waiting,replayed",
        "/v1/dead-letters?cursor=-2",
    ],
)
def test_a_question_that_cannot_be_understood_is_refused(tmp_path: Path, target: str) -> None:
    async def story(found: Ingestion) -> None:
        answer = await Asking(found)("GET", target)
        assert answer.status_code == 400
        assert answer.json()["detail"]

    run(tmp_path, story)


def test_an_alarm_is_acknowledged_once_with_who_when_and_note(tmp_path: Path) -> None:
    async def story(found: Ingestion) -> None:
        ask = Asking(found, ("*", "analyst"))
        await take(found, (alarm_topic(), alarm()))
        target = "/v1/alarms/1/acknowledge"
        for note in ("on my way", "me too"):
            answer = await ask("POST", target, {"note": note})
            assert answer.status_code == 200
            shown = answer.json()
            assert (shown["state"], shown["note"]) == ("acknowledged", "on my way")
            assert (shown["acknowledged_by"], shown["acknowledged_us"]) == ("ann", NOW_US)
        assert (await ask("POST", target)).status_code == 200
        history = await ask.get("/v1/alarms/1")
        assert [step[1:] for step in history["steps"]] == [
            ["raised", "", ""], ["acknowledged", "ann", "on my way"],
        ]  # fmt: skip
        for wrong in ({"note": "x" * 501}, {"note": "\x1b[31m"}, {"who": "me"}, [], "x"):
            assert (await ask("POST", target, wrong)).status_code == 400
        for number in ("2", "x", "-1", "9" * 30, "١"):
            assert (await ask("POST", f"/v1/alarms/{number}/acknowledge")).status_code == 404
        big = await ask("POST", target, {"note": "x" * 20_000})
        assert big.status_code == 413

    run(tmp_path, story)


def test_nobody_sees_or_acknowledges_alarms_and_states_of_other_tenants(tmp_path: Path) -> None:
    path = tmp_path / "devices.sqlite"

    async def story(found: Ingestion) -> None:
        directory = SqliteDeviceDirectory(path)
        entries = [directory_entry("lamp-1", "harbour"), directory_entry("lamp-2", "hills")]
        await directory.put(entries)
        directory.close()
        await take(found, (alarm_topic(), alarm()), (alarm_topic("lamp-2"), alarm("lamp-2")))
        ask = Asking(found, ("hills", "analyst"))
        page = await ask.get("/v1/alarms")
        assert [one["endpoint"] for one in page["alarms"]] == ["lamp-2"]
        assert (await ask.get("/v1/alarms?tenant=harbour"))["alarms"] == []
        assert (await ask.get("/v1/alarms?device=lamp-1"))["alarms"] == []
        hidden = await ask("GET", "/v1/alarms/1")
        assert (hidden.status_code, hidden.json()) == (
            404, (await ask("GET", "/v1/alarms/77")).json(),
        )  # fmt: skip
        assert (await ask("POST", "/v1/alarms/1/acknowledge")).status_code == 404
        assert [row[0] for row in (await ask.get("/v1/states"))["states"]] == ["lamp-2"]
        assert (await ask.get("/v1/states?tenant=harbour"))["states"] == []
        changes = (await ask.get("/v1/changes"))["changes"]
        assert [one["endpoint"] for one in changes] == ["lamp-2"]
        assert (await ask("POST", "/v1/alarms/2/acknowledge")).status_code == 200

    run(tmp_path / "state", story, directory_file=path)


def test_ten_thousand_states_are_one_answer(tmp_path: Path) -> None:
    async def story(found: Ingestion) -> None:
        ask = Asking(found)
        some = [f"lamp-{number:05}" for number in range(300)]
        await take(found, *[(state_topic(name), state(name)) for name in some])
        page = await ask.get("/v1/states")
        assert [row[0] for row in page["states"]] == some
        assert page["states"][0][1:5] == ["", None, 0, "none"]
        assert page["next_cursor"] is None
        names, cursor = [], ""
        while cursor is not None:
            page = await ask.get(f"/v1/states?limit=70&cursor={cursor}")
            names += [row[0] for row in page["states"]]
            cursor = page["next_cursor"]
        assert names == some

    run(tmp_path, story)
