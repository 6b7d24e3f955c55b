"""What every object store does, embedded and on S3."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from city_platform.stores.object_store import (
    FileObjectStore,
    IllegalObjectName,
    NewObject,
    ObjectMissing,
    ObjectStore,
)
from tests.city_platform.stores.aws.emulators import account, installation

Story = Callable[[ObjectStore], Awaitable[None]]
Tell = Callable[[Story], None]


@pytest.fixture(
    params=["embedded", pytest.param("aws", marks=[pytest.mark.moto, pytest.mark.slow])]
)
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Tell:
    """Runs a story with an empty store."""
    url = request.getfixturevalue("moto") if request.param == "aws" else None

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[ObjectStore]:
        if url is None:
            store = FileObjectStore(tmp_path / "objects")
            yield store
            store.close()
            return
        from city_platform.stores.aws.opening import open_objects

        async with account(installation(url, prefix="city/")) as aws:
            yield await open_objects(aws)

    async def with_store(story: Story) -> None:
        async with opened() as store:
            await story(store)

    return lambda story: asyncio.run(with_store(story))


def test_objects_come_back_and_are_listed_in_order(tell: Tell) -> None:
    async def story(store: ObjectStore) -> None:
        names = ["b/2", "a", "b/1", "b/10", "ba/x"]
        await store.put([NewObject(name, name.encode()) for name in names])
        assert await store.get("b/10") == b"b/10"
        assert await store.names() == ["a", "b/1", "b/10", "b/2", "ba/x"]
        assert await store.names("b/1") == ["b/1", "b/10"]
        assert await store.names("b") == ["b/1", "b/10", "b/2", "ba/x"]
        assert await store.names("none/") == []

    tell(story)


def test_an_object_that_is_put_again_replaces_the_first(tell: Tell) -> None:
    async def story(store: ObjectStore) -> None:
        await store.put([NewObject("a", b"1"), NewObject("a", b"2", owner_only=True)])
        assert await store.get("a") == b"2"
        await store.put([NewObject("a", b"3")], sync=True)
        assert await store.get("a") == b"3"

    tell(story)


def test_what_was_deleted_is_missing_and_may_be_deleted_again(tell: Tell) -> None:
    async def story(store: ObjectStore) -> None:
        await store.put([NewObject("a/b", b"1")])
        await store.delete("a/b")
        await store.delete("a/b")
        for name in ("a/b", "a"):
            with pytest.raises(ObjectMissing):
                await store.get(name)

    tell(story)


def test_many_are_got_in_order_and_the_missing_and_illegal_are_none(tell: Tell) -> None:
    async def story(store: ObjectStore) -> None:
        await store.put([NewObject("a", b"1"), NewObject("b", bytes(range(256)) * 2_000)])
        found = await store.get_many(["b", "none", "../a", "a"])
        assert found == [bytes(range(256)) * 2_000, None, None, b"1"]

    tell(story)


def test_an_object_without_content_is_not_present(tell: Tell) -> None:
    async def story(store: ObjectStore) -> None:
        await store.put([NewObject("full", b"1"), NewObject("empty", b"")])
        assert await store.present(["full", "empty", "none"]) == {"full"}

    tell(story)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".h", "a b"])
def test_a_name_that_could_leave_the_store_is_refused(tell: Tell, name: str) -> None:
    async def story(store: ObjectStore) -> None:
        for refused in (
            store.put([NewObject(name, b"")]),
            store.get(name),
            store.delete(name),
            store.present([name]),
        ):
            with pytest.raises(IllegalObjectName):
                await refused

    tell(story)
