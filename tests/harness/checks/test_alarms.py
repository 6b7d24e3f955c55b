"""Alarms' checks: of every model some alarm is raised, and cleared after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.journal import AlarmStored
from harness import checks
from tests.harness.checks.judging import judge

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled


def test_an_alarm_that_was_never_cleared_breaks_its_model(good: Spoiled) -> None:
    spoiled = good.drop(AlarmStored, alarm="lamp_failure", raised=False)
    verdict = judge(spoiled, checks.alarms_raise_and_clear)
    assert verdict.outcome == "broken"
    named = {evidence.endpoint for evidence in verdict.evidence}
    assert named == {"street_lamp", "lamp-0001"}


def test_a_model_without_any_alarm_is_named(good: Spoiled) -> None:
    spoiled = good.drop(AlarmStored, alarm="container_full")
    assert "waste_bin" in {
        evidence.endpoint for evidence in judge(spoiled, checks.alarms_raise_and_clear).evidence
    }


def test_a_clearing_before_its_raising_does_not_count(good: Spoiled) -> None:
    raised = good.find(AlarmStored, alarm="fine_dust", raised=True)
    spoiled = good.swap(raised, time_us=raised.time_us + 10**9)
    assert judge(spoiled, checks.alarms_raise_and_clear).outcome == "broken"
