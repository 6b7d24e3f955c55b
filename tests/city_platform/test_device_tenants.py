"""Whose a device is is remembered, and what the directory's log of changes names is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from city_platform import device_tenants
from city_platform.device_tenants import CHECKED_S, Directory
from city_platform.stores.device_directory import DirectoryEntry, SqliteDeviceDirectory
from tests.city_platform.audit.logs import HandClock

Story = Callable[[Directory, SqliteDeviceDirectory, HandClock], Awaitable[None]]


def lamp(endpoint: str, tenant: str) -> DirectoryEntry:
    return DirectoryEntry(
        endpoint=endpoint, tenant=tenant, site="s", group="g", model="street_lamp",
        serial=endpoint, street="", latitude=0, longitude=0, installed_on="2026-01-01",
        attributes={},
    )  # fmt: skip


def told(folder: Path, story: Story) -> None:
    async def run() -> None:
        file = folder / "devices.sqlite"
        places, clock = SqliteDeviceDirectory(file), HandClock()
        await places.put([lamp("lamp-1", "harbour"), lamp("lamp-2", "hills")])
        directory = Directory(str(file), clock.now_ns)
        try:
            await story(directory, places, clock)
        finally:
            directory.close()
            places.close()

    asyncio.run(run())


def test_what_was_asked_is_remembered_until_the_log_of_changes_is_due(tmp_path: Path) -> None:
    async def story(directory: Directory, places: SqliteDeviceDirectory, clock: HandClock) -> None:
        assert directory.remembered("lamp-1") is None
        assert await directory.tenant_of("lamp-1") == "harbour"
        await places.put([lamp("lamp-1", "hills")])
        clock.move(CHECKED_S - 1)
        assert directory.remembered("lamp-1") == "harbour"
        clock.move(1)
        assert directory.remembered("lamp-1") is None
        assert await directory.tenant_of("lamp-1") == "hills"

    told(tmp_path, story)


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    async def story(directory: Directory, places: SqliteDeviceDirectory, clock: HandClock) -> None:
        await directory.tenant_of("lamp-1")
        await directory.tenant_of("lamp-2")
        await places.delete(["lamp-1"])
        clock.move(CHECKED_S)
        assert await directory.tenant_of("lamp-1") is None
        # Known again by the log of changes alone.
        assert directory.remembered("lamp-2") == "hills"

    told(tmp_path, story)


def test_after_more_changes_than_are_looked_through_all_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_tenants, "CHANGES_MAX", 2)

    async def story(directory: Directory, places: SqliteDeviceDirectory, clock: HandClock) -> None:
        await directory.tenant_of("lamp-2")
        names = ["lamp-3", "lamp-4", "lamp-2"]
        await places.put([lamp(name, "docks") for name in names])
        clock.move(CHECKED_S)
        assert await directory.tenant_of("lamp-3") == "docks"
        assert directory.remembered("lamp-2") is None
        assert await directory.tenant_of("lamp-2") == "docks"

    told(tmp_path, story)


def test_a_device_that_was_not_there_is_known_as_soon_as_it_is(tmp_path: Path) -> None:
    async def story(directory: Directory, places: SqliteDeviceDirectory, clock: HandClock) -> None:
        assert await directory.tenant_of("lamp-9") is None
        await places.put([lamp("lamp-9", "docks")])
        assert await directory.tenant_of("lamp-9") == "docks"

    told(tmp_path, story)


def test_those_who_ask_at_once_are_answered_each_for_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_tenants, "REMEMBERED_MAX", 1)

    async def story(directory: Directory, places: SqliteDeviceDirectory, clock: HandClock) -> None:
        names = ["lamp-1", "lamp-2", "lamp-3", "lamp-1"] * 25
        found = await asyncio.gather(*(directory.tenant_of(name) for name in names))
        assert found == ["harbour", "hills", None, "harbour"] * 25

    told(tmp_path, story)


def test_one_who_does_not_wait_leaves_the_others_their_answer(tmp_path: Path) -> None:
    async def story(directory: Directory, places: SqliteDeviceDirectory, clock: HandClock) -> None:
        gone = asyncio.ensure_future(directory.tenant_of("lamp-1"))
        stays = asyncio.ensure_future(directory.tenant_of("lamp-2"))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == "hills"

    told(tmp_path, story)


def test_without_a_directory_nobody_is_known() -> None:
    directory = Directory(None, HandClock().now_ns)
    assert asyncio.run(directory.tenant_of("lamp-1")) is None
    directory.close()
