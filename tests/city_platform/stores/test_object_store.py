"""Objects are whole or absent, named safely, and secret ones readable by their owner alone."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.stores.object_store import (
    FileObjectStore,
    IllegalObjectName,
    NewObject,
    ObjectMissing,
    credentials_name,
)


@contextlib.contextmanager
def open_store(root: Path) -> Iterator[FileObjectStore]:
    store = FileObjectStore(root)
    try:
        yield store
    finally:
        store.close()


def test_objects_come_back_and_are_listed_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        with open_store(tmp_path / "objects") as store:
            names = ["b/2", "a", "b/1", "b/10", "ba/x"]
            await store.put([NewObject(name, name.encode()) for name in names])
            assert await store.get("b/10") == b"b/10"
            assert await store.names() == ["a", "b/1", "b/10", "b/2", "ba/x"]
            assert await store.names("b/1") == ["b/1", "b/10"]
            assert await store.names("b") == ["b/1", "b/10", "b/2", "ba/x"]
            assert await store.names("none/") == []
            await store.put([NewObject("a", b"again")], sync=True)
            assert await store.get("a") == b"again"
            await store.delete("a")
            await store.delete("a")
            with pytest.raises(ObjectMissing):
                await store.get("a")
            with pytest.raises(ObjectMissing):
                await store.get("b")

    asyncio.run(story())


def test_a_secret_object_is_its_owners_alone_also_when_it_replaces_another(tmp_path: Path) -> None:
    async def story() -> None:
        with open_store(tmp_path) as store:
            name = credentials_name("urn:dev:os:1")
            await store.put([NewObject(name, b"public"), NewObject(name, b"secret", True)])
            mode = stat.S_IMODE((tmp_path / name).stat().st_mode)
            assert mode == 0o600
            assert await store.present([name, "credentials/none.json"]) == {name}

    asyncio.run(story())


def test_a_file_that_a_kill_left_half_written_is_no_object(tmp_path: Path) -> None:
    async def story() -> None:
        with open_store(tmp_path) as store:
            await store.put([NewObject("a/b", b"whole")])
            (tmp_path / "a" / ".c.123.tmp").write_bytes(b"half")
            assert await store.names() == ["a/b"]

    asyncio.run(story())


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".hidden", "a b", "a\0b", "x" * 201]
)
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    async def story() -> None:
        with open_store(tmp_path) as store:
            with pytest.raises(IllegalObjectName):
                await store.put([NewObject(name, b"")])
            with pytest.raises(IllegalObjectName):
                await store.get(name)

    asyncio.run(story())


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=20))
def test_no_name_reaches_outside_the_store(name: str) -> None:
    async def story(root: Path) -> None:
        with open_store(root / "inside") as store:
            try:
                await store.put([NewObject(name, b"x")])
            except IllegalObjectName:
                return
            assert await store.names() == [name]

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))
        assert [path.name for path in Path(folder).iterdir()] == ["inside"]


@pytest.mark.parametrize("size", [0, 1, 8_191, 8_192, 8_193, 100_000])
def test_an_object_of_any_size_is_read_whole(tmp_path: Path, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    with open_store(tmp_path) as store:
        store.put_now([NewObject("credentials/a.json", data)])
        assert store.get_now("credentials/a.json") == data
        with pytest.raises(ObjectMissing):
            store.get_now("credentials")
