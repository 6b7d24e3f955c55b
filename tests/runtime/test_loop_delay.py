"""How late an event loop is: what counts, for how long, and that `GET /metrics` of a process says
it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from runtime.loop_delay import PERIOD_NS, WINDOW, Delay, LoopDelay, loop_delay, measuring
from tests.processes import WITHIN_S, line_of, running

MS = 1_000_000


def test_a_loop_that_is_on_time_is_late_by_nothing() -> None:
    delay = LoopDelay(0)
    assert delay.told() is None
    now_ns = 0
    for _ in range(50):
        now_ns += int(delay.turn(now_ns) * 1e9)
        assert now_ns % PERIOD_NS == 0
    assert delay.told() == Delay(0.0, 0.0)


def test_each_due_time_of_a_standstill_counts_with_how_long_it_waited() -> None:
    delay = LoopDelay(0)
    assert delay.turn(1_000 * MS) == pytest.approx(0.1)
    assert list(vars(delay)["_late_ns"]) == [each * MS for each in range(900, -1, -100)]
    assert delay.told() == Delay(0.9, 0.9)


def test_one_late_turn_of_many_is_the_longest_and_not_p99() -> None:
    delay = LoopDelay(0)
    for due in range(1, 201):
        delay.turn(due * PERIOD_NS + (50 * MS if due == 100 else MS))
    assert delay.told() == Delay(0.001, 0.05)


def test_what_is_longer_ago_than_a_minute_is_forgotten() -> None:
    delay = LoopDelay(0)
    delay.turn(10 * PERIOD_NS)
    for due in range(11, 11 + WINDOW):
        delay.turn(due * PERIOD_NS + 2 * MS)
    assert delay.told() == Delay(0.002, 0.002)


def test_a_machine_that_slept_for_a_day_costs_no_more_than_a_minute() -> None:
    delay = LoopDelay(0)
    delay.turn(86_400 * 1_000 * MS)
    assert len(vars(delay)["_late_ns"]) == WINDOW
    found = delay.told()
    assert found is not None
    assert 59 <= found.max_s <= 61


@given(st.lists(st.integers(0, 10**9), max_size=50))
def test_whenever_it_is_asked_the_next_turn_is_within_a_period(steps_ns: list[int]) -> None:
    delay, now_ns = LoopDelay(0), 0
    for step_ns in steps_ns:
        now_ns += step_ns
        assert 0 < delay.turn(now_ns) <= PERIOD_NS / 1e9
        found = delay.told()
        assert found is None or 0 <= found.p99_s <= found.max_s


def test_it_is_measured_for_what_the_block_starts_and_for_nothing_else() -> None:
    now_ns = 0

    async def ask() -> Delay | None:
        return loop_delay()

    async def story() -> None:
        nonlocal now_ns
        with measuring(lambda: now_ns) as found:
            now_ns = 3 * PERIOD_NS
            found.turn(now_ns)
            assert await asyncio.create_task(ask()) == Delay(0.2, 0.2)
        assert await asyncio.create_task(ask()) is None

    uvloop.run(story())


PROGRAM = """
import msgspec
from starlette.routing import Route
from runtime.component import run_process
from runtime.http import bind, make_app, serving
from runtime.metrics import metrics_response
import asyncio

class Config(msgspec.Struct):
    pass

async def run(config, clock, ready):
    async def metrics(request):
        return metrics_response("audit", {})
    async with serving(make_app([Route("/metrics", metrics)], None), bind("127.0.0.1", 0)) as at:
        ready({"http": at})
        await asyncio.get_running_loop().create_future()

raise SystemExit(run_process(run, Config(), name="audit"))
"""


@pytest.mark.slow
def test_a_component_in_a_process_of_its_own_tells_it() -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with running([sys.executable, "-c", PROGRAM], cwd=root, env=environment) as process:
        found = asyncio.run(_asked(process))
        process.send_signal(signal.SIGTERM)
        process.wait(WITHIN_S)
    p99, longest = (
        found[f"lamplighter_event_loop_delay_{what}_seconds"] for what in ("p99", "max")
    )
    assert 0 <= p99 <= longest < 60


async def _asked(process: subprocess.Popen[str]) -> dict[str, float]:
    """Its metrics, as soon as the timer was due once."""
    import json

    address = json.loads(line_of(process))["ready"]["http"]
    async with (
        asyncio.timeout(WITHIN_S),
        httpx.AsyncClient(base_url=f"http://{address}", timeout=WITHIN_S) as client,
    ):
        while True:
            text = (await client.get("/metrics")).text
            found = {
                sample.name: sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
            if "lamplighter_event_loop_delay_p99_seconds" in found:
                return found
            await asyncio.sleep(0.02)
