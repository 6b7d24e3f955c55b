"""The checks of the control scenarios hold on a good journal and break on doctored ones."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from contracts.journal import (
    CommandConcluded,
    CommandEnded,
    CommandIssued,
    DownlinkServed,
    Note,
    ProcessKilled,
    Record,
)
from harness.journal import Journal
from scenarios.control.checks import (
    GROUP_DEVICES,
    a_group_command_reaches_everyone,
    every_command_has_its_outcome,
    nothing_is_executed_twice,
    unknown_only_what_was_under_way,
)

S = 1_000_000_000
LAMPS = [f"lamp-{number}" for number in range(5)]
PATH = "/1/0/8"


def issued(lamp: str, at_s: float = 1) -> CommandIssued:
    at_ns = int(at_s * S)
    return CommandIssued(
        at_ns=at_ns, id=f"c-{lamp}", endpoint=lamp, path=PATH, intended_at_ns=at_ns
    )


def concluded(lamp: str, state: str = "succeeded") -> CommandConcluded:
    return CommandConcluded(at_ns=9 * S, id=f"c-{lamp}", endpoint=lamp, state=state)


def served(lamp: str, message_id: int = 1) -> DownlinkServed:
    return DownlinkServed(
        at_ns=2 * S, endpoint=lamp, operation="execute", path=PATH, message_id=message_id,
        code="2.04",
    )  # fmt: skip


def ended(lamp: str, at_s: float) -> CommandEnded:
    return CommandEnded(
        at_ns=int(at_s * S), server="s", id=f"c-{lamp}", endpoint=lamp, operation="execute",
        path=PATH, code="2.04",
    )  # fmt: skip


def killed(at_s: float) -> ProcessKilled:
    return ProcessKilled(at_ns=int(at_s * S), process="server", point="p")


def good() -> list[Record]:
    records: list[Record] = [Note(at_ns=0, name=GROUP_DEVICES, value=5.0)]
    for lamp in LAMPS:
        records += [issued(lamp), served(lamp), ended(lamp, 2), concluded(lamp)]
    return records


def without(records: Sequence[Record], record: Record) -> Journal:
    assert record in records
    return Journal([one for one in records if one != record])


def test_a_good_journal_holds() -> None:
    journal = Journal(good())
    for check in (
        a_group_command_reaches_everyone,
        every_command_has_its_outcome,
        nothing_is_executed_twice,
        unknown_only_what_was_under_way,
    ):
        assert check(journal).outcome == "holds"


def test_an_empty_journal_proves_nothing() -> None:
    for check in (
        a_group_command_reaches_everyone,
        every_command_has_its_outcome,
        nothing_is_executed_twice,
        unknown_only_what_was_under_way,
    ):
        assert check(Journal([])).outcome == "inconclusive"


def test_a_device_that_a_group_forgot_is_found() -> None:
    verdict = a_group_command_reaches_everyone(without(good(), issued("lamp-3")))
    assert verdict.outcome == "broken"
    assert verdict.evidence[-1].observed == "4 devices"


def test_a_device_that_a_group_asked_twice_is_found() -> None:
    twice = msgspec.structs.replace(issued("lamp-3"), id="other")
    ends = msgspec.structs.replace(concluded("lamp-3"), id="other")
    verdict = a_group_command_reaches_everyone(Journal([*good(), twice, ends]))
    assert verdict.outcome == "broken"
    assert [one.endpoint for one in verdict.evidence] == ["lamp-3"]


def test_a_command_of_a_group_that_did_not_succeed_is_found() -> None:
    records = [
        one if one != concluded("lamp-2") else concluded("lamp-2", "expired") for one in good()
    ]
    verdict = a_group_command_reaches_everyone(Journal(records))
    assert [(one.endpoint, one.observed) for one in verdict.evidence] == [("lamp-2", "expired")]


def test_a_command_without_outcome_is_found() -> None:
    verdict = every_command_has_its_outcome(without(good(), concluded("lamp-1")))
    assert verdict.outcome == "broken"
    assert [one.endpoint for one in verdict.evidence] == ["lamp-1"]


def test_a_second_execution_is_found() -> None:
    verdict = nothing_is_executed_twice(Journal([*good(), served("lamp-4", message_id=2)]))
    assert verdict.outcome == "broken"
    assert [one.endpoint for one in verdict.evidence] == ["lamp-4"]


def test_an_execution_that_nobody_issued_is_found() -> None:
    assert nothing_is_executed_twice(Journal([*good(), served("ghost")])).outcome == "broken"


def unknown(*more: Record, at_s: float = 1) -> Journal:
    return Journal([issued("lamp-0", at_s), concluded("lamp-0", "unknown"), *more])


def test_unknown_is_explained_by_a_kill_while_it_was_under_way_alone() -> None:
    assert unknown_only_what_was_under_way(unknown(killed(2))).outcome == "holds"
    assert (
        unknown_only_what_was_under_way(unknown(killed(2), ended("lamp-0", 3))).outcome == "holds"
    )
    for journal in (
        unknown(),
        unknown(killed(0.5)),
        unknown(killed(3), ended("lamp-0", 2)),
    ):
        verdict = unknown_only_what_was_under_way(journal)
        assert verdict.outcome == "broken"
        assert [one.endpoint for one in verdict.evidence] == ["lamp-0"]
