"""The scenarios as a user runs them: whole benches, real processes, real sockets.

`loader kept up` is left out of what must hold here: other tests compete for the cores.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from contracts.report import Report
from harness.checks import certificates
from harness.mqtt_broker.mosquitto import find_mosquitto
from harness.runner.execute import Executed, execute
from harness.runner.scenario import DEFECTS, Broker, Defect, RunOptions, find_scenario
from tests.processes import WITHIN_S

MAIN_JOB = "onboarding.city_block_comes_online"

pytestmark = [pytest.mark.slow, pytest.mark.bench, pytest.mark.timeout(600)]

needs_mosquitto = pytest.mark.skipif(
    find_mosquitto() is None, reason="there is no mosquitto program on this machine"
)


def run(name: str, options: RunOptions) -> Executed:
    return asyncio.run(execute(find_scenario(name), options, Console(file=io.StringIO())))


def broken(report: Report) -> dict[str, str]:
    """Name and summary of each check that does not hold, but those that saturation voids."""
    return {
        check.name: check.summary
        for check in report.checks
        if check.outcome != "holds"
        and check.name != "loader_kept_up"
        and (check.about == "safety" or not report.loader.saturated)
    }


@pytest.mark.parametrize(
    "broker",
    [
        "embedded",
        pytest.param("mosquitto", marks=[pytest.mark.mosquitto, needs_mosquitto]),
        pytest.param("amqtt", marks=pytest.mark.amqtt),
    ],
)
def test_the_main_job_holds(tmp_path: Path, broker: Broker) -> None:
    options = RunOptions(devices=20, rate_per_s=20, broker=broker, out=tmp_path, report_every_s=0.5)
    executed = run(MAIN_JOB, options)
    report = executed.report
    assert broken(report) == {}
    assert {name: stage.count for name, stage in report.stages.items()} == dict.fromkeys(
        report.stages, 20
    )
    assert report.readings.stored == report.readings.acknowledged > 0
    assert report.commands.succeeded == report.commands.issued > 0
    for name in ("report.json", "report.html", "junit.xml"):
        assert (executed.directory / name).stat().st_size > 500
    assert (tmp_path / "latest").resolve() == executed.directory.resolve()


# What each planted defect must be called by the check that is there for it.
CAUGHT_BY: dict[Defect, str] = {
    "lose_one": "acknowledged_readings_are_stored",
    "duplicate_one": "readings_arrive_once",
    "swap_credentials": "devices_hold_their_own_credentials",
    "alter_value": "readings_are_unaltered",
    "skip_ack": "every_reading_is_acknowledged",
    "misroute_one": "readings_stay_with_their_device",
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found_and_the_device_named(tmp_path: Path, defect: Defect) -> None:
    options = RunOptions(
        devices=10, rate_per_s=20, defect=defect, out=tmp_path, report_every_s=0.5, seed=3
    )
    report = run(MAIN_JOB, options).report
    assert report.exit_code == 1
    found = broken(report)
    assert CAUGHT_BY[defect] in found
    if defect != "swap_credentials":
        assert set(found) == {CAUGHT_BY[defect]}
    (check,) = [check for check in report.checks if check.name == CAUGHT_BY[defect]]
    assert all(evidence.endpoint for evidence in check.evidence)


def test_unknown_devices_are_ignored_and_named(tmp_path: Path) -> None:
    options = RunOptions(devices=20, rate_per_s=40, out=tmp_path, telemetry_s=2)
    report = run("security.unknown_devices_are_ignored", options).report
    assert broken(report) == {}
    (check,) = [each for each in report.checks if each.name == "unknown_devices_are_ignored"]
    assert check.evidence_total == 20


def test_a_fleet_rotates_its_certificates_and_then_its_authority(tmp_path: Path) -> None:
    options = RunOptions(devices=40, out=tmp_path)
    report = run("security.fleet_rotates_its_certificates", options).report
    assert broken(report) == {}


def test_revoked_devices_are_thrown_off_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How soon is for a machine that does nothing else.
    monkeypatch.setattr(certificates, "THROWN_OFF_WITHIN_S", WITHIN_S)
    options = RunOptions(devices=20, out=tmp_path)
    report = run("security.revoked_device_is_thrown_off", options).report
    assert broken(report) == {}


def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    options = RunOptions(devices=200, rate_per_s=5, out=tmp_path)
    report = run("resilience.kills_lose_nothing", options).report
    # Where a process takes long to come back, everybody is there before the last kill is due.
    assert set(broken(report)) <= {"every_planned_kill_struck"}
    assert len(report.kills) >= 10
    assert {kill.process for kill in report.kills} == {"bridge", "server"}
    assert len({kill.point for kill in report.kills}) == 4
