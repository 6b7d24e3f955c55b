"""Without journals, the report comes from Locust's merged statistics and says so."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from contracts.journal import DeviceStarted, LoopSample, ReadingsStored, RunStarted
from contracts.report import EXIT_OTHER, decode_report, encode_report
from harness.journal import Journal
from harness.load.config import Entry, Figures, Totals
from harness.load.figures import (
    Ended,
    locust_report,
    percentiles_of,
    since_last_test,
    write_load_report,
)
from harness.load.health import LOOP_DELAY, START_LAG, FleetHealth
from harness.load.options import LoadOptions
from harness.reporting import print_summary
from runtime.clock import SystemClock

OPTIONS = LoadOptions(users=4, expect_workers=4)
KEPT_UP = Figures(worker="worker-1", devices=4, start_lag_p99_ms=3.0, loop_delay_p99_ms=2.0)
REGISTERED = Entry(
    kind="registered",
    name="street_lamp",
    count=4,
    latencies={"1.5": 2, "2": 1, "90.1": 1},
    max_ms=90.0625,
    per_s={"1000": 3, "1001": 1},
)


def totals(*figures: Figures, entries: list[Entry] | None = None, **others: object) -> Totals:
    return Totals(
        entries=[REGISTERED] if entries is None else entries,
        figures=list(figures),
        **others,  # type: ignore[arg-type]  # fields by name
    )


def test_it_has_stages_with_percentiles_and_says_where_they_are_from() -> None:
    report = locust_report(OPTIONS, totals(KEPT_UP), "run")
    assert report.options["figures_from"] == "locust"
    assert report.verdict == "holds"
    stage = report.stages["registered"]
    assert stage.count == 4
    assert stage.since_start is not None
    assert (stage.since_start.p50, stage.since_start.max) == (1.5, 90.062)
    assert report.throughput["registered"].peak_per_s == 3.0
    assert decode_report(encode_report(report)) == report


def test_of_workers_elsewhere_the_verdict_is_told_and_no_reading_claimed(tmp_path: Path) -> None:
    slow = Figures(worker="worker-2", devices=2, faults=["start lag p99 80.0 ms, over 50 ms"])
    told = Console(file=io.StringIO(), width=200)
    ended = Ended(totals(KEPT_UP, slow), EXIT_OTHER, ())
    assert write_load_report(OPTIONS, tmp_path, ended, SystemClock(), told) == EXIT_OTHER
    assert isinstance(told.file, io.StringIO)
    text = told.file.getvalue()
    assert "SATURATED" in text
    assert "start lag p99 80.0 ms" in text
    assert "none lost" not in text
    assert f"The report: {tmp_path / 'report.json'}" in text
    assert b"loader_kept_up" in (tmp_path / "junit.xml").read_bytes()


def test_devices_without_an_uplink_are_told_as_registered(tmp_path: Path) -> None:
    options = LoadOptions(
        users=4, expect_workers=4, server="coap://h:1", devices_file=tmp_path, uplink=False
    )
    told = Console(file=io.StringIO(), width=200)
    print_summary(locust_report(options, totals(KEPT_UP), "run"), tmp_path, told)
    assert isinstance(told.file, io.StringIO)
    assert "4 of 4 registered" in told.file.getvalue()
    assert "online" not in told.file.getvalue().replace("`online`", "")


def test_no_percentile_is_above_the_largest() -> None:
    found = percentiles_of([REGISTERED])
    assert found is not None
    assert found.p99 == found.max == 90.062


def test_lines_without_latencies_have_no_percentiles() -> None:
    assert percentiles_of([Entry(kind="update", name="street_lamp", count=3)]) is None


def test_failures_break_it_and_are_named() -> None:
    report = locust_report(
        OPTIONS, totals(KEPT_UP, errors={"registered street_lamp: 4.03": 2}), "run"
    )
    assert (report.verdict, report.exit_code) == ("broken", 1)
    assert report.checks[0].evidence[0].observed == "registered street_lamp: 4.03"


def test_one_saturated_worker_voids_the_run_with_exit_3() -> None:
    slow = Figures(worker="worker-2", devices=4, start_lag_p99_ms=80.0, faults=["start lag"])
    report = locust_report(OPTIONS, totals(KEPT_UP, slow), "run")
    assert (report.verdict, report.exit_code) == ("inconclusive", 3)
    assert report.loader.saturated
    assert report.loader.faults == ["start lag"]
    assert report.loader.start_lag_p99_ms == 80.0


def test_a_worker_that_did_not_count_to_the_end_leaves_it_undecided() -> None:
    report = locust_report(OPTIONS, totals(KEPT_UP, workers_missing=1), "run")
    assert (report.verdict, report.exit_code) == ("inconclusive", 2)


def test_nothing_counted_is_nothing_claimed() -> None:
    assert locust_report(OPTIONS, totals(entries=[]), "run").verdict == "inconclusive"


def test_what_the_bench_saw_of_earlier_tests_is_left_out() -> None:
    run = RunStarted(
        at_ns=1,
        run_id="",
        scenario="load",
        seed=1,
        devices=1,
        broker="",
        defect="",
        at_unix_us=0,
    )
    early, late = ReadingsStored(at_ns=5, rows=[]), ReadingsStored(at_ns=15, rows=[])
    started = DeviceStarted(at_ns=10, endpoint="a", model="street_lamp", intended_at_ns=10)
    kept = since_last_test(Journal([run, early, started, late]))
    assert list(kept) == [run, started, late]


# ---- how well the fleet keeps its schedule ----


def started(lag_ms: int) -> DeviceStarted:
    return DeviceStarted(
        at_ns=lag_ms * 1_000_000, endpoint="a", model="street_lamp", intended_at_ns=0
    )


def sample(delay_ms: int) -> LoopSample:
    return LoopSample(
        at_ns=10**9, process="fleet", delay_p99_ns=delay_ms * 10**6, delay_max_ns=delay_ms * 10**6
    )


def test_each_sample_of_the_loop_is_a_line_of_the_loader() -> None:
    health = FleetHealth()
    assert health.take(started(7)) == []
    lines = {each.name: each.milliseconds for each in health.take(sample(3))}
    assert lines == {LOOP_DELAY: 3.0, START_LAG: 7.0}
    assert [each.name for each in health.take(sample(3))] == [LOOP_DELAY], "nobody started since"


def test_saturation_is_told_once_for_each_limit() -> None:
    health = FleetHealth()
    health.take(started(80))
    health.take(sample(1))
    assert health.new_faults() == ["start lag p99 80.0 ms, over 50 ms"]
    assert health.new_faults() == []
    for _ in range(3):
        health.take(sample(30))
    assert health.new_faults() == ["loop delay p99 30.0 ms, over 20 ms"]


def test_figures_are_those_of_the_report() -> None:
    health = FleetHealth()
    health.take(started(7))
    assert health.figures("worker-1") == Figures(worker="worker-1", devices=1, start_lag_p99_ms=7.0)
