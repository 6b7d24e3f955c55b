"""Credentials files that are asked for together are read together, and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from city_platform.bootstrap.documents import Documents
from city_platform.stores.aws.errors import AwsRefused
from city_platform.stores.object_store import FileObjectStore, NewObject, credentials_name
from tests.processes import WITHIN_S

Story = Callable[[Documents], Awaitable[None]]


class Counting(FileObjectStore):
    """Counts its reads, and fails while it is told to."""

    reads = 0
    failure: BaseException | None = None

    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """See `ObjectStore`."""
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return await super().get_many(names)


@pytest.fixture
def tell(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Counting]:
    def play(story: Story, failure: BaseException | None = None) -> Counting:
        async def whole() -> Counting:
            store = Counting(tmp_path_factory.mktemp("objects"))
            store.failure = failure
            await store.put([NewObject(credentials_name("lamp-1"), b"one", True)])
            documents = Documents(store)
            await story(documents)
            await documents.close()
            store.close()
            return store

        return asyncio.run(whole())

    return play


def test_what_is_asked_for_in_one_turn_is_one_read_and_one_future(
    tell: Callable[..., Counting],
) -> None:
    found: list[bytes | None] = []

    async def story(documents: Documents) -> None:
        futures = {documents.take(name, found.append) for name in ("lamp-1", "lamp-2", "lamp-1")}
        assert len(futures) == 1
        await futures.pop()
        assert found == [b"one", None, b"one"]

    assert tell(story).reads == 1


def test_it_ends_when_all_that_the_takers_returned_has_ended(
    tell: Callable[..., Counting],
) -> None:
    async def story(documents: Documents) -> None:
        loop = asyncio.get_running_loop()
        kept = [loop.create_future(), loop.create_future()]
        waiting = list(kept)
        together = documents.take("lamp-1", lambda _: waiting[0])
        documents.take("lamp-1", lambda _: waiting[0])
        documents.take("lamp-2", lambda _: waiting[1])
        is_read = asyncio.Event()
        documents.take("lamp-2", lambda _: is_read.set())
        await is_read.wait()
        kept[0].set_result(None)
        await asyncio.sleep(0)
        assert not together.done()
        kept[1].set_result(None)
        await together

    tell(story)


def test_what_one_taker_raises_is_told_after_the_others_have_done_their_work(
    tell: Callable[..., Counting],
) -> None:
    found: list[bytes | None] = []

    def fail(_: bytes | None) -> None:
        raise KeyError("no such lamp")

    async def story(documents: Documents) -> None:
        together = documents.take("lamp-1", fail)
        documents.take("lamp-1", found.append)
        with pytest.raises(KeyError):
            await together
        assert found == [b"one"]

    tell(story)


def test_what_could_not_be_kept_is_told(tell: Callable[..., Counting]) -> None:
    async def story(documents: Documents) -> None:
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        together = documents.take("lamp-1", lambda _: kept)
        kept.set_exception(OSError("disk full"))
        with pytest.raises(OSError, match="disk full"):
            await together

    tell(story)


def test_a_store_that_cannot_be_read_is_told_to_all(tell: Callable[..., Counting]) -> None:
    async def story(documents: Documents) -> None:
        asked = [documents.get("lamp-1"), documents.get("lamp-2")]
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert [str(error) for error in ended] == ["gone", "gone"]

    tell(story, OSError("gone"))


def test_one_document_is_read_alone(tell: Callable[..., Counting]) -> None:
    async def story(documents: Documents) -> None:
        assert await documents.get("lamp-1") == b"one"
        assert await documents.get("lamp-2") is None

    assert tell(story).reads == 2


def test_a_store_whose_error_is_no_os_error_ends_every_wait(tell: Callable[..., Counting]) -> None:
    async def story(documents: Documents) -> None:
        asked = [documents.take("lamp-1", lambda _: None), documents.get("lamp-1")]
        async with asyncio.timeout(WITHIN_S):
            ended = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(error) for error in ended] == [AwsRefused, AwsRefused]

    async def twice(documents: Documents) -> None:
        await story(documents)
        # The reader goes on.
        await story(documents)

    tell(twice, AwsRefused("S3", "GetObject", "AccessDenied", "no"))


def test_a_read_that_is_cancelled_leaves_nobody_waiting(tell: Callable[..., Counting]) -> None:
    async def story(documents: Documents) -> None:
        asked = [documents.take("lamp-1", lambda _: None), documents.get("lamp-1")]
        async with asyncio.timeout(WITHIN_S):
            ended = await asyncio.gather(*asked, return_exceptions=True)
            await documents.close()
        assert [type(error) for error in ended] == [asyncio.CancelledError] * 2

    tell(story, asyncio.CancelledError())


def test_what_is_read_alone_shares_a_read_and_no_failure_nor_wait(
    tell: Callable[..., Counting],
) -> None:
    def fail(_: bytes | None) -> None:
        raise KeyError("no such lamp")

    async def story(documents: Documents) -> None:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        alone = asyncio.gather(documents.get("lamp-1"), documents.get_many(["lamp-2", "lamp-1"]))
        # They have asked, and the reader has not begun.
        await asyncio.sleep(0)
        together = documents.take("lamp-2", fail)
        documents.take("lamp-2", lambda _: never)
        async with asyncio.timeout(WITHIN_S):
            found = await alone
        assert found == [b"one", [None, b"one"]]
        assert not together.done()
        never.set_result(None)
        with pytest.raises(KeyError):
            await together

    assert tell(story).reads == 1
