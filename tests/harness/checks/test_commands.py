"""Commands' checks: who obeyed, who did not, and what was carried out twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.journal import CommandConcluded, CommandIssued, DownlinkServed, ReadingsStored
from harness import checks
from tests.harness.checks.judging import LAMP, OTHER, broken, judge

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled


def test_a_lamp_whose_command_was_refused_did_not_obey(good: Spoiled) -> None:
    concluded = good.find(CommandConcluded, endpoint=LAMP)
    broken(good.swap(concluded, state="refused"), checks.every_lamp_obeys, LAMP)


def test_a_lamp_that_answered_but_never_showed_the_level_did_not_obey(good: Spoiled) -> None:
    records = []
    for record in good.records:
        if isinstance(record, ReadingsStored):
            rows = [
                (e, path, t, 0 if (e, path) == (LAMP, "/3416/0/3") else value)
                for e, path, t, value in record.rows
            ]
            record = ReadingsStored(at_ns=record.at_ns, rows=rows)
        records.append(record)
    verdict = broken(type(good)(records), checks.every_lamp_obeys, LAMP)
    assert verdict.evidence[0].observed == "0 was its last level"
    assert verdict.evidence[0].expected == "/3416/0/3 at 0.4"


def test_a_lamp_that_was_never_commanded_did_not_obey(good: Spoiled) -> None:
    broken(good.drop(CommandIssued, endpoint=LAMP), checks.every_lamp_obeys, LAMP)


def test_commands_without_an_outcome_alone_are_inconclusive(good: Spoiled) -> None:
    spoiled = good.drop(CommandConcluded, endpoint=LAMP)
    assert judge(spoiled, checks.every_lamp_obeys).outcome == "inconclusive"
    refused = spoiled.find(CommandConcluded, endpoint=OTHER)
    broken(spoiled.swap(refused, state="expired"), checks.every_lamp_obeys, LAMP, OTHER)


def test_a_command_that_was_carried_out_twice_is_found(good: Spoiled) -> None:
    again = good.find(DownlinkServed, endpoint=LAMP)
    spoiled = good.add(again)
    verdict = broken(spoiled, checks.commands_are_executed_once, LAMP)
    assert "carried out 2 times" in verdict.evidence[0].observed


def test_a_success_that_no_device_carried_out_is_found(good: Spoiled) -> None:
    spoiled = good.drop(DownlinkServed, endpoint=LAMP)
    broken(spoiled, checks.commands_are_executed_once, LAMP)
    concluded = spoiled.find(CommandConcluded, endpoint=LAMP)
    unknown = spoiled.swap(concluded, state="unknown")
    assert judge(unknown, checks.commands_are_executed_once).outcome == "holds"
