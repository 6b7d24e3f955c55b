"""What the log keeps, what a search finds, and what it refuses to go on with."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.audit.bodies import WrongQuery, page_of, read_query
from city_platform.audit.chain import ChainHead, genesis
from city_platform.audit.config import AuditLimits
from city_platform.audit.entries import AuditEntry
from city_platform.audit.keeper import LogWasCut, TooManyWait
from city_platform.audit.signing import read_head
from city_platform.audit.verify import DATABASE, HEAD_FILE, verify
from city_platform.stores.audit_log import AuditQuery, SqliteAuditLog
from tests.city_platform.audit.logs import NOW_US, HandClock, entry, keep, keeping, signer_in
from tests.processes import WITHIN_S


def test_an_entry_that_comes_twice_is_kept_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeping(tmp_path) as (keeper, log):
            await keeper.keep(entry(1))
            await asyncio.gather(keeper.keep(entry(1)), keeper.keep(entry(2)))
            assert keeper.head.sequence == 2
            assert keeper.counts["kept"] == 2
            assert len(await log.search(AuditQuery())) == 2

    asyncio.run(story())


def test_entries_that_come_one_after_the_other_are_written_together(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeping(tmp_path) as (keeper, _):
            await keeper.keep(entry(0))
            futures = []
            for number in range(1, 50):
                futures.append(keeper.keep(entry(number)))
                await asyncio.sleep(0)
            # One; a few where the machine has no time for this, and the disk has.
            assert len(set(futures)) < 10
            await asyncio.gather(*set(futures))
            assert keeper.head.sequence == 50

    asyncio.run(story())
    assert verify(tmp_path).verdict == "intact"


def test_a_commands_end_is_kept_only_behind_its_publication(tmp_path: Path) -> None:
    def topic_entry(number: int, what: str, outcome: str) -> AuditEntry:
        return entry(number, id=f"{what}:{number}", source="topic", who="", outcome=outcome)

    async def story() -> list[str]:
        async with keeping(tmp_path, limits=AuditLimits()) as (keeper, log):
            await asyncio.gather(
                # Of one write: the end comes behind what it belongs to, or is not kept.
                keeper.keep(topic_entry(2, "ended", "succeeded"), is_end=True),
                keeper.keep(topic_entry(1, "published", "published")),
                keeper.keep(topic_entry(1, "ended", "succeeded"), is_end=True),
                keeper.keep(entry(3)),
                keeper.keep(topic_entry(3, "ended", "succeeded"), is_end=True),
            )
            await keeper.keep(topic_entry(1, "late", "refused"), is_end=True)
            return [one.entry.id for one in reversed(await log.search(AuditQuery()))]

    # What the control API says of a command is no publication of it.
    assert asyncio.run(story()) == ["published:1", "ended:1", "control:3", "late:1"]
    assert verify(tmp_path).verdict == "intact"


def test_what_is_committed_when_the_log_ends_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        loop, committed, goes_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        async with keeping(tmp_path) as (keeper, log):
            append = log.append

            async def append_and_stop(*arguments: Any) -> ChainHead:
                head = await append(*arguments)
                committed.set()
                await goes_on.wait()
                return head

            monkeypatch.setattr(log, "append", append_and_stop)
            keeper.keep(entry(1))
            await committed.wait()
            # Not before the end has begun.
            loop.call_soon(loop.call_soon, goes_on.set)

    asyncio.run(story())
    head = read_head((tmp_path / HEAD_FILE).read_bytes(), signer_in(tmp_path).public_key)
    assert head.sequence == 1


def test_a_log_is_taken_up_where_it_ended(tmp_path: Path) -> None:
    keep(tmp_path, 3)
    keep(tmp_path, 3, first=3)
    found = verify(tmp_path)
    assert found.verdict == "intact"
    assert found.head.sequence == 6


def test_a_log_whose_end_was_removed_is_not_gone_on_with(tmp_path: Path) -> None:
    keep(tmp_path, 3)
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("DROP TRIGGER entries_stay")
    connection.execute("DELETE FROM entries WHERE sequence = 3")
    connection.commit()
    connection.close()
    with pytest.raises(LogWasCut, match="ends at entry 2, and its head was signed at 3"):
        keep(tmp_path, 1, first=9)
    (tmp_path / HEAD_FILE).write_bytes(b"{}")
    with pytest.raises(LogWasCut, match="not a signed head"):
        keep(tmp_path, 1, first=9)
    (tmp_path / HEAD_FILE).unlink()
    with pytest.raises(LogWasCut, match="is gone"):
        keep(tmp_path, 1, first=9)


def test_the_head_is_signed_again_while_nothing_happens(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandClock()
        async with keeping(tmp_path, clock, AuditLimits(head_every_s=0.001)) as (keeper, _):
            await keeper.keep(entry(1))
            clock.move(50.0)
            path = tmp_path / HEAD_FILE
            async with asyncio.timeout(WITHIN_S):
                while b"50000000" not in path.read_bytes():  # noqa: ASYNC110 -- a file wakes none
                    await asyncio.sleep(0)

    asyncio.run(story())
    assert verify(tmp_path).signed_at_us == NOW_US + 50_000_000


def test_more_than_the_disk_takes_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeping(tmp_path, limits=AuditLimits(waiting_max=2)) as (keeper, _):
            futures = [keeper.keep(entry(1)), keeper.keep(entry(2))]
            with pytest.raises(TooManyWait):
                keeper.keep(entry(3))
            await asyncio.gather(*futures)

    asyncio.run(story())


def test_what_the_disk_refuses_is_told_and_can_be_sent_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeping(tmp_path) as (keeper, log):
            blocker = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
            await log._worker.do(log._connection.execute, "PRAGMA busy_timeout=1")
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                await keeper.keep(entry(1))
            blocker.execute("ROLLBACK")
            blocker.close()
            await keeper.keep(entry(1))
            assert keeper.head.sequence == 1

    asyncio.run(story())
    assert verify(tmp_path).verdict == "intact"


ENTRIES = [
    entry(1, who="ann", tenant="harbour", device="lamp-1", reference="cmd-1"),
    entry(
        2,
        who="",
        source="topic",
        operation="command.write",
        outcome="published",
        device="lamp-1",
        reference="cmd-1",
        tenant="harbour",
    ),
    entry(
        3,
        who="",
        source="topic",
        operation="command.execute",
        outcome="published",
        device="lamp-2",
        reference="cmd-x",
        tenant="hills",
    ),
    entry(4, who="bob", tenant="hills", operation="import_manifest", outcome="denied", device=""),
    entry(5, who="ann", tenant="", operation="sign_in", source="identity", device="", reference=""),
]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"who": "ann"}, [5, 2, 1]),
        ({"device": "lamp-1"}, [2, 1]),
        ({"operation": "import_manifest"}, [4]),
        ({"operation": "command.*"}, [3, 2]),
        ({"outcome": "denied"}, [4]),
        ({"reference": "cmd-1"}, [2, 1]),
        ({"source": "topic"}, [3, 2]),
        ({"tenants": ("hills",)}, [4, 3]),
        ({"tenants": ()}, []),
        ({"tenants": ("hills", "harbour"), "who": "bob"}, [4]),
        ({"from_us": NOW_US + 2, "to_us": NOW_US + 4}, [4, 3, 2]),
        ({"is_attributed": False}, [3]),
        ({"source": "topic", "is_attributed": True}, [2]),
        ({"before": 3}, [2, 1]),
        ({"limit": 2}, [5, 4]),
    ],
)
def test_a_search_finds_by_each_of_its_fields(
    tmp_path: Path, query: dict[str, object], numbers: list[int]
) -> None:
    async def story() -> None:
        log = SqliteAuditLog(tmp_path / DATABASE, genesis(bytes(32)))
        await log.append(ENTRIES)
        found = await log.search(AuditQuery(**query))  # type: ignore[arg-type] # many types
        log.close()
        assert [one.sequence for one in found] == numbers
        assert [one.entry for one in found] == [ENTRIES[number - 1] for number in numbers]

    asyncio.run(story())


def test_pages_follow_each_other_to_the_end(tmp_path: Path) -> None:
    async def story() -> None:
        log = SqliteAuditLog(tmp_path / DATABASE, genesis(bytes(32)))
        await log.append([entry(number) for number in range(7)])
        seen, before = [], None
        while True:
            found = await log.search(AuditQuery(before=before, limit=4))
            page = page_of(found, 3)
            seen += [one.sequence for one in page.entries]
            before = page.next_before
            if before is None:
                break
        log.close()
        assert seen == [7, 6, 5, 4, 3, 2, 1]

    asyncio.run(story())


def test_a_query_narrows_to_the_callers_tenants() -> None:
    assert read_query({}, ("harbour",)).tenants == ("harbour",)
    assert read_query({"tenant": "harbour"}, ("harbour", "hills")).tenants == ("harbour",)
    assert read_query({"tenant": "other"}, ("harbour",)).tenants == ()
    assert read_query({"tenant": "other"}, None).tenants == ("other",)
    assert read_query({}, None).tenants is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("limit", "many", "limit is a whole number"),
        ("from_us", "-1", "from_us is a whole number"),
        ("before", "9" * 30, "before is a whole number"),
        ("outcome", "perhaps", "outcome is one of"),
        ("attributed", "1", "attributed is true or false"),
        ("who", "a\nb", "all printable"),
        ("device", "x" * 300, "at most 256"),
        ("whose", "ann", "is no parameter"),
    ],
)
def test_a_wrong_query_says_which_parameter(name: str, value: str, says: str) -> None:
    with pytest.raises(WrongQuery, match=says):
        read_query({name: value}, None)


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(["who", "limit", "before", "outcome", "attributed", "operation", "x"]),
        st.text(max_size=30),
    )
)
def test_any_query_is_understood_or_refused(given_: dict[str, str]) -> None:
    with contextlib.suppress(WrongQuery):
        assert isinstance(read_query(given_, None), AuditQuery)


def test_an_entry_survives_the_log_as_it_was(tmp_path: Path) -> None:
    strange = entry(1, who='"\\\u2028</script>', detail="=cmd|' /C calc'!A0\x00é😀")

    async def story() -> AuditEntry:
        log = SqliteAuditLog(tmp_path / DATABASE, genesis(signer_in(tmp_path).public_key))
        await log.append([strange])
        (found,) = await log.search(AuditQuery())
        log.close()
        return found.entry

    assert msgspec.json.encode(asyncio.run(story())) == msgspec.json.encode(strange)


def test_a_disk_that_takes_no_head_does_not_end_the_log(tmp_path: Path) -> None:
    async def story() -> None:
        async with keeping(tmp_path, limits=AuditLimits(head_every_s=0.001)) as (keeper, _):
            await keeper.keep(entry(1))
            (tmp_path / HEAD_FILE).unlink()
            (tmp_path / HEAD_FILE).mkdir()  # nothing can be put in its place
            async with asyncio.timeout(WITHIN_S):
                while not keeper.counts["sign_failed"]:  # noqa: ASYNC110 -- a counter wakes none
                    await asyncio.sleep(0)
            (tmp_path / HEAD_FILE).rmdir()
            await keeper.keep(entry(2))

    asyncio.run(story())
    assert verify(tmp_path).verdict == "intact"
