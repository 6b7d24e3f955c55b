"""Work counts from its intended start, and every latency is in the report for other tools."""

from __future__ import annotations

import msgspec
import pytest

from contracts.journal import (
    DeviceConnected,
    DeviceRegistered,
    LoopSample,
    PackAcknowledged,
    PackGenerated,
    Record,
)
from contracts.load import (
    DevicePowerRestored,
    FleetBuilt,
    LagSample,
    LoaderLimits,
    LoadPlanned,
)
from contracts.report import Report, decode_report, encode_report
from harness import checks
from harness.journal import Journal
from harness.latency import decode
from harness.reporting import report

MS = 1_000_000


def _report(records: list[Record]) -> Report:
    journal = Journal(records)
    return report(journal, checks.judge(journal, checks.MAIN_JOB), scenario="s", claim="c")


def test_a_report_counts_from_when_it_was_intended_however_late_it_was_made(
    records: list[Record],
) -> None:
    made = [r for r in records if isinstance(r, PackGenerated)]
    meant = {(r.endpoint, r.sequence): r.at_ns - 700 * MS for r in made}
    late = [
        msgspec.structs.replace(r, intended_at_ns=meant[r.endpoint, r.sequence])
        if isinstance(r, PackGenerated)
        else r
        for r in records
    ]
    found = _report(late).operations
    acknowledged = [
        r.at_ns - meant[r.endpoint, r.sequence]
        for r in records
        if isinstance(r, PackAcknowledged) and (r.endpoint, r.sequence) in meant
    ]
    assert found["report"].count == len(acknowledged)
    assert found["report"].latency is not None
    assert found["report"].latency.max == pytest.approx(max(acknowledged) / MS, abs=1e-3)
    assert found["report"].latency.p50 >= 700
    assert decode(found["report"].histogram).total == len(acknowledged)
    assert sum(second.work for second in found["report"].seconds) == len(acknowledged)
    assert found["reading_stored"].count == sum(len(r.records) for r in made)
    # Nothing says when these packs were meant to be, so nothing is told of them.
    assert "report" not in _report(records).operations


def test_a_device_that_comes_back_is_measured_from_its_power(records: list[Record]) -> None:
    last_ns = records[-1].at_ns
    registered = next(r for r in records if isinstance(r, DeviceRegistered))
    connected = next(r for r in records if isinstance(r, DeviceConnected))
    name = registered.endpoint
    back = [
        DevicePowerRestored(at_ns=last_ns + 5 * MS, endpoint=name, intended_at_ns=last_ns),
        msgspec.structs.replace(registered, at_ns=last_ns + 30 * MS),
        msgspec.structs.replace(connected, at_ns=last_ns + 90 * MS, endpoint=name),
        DevicePowerRestored(at_ns=last_ns + 5 * MS, endpoint="other", intended_at_ns=last_ns),
    ]
    found = _report([*records, *back]).operations
    assert (found["registered_again"].count, found["registered_again"].unfinished) == (1, 1)
    assert found["registered_again"].latency is not None
    assert found["registered_again"].latency.max == 30.0
    assert found["connected_again"].latency is not None
    assert found["connected_again"].latency.p99_99 == 90.0


def test_stages_and_commands_have_their_histograms(holding: Report) -> None:
    registered = holding.stages["registered"]
    histogram = decode(registered.histogram)
    assert histogram.total == registered.count == 20
    assert registered.since_start is not None
    assert registered.since_start.p99_99 == registered.since_start.max
    assert histogram.max_us == pytest.approx(registered.since_start.max * 1_000, rel=1.1e-3)
    assert sum(second.work for second in registered.seconds) == 20
    assert holding.operations["command"].count == holding.commands.issued
    assert holding.operations["command"].latency == holding.commands.latency
    assert decode_report(encode_report(holding)) == holding


def test_the_loader_tells_of_itself_what_it_was_meant_to_do_and_its_limits(
    records: list[Record],
) -> None:
    limits = LoaderLimits(lag_p99_ms=70.0)
    made = _report(
        [
            *records,
            LoadPlanned(
                at_ns=1, profile="dusk", began_ns=1, events={"telemetry": 9}, limits=limits
            ),
            *(
                FleetBuilt(at_ns=1, process=name, devices=10, addresses="shared")
                for name in ("fleet", "fleet-2")
            ),
            LagSample(
                at_ns=1, process="fleet", kind="report", lags=[(60_000, 7)], lag_max_ns=61 * MS
            ),
            LagSample(
                at_ns=2, process="fleet-2", kind="report", lags=[(10, 1)], lag_max_ns=9, missed=1
            ),
            LoopSample(at_ns=3, process="fleet", delay_p99_ns=1, delay_max_ns=4 * MS),
        ]
    )
    loader = made.loader
    assert (loader.profile, loader.intended) == ("dusk", {"telemetry": 9})
    assert (loader.fleet_processes, loader.addresses) == (2, "shared")
    assert loader.limits == limits
    lag = loader.lags["report"]
    assert (lag.issued, lag.missed, lag.p99_ms, lag.max_ms) == (8, 1, 60.0, 61.0)
    assert not loader.saturated
    assert loader.cpu_s > 0
