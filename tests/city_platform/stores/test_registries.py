"""Things, the device directory and the pre-shared keys."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from pathlib import Path

import msgspec
import pytest

from city_platform.stores.device_directory import (
    Box,
    DeviceQuery,
    DirectoryEntry,
    SqliteDeviceDirectory,
)
from city_platform.stores.pre_shared_keys import PreSharedKey, SqlitePreSharedKeyStore
from city_platform.stores.sqlite import StoreVersionError, open_database
from city_platform.stores.thing_registry import Certificate, SqliteThingRegistry, Thing
from contracts.policy import Policy


def thing(name: str, *, certificate: str = "c1", groups: tuple[str, ...] = ("harbour",)) -> Thing:
    return Thing(
        name=name,
        type="street_lamp",
        serial="s",
        policy_name=f"device:{name}",
        policy=Policy(publish=(f"devices/{name}/state",)),
        groups=list(groups),
        certificate=Certificate(
            sha256=f"{name}-{certificate}", der=b"der", made_for=b"m", expires_at_us=7
        ),
        manifest_digest=b"digest",
    )


def test_things_come_back_as_they_were_put(tmp_path: Path) -> None:
    async def story() -> None:
        registry = SqliteThingRegistry(tmp_path / "things.sqlite")
        await registry.put([thing("a", groups=("g1", "g2")), thing("b", groups=("g1",))])
        assert await registry.get(["a", "b", "none"]) == {
            "a": thing("a", groups=("g1", "g2")),
            "b": thing("b", groups=("g1",)),
        }
        assert await registry.members("g1") == ["a", "b"]
        await registry.put([thing("a", certificate="c2", groups=("g2",))])
        assert await registry.members("g1") == ["b"]
        assert (await registry.get(["a"]))["a"].certificate.sha256 == "a-c2"
        assert await registry.count() == 2
        registry.close()

    asyncio.run(story())


def test_a_replaced_certificate_is_kept_and_no_longer_active(tmp_path: Path) -> None:
    async def story() -> None:
        registry = SqliteThingRegistry(tmp_path / "things.sqlite")
        await registry.put([thing("a")])
        await registry.put([thing("a", certificate="c2")])
        registry.close()

    asyncio.run(story())
    connection = sqlite3.connect(tmp_path / "things.sqlite")
    rows = connection.execute("SELECT sha256, active FROM certificates ORDER BY sha256").fetchall()
    connection.close()
    assert rows == [("a-c1", 0), ("a-c2", 1)]


def entry(number: int, **changes: object) -> DirectoryEntry:
    found = DirectoryEntry(
        endpoint=f"lamp-{number}",
        tenant="harbour",
        site="quay",
        group="quay/street_lamp",
        model="street_lamp",
        serial="s",
        street="Kade",
        latitude=52.0 + number / 100,
        longitude=4.0,
        installed_on="2026-05-31",
        attributes={"pole": "steel"},
    )
    return msgspec.structs.replace(found, **changes)


QUERIES = {
    "all": (DeviceQuery(), [1, 2, 3, 4]),
    "tenant": (DeviceQuery(tenant="airport"), [2]),
    "site_and_model": (DeviceQuery(site="quay", model="water_meter"), [3]),
    "group": (DeviceQuery(group="special"), [4]),
    "box": (DeviceQuery(box=Box(south=52.015, west=3.0, north=52.03, east=5.0)), [2, 3]),
    "attribute": (DeviceQuery(attributes={"pole": "wood"}), [4]),
    "two_attributes": (DeviceQuery(attributes={"pole": "wood", "height": "9"}), [4]),
    "page": (DeviceQuery(after="lamp-1", limit=2), [2, 3]),
    "none": (DeviceQuery(tenant="harbour'; DROP TABLE devices; --"), []),
}


@pytest.mark.parametrize("name", QUERIES)
def test_devices_are_found_by_what_they_have(tmp_path: Path, name: str) -> None:
    query, expected = QUERIES[name]

    async def story() -> None:
        directory = SqliteDeviceDirectory(tmp_path / "devices.sqlite")
        await directory.put([entry(number, attributes={"old": "x"}) for number in (1, 4)])
        await directory.put(
            [
                entry(1),
                entry(2, tenant="airport"),
                entry(3, model="water_meter"),
                entry(4, group="special", attributes={"pole": "wood", "height": "9"}),
            ]
        )
        found = await directory.search(query)
        assert [one.endpoint for one in found] == [f"lamp-{number}" for number in expected]
        assert await directory.search(DeviceQuery(attributes={"old": "x"})) == []
        assert await directory.get("lamp-1") == entry(1)
        assert await directory.get("nobody") is None
        assert await directory.tenants(["lamp-2", "nobody"]) == {"lamp-2": "airport"}
        directory.close()

    asyncio.run(story())


def test_another_process_may_read_the_directory_meanwhile(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "devices.sqlite"
        writer, reader = SqliteDeviceDirectory(path), SqliteDeviceDirectory(path)
        await asyncio.gather(writer.put([entry(1)]), reader.tenants(["lamp-1"]))
        assert await reader.tenants(["lamp-1"]) == {"lamp-1": "harbour"}
        writer.close()
        reader.close()

    asyncio.run(story())


def test_a_key_waits_to_be_handed_over_until_it_was_and_again_when_it_changes(
    tmp_path: Path,
) -> None:
    first, changed = PreSharedKey("a", "id-a", b"k" * 16), PreSharedKey("a", "id-a", b"n" * 16)

    async def story() -> None:
        path = tmp_path / "keys.sqlite"
        keys = SqlitePreSharedKeyStore(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await keys.put([first, PreSharedKey("b", "id-b", b"k" * 16)])
        await keys.put([changed])
        await keys.mark_handed_over([first])
        assert [key.endpoint for key in await keys.to_hand_over("", 9)] == ["a", "b"]
        await keys.mark_handed_over([changed])
        await keys.put([changed])
        assert [key.endpoint for key in await keys.to_hand_over("", 9)] == ["b"]
        assert await keys.holders(["id-a", "id-x"]) == {"id-a": "a"}
        assert await keys.get(["a"]) == {"a": changed}
        keys.close()

    asyncio.run(story())


def test_all_of_a_batch_is_put_or_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        keys = SqlitePreSharedKeyStore(tmp_path / "keys.sqlite")
        with pytest.raises(sqlite3.IntegrityError):
            await keys.put([PreSharedKey("a", "same", b"1"), PreSharedKey("b", "same", b"2")])
        assert await keys.get(["a", "b"]) == {}
        keys.close()

    asyncio.run(story())


def test_a_database_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    open_database(path, "CREATE TABLE t (x)", version=2).close()
    with pytest.raises(StoreVersionError, match="upgrade"):
        open_database(path, "CREATE TABLE t (x)", version=1)


def test_what_is_no_database_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"precious" * 1_000)
    with pytest.raises(sqlite3.DatabaseError):
        open_database(path, "CREATE TABLE t (x)")
    assert path.read_bytes() == b"precious" * 1_000
