"""The ready dashboard asks only for metrics that there are, and is what Grafana can read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from contracts.metric_rows import METRICS
from contracts.metrics import PROCESS

FILE = Path(__file__).parents[2] / "deploy/grafana/lamplighter.json"
NAME = re.compile(r"\b(?:lamplighter|process)_[a-z0-9_]+\b")
KINDS = {row.metric: row.kind for row in (*METRICS, *PROCESS)} | {
    "lamplighter_component_info": "gauge"
}
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_only_metrics_of_the_table(expression: str) -> None:
    names = NAME.findall(expression)
    assert names
    assert [name for name in names if name not in KINDS] == []


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_counters_are_shown_as_rates_and_gauges_as_they_are(expression: str) -> None:
    counted = re.findall(r"(?:rate|increase)\(([a-z0-9_]+)\[", expression)
    assert [name for name in NAME.findall(expression) if KINDS[name] == "counter"] == counted


def test_every_panel_has_a_place_of_its_own_and_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert [panel["title"] for panel in PANELS if not panel["description"]] == []
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_where_the_numbers_come_from_is_chosen_in_grafana() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    used = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    assert used == {"${datasource}"}
