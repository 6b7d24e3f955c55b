"""Acts reach the audit component, whatever is killed or away."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.audit import outbox as outbox_module
from city_platform.audit.entries import AuditEntry, read_entries
from city_platform.audit.outbox import ENTRIES_PATH, AuditOutbox, OutboxFull
from city_platform.group_commit import GroupCommit, Statement
from city_platform.stores import sqlite
from city_platform.stores.worker import Worker
from runtime.http import bind, json_response, make_app, serving
from runtime.http_client import HttpError
from tests.city_platform.audit.logs import entry
from tests.processes import WITHIN_S

TOKEN = "token-of-this-test"


class Receiver:
    """Stands where the audit component does."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.status = 200
        self.address: str | None = None

    async def _take(self, request: Request) -> Response:
        if self.status == 200:
            self.entries += read_entries(await request.body())
        return json_response({"head": len(self.entries)}, self.status)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        app = make_app([Route(ENTRIES_PATH, self._take, methods=["POST"])], TOKEN)
        async with serving(app, bind("127.0.0.1", 0)) as self.address:
            yield
        self.address = None


@contextlib.asynccontextmanager
async def outbox(
    folder: Path, receiver: Receiver, waiting_max: int = 100
) -> AsyncIterator[AuditOutbox]:
    (folder / "token").write_text(TOKEN)
    found = AuditOutbox(
        folder / "outbox.sqlite", lambda: (receiver.address, str(folder / "token")), waiting_max
    )
    await found.open()
    try:
        yield found
    finally:
        await found.close()


def test_what_ended_is_told_and_forgotten(tmp_path: Path) -> None:
    async def story() -> None:
        receiver = Receiver()
        async with receiver.open(), outbox(tmp_path, receiver) as acts:
            await acts.begin(entry(1, outcome="unknown"))
            await acts.add(entry(2))
            await acts.send()
            assert receiver.entries == [entry(2)]
            await acts.end(entry(1, outcome="refused"))
            await acts.send()
            assert receiver.entries == [entry(2), entry(1, outcome="refused")]
            assert acts.waiting == 0

    asyncio.run(story())


def test_an_act_that_a_kill_cut_short_is_told_as_unknown(tmp_path: Path) -> None:
    async def story() -> None:
        receiver = Receiver()
        async with outbox(tmp_path, receiver) as acts:
            await acts.begin(entry(1, outcome="succeeded"))
        async with receiver.open(), outbox(tmp_path, receiver) as acts:
            assert acts.waiting == 1
            await acts.send()
        (told,) = receiver.entries
        assert told.outcome == "unknown"
        assert "ended before the act did" in told.detail

    asyncio.run(story())


def commits_in(folder: Path) -> GroupCommit:
    """A component's own database."""
    schema = "CREATE TABLE things (name TEXT PRIMARY KEY)"
    return GroupCommit(sqlite.open_database(folder / "own.sqlite", schema), Worker("own"))


def shared(folder: Path, receiver: Receiver, commits: GroupCommit) -> AuditOutbox:
    (folder / "token").write_text(TOKEN)
    audit = (receiver.address, str(folder / "token"))
    return AuditOutbox(folder / "outbox.sqlite", lambda: audit, 2, commits=commits)


def test_an_act_begins_in_one_commit_with_what_it_does(tmp_path: Path) -> None:
    async def story() -> None:
        receiver, commits = Receiver(), commits_in(tmp_path)

        def with_thing(name: str) -> Callable[[Statement], Awaitable[None]]:
            return lambda begun: commits.submit_all(
                [begun, ("INSERT INTO things VALUES (?)", (name,))]
            )

        async with receiver.open():
            acts = shared(tmp_path, receiver, commits)
            await acts.open()
            await acts.begin_with(entry(1), with_thing("lamp"))
            with pytest.raises(sqlite3.IntegrityError):
                await acts.begin_with(entry(2), with_thing("lamp"))
            assert acts.waiting == 1
            rows = await commits.query("SELECT acts.id, name FROM acts, things")
            assert rows == [(entry(1).id, "lamp")]
            await acts.end(entry(1))
            await acts.send()
            await acts.close()
            # It was the component's, and is open still.
            assert await commits.query("SELECT count(*) FROM acts") == [(0,)]
            await commits.close()
        assert receiver.entries == [entry(1)]
        assert not (tmp_path / "outbox.sqlite").exists()

    asyncio.run(story())


def test_what_waits_in_an_outbox_of_its_own_is_taken_over(tmp_path: Path) -> None:
    async def story() -> None:
        receiver = Receiver()
        async with outbox(tmp_path, receiver) as acts:
            await acts.begin(entry(1))
            await acts.add(entry(2))
        commits = commits_in(tmp_path)
        async with receiver.open():
            acts = shared(tmp_path, receiver, commits)
            await acts.open()
            assert acts.waiting == 2
            with pytest.raises(OutboxFull):
                acts.check_room()
            await acts.send()
            await acts.close()
            await commits.close()
        assert [one.outcome for one in receiver.entries] == ["unknown", "succeeded"]

    asyncio.run(story())
    assert not list(tmp_path.glob("outbox.sqlite*"))


def copy_as_killed(folder: Path) -> None:
    """What a kill leaves: all that is on the disk now."""
    (folder / "killed").mkdir()
    for file in folder.glob("outbox.sqlite*"):
        shutil.copy(file, folder / "killed" / file.name)


def test_how_an_act_ended_survives_a_kill_though_it_was_never_told(tmp_path: Path) -> None:
    async def story() -> None:
        receiver = Receiver()
        async with outbox(tmp_path, receiver) as acts:
            await acts.begin(entry(1, outcome="unknown"))
            await acts.end(entry(1))
            await acts._written()
            copy_as_killed(tmp_path)
        async with receiver.open(), outbox(tmp_path / "killed", receiver) as acts:
            await acts.send()
        assert receiver.entries == [entry(1)]

    asyncio.run(story())


def test_more_ends_than_memory_holds_are_told_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "IN_MEMORY_MAX", 2)
    monkeypatch.setattr(outbox_module, "BATCH_ENTRIES", 3)

    async def story() -> None:
        receiver = Receiver()
        async with receiver.open(), outbox(tmp_path, receiver) as acts:
            await asyncio.gather(*(acts.begin(entry(number)) for number in range(10)))
            for number in range(10):
                await acts.end(entry(number))
            await acts.send()
            assert (acts.waiting, len(acts._ended)) == (0, 0)
        assert sorted(one.id for one in receiver.entries) == sorted(
            entry(number).id for number in range(10)
        )

    asyncio.run(story())


def test_what_is_not_taken_waits_and_is_told_later(tmp_path: Path) -> None:
    async def story() -> None:
        receiver = Receiver()
        async with outbox(tmp_path, receiver) as acts:
            await acts.add(entry(1))
            await acts.send()
            async with receiver.open():
                receiver.status = 503
                with pytest.raises(HttpError):
                    await acts.send()
                assert acts.waiting == 1
                receiver.status = 200
                task = asyncio.ensure_future(acts.run())
                async with asyncio.timeout(WITHIN_S):
                    while acts.waiting:  # noqa: ASYNC110 -- it tells nobody when it is empty
                        await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        assert receiver.entries == [entry(1)]

    asyncio.run(story())


def test_a_full_outbox_refuses_what_must_be_audited(tmp_path: Path) -> None:
    async def story() -> None:
        async with outbox(tmp_path, Receiver(), waiting_max=2) as acts:
            await acts.add(entry(1))
            await acts.begin(entry(2))
            with pytest.raises(OutboxFull, match="2 acts wait"):
                await acts.add(entry(3))
            # What began can end.
            await acts.end(entry(2))

    asyncio.run(story())


def test_an_entry_is_sent_as_it_was_kept() -> None:
    assert read_entries(b"[" + msgspec.json.encode(entry(1)) + b"]") == [entry(1)]


def test_a_database_that_another_holds_delays_what_is_told_and_loses_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 1)
    monkeypatch.setattr(outbox_module, "RETRY_S_MIN", 0.001)

    async def story() -> None:
        receiver = Receiver()
        async with outbox(tmp_path, receiver) as acts, receiver.open():
            await acts.begin(entry(1, outcome="unknown"))
            running = asyncio.ensure_future(acts.run())
            with contextlib.closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as other:
                other.execute("BEGIN EXCLUSIVE")
                await acts.end(entry(1))
                async with asyncio.timeout(WITHIN_S):
                    while not acts.counts["audit.retried"]:  # noqa: ASYNC110 -- a counter wakes none
                        await asyncio.sleep(0)
                assert not running.done()
            async with asyncio.timeout(WITHIN_S):
                while acts.waiting:  # noqa: ASYNC110 -- a counter wakes none
                    await asyncio.sleep(0)
            assert receiver.entries == [entry(1)]
            running.cancel()

    asyncio.run(story())


def test_an_end_that_two_write_at_once_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 1)

    async def story() -> None:
        receiver = Receiver()
        async with outbox(tmp_path, receiver) as acts, receiver.open():
            await acts.begin(entry(1, outcome="unknown"))
            with contextlib.closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as other:
                other.execute("BEGIN EXCLUSIVE")
                await acts.end(entry(1))
            async with asyncio.timeout(WITHIN_S):
                await asyncio.gather(acts.send(), acts.send())
            assert entry(1) in receiver.entries

    asyncio.run(story())
