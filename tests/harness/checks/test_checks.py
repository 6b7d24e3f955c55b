"""Every check holds on an honest run, and none does where nothing was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.journal import ProcessStarted, RunStarted
from harness import checks
from harness.checks import Check
from harness.journal import Journal
from tests.harness.checks.judging import judge

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled


@pytest.mark.parametrize("check", checks.MAIN_JOB, ids=lambda check: check.__name__)
def test_every_check_of_the_main_job_holds_on_an_honest_run(good: Spoiled, check: Check) -> None:
    verdict = judge(good, check)
    assert verdict.outcome == "holds", verdict
    assert verdict.name == check.__name__
    assert verdict.claim
    assert verdict.summary


@pytest.mark.parametrize(
    "check",
    dict.fromkeys((*checks.MAIN_JOB, *checks.KILLS, *checks.UNKNOWN_DEVICES)),
    ids=lambda check: check.__name__,
)
def test_no_check_holds_when_nothing_was_observed(check: Check) -> None:
    assert check(Journal([])).outcome == "inconclusive"


def test_when_taps_were_off_it_is_said(good: Spoiled) -> None:
    run = good.find(RunStarted)
    blind = type(good)([good.swap(run, options={"taps": "off"}).records[0]])
    assert "the taps were off" in judge(blind, checks.every_device_comes_online).summary
    assert isinstance(blind.records[0], RunStarted)
    assert judge(good.drop(ProcessStarted), checks.processes_stay_up).outcome == "inconclusive"
