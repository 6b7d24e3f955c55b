"""Dead letters over HTTP: found, shown, put back once, dropped."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest

from city_platform.ingestion.component import Ingestion
from city_platform.ingestion.dead_letter_routes import withheld
from city_platform.stores.dead_letters import DeadLetter, SqliteDeadLetterStore
from city_platform.stores.device_directory import SqliteDeviceDirectory
from contracts.topics import Topics
from harness.testing.clock import HandMovedClock
from tests.city_platform.ingestion.asking import Asking
from tests.city_platform.ingestion.packs import (
    NAME,
    NOW_S,
    VALUE,
    alarm,
    alarm_topic,
    directory_entry,
    ingesting,
    state,
    state_topic,
    stored,
)

Story = Callable[[Ingestion, SqliteDeviceDirectory, HandMovedClock], Awaitable[None]]


def run(folder: Path, story: Story, **limits: Any) -> None:
    """An ingestion whose directory is empty at first: every device is unknown."""

    async def whole() -> None:
        path = folder / "devices.sqlite"
        directory = SqliteDeviceDirectory(path)
        clock = HandMovedClock()
        async with ingesting(folder / "state", clock, directory_file=path, **limits) as found:
            await story(found, directory, clock)
        directory.close()

    asyncio.run(whole())


async def take(found: Ingestion, *packs: tuple[str, bytes]) -> None:
    for pack in packs:
        await found.intake.accept(*pack)
    await stored(found)


async def provision(directory: SqliteDeviceDirectory, *names: str) -> None:
    await directory.put([directory_entry(name, "harbour") for name in names])


def test_letters_are_found_by_what_they_are_in_pages(tmp_path: Path) -> None:
    async def story(found: Ingestion, _: SqliteDeviceDirectory, clock: HandMovedClock) -> None:
        ask = Asking(found)
        await take(found, (state_topic(), state()))
        clock.advance(10)
        await take(found, ("devices/a b/state", b"x"), (state_topic("lamp-2"), state("lamp-2")))
        wanted = {
            "": ["0", "1", "2"],
            "?reason=unknown_device": ["0", "2"],
            "?endpoint=lamp-2": ["2"],
            "?topic=devices/lamp-1/state": ["0"],
            "?state=replayed": [],
            f"?from_us={clock.wall_us()}": ["1", "2"],
            f"?to_us={clock.wall_us()}&state=waiting": ["0"],
            "?cursor=0&limit=1": ["1"],
        }
        for query, expected in wanted.items():
            page = await ask.get(f"/v1/dead-letters{query}")
            assert [one["id"] for one in page["dead_letters"]] == expected, query
            assert page["next_cursor"] == ("1" if "limit" in query else None)

    run(tmp_path, story)


def test_a_letter_is_shown_with_its_bytes(tmp_path: Path) -> None:
    async def story(found: Ingestion, _: SqliteDeviceDirectory, clock: HandMovedClock) -> None:
        ask = Asking(found)
        await take(found, (state_topic(), state()))
        shown = await ask.get("/v1/dead-letters/0")
        assert b64decode(shown["payload"]) == state()
        assert shown["dead_letter"]["outcome"] == "waiting"
        assert shown["redacted"] is None
        for number in ("1", "x", "-1", "9" * 40):
            assert (await ask("GET", f"/v1/dead-letters/{number}")).status_code == 404

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("topic", "payload", "is_shown"),
    [
        ("devices/lamp-1/state", b"rubbish", True),
        ("devices/lamp-1/state", b"-----BEGIN EC PRIVATE KEY-----", False),
        ("devices/lamp-1/state", b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", False),
        ("devices/lamp-1/alarm", b'{"t": "eyJhbGciOiJSUzI1NiJ9.x"}', False),
        ("lwm2m/server-1/lamp-1/credentials", b"sealed", False),
        ("lwm2m/server-1/lamp-1/event/registered", b"{}", False),
    ],
)
def test_what_may_be_secret_is_not_shown(topic: str, payload: bytes, is_shown: bool) -> None:
    letter = DeadLetter(
        position=0, reason="malformed", topic=topic, detail="", endpoint="lamp-1", claimed="",
        received_us=0, payload=payload,
    )  # fmt: skip
    assert (withheld(letter, Topics()) is None) is is_shown


def test_a_time_too_far_ahead_is_refused_and_leaves_the_latest_alone(tmp_path: Path) -> None:
    day_s, year_s = 86_400, 365 * 86_400

    async def story(
        found: Ingestion, directory: SqliteDeviceDirectory, clock: HandMovedClock
    ) -> None:
        ask = Asking(found, ("*", "provisioner"))
        await provision(directory, "lamp-1")
        await take(found, (state_topic(), state(sequence=day_s)), (state_topic(), state()))
        ahead = alarm(sequence=day_s + 1)
        await take(found, (state_topic(), state(sequence=year_s)), (alarm_topic(), ahead))
        page = await ask.get("/v1/dead-letters?reason=time_ahead")
        assert [one["id"] for one in page["dead_letters"]] == ["2", "3"]
        assert "clock is wrong" in page["dead_letters"][0]["detail"]
        latest = await found.desk.latest("lamp-1")
        assert {one.time_us for one in latest} == {int((NOW_S + day_s) * 1e6)}
        # It was our own clock that was wrong: put right, the letter is taken.
        clock.step_wall(2)
        assert (await ask("POST", "/v1/dead-letters/3/replay")).status_code == 202
        await stored(found)
        assert (await found.store.counts()).alarms == 1

    run(tmp_path, story)


def test_a_letter_that_is_put_back_is_stored_once_however_often(tmp_path: Path) -> None:
    async def story(
        found: Ingestion, directory: SqliteDeviceDirectory, clock: HandMovedClock
    ) -> None:
        ask = Asking(found, ("*", "provisioner"))
        await take(found, (state_topic(), state()))
        await provision(directory, "lamp-1")
        clock.advance(61)
        for _ in range(2):
            answer = await ask("POST", "/v1/dead-letters/0/replay")
            assert answer.status_code == 202
            assert answer.json()["replayed_by"] == "ann"
            assert answer.json()["replayed_as"] == "1"
            await stored(found)
        page = await ask.get("/v1/dead-letters")
        assert [one["outcome"] for one in page["dead_letters"]] == ["accepted"]
        counts = await found.store.counts()
        assert (counts.packs, counts.stored, counts.duplicates) == (2, 2, 0)

    run(tmp_path, story)


def test_a_letter_that_is_refused_again_says_so(tmp_path: Path) -> None:
    async def story(found: Ingestion, _: SqliteDeviceDirectory, clock: HandMovedClock) -> None:
        ask = Asking(found)
        await take(found, (state_topic(), state()))
        await ask("POST", "/v1/dead-letters/0/replay")
        await stored(found)
        page = await ask.get("/v1/dead-letters")
        assert [one["outcome"] for one in page["dead_letters"]] == ["refused_again", "waiting"]

    run(tmp_path, story)


def test_readings_without_a_time_of_their_own_keep_that_of_their_first_receipt(
    tmp_path: Path,
) -> None:
    pack = cbor2.dumps([{NAME: "3/0/9", VALUE: 80}])

    async def story(
        found: Ingestion, directory: SqliteDeviceDirectory, clock: HandMovedClock
    ) -> None:
        received_us = clock.wall_us()
        await take(found, (state_topic(), pack))
        await provision(directory, "lamp-1")
        clock.advance(5_000)
        # As after a kill between the spool and the note: it goes back twice.
        letter = await found.letters.get(0)
        assert letter is not None
        for _ in range(2):
            await found.intake.put_back(letter.received_us, letter.topic, letter.payload)
        await stored(found)
        rows = await found.store.readings("lamp-1", None, 0, 2**62, 10)
        assert [(row[1], row[2]) for row in rows] == [("/3/0/9", received_us)]
        assert (await found.store.counts()).duplicates == 1

    run(tmp_path, story)


def test_many_letters_are_put_back_by_what_they_are_some_at_a_time(tmp_path: Path) -> None:
    async def story(
        found: Ingestion, directory: SqliteDeviceDirectory, clock: HandMovedClock
    ) -> None:
        ask = Asking(found)
        names = [f"lamp-{number}" for number in range(5)]
        await take(found, *[(state_topic(name), state(name)) for name in names])
        await take(found, ("devices/a b/state", b"x"))
        await provision(directory, *names)
        clock.advance(61)
        wanted = {"reason": "unknown_device", "limit": 3}
        answers = [(await ask("POST", "/v1/dead-letters/replay", wanted)).json() for _ in range(3)]
        assert answers == [
            {"replayed": 3, "has_more": True},
            {"replayed": 2, "has_more": False},
            {"replayed": 0, "has_more": False},
        ]
        await stored(found)
        assert (await found.store.counts()).stored == 10
        for wrong in ({"reason": "x"}, {"limit": 0}, {"limit": 1_001}, {"a": 1}, [], "x",
                      {"from_us": 10**30}):  # fmt: skip
            assert (await ask("POST", "/v1/dead-letters/replay", wrong)).status_code == 400

    run(tmp_path, story)


def test_a_letter_is_dropped_with_its_replay(tmp_path: Path) -> None:
    async def story(found: Ingestion, _: SqliteDeviceDirectory, clock: HandMovedClock) -> None:
        ask = Asking(found)
        await take(found, (state_topic(), state()))
        await ask("POST", "/v1/dead-letters/0/replay")
        assert (await ask("DELETE", "/v1/dead-letters/0")).status_code == 204
        assert (await ask("DELETE", "/v1/dead-letters/0")).status_code == 404
        assert (await ask("POST", "/v1/dead-letters/0/replay")).status_code == 404

    run(tmp_path, story)


@pytest.mark.slow
def test_while_the_spool_takes_nothing_a_replay_is_refused_and_the_letter_waits(
    tmp_path: Path,
) -> None:
    async def story(found: Ingestion, _: SqliteDeviceDirectory, clock: HandMovedClock) -> None:
        ask = Asking(found)
        await take(found, (state_topic(), state()))
        held = found.intake.accept(state_topic(), b"x" * 300)
        answer = await ask("POST", "/v1/dead-letters/0/replay")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        await held
        await stored(found)
        page = await ask.get("/v1/dead-letters?state=waiting")
        assert [one["id"] for one in page["dead_letters"]] == ["0", "1"]

    # So long that the question comes before the spool takes what waits, on any machine.
    run(tmp_path, story, waiting_bytes_max=310, spool_gather_s=2.0)


def test_databases_of_the_first_version_are_opened(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteDeadLetterStore(tmp_path / "letters.sqlite")
        store._connection.executescript("DROP TABLE replays; DROP INDEX dead_letters_of_device")
        store.close()
        store = SqliteDeadLetterStore(tmp_path / "letters.sqlite")
        await store.note_replay(1, "ann", 2, 3)
        store.close()

    asyncio.run(story())
