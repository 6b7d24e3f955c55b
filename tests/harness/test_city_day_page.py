"""The page about a city's day shows what its commands make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contracts.schedule import HEADER_BYTES
from harness.city_day import load_city, make_window, write_schedule
from harness.runner.scenario import find_scenarios
from harness.runner.schedules import SCHEDULE_FILE

PAGE = (Path(__file__).parents[2] / "docs" / "operations" / "city_day.md").read_text()


@pytest.mark.slow
def test_the_lines_of_a_schedule_are_those_that_the_command_writes(tmp_path: Path) -> None:
    city = load_city("harbour_district", 1, None)
    window = make_window("2026-11-21", "16:00", "20:00", 60.0, city.longitude)
    file = tmp_path / "day.ndjson"
    write_schedule(city, window, "2026-11-21", file)
    lines = file.read_text().splitlines()
    shown = re.findall(r'^    (\{".*\})$', PAGE, re.MULTILINE)
    assert len(shown) == 3
    assert shown[0] == lines[0].rstrip(" ")
    assert set(shown[1:]) <= set(lines[1:])
    assert len(lines[0]) + 1 == HEADER_BYTES
    assert f"{HEADER_BYTES} bytes" in PAGE


def test_the_scenario_and_the_file_that_it_names_exist() -> None:
    assert re.findall("lamplighter run ([a-z_.]+)", PAGE)[0] in find_scenarios()
    assert f"`{SCHEDULE_FILE}`" in PAGE
