"""`lamplighter schedule`: a file that is whole and readable, figures that agree with it, a page."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from contracts.schedule import ScheduledEvent, ScheduleHeader, ScheduleReader
from fake_devices.city import HARBOUR, generate, write_manifest
from harness.city_day import CityLife, known_cities, load_city, make_window, write_schedule
from harness.cli import app
from harness.errors import ScenarioError
from harness.runner.cohort import choose
from harness.schedule_command import ScheduleOptions, make_schedule


def _read(path: Path) -> tuple[ScheduleHeader, list[ScheduledEvent]]:
    with path.open("rb") as file:
        reader = ScheduleReader(file, str(path))
        return reader.header, list(reader)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The manifest of a small town."""
    path = tmp_path / "town.csv"
    path.write_bytes(write_manifest(generate(HARBOUR, 7, 0, 40)))
    return path


def _made(options: ScheduleOptions, width: int = 100) -> str:
    printed = io.StringIO()
    make_schedule(options, Console(file=printed, width=width))
    return printed.getvalue()


@pytest.mark.slow
def test_the_file_and_the_figures_agree(tmp_path: Path, manifest: Path) -> None:
    out, html = tmp_path / "day.ndjson", tmp_path / "day.html"
    text = _made(ScheduleOptions(str(manifest), begins="16:00", ends="18:00", out=out, html=html))
    header, events = _read(out)
    assert header.events == len(events) > 100
    assert (header.speed, header.duration_s, header.devices) == (60.0, 120.0, 40)
    assert f"{len(events):,} events in 2 min of the run" in text
    by_second = Counter(int(e.at_s) for e in events if e.kind in ("report", "power_on"))
    peak_s, peak = max(by_second.items(), key=lambda each: (each[1], -each[0]))
    assert f"{peak} reports/s at" in text
    assert f"(second {peak_s} of the run)" in " ".join(text.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "day.html",
        "day.ndjson",
        "town.csv",
    ]


@pytest.mark.slow
def test_levels_are_what_is_off_and_what_goes_on(tmp_path: Path) -> None:
    life = tmp_path / "life.toml"
    life.write_text("power_cuts_per_feeder_day = 20.0\nlamp_failure_ratio = 0.3\n")
    out = tmp_path / "day.ndjson"
    city = load_city("harbour_district", 1, 40, life)
    window = make_window("2026-11-21", "14:00", "20:00", 60.0, city.longitude)
    figures = write_schedule(city, window, "2026-11-21", out)
    _, events = _read(out)
    off: Counter[int] = Counter()
    begun: Counter[int] = Counter()
    for event in events:
        place = int(event.at_s / figures.slice_s)
        off[place] += (event.kind == "power_off") - (event.kind == "power_on")
        begun[place] += (event.kind == "incident_begins") - (event.kind == "incident_ends")
    last = len(figures.without_power_by_slice) - 1
    assert last == 239
    for place in range(last):
        assert figures.without_power_by_slice[place] == sum(off[n] for n in range(place + 1))
        assert figures.open_incidents_by_slice[place] == sum(begun[n] for n in range(place + 1))
    assert max(figures.without_power_by_slice) > min(figures.without_power_by_slice[60:]) == 0


@pytest.mark.slow
def test_the_same_question_gives_the_same_bytes(tmp_path: Path, manifest: Path) -> None:
    for name in ("one", "two"):
        _made(ScheduleOptions(str(manifest), ends="01:00", out=tmp_path / name))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_chart_fits_the_terminal(manifest: Path, width: int) -> None:
    text = _made(ScheduleOptions(str(manifest), begins="16:00", ends="17:00"), width)
    assert max(map(len, text.splitlines())) <= width
    chart = text[text.index("reports/s\n") :]
    assert "█" in chart
    assert "16:00" in chart
    assert "17:00" in chart


@pytest.mark.slow
def test_a_terminal_is_told_how_far_the_day_is(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace("harbour_district", "[red]quay"))
    printed = io.StringIO()
    terminal = Console(file=printed, width=80, force_terminal=True)
    make_schedule(ScheduleOptions(str(manifest), ends="00:30"), terminal)
    assert "the day goes on" in printed.getvalue()
    assert "[red]quay" in printed.getvalue()


@pytest.mark.slow
def test_json_has_the_figures(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _made(ScheduleOptions(str(manifest), begins="16:00", ends="17:00", as_json=True))
    found: dict[str, Any] = msgspec.json.decode(capsys.readouterr().out)
    assert found["city"] == "harbour_district"
    assert found["devices"] == {
        "air_monitor": 2,
        "parking_spot": 6,
        "street_lamp": 22,
        "waste_bin": 4,
        "water_meter": 6,
    }
    assert found["events"] == sum(sum(kinds.values()) for kinds in found["counts"].values())
    assert found["reports"] == sum(map(sum, found["reports_by_slice"].values()))


@pytest.mark.slow
def test_the_page_asks_for_nothing_from_outside(tmp_path: Path, manifest: Path) -> None:
    rows = manifest.read_text().replace("harbour_district", "<b>quay</b>")
    manifest.write_text(rows)
    html = tmp_path / "day.html"
    _made(ScheduleOptions(str(manifest), begins="16:00", ends="17:00", html=html))
    page = html.read_text()
    assert "<b>quay" not in page
    assert "&lt;b&gt;quay" in page
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert "http" not in page
    assert "prefers-color-scheme: dark" in page
    assert page.count('<svg class="chart"') >= 1


@pytest.mark.slow
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(begins=st.integers(0, 1_439), length=st.integers(1, 1_440), speed=st.floats(0.5, 100_000.0))
def test_any_hours_at_any_speed_give_a_readable_file(
    tmp_path: Path, begins: int, length: int, speed: float
) -> None:
    city = load_city("harbour_district", 3, 10)
    clocks = [f"{at // 60 % 24:02d}:{at % 60:02d}" for at in (begins, begins + length)]
    window = make_window("2026-03-29", *clocks, speed, city.longitude)
    out = tmp_path / "day.ndjson"
    figures = write_schedule(city, window, "2026-03-29", out)
    header, events = _read(out)
    assert header.events == figures.events == len(events)
    assert figures.reports_per_s_peak >= figures.reports_per_s_mean
    assert len(figures.without_power_by_slice) == len(figures.open_incidents_by_slice)
    assert min(figures.without_power_by_slice) >= 0
    assert min(figures.open_incidents_by_slice) >= 0


def test_the_harbour_district_is_a_city() -> None:
    assert "harbour_district" in known_cities()
    assert len(load_city("harbour_district", 1).devices) == 1_200
    assert len(load_city("harbour_district", 1, 50).devices) == 50
    assert len(load_city("harbour_district", 1, 1_300).devices) == 1_300


def test_a_run_with_the_same_seed_has_the_same_devices() -> None:
    for count in (7, 50, 1_300):
        chosen = {row.endpoint for row in choose(None, count, 3).rows}
        assert {d.endpoint for d in load_city("harbour_district", 3, count).devices} == chosen


def test_how_a_city_lives_may_lie_beside_its_manifest(manifest: Path) -> None:
    assert load_city(str(manifest), 1).life == CityLife()
    manifest.with_name("town.day.toml").write_text("repair_crews = 5\n")
    assert load_city(str(manifest), 1).life.repair_crews == 5
    other = manifest.with_name("other.toml")
    other.write_text("repair_crews = 7\n")
    assert load_city(str(manifest), 1, life=other).life.repair_crews == 7


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("repair_crews = 0", "$.repair_crews"),
        ("cruise = 1", "unknown field `cruise`"),
        ("repair_crews = ", "town.day.toml: "),
        ("overstay_ratio = 1.5", "$.overstay_ratio"),
        ("lorry_litres = inf", "lorry_litres"),
        ("parking_demand = nan", "parking_demand"),
    ],
)
def test_what_is_wrong_with_how_a_city_lives_is_told(manifest: Path, text: str, told: str) -> None:
    manifest.with_name("town.day.toml").write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_city(str(manifest), 1)
    assert "town.day.toml: " in str(caught.value)
    assert told in str(caught.value)


def test_what_cannot_be_done_is_told(tmp_path: Path, manifest: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("nothing\n")
    for options, told in (
        (ScheduleOptions("atlantis"), "no city 'atlantis': name one of harbour_district"),
        (ScheduleOptions(str(empty)), "no rows"),
        (ScheduleOptions(str(manifest), devices=0), "at least 1 is needed"),
        (ScheduleOptions(str(manifest), life=tmp_path / "none.toml"), "cannot read"),
        (ScheduleOptions(str(manifest), begins="soon"), "--from 'soon'"),
        (ScheduleOptions(str(manifest), out=tmp_path / "no" / "x"), "choose another --out"),
        (
            ScheduleOptions(
                str(manifest), ends="00:10", html=tmp_path / "no" / "x", out=tmp_path / "day"
            ),
            "choose another --html",
        ),
    ):
        with pytest.raises(ScenarioError, match=re.escape(told)):
            _made(options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.csv", "town.csv"]


@pytest.mark.slow
def test_the_command_line_passes_everything_on(tmp_path: Path, manifest: Path) -> None:
    out = tmp_path / "day.ndjson"
    line = f"schedule {manifest} --from 16:00 --to 17:00 --speed 120 --seed 9 --date 2026-06-01"
    found = CliRunner().invoke(app, [*line.split(), "--utc-offset", "+02:00", "--out", str(out)])
    assert found.exit_code == 0
    header, _ = _read(out)
    assert (header.seed, header.speed, header.from_s) == (9, 120.0, 1_780_322_400.0)


def test_the_page_of_the_docs_has_every_field_of_how_a_city_lives_with_its_default() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations" / "city_day.md").read_text()
    found: dict[str, float] = {}
    for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|.*\| ([0-9., ]+) \|$", page, re.MULTILINE):
        names = re.findall(r"\w+", row[0])
        found |= zip(names, map(float, row[1].split(", ")), strict=True)
    assert found == msgspec.to_builtins(CityLife())
