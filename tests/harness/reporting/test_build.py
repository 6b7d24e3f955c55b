"""The report's figures, against what was put into the journal."""

from __future__ import annotations

import msgspec
import pytest

from contracts.errors import ContractError, UnsupportedVersion
from contracts.journal import (
    DeviceEnded,
    DeviceRegistered,
    DeviceStarted,
    LoopSample,
    Note,
    ProcessKilled,
    ProcessSample,
    Record,
    RunStarted,
)
from contracts.report import Report, decode_report, encode_report
from harness import checks
from harness.journal import Journal
from harness.reporting import report
from harness.reporting.build import cpu_used_s
from harness.reporting.operations import percentiles_ms

S, MS = 1_000_000_000, 1_000_000


def _report(records: list[Record]) -> Report:
    journal = Journal(records)
    verdicts = checks.judge(journal, checks.MAIN_JOB)
    return report(journal, verdicts, scenario="s", claim="c")


def test_a_run_that_holds_says_so_with_exit_zero(holding: Report) -> None:
    assert (holding.verdict, holding.exit_code) == ("holds", 0)
    assert len(holding.checks) == len(checks.MAIN_JOB)
    assert holding.bench.ready_s == 1.38
    assert holding.bench.down_s == 0.58
    assert holding.started_at == "2026-11-20T18:40:00+00:00"


def test_every_stage_counts_every_device(holding: Report) -> None:
    assert {stage: figures.count for stage, figures in holding.stages.items()} == dict.fromkeys(
        (
            "registered",
            "event_published",
            "credentials_published",
            "bootstrapped",
            "mqtt_connected",
            "online",
        ),
        20,
    )
    starts = [figures.since_start.p50 for figures in holding.stages.values() if figures.since_start]
    assert starts == sorted(starts)


def test_latencies_count_from_the_intended_start() -> None:
    run = RunStarted(
        at_ns=0,
        run_id="r",
        scenario="s",
        seed=1,
        devices=2,
        broker="embedded",
        defect="",
        at_unix_us=0,
    )
    made = _report(
        [
            run,
            *(
                DeviceStarted(at_ns=5 * MS, endpoint=name, model="street_lamp", intended_at_ns=0)
                for name in "ab"
            ),
            DeviceRegistered(at_ns=10 * MS, endpoint="a", location="/rd/1"),
            DeviceRegistered(at_ns=40 * MS, endpoint="b", location="/rd/2"),
            DeviceRegistered(at_ns=90 * MS, endpoint="b", location="/rd/3"),
        ]
    )
    figures = made.stages["registered"].since_start
    assert figures is not None
    assert (figures.p50, figures.max) == (10.0, 40.0)
    assert made.devices.by_model == {"street_lamp": {"registered": 2}}
    assert made.loader.start_lag_p99_ms == 5.0
    assert made.exit_code == 1


def test_readings_commands_and_alarms_are_counted(holding: Report) -> None:
    readings, commands = holding.readings, holding.commands
    assert readings.generated == readings.sent == readings.acknowledged == readings.stored > 500
    faults = ("lost", "duplicated", "altered", "misrouted", "conflicted", "unknown", "dropped")
    assert [getattr(readings, name) for name in faults] == [0] * 7
    assert (commands.issued, commands.succeeded, commands.executed) == (11, 11, 11)
    assert commands.latency is not None
    assert commands.latency.p50 == 12.0
    assert {(a.raised, a.cleared) for a in holding.alarms.values()} == {(1, 1)}
    assert len(holding.alarms) == 5


def test_devices_are_counted_by_model_and_final_state(
    holding: Report, records: list[Record]
) -> None:
    assert holding.devices.total == holding.devices.online == 20
    assert holding.devices.by_model["street_lamp"] == {"online": 11}
    spoiled = [
        msgspec.structs.replace(r, state="registered")
        if isinstance(r, DeviceEnded) and r.endpoint == "lamp-0002"
        else r
        for r in records
    ]
    spoiled.append(Note(at_ns=records[0].at_ns, name="unknown_device", endpoint="bin-0001"))
    by_model = _report(spoiled).devices.by_model
    assert by_model["street_lamp"] == {"online": 10, "registered": 1}
    assert by_model["waste_bin"] == {"online": 1, "unknown, ignored": 1}


def test_throughput_is_the_rate_of_the_schedule_when_all_is_well(holding: Report) -> None:
    online = holding.throughput["online"]
    assert online.count == 20
    assert online.sustained_per_s == pytest.approx(50.0, rel=0.25)
    assert online.peak_per_s == 20
    assert not online.backlog_grew
    assert holding.throughput["readings_stored"].count == holding.readings.stored


def test_cpu_counts_on_over_a_restart() -> None:
    samples = [
        ProcessSample(at_ns=n, process="bridge", side="platform", cpu_s=cpu_s, rss_bytes=1)
        for n, cpu_s in enumerate((1.0, 2.0, 0.5, 0.7))
    ]
    assert [used for _, used in cpu_used_s(samples)] == [1.0, 2.0, 2.5, 2.7]


def test_cpu_and_memory_add_up_by_side(holding: Report) -> None:
    assert [side.side for side in holding.sides] == ["fleet", "emulated", "platform", "instruments"]
    assert sum(side.cpu_ratio for side in holding.sides) == pytest.approx(1.0, abs=1e-3)
    platform = [p for p in holding.processes if p.side == "platform"]
    assert len(platform) == 5
    side = holding.sides[2]
    assert side.cpu_s == pytest.approx(sum(p.cpu_s for p in platform), abs=0.01)
    assert side.rss_bytes_max == sum(p.rss_bytes_max for p in platform)


def test_a_saturated_loader_is_exit_three(records: list[Record]) -> None:
    drop = LoopSample(
        at_ns=records[-1].at_ns, process="fleet", delay_p99_ns=1, delay_max_ns=1, socket_drops=2
    )
    made = _report([*records, drop])
    assert (made.verdict, made.exit_code) == ("inconclusive", 3)
    assert made.loader.saturated
    assert made.loader.socket_drops == 2


def test_kills_and_vain_waits_are_told(records: list[Record]) -> None:
    at_ns = records[0].at_ns + 3 * S
    made = _report(
        [
            *records,
            ProcessKilled(at_ns=at_ns, process="bridge", point="published", endpoint="lamp-0001"),
            Note(at_ns=at_ns, name="not_reached", text="20 devices online: not within 9 s"),
            Note(at_ns=at_ns, name="version:python", text="3.11"),
            Note(at_ns=at_ns, name="machine:cores", text="2"),
        ]
    )
    assert [(kill.process, kill.at_s) for kill in made.kills] == [("bridge", 3.0)]
    assert made.notes == ["20 devices online: not within 9 s"]
    assert (made.versions, made.machine) == ({"python": "3.11"}, {"cores": "2"})


def test_percentiles_are_exact() -> None:
    found = percentiles_ms([n * MS for n in range(1, 1_001)])
    assert found is not None
    assert (found.p50, found.p90, found.p99, found.p99_9, found.max) == (500, 900, 990, 999, 1000)
    assert percentiles_ms([]) is None


def test_a_report_is_read_back_as_it_was_written(holding: Report) -> None:
    data = encode_report(holding)
    assert decode_report(data) == holding
    assert b'"p99.9"' in data


def test_readers_ignore_new_fields_and_refuse_new_versions(holding: Report) -> None:
    fields = msgspec.json.decode(encode_report(holding))
    assert decode_report(msgspec.json.encode(fields | {"later": 1})) == holding
    with pytest.raises(UnsupportedVersion, match="version 2"):
        decode_report(msgspec.json.encode(fields | {"v": 2}))
    with pytest.raises(ContractError, match="not a report"):
        decode_report(b"{}")


def test_an_empty_journal_makes_an_inconclusive_report() -> None:
    made = _report([])
    assert (made.verdict, made.exit_code) == ("inconclusive", 2)
    assert made.devices.total == 0
