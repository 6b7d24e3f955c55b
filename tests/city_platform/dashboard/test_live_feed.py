"""`/live` over real sockets: who is told what, and what becomes of readers that do not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from city_platform.dashboard import DashboardLimits
from tests.city_platform.audit.logs import HandClock
from tests.city_platform.dashboard.installation import MANIFEST, Browser, Installation, installed
from tests.city_platform.dashboard.scripted_ingestion import ScriptedIngestion
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow
Tell = Callable[[Installation, ScriptedIngestion], Awaitable[None]]


def story(folder: Path, tell: Tell, clock: Any = None, **changes: Any) -> None:
    async def whole() -> None:
        source = ScriptedIngestion()
        async with (
            source.serving() as address,
            installed(folder, clock, ingestion=address, **changes) as installation,
        ):
            await tell(installation, source)
            for name in reversed(list(installation.running)):
                await installation.stop(name)

    asyncio.run(whole())


class Events:
    """The events of one open feed."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self, *names: str) -> tuple[str, Any, str]:
        """The next event of one of these names: name, data, id."""
        name = place = ""
        async with asyncio.timeout(WITHIN_S):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    place = value
                elif field == "data" and (not names or name in names):
                    return name, msgspec.json.decode(value), place
        raise EOFError


@contextlib.asynccontextmanager
async def feed(browser: Browser, query: str = "", **headers: str) -> AsyncIterator[Events]:
    async with browser.http.stream("GET", f"/live{query}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Events(answer)


def lamp(number: int = 1, tenant: str = "harbour", **fields: Any) -> dict[str, Any]:
    return {"endpoint": f"lamp-{number}", "tenant": tenant, "at": 100, **fields}


def test_a_page_loads_the_map_and_is_told_what_changes_from_there(tmp_path: Path) -> None:
    async def tell(installation: Installation, source: ScriptedIngestion) -> None:
        await installation.set_up(pat=[("*", "provisioner"), ("*", "analyst")])
        pat = await installation.signed_in("pat")
        await installation.bring(pat, MANIFEST)
        async with feed(pat) as events:
            # A feed tells what comes after its beginning.
            await events.next("hello")
            source.tell(lamp(1, presence="online", values={"3416/0/3": 0.5}))
            await events.next("changes")
        loaded = (await pat.get("/api/map?path=3416/0/3")).json()
        place = loaded["endpoint"].index("lamp-1")
        assert loaded["presence"][place] == 2
        assert loaded["values"]["3416/0/3"][place] == 0.5
        source.tell(lamp(2, alarm="critical"))
        query = f"?epoch={loaded['epoch']}&revision={loaded['revision']}"
        async with feed(pat, query) as events:
            _, data, place_told = await events.next("changes")
            assert data["devices"] == [{"endpoint": "lamp-2", "at_us": 100, "alarm": "critical"}]
        # The browser comes again by itself, and says how far it was.
        source.tell(lamp(1, values={"3416/0/3": 0.75}))
        async with feed(pat, query, **{"Last-Event-ID": place_told}) as events:
            _, data, _ = await events.next("changes")
            assert [one["endpoint"] for one in data["devices"]] == ["lamp-1"]

    story(tmp_path, tell)


def test_a_tenants_user_is_told_of_its_devices_and_a_controller_of_no_telemetry(
    tmp_path: Path,
) -> None:
    async def tell(installation: Installation, source: ScriptedIngestion) -> None:
        await installation.set_up(ann=[("harbour", "analyst")], cas=[("*", "controller")])
        ann, cas = await installation.signed_in("ann"), await installation.signed_in("cas")
        async with feed(ann) as of_ann, feed(cas) as of_cas:
            await of_ann.next("hello")
            await of_cas.next("hello")
            source.tell(
                lamp(1, "hills", presence="online", values={"3416/0/3": 1}),
                lamp(2, presence="online", alarm="warning", values={"3416/0/3": 1}),
            )
            _, data, _ = await of_ann.next("changes")
            assert data["devices"] == [
                {
                    "endpoint": "lamp-2", "at_us": 100, "presence": "online", "alarm": "warning",
                    "values": {"3416/0/3": 1},
                }
            ]  # fmt: skip
            _, data, _ = await of_cas.next("changes")
            assert data["devices"] == [
                {"endpoint": f"lamp-{number}", "at_us": 100, "presence": "online"}
                for number in (1, 2)
            ]

    story(tmp_path, tell)


def test_another_epoch_or_too_long_a_pause_makes_a_page_load_anew(tmp_path: Path) -> None:
    async def tell(installation: Installation, source: ScriptedIngestion) -> None:
        await installation.set_up(ann=[("*", "analyst")])
        ann = await installation.signed_in("ann")
        async with feed(ann, "?epoch=another&revision=1") as events:
            assert (await events.next("resync"))[1]["reason"]
        async with feed(ann) as events:
            place = (await events.next("hello"))[1]
        async with feed(ann) as events:
            await events.next("hello")
            source.tell(*(lamp(number, values={"1/0/1": 1}) for number in range(20)))
            await events.next("changes", "resync")
        async with feed(ann, f"?epoch={place['epoch']}&revision={place['revision']}") as events:
            assert "over 10 devices" in (await events.next("resync"))[1]["reason"]

    story(tmp_path, tell, limits=DashboardLimits(live_devices_max=10))


def test_a_reader_that_does_not_read_costs_no_memory_and_gets_the_latest(tmp_path: Path) -> None:
    async def tell(installation: Installation, source: ScriptedIngestion) -> None:
        await installation.set_up(ann=[("*", "analyst")])
        ann, other = await installation.signed_in("ann"), await installation.signed_in("ann")
        async with feed(ann) as slow, feed(other) as quick:
            for name in ("hello", "source"):
                await slow.next(name)
                await quick.next(name)
            for step in range(30):
                source.tell(*(lamp(n, values={"1/0/1": "x" * 900 + str(step)}) for n in range(300)))
                _, data, _ = await quick.next("changes")
            # Far more went by than sockets hold. What it reads ends with the latest state of all.
            latest: dict[str, str] = {}
            async with asyncio.timeout(WITHIN_S):
                while set(latest.values()) != {"x" * 900 + "29"} or len(latest) < 300:
                    _, data, _ = await slow.next("changes")
                    latest |= {one["endpoint"]: one["values"]["1/0/1"] for one in data["devices"]}

    story(tmp_path, tell, limits=DashboardLimits(live_gap_s=0.001))


def test_a_lost_source_is_told_and_so_is_its_return(tmp_path: Path) -> None:
    async def tell(installation: Installation, source: ScriptedIngestion) -> None:
        await installation.set_up(ann=[("*", "analyst")])
        ann = await installation.signed_in("ann")
        async with feed(ann) as events:
            while (await events.next("source"))[1] != {"telemetry": "connected"}:
                pass
            source.is_broken = True
            source.tell(lamp(1, presence="online"))
            while (await events.next("source"))[1] != {"telemetry": "lost"}:
                pass
            source.is_broken = False
            while (await events.next("source"))[1] != {"telemetry": "connected"}:
                pass

    story(tmp_path, tell)


def test_a_feed_ends_with_its_session(tmp_path: Path) -> None:
    clock = HandClock()

    async def tell(installation: Installation, source: ScriptedIngestion) -> None:
        await installation.set_up(ann=[("*", "analyst")])
        ann = await installation.signed_in("ann")
        async with feed(ann) as events:
            await events.next("hello")
            clock.move(100_000)
            source.tell(lamp(1))
            await events.next("signed_out")
        answer = await ann.get("/live")
        assert answer.status_code == 401

    story(tmp_path, tell, clock)


def test_feeds_are_bounded_and_closed_ones_are_free_again(tmp_path: Path) -> None:
    async def tell(installation: Installation, source: ScriptedIngestion) -> None:
        await installation.set_up(ann=[("*", "analyst")])
        ann = await installation.signed_in("ann")
        async with feed(ann) as first, feed(ann) as second:
            await first.next("hello")
            await second.next("hello")
            assert (await ann.get("/live")).status_code == 429
        async with asyncio.timeout(WITHIN_S):
            while True:
                async with ann.http.stream("GET", "/live") as answer:
                    if answer.status_code == 200:
                        return

    limits = DashboardLimits(live_per_session_max=2)
    story(tmp_path, tell, limits=limits)
