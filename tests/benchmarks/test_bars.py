"""Bars: what is met, what is not, and what a run was too small to tell."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import commands, onboarding, telemetry
from benchmarks.bars import Bar, cores_allow_per_s, exit_code, told
from harness.runner.scenario import RunOptions


def test_a_floor_and_a_ceiling_are_met_at_their_value() -> None:
    assert Bar("rate", 800, 800).is_met
    assert not Bar("rate", 800, 799.9).is_met
    assert Bar("latency", 150, 150, is_ceiling=True).is_met
    assert not Bar("latency", 150, 150.1, is_ceiling=True).is_met
    assert Bar("rate", 800, None).is_met is None


@pytest.mark.parametrize(
    ("measured", "code"), [([800.0], 0), ([800.0, None], 2), ([None, 1.0], 1), ([], 0)]
)
def test_a_failure_outweighs_what_cannot_be_told(measured: list[float | None], code: int) -> None:
    assert exit_code({"bars": told([Bar("rate", 800, each) for each in measured])}) == code


def test_a_bar_says_in_its_field_which_way_it_goes_and_why_it_is_open() -> None:
    found = told([Bar("rate", 800, None, because="too short"), Bar("lost", 0, 0, is_ceiling=True)])
    assert found == [
        {"bar": "rate", "at_least": 800, "measured": None, "met": None, "because": "too short"},
        {"bar": "lost", "at_most": 0, "measured": 0, "met": True},
    ]


def test_the_cores_allow_what_all_processes_together_leave_room_for() -> None:
    assert cores_allow_per_s({"broker": 300, "fleet": 700}, 2) == 2_000
    assert cores_allow_per_s({}, 2) == 0


def onboarded(per_s: float, lasted_s: float, p99_ms: float = 10.0) -> dict[str, Any]:
    stage = {"per_s": per_s, "lasted_s": lasted_s, "p99_ms": p99_ms}
    return {"stages": {"bootstrapped": stage}, "registered_to_bootstrapped_p99_ms": p99_ms}


@pytest.mark.parametrize(
    ("per_s", "lasted_s", "is_met"), [(900, 60, True), (900, 5, None), (300, 5, False)]
)
def test_a_rate_is_only_sustained_after_a_minute_and_missed_at_once(
    per_s: float, lasted_s: float, is_met: bool | None
) -> None:
    options = RunOptions(devices=1, rate_per_s=1_000)
    rate, _ = onboarding.bars_of(
        onboarded(per_s, lasted_s), options, "embedded", "none", share_of_per_s=None
    )
    assert rate.is_met is is_met


@pytest.mark.parametrize(
    ("offered", "p99_ms", "is_met"), [(700, 99, True), (700, 151, False), (300, 9, None)]
)
def test_the_latency_is_of_seventy_percent_of_what_was_sustained(
    offered: float, p99_ms: float, is_met: bool | None
) -> None:
    options = RunOptions(devices=1, rate_per_s=offered)
    (latency,) = onboarding.bars_of(
        onboarded(offered, 60, p99_ms), options, "embedded", "none", share_of_per_s=1_000
    )
    assert latency.is_met is is_met


@pytest.mark.parametrize(("devices", "ratio_is_met"), [(5_000, True), (300, None)])
def test_telemetry_of_too_few_devices_proves_nothing(
    devices: int, ratio_is_met: bool | None
) -> None:
    bare: dict[str, Any] = {"per_s": 10_000.0}
    stored = {"per_s": 9_000.0, "acknowledged": 100, "lost": 0}
    ratio, rate, lost, unknown = telemetry.bars_of(bare, stored, devices, 100, "mosquitto")
    assert (ratio.is_met, rate.is_met) == (ratio_is_met, ratio_is_met)
    assert (lost.is_met, unknown.is_met) == (True, True)
    assert telemetry.bars_of(bare, stored, devices, 101, "mosquitto")[3].is_met is False


@pytest.mark.parametrize(
    ("devices", "p99_ms", "is_met"), [(5_000, 49, True), (500, 49, None), (500, 51, False)]
)
def test_commands_to_too_few_devices_can_only_fail(
    devices: int, p99_ms: float, is_met: bool | None
) -> None:
    found = {"per_s": 500.0, "round_trip_ms": {"p99": p99_ms}, "unanswered": 0}
    _, trip, _ = commands.bars_of(found, devices, 500)
    assert trip.is_met is is_met
