"""What fails of the bench itself is told as that: nothing is laid on the platform, or on a defect
that never was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.journal import (
    CommandReceived,
    CommandSent,
    Note,
    ProcessExited,
    ReadingsStored,
    RunStarted,
    ServerStarted,
)
from contracts.load import FleetBuilt, LoadPlanned
from contracts.report import CheckResult
from harness import checks
from harness.checks.faults import (
    NOTE_BENCH_FAULT,
    NOTE_DEFECT_AIMED,
    NOTE_DEFECT_PLANTED,
    NOTE_STOOD_STILL,
)
from harness.journal import Journal
from harness.reporting import report

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled

NAME = "onboarding.city_block_comes_online"
PLANNED = LoadPlanned(at_ns=5, profile="", began_ns=5)


def reported(records: Spoiled, *more: checks.Check):
    journal = Journal(records.records)
    wanted = (*checks.MAIN_JOB, *more)
    return report(journal, checks.judge(journal, wanted), scenario=NAME, claim="c")


def stored_nothing(good: Spoiled) -> Spoiled:
    """A run that is broken, whoever is to blame."""
    return good.drop(ReadingsStored).add(ReadingsStored(at_ns=good.records[-1].at_ns, rows=[]))


@pytest.mark.parametrize("process", ["fleet", "server", "broker"])
def test_a_bench_process_that_ended_by_itself_is_exit_3_and_breaks_nothing(
    good: Spoiled, process: str
) -> None:
    made = reported(
        stored_nothing(good).add(ProcessExited(at_ns=7, process=process, returncode=-9))
    )
    assert (made.verdict, made.exit_code) == ("inconclusive", 3)
    assert made.bench.faults == [f"{process} ended by itself with code -9"]
    assert f"the bench failed: {process} ended by itself with code -9" in made.notes
    [stays_up] = [check for check in made.checks if check.name == "processes_stay_up"]
    assert stays_up.outcome == "inconclusive"
    assert stays_up.summary.startswith(f"void, since {process} ended")


def test_a_component_of_the_platform_that_ended_by_itself_stays_broken(good: Spoiled) -> None:
    crash = ProcessExited(at_ns=7, process="ingestion", returncode=1)
    made = reported(stored_nothing(good).add(crash))
    assert (made.verdict, made.exit_code) == ("broken", 1)
    # What the bench lost afterwards may be its doing.
    later = ProcessExited(at_ns=8, process="server", returncode=1)
    assert reported(stored_nothing(good).add(crash, later)).exit_code == 1
    earlier = ProcessExited(at_ns=6, process="server", returncode=1)
    assert reported(stored_nothing(good).add(crash, earlier)).exit_code == 3


def test_a_process_that_stood_still_is_told_by_its_side(good: Spoiled) -> None:
    def still(process: str) -> Note:
        return Note(at_ns=7, name=NOTE_STOOD_STILL, endpoint=process, value=5.0)

    made = reported(good.add(still("fleet")))
    assert (made.verdict, made.exit_code) == ("inconclusive", 3)
    assert made.bench.faults == ["fleet stood still for 5 s"]
    made = reported(good.add(still("ingestion")))
    assert (made.verdict, made.exit_code) == ("broken", 1)


def test_a_journal_that_was_cut_or_lacks_its_beginning_is_exit_3(good: Spoiled) -> None:
    cut = Note(at_ns=9, name=NOTE_BENCH_FAULT, endpoint="fleet.jsonl", text="the journal is gone")
    assert reported(good.add(cut)).exit_code == 3

    run = good.find(RunStarted)
    built = FleetBuilt(at_ns=4, process="fleet", devices=40, addresses="shared")
    started = ServerStarted(at_ns=3, server="server-1", epoch="1", resumed=0)
    whole = good.swap(run, options={**run.options, "taps": "on"}).add(PLANNED, built, started)
    assert not reported(whole).bench.faults
    for record, name in ((built, "fleet"), (started, "server")):
        made = reported(stored_nothing(whole.drop_one(record)))
        assert (made.verdict, made.exit_code) == ("inconclusive", 3)
        assert made.bench.faults == [f"the journal of {name} is gone, or lacks its beginning"]


def test_a_run_whose_server_was_not_tapped_needs_no_journal_of_it(good: Spoiled) -> None:
    run = good.find(RunStarted)
    built = FleetBuilt(at_ns=4, process="fleet", devices=40, addresses="shared")
    assert not reported(good.swap(run, options={"taps": "off"}).add(PLANNED, built)).bench.faults


def planted(records: Spoiled) -> CheckResult:
    return checks.defect_was_planted(Journal(records.records))


def test_a_defect_that_did_not_take_place_keeps_a_run_from_holding(good: Spoiled) -> None:
    wanted = good.swap(good.find(RunStarted), defect="misroute_one")
    made = reported(wanted, checks.defect_was_planted)
    assert (made.verdict, made.exit_code) == ("inconclusive", 2)
    assert "misroute_one was asked for and did not take place" in planted(wanted).summary
    text = "misroute_one took place at lamp-1"
    told = Note(at_ns=9, name=NOTE_DEFECT_PLANTED, endpoint="lamp-1", text=text)
    assert planted(wanted.add(told)).outcome == "holds"
    # Broken is broken.
    assert reported(stored_nothing(wanted), checks.defect_was_planted).exit_code == 1


def test_swapped_credentials_took_place_once_one_of_the_two_was_sent_some(good: Spoiled) -> None:
    wanted = good.swap(good.find(RunStarted), defect="swap_credentials").add(
        Note(at_ns=1, name=NOTE_DEFECT_AIMED, endpoint="twin-1"),
        Note(at_ns=1, name=NOTE_DEFECT_AIMED, endpoint="twin-2"),
    )
    received = CommandReceived(
        at_ns=2, server="s", id="c-twin", endpoint="twin-1", operation="write", path="/18830/0",
        issued_by="credentials",
    )  # fmt: skip
    sent = CommandSent(at_ns=3, server="s", id="c-twin", endpoint="twin-1", message_id=1)
    assert planted(wanted).outcome == "inconclusive"
    assert planted(wanted.add(received)).outcome == "inconclusive"
    found = planted(wanted.add(received, sent))
    assert (found.outcome, found.summary) == ("holds", "swap_credentials took place at twin-1")
