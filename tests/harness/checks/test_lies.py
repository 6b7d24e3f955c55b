"""What a journal may claim that no honest run claims: stored things that were never made, or twice,
streams that nobody sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from contracts.journal import AlarmGenerated, AlarmStored, PackGenerated, ReadingsStored, RunStarted
from harness import checks
from harness.journal import Journal

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled


def test_a_stored_alarm_that_no_device_made_is_found(good: Spoiled) -> None:
    stored = good.find(AlarmStored)
    ghost = msgspec.structs.replace(stored, endpoint="ghost-1")
    verdict = checks.alarms_raise_and_clear(Journal(good.add(ghost).records))
    assert verdict.outcome == "broken"
    assert [evidence.endpoint for evidence in verdict.evidence] == ["ghost-1"]


def test_an_alarm_that_is_stored_twice_is_found(good: Spoiled) -> None:
    stored = good.find(AlarmStored)
    again = msgspec.structs.replace(stored, at_ns=stored.at_ns + 1)
    verdict = checks.alarms_raise_and_clear(Journal(good.add(again).records))
    assert verdict.outcome == "broken"
    assert "again" in verdict.evidence[0].observed


def test_alarms_without_any_device_that_made_them_are_found(good: Spoiled) -> None:
    verdict = checks.alarms_raise_and_clear(Journal(good.drop(AlarmGenerated).records))
    assert verdict.outcome == "broken"


def test_a_row_that_is_stored_twice_is_found(good: Spoiled) -> None:
    commit = good.find(ReadingsStored)
    again = msgspec.structs.replace(commit, at_ns=commit.at_ns + 1)
    verdict = checks.readings_arrive_once(Journal(good.add(again).records))
    assert verdict.outcome == "broken"
    assert verdict.evidence[0].endpoint == commit.rows[0][0]


def test_a_row_that_is_stored_again_with_another_value_is_found(good: Spoiled) -> None:
    commit = good.find(ReadingsStored)
    endpoint, path, time_us, _ = commit.rows[0]
    wrong = msgspec.structs.replace(
        commit, at_ns=commit.at_ns - 1, rows=[(endpoint, path, time_us, 99_999.0)]
    )
    verdict = checks.readings_are_unaltered(Journal(good.add(wrong).records))
    assert verdict.outcome == "broken"
    assert {evidence.endpoint for evidence in verdict.evidence} == {endpoint}


def test_a_stream_that_no_device_of_a_model_sends_is_missed(good: Spoiled) -> None:
    energy = "/3418/0/6"
    records = [
        msgspec.structs.replace(r, records=[row for row in r.records if row[0] != energy])
        if isinstance(r, PackGenerated)
        else msgspec.structs.replace(r, rows=[row for row in r.rows if row[1] != energy])
        if isinstance(r, ReadingsStored)
        else r
        for r in good.records
    ]
    verdict = checks.streams_report(Journal(records))
    assert verdict.outcome == "broken"
    assert all(energy in evidence.observed for evidence in verdict.evidence)


def test_without_taps_the_stages_are_not_judged(good: Spoiled) -> None:
    begun = good.find(RunStarted)
    off = Journal(good.swap(begun, options={**begun.options, "taps": "off"}).records)
    assert checks.every_device_comes_online(off).outcome == "inconclusive"
    assert checks.stages_are_in_order(off).outcome == "inconclusive"
