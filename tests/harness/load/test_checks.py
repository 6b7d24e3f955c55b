"""Locust's totals are compared with the journal line by line."""

from __future__ import annotations

from contracts.journal import DeviceRegistered, DeviceRegistrationFailed, DeviceStarted, Record
from harness.journal import Journal
from harness.load.checks import (
    counted_in_journal,
    every_worker_counted,
    locust_counts_what_the_journal_says,
    operations_succeed,
    totals_notes,
)
from harness.load.config import Entry, Totals

RECORDS: list[Record] = [
    DeviceStarted(at_ns=1, endpoint="a", model="street_lamp", intended_at_ns=1),
    DeviceStarted(at_ns=2, endpoint="b", model="street_lamp", intended_at_ns=2),
    DeviceRegistered(at_ns=3, endpoint="a", location="/rd/1"),
    DeviceRegistrationFailed(at_ns=4, endpoint="b", code="4.03"),
]


def journal(*entries: Entry) -> Journal:
    return Journal([*RECORDS, *totals_notes(Totals(entries=list(entries)), at_ns=9)])


def entry(count: int, failures: int = 0, kind: str = "registered") -> Entry:
    return Entry(kind=kind, name="street_lamp", count=count, failures=failures)


def test_equal_totals_hold() -> None:
    verdict = locust_counts_what_the_journal_says(journal(entry(2, 1)))
    assert verdict.outcome == "holds"
    assert verdict.summary == "2 operations in 1 lines, the same in both"


def test_an_operation_that_locust_missed_is_found() -> None:
    verdict = locust_counts_what_the_journal_says(journal(entry(1, 1)))
    assert verdict.outcome == "broken"
    assert verdict.evidence[0].observed == "1, 1 failed"
    assert verdict.evidence[0].expected == "2, 1 failed"


def test_a_failure_that_locust_missed_is_found() -> None:
    assert locust_counts_what_the_journal_says(journal(entry(2))).outcome == "broken"


def test_a_line_that_no_journal_has_is_found() -> None:
    verdict = locust_counts_what_the_journal_says(journal(entry(2, 1), entry(1, 0, "downlink_x")))
    assert [each.endpoint for each in verdict.evidence] == ["downlink_x street_lamp"]


def test_what_the_loader_and_the_bench_add_is_left_out() -> None:
    verdict = locust_counts_what_the_journal_says(journal(entry(2, 1), entry(7, 0, "loader")))
    assert verdict.outcome == "holds"


def test_totals_that_a_lost_worker_made_too_low_are_no_verdict_on_the_platform() -> None:
    totals = Totals(entries=[entry(1)], workers_missing=1)
    lost = Journal([*RECORDS, *totals_notes(totals, at_ns=9)])
    assert locust_counts_what_the_journal_says(lost).outcome == "inconclusive"
    verdict = every_worker_counted(lost)
    assert (verdict.outcome, verdict.summary) == (
        "inconclusive",
        "1 did not: their devices are gone with them",
    )


def test_workers_that_all_counted_are_told() -> None:
    assert every_worker_counted(journal(entry(2, 1))).outcome == "holds"
    assert every_worker_counted(Journal(RECORDS)).outcome == "inconclusive"


def test_without_totals_nothing_is_decided() -> None:
    assert locust_counts_what_the_journal_says(Journal(RECORDS)).outcome == "inconclusive"


def test_failures_break_the_claim_that_operations_succeed() -> None:
    assert operations_succeed(Journal(RECORDS)).outcome == "broken"
    assert operations_succeed(Journal(RECORDS[:3])).outcome == "holds"
    assert operations_succeed(Journal([])).outcome == "inconclusive"


def test_a_journal_is_counted_by_kind_and_model() -> None:
    assert counted_in_journal(Journal(RECORDS)) == {"registered street_lamp": (2, 1)}
