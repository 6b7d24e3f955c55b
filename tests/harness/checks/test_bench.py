"""The bench's own checks: secrets in outputs, processes that crash or stay, planned kills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.journal import BenchDown, Note, ProcessExited, ProcessKilled, SecretsScanned
from harness import checks
from tests.harness.checks.judging import LAMP, broken, judge

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled


def test_a_secret_in_an_output_names_the_file(good: Spoiled) -> None:
    scanned = good.find(SecretsScanned)
    broken(
        good.swap(scanned, found=["logs/bridge.log"]),
        checks.no_secret_in_outputs,
        "logs/bridge.log",
    )
    for empty in ({"needles": 0}, {"files": 0}):
        verdict = judge(good.swap(scanned, **empty), checks.no_secret_in_outputs)
        assert verdict.outcome == "inconclusive"


def test_a_process_that_is_left_or_crashed_is_named(good: Spoiled) -> None:
    down = good.find(BenchDown)
    broken(good.swap(down, left=["broker"]), checks.nothing_left_behind, "broker")
    told = good.swap(down, left=["broker: killed, and still there 30 s later (process 7)"])
    broken(told, checks.nothing_left_behind, "broker")
    [found] = judge(told, checks.nothing_left_behind).evidence
    assert found.observed == "killed, and still there 30 s later (process 7)"
    crash = ProcessExited(at_ns=down.at_ns, process="bridge", returncode=1)
    broken(good.add(crash), checks.processes_stay_up, "bridge")


def test_kills_that_did_not_take_place_prove_nothing(good: Spoiled) -> None:
    planned = good.add(Note(at_ns=1, name="kills_planned", value=2.0))
    kill = ProcessKilled(at_ns=2, process="bridge", point="event_received", endpoint=LAMP)
    once, twice = planned.add(kill), planned.add(kill, kill)
    assert judge(once, checks.every_planned_kill_struck).outcome == "inconclusive"
    verdict = judge(twice, checks.every_planned_kill_struck)
    assert verdict.outcome == "holds"
    assert verdict.evidence_total == 2
