"""What the list of scenarios says before one is run, and who is meant by a name that is wrong."""

from __future__ import annotations

import dataclasses

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import ScenarioError
from harness.runner.scenario import Scenario, find_scenario, find_scenarios, told_size

SCENARIOS = find_scenarios()
MAIN_JOB = "onboarding.city_block_comes_online"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_declares_how_large_it_is_and_how_long_it_takes(name: str) -> None:
    scenario = SCENARIOS[name]
    assert scenario.devices is not None
    assert 1 <= scenario.devices <= 1_000_000
    assert scenario.takes_s is not None
    # Shorter than a bench takes to come up and go, none is.
    assert 5 <= scenario.takes_s <= 3_600


def test_the_list_has_every_scenario_with_its_size_and_duration() -> None:
    listed = CliRunner().invoke(app, ["list"]).output
    for name, scenario in SCENARIOS.items():
        assert f"{name}  {told_size(scenario)}\n" in listed


@pytest.mark.parametrize(
    ("devices", "takes_s", "expected"),
    [
        (200, 18.0, "200 devices, about 20 s"),
        (1_000_000, 119.0, "1,000,000 devices, about 120 s"),
        (5_000, 120.0, "5,000 devices, about 2 min"),
        (5_000, 280.0, "5,000 devices, about 4.5 min"),
        (200, None, "200 devices"),
        (None, 60.0, "about 60 s"),
        (None, None, ""),
    ],
)
def test_a_size_is_told_in_round_figures(
    devices: int | None, takes_s: float | None, expected: str
) -> None:
    scenario: Scenario = dataclasses.replace(
        SCENARIOS[MAIN_JOB], devices=devices, takes_s=takes_s, takes_is_measured=True
    )
    assert told_size(scenario) == expected


def test_a_duration_that_nobody_measured_is_told_as_an_estimate() -> None:
    scenario: Scenario = dataclasses.replace(
        SCENARIOS[MAIN_JOB], devices=200, takes_s=60.0, takes_is_measured=False
    )
    assert told_size(scenario) == "200 devices, about 60 s (estimated)"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("city_block_comes_online", MAIN_JOB),
        ("onboarding.city_block", MAIN_JOB),
        ("onboarding.city-block-comes-online", MAIN_JOB),
        ("Dusk", "scale.dusk"),
        ("soka", "scale.soak"),
        ("security", "security.fleet_rotates_its_certificates"),
    ],
)
def test_a_wrong_name_is_answered_with_the_one_that_is_likely_meant(
    written: str, meant: str
) -> None:
    with pytest.raises(ScenarioError, match="did you mean ") as refused:
        find_scenario(written)
    assert meant in str(refused.value).partition("?")[0]


@pytest.mark.parametrize("written", ["", "x", "zzzzzzzz"])
def test_a_name_like_none_is_answered_with_all(written: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        find_scenario(written)
    assert all(name in str(refused.value) for name in SCENARIOS)
