"""The scale scenarios as a user runs them, small: whole benches, real processes, real sockets.

What is about the loader, or about rates, is left out of what must hold: other tests compete for the
cores.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.report import Report
from harness.runner.scenario import RunOptions, find_scenario
from scenarios.scale import fifty_thousand_kept_alive
from tests.scenarios.test_scenarios import run

pytestmark = [pytest.mark.slow, pytest.mark.bench, pytest.mark.timeout(600)]


def broken(report: Report) -> dict[str, str]:
    """Name and summary of each check about safety that does not hold."""
    return {
        check.name: check.summary
        for check in report.checks
        if check.outcome != "holds" and check.about == "safety"
    }


def sides_of(report: Report) -> set[str]:
    return {side.side for side in report.sides if side.cpu_s > 0}


def test_ten_thousand_lamps_register(tmp_path: Path) -> None:
    options = RunOptions(devices=200, rate_per_s=200, telemetry_s=1, out=tmp_path)
    report = run("scale.ten_thousand_lamps_register", options).report
    assert broken(report) == {}
    assert report.stages["registered"].count == 200
    assert report.broker == ""
    assert sides_of(report) == {"fleet", "emulated", "instruments"}
    names = {process.process for process in report.processes}
    assert names - {"fork-server-bench"} == {"fleet", "server", "event_reader", "runner"}


def test_ten_thousand_lamps_register_by_dtls(tmp_path: Path) -> None:
    options = RunOptions(
        devices=50, rate_per_s=50, telemetry_s=1, out=tmp_path, security="psk", fleet_processes=2
    )
    report = run("scale.ten_thousand_lamps_register", options).report
    assert broken(report) == {}
    assert report.loader.fleet_processes == 2


def test_fifty_thousand_are_kept_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of the scenario's lifetime: updates are due in half of the time.
    lifetime_s = fifty_thousand_kept_alive.LIFETIME_S // 2
    monkeypatch.setattr(fifty_thousand_kept_alive, "LIFETIME_S", lifetime_s)
    monkeypatch.setitem(
        find_scenario("scale.fifty_thousand_kept_alive").fleet_settings, "lifetime_s", lifetime_s
    )
    options = RunOptions(devices=100, rate_per_s=100, telemetry_s=18, out=tmp_path)
    report = run("scale.fifty_thousand_kept_alive", options).report
    assert broken(report) == {}
    assert report.operations["update"].count >= 100


def test_a_million_lamps_on_one_machine(tmp_path: Path) -> None:
    options = RunOptions(devices=2_000, rate_per_s=400, out=tmp_path)
    report = run("scale.a_million_lamps_on_one_machine", options).report
    assert broken(report) == {}
    assert report.stages["registered"].count == 2_000
    assert report.operations["operation"].count == 220
    assert report.operations["update"].count >= 20
    assert report.options["taps"] == "off"


def test_firmware_to_many_at_once(tmp_path: Path) -> None:
    report = run("scale.firmware_to_500_at_once", RunOptions(devices=20, out=tmp_path)).report
    assert broken(report) == {}
    assert report.operations["firmware"].count == 20
    assert "package_server" in {process.process for process in report.processes}


def test_dusk(tmp_path: Path) -> None:
    options = RunOptions(devices=20, telemetry_s=5, out=tmp_path)
    report = run("scale.dusk", options).report
    assert broken(report) == {}
    assert set(report.devices.by_model) == {"street_lamp"}
    assert sides_of(report) == {"fleet", "emulated", "platform", "instruments"}


def test_a_power_cut_and_the_return(tmp_path: Path) -> None:
    options = RunOptions(devices=20, telemetry_s=5, out=tmp_path)
    report = run("scale.power_cut_and_return", options).report
    assert broken(report) == {}
    assert report.operations["registered_again"].count == 20
    assert report.operations["connected_again"].count == 20


def test_a_citys_day_in_seconds(tmp_path: Path) -> None:
    options = RunOptions(devices=20, telemetry_s=10, out=tmp_path)
    executed = run("scale.a_city_day", options)
    assert broken(executed.report) == {}
    assert executed.report.readings.stored > 0
    assert (executed.directory / "schedule.ndjson").exists()


def test_a_soak_sees_memory_and_descriptors_of_every_process(tmp_path: Path) -> None:
    options = RunOptions(devices=10, telemetry_s=48, out=tmp_path)
    report = run("scale.soak", options).report
    # So short a soak may see an allocator's first growth as a leak: that it decides is what counts.
    assert not {"memory_does_not_grow", "descriptors_do_not_grow"} & {
        check.name for check in report.checks if check.outcome == "inconclusive"
    }
    assert set(broken(report)) <= {"memory_does_not_grow"}
    assert all(process.descriptors_max > 0 for process in report.processes)


def test_four_bridges_share_the_city(tmp_path: Path) -> None:
    options = RunOptions(devices=24, out=tmp_path)
    report = run("scale.four_bridges_share_the_city", options).report
    assert broken(report) == {}
    assert report.options["servers"] == "4"
    names = {process.process for process in report.processes if process.cpu_s > 0}
    assert {f"{what}{nth}" for what in ("server", "bridge") for nth in ("", "-2", "-3", "-4")} <= (
        names
    )
