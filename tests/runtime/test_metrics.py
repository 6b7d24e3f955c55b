"""`GET /metrics`: the format, as Prometheus's own parser reads it, and the process's figures."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from contracts.metrics import PROCESS, UNLISTED
from runtime.http import bind, make_app, serving
from runtime.metrics import (
    CONTENT_TYPE,
    Family,
    Sample,
    exposition,
    families_of,
    metrics_endpoint,
    process_families,
)
from tests.processes import WITHIN_S

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def read(families: list[Family]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What the parser of prometheus_client makes of it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition(families))
        for sample in family.samples
    }


@given(st.dictionaries(TEXTS, st.floats(allow_nan=False), max_size=5))
def test_any_label_and_any_number_come_back_as_they_were(values: dict[str, float]) -> None:
    family = Family("m", "gauge", "some", [Sample([("l", t)], v) for t, v in values.items()])
    assert read([family]) == {("m", (("l", text),)): value for text, value in values.items()}


@pytest.mark.parametrize("text", ['a "quoted" \\ one', "two\nlines", "\\n is no line"])
def test_a_label_is_escaped_as_the_format_says(text: str) -> None:
    assert read([Family("m_total", "counter", "x", [Sample([("l", text)], 1)])]) == {
        ("m_total", (("l", text),)): 1.0
    }


@pytest.mark.parametrize("text", ["one line", "two\nlines", "a \\ in it"])
def test_a_meaning_is_escaped_as_the_format_says(text: str) -> None:
    (found,) = text_string_to_metric_families(exposition([Family("m", "gauge", text, [])]))
    assert found.documentation == text
    assert found.type == "gauge"


def test_a_count_gets_name_kind_and_label_of_its_row() -> None:
    counts = {"commands": 3, "open_commands": 2, "rules.matched.results": 1, "ignored.malformed": 4}
    assert read(families_of("control", counts)) == {
        ("lamplighter_control_commands_total", ()): 3.0,
        ("lamplighter_control_open_commands", ()): 2.0,
        ("lamplighter_control_rules_matched_total", (("rule", "results"),)): 1.0,
        ("lamplighter_control_ignored_total", (("reason", "malformed"),)): 4.0,
    }


def test_a_count_without_a_row_is_served_all_the_same() -> None:
    assert read(families_of("control", {"moons": 1})) == {
        (UNLISTED, (("component", "control"), ("count", "moons"))): 1.0
    }


def test_a_component_without_a_table_is_refused_before_anybody_asks() -> None:
    with pytest.raises(KeyError):
        metrics_endpoint("weather", dict)


def test_the_process_tells_its_figures() -> None:
    found = {name: value for (name, _), value in read(process_families()).items()}
    assert set(found) <= {row.metric for row in PROCESS}
    assert 0 < found["process_open_fds"] < found["process_max_fds"]
    assert found["process_resident_memory_bytes"] > 1_000_000
    assert found["process_cpu_seconds_total"] > 0


def test_it_is_answered_as_prometheus_asks_for_it_and_only_to_the_bearer() -> None:
    async def story() -> None:
        app = make_app([Route("/metrics", metrics_endpoint("audit", lambda: {"kept": 7}))], "t")
        async with (
            serving(app, bind("127.0.0.1", 0)) as address,
            httpx.AsyncClient(base_url=f"http://{address}", timeout=WITHIN_S) as client,
        ):
            assert (await client.get("/metrics")).status_code == 401
            answer = await client.get("/metrics", headers={"Authorization": "Bearer t"})
        assert answer.headers["content-type"] == CONTENT_TYPE
        assert "lamplighter_audit_kept_total 7\n" in answer.text
        assert 'lamplighter_component_info{component="audit"} 1\n' in answer.text

    asyncio.run(story())
