"""Each claim about several bridges holds on an honest journal, and breaks on a doctored one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.journal import (
    CommandConcluded,
    CommandEnded,
    CommandIssued,
    CommandReceived,
    EventLogged,
    MessageSeen,
    Note,
    ProcessKilled,
    Record,
    RunStarted,
)
from harness import checks
from harness.checks import Check
from harness.checks.bridges import NOTE_BRIDGE_BACK, NOTE_BRIDGE_LOST, NOTE_MOVED
from harness.journal import Journal

S = 1_000_000_000
SERVERS = ("server-1", "server-2")
PATH = "/3416/0/1"
# The first two lamps are at the first server; `moved` goes to the second at 20 s.
HOMES = {"lamp-0": "server-1", "moved": "server-1", "lamp-2": "server-2", "lamp-3": "server-2"}
NOW_HELD = {**HOMES, "moved": "server-2"}
KILLED_NS = 40 * S


def registered(endpoint: str, server: str, at_s: float) -> EventLogged:
    return EventLogged(
        at_ns=round(at_s * S), server=server, epoch="e", seq=1, kind="registered", endpoint=endpoint
    )


def commanded(command_id: str, endpoint: str, server: str, at_s: float) -> list[Record]:
    """A command that is issued, carried out by a server and concluded."""
    at_ns = round(at_s * S)
    common: dict[str, Any] = {"id": command_id, "endpoint": endpoint}
    return [
        CommandIssued(at_ns=at_ns, path=PATH, intended_at_ns=at_ns, value=40, **common),
        CommandReceived(at_ns=at_ns + 1, server=server, operation="write", path=PATH, **common),
        CommandEnded(
            at_ns=at_ns + 2, server=server, operation="write", path=PATH, code="2.04", **common
        ),
        CommandConcluded(at_ns=at_ns + 3, state="succeeded", code="2.04", **common),
    ]


def told_again(endpoint: str, server: str, at_s: float) -> MessageSeen:
    return MessageSeen(
        at_ns=round(at_s * S),
        topic=f"lwm2m/{server}/{endpoint}/event/registered",
        topic_kind="event",
        endpoint=endpoint,
        payload_bytes=1,
        server=server,
        event_kind="registered",
        snapshot=True,
    )


def note(name: str, endpoint: str, text: str, at_s: float) -> Note:
    return Note(at_ns=round(at_s * S), name=name, endpoint=endpoint, text=text)


def honest() -> list[Record]:
    """Four lamps at two servers; one moves, one bridge is killed and returns, all obey."""
    records: list[Record] = [
        RunStarted(
            at_ns=0, run_id="r", scenario="s", seed=1, devices=4, broker="embedded", defect="",
            at_unix_us=0, options={"servers": "2"},
        ),
        *(registered(endpoint, server, 1) for endpoint, server in HOMES.items()),
        *(
            record
            for endpoint, server in HOMES.items()
            for record in commanded(f"a-{endpoint}", endpoint, server, 10)
        ),
        note(NOTE_MOVED, "moved", "server-2", 20),
        registered("moved", "server-2", 20.2),
        ProcessKilled(at_ns=KILLED_NS, process="bridge-2", point="under way"),
        note(NOTE_BRIDGE_LOST, "bridge-2", "server-2", 40.1),
        note(NOTE_BRIDGE_BACK, "bridge-2", "server-2", 42),
        *(told_again(endpoint, "server-2", 41.9) for endpoint in ("moved", "lamp-2", "lamp-3")),
        *(
            record
            for endpoint, server in NOW_HELD.items()
            for record in commanded(f"b-{endpoint}", endpoint, server, 50)
        ),
    ]  # fmt: skip
    return records


def judged(check: Check, records: list[Record]) -> str:
    return check(Journal(sorted(records, key=lambda record: record.at_ns))).outcome


def without(records: list[Record], kind: type[Record], **fields: object) -> list[Record]:
    kept = [
        record
        for record in records
        if type(record) is not kind
        or any(getattr(record, name) != value for name, value in fields.items())
    ]
    assert len(kept) < len(records)
    return kept


def changed(records: list[Record], kind: type[Record], at: str, **fields: Any) -> list[Record]:
    """With fields of the records of a kind whose id or endpoint is `at` changed."""
    doctored = [
        msgspec.structs.replace(record, **fields)
        if type(record) is kind and at in (getattr(record, "id", None), record.endpoint)  # type: ignore[union-attr]  # kinds with an endpoint
        else record
        for record in records
    ]
    assert doctored != records
    return doctored


CHECKS = (
    checks.commands_reach_exactly_the_holder,
    checks.moved_devices_are_followed,
    checks.bridge_losses_are_seen,
    checks.every_server_has_its_share,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_honest_journal_holds(check: Check) -> None:
    assert judged(check, honest()) == "holds"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_without_the_servers_journals_nothing_can_be_said(check: Check) -> None:
    records = [r for r in honest() if not isinstance(r, EventLogged | CommandReceived)]
    assert judged(check, records) == "inconclusive"


def test_a_command_at_a_server_that_never_held_the_device_breaks_it() -> None:
    stray = CommandReceived(
        at_ns=51 * S,
        server="server-1",
        id="b-lamp-2",
        endpoint="lamp-2",
        operation="write",
        path=PATH,
    )
    assert judged(checks.commands_reach_exactly_the_holder, [*honest(), stray]) == "broken"


def test_a_command_at_the_server_that_held_the_device_before_it_moved_breaks_it() -> None:
    records = changed(honest(), CommandReceived, "b-moved", server="server-1")
    assert judged(checks.commands_reach_exactly_the_holder, records) == "broken"


def test_a_command_that_was_under_way_when_the_device_moved_may_reach_both() -> None:
    under_way: list[Record] = [
        *commanded("c-moved", "moved", "server-1", 20.1),
        CommandReceived(
            at_ns=21 * S, server="server-2", id="c-moved", endpoint="moved", operation="write",
            path=PATH,
        ),
    ]  # fmt: skip
    records = [*honest(), *under_way]
    assert judged(checks.commands_reach_exactly_the_holder, records) == "holds"


def test_a_command_that_succeeded_and_reached_no_server_breaks_it() -> None:
    records = without(honest(), CommandReceived, id="a-lamp-0")
    assert judged(checks.commands_reach_exactly_the_holder, records) == "broken"


def test_a_move_that_no_server_saw_breaks_it() -> None:
    records = without(honest(), EventLogged, endpoint="moved", server="server-2")
    assert judged(checks.moved_devices_are_followed, records) == "broken"


def test_a_device_that_is_still_commanded_at_its_old_server_breaks_it() -> None:
    records = changed(honest(), CommandEnded, "b-moved", server="server-1")
    assert judged(checks.moved_devices_are_followed, records) == "broken"


def test_a_device_that_no_command_reached_after_its_move_breaks_it() -> None:
    records = changed(honest(), CommandEnded, "b-moved", code="4.01")
    assert judged(checks.moved_devices_are_followed, records) == "broken"


def test_a_command_to_a_moved_device_without_an_end_breaks_it() -> None:
    records = without(honest(), CommandConcluded, id="a-moved")
    assert judged(checks.moved_devices_are_followed, records) == "broken"


@pytest.mark.parametrize("name", [NOTE_BRIDGE_LOST, NOTE_BRIDGE_BACK])
def test_a_loss_or_a_return_that_was_not_shown_breaks_it(name: str) -> None:
    records = without(honest(), Note, name=name)
    assert judged(checks.bridge_losses_are_seen, records) == "broken"


def test_a_loss_that_was_shown_too_late_breaks_it() -> None:
    late = without(honest(), Note, name=NOTE_BRIDGE_LOST)
    records = [*late, note(NOTE_BRIDGE_LOST, "bridge-2", "server-2", 40 + 91)]
    assert judged(checks.bridge_losses_are_seen, records) == "broken"


def test_a_device_that_the_returned_bridge_did_not_tell_of_breaks_it() -> None:
    records = without(honest(), MessageSeen, endpoint="moved")
    assert judged(checks.bridge_losses_are_seen, records) == "broken"


def test_what_was_told_before_the_kill_does_not_count_as_told_again() -> None:
    records = without(honest(), MessageSeen, endpoint="lamp-3")
    early = [*records, told_again("lamp-3", "server-2", 30)]
    assert judged(checks.bridge_losses_are_seen, early) == "broken"


@pytest.mark.parametrize("kind", [EventLogged, CommandReceived])
def test_a_server_that_idles_breaks_it(kind: type[Record]) -> None:
    records = without(honest(), kind, server="server-2")
    assert judged(checks.every_server_has_its_share, records) == "broken"
