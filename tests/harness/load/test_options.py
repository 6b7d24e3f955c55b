"""Options that cannot be run are refused with what to do, and become Locust's own."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ScenarioError
from harness.load.figures import figures_from
from harness.load.options import LoadOptions, master_arguments, run_time_s, worker_arguments
from tests.processes import WITHIN_S


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"users": 0}, "--users 0"),
        ({"spawn_rate_per_s": 0.0}, "--spawn-rate 0"),
        ({"workers": 999}, "--workers 999"),
        ({"lifetime_s": 0}, "--lifetime 0"),
        ({"report_every_s": 0.0}, "--report-every 0"),
        ({"commands_per_s": -1.0}, "--commands -1"),
        ({"commands_per_s": 5.0, "server": "coap://h:1"}, "--commands goes through"),
        ({"run_time": "soon"}, "--run-time soon"),
        ({"run_time": "0s"}, "--run-time 0s"),
        ({"master_host": "10.0.0.1"}, "needs --server"),
        ({"master_host": "10.0.0.1", "server": "coap://h:1", "workers": 0}, "nothing to start"),
        ({"server": "coaps://h:1"}, "needs --devices"),
        ({"devices_file": Path("d")}, "--devices goes with --server"),
        ({"workers": 0}, "--workers 0 needs --server"),
        ({"expect_workers": 1}, "--expect-workers 1"),
        ({"locustfile": Path("nowhere.py")}, "nowhere.py"),
        ({"locustfile": Path(__file__).parents[3] / "README.md"}, "a name in .py"),
        ({"locust_arguments": ("--run-time=5s",)}, "--run-time=5s behind --"),
        ({"locust_arguments": ("--processes", "4")}, "--processes behind --"),
    ],
)
def test_what_cannot_be_run_is_refused(choices: dict[str, Any], told: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        LoadOptions(**choices)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("300", 300), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1h1m1s", 3661)],
)
def test_run_times_are_written_as_for_locust(text: str, seconds: int) -> None:
    assert run_time_s(text) == seconds


@given(text=st.text(max_size=12) | st.from_regex(r"\d{1,4}h?\d{0,3}m?\d{0,3}s?", fullmatch=True))
def test_any_run_time_is_seconds_or_refused(text: str) -> None:
    try:
        assert run_time_s(text) >= 0
    except ScenarioError as error:
        assert "--run-time" in str(error)  # noqa: PT017  # both ends are right


def test_a_bench_has_devices_for_every_way_that_locust_may_spread_users() -> None:
    assert LoadOptions(users=40, workers=2).devices == 40
    # 41 over two workers: either may get 21.
    assert LoadOptions(users=41, workers=2).devices == 43


def test_locust_is_told_what_was_chosen(tmp_path: Path) -> None:
    options = LoadOptions(
        users=5,
        spawn_rate_per_s=2.5,
        run_time="1m",
        headless=True,
        locust_arguments=("--tags", "x"),
    )
    arguments = master_arguments(options, tmp_path, "coap://127.0.0.1:5683")
    pairs = dict(pairwise(arguments))
    assert pairs["--users"] == "5"
    assert pairs["--spawn-rate"] == "2.5"
    assert pairs["--run-time"] == "60s"
    assert pairs["--master-bind-host"] == "127.0.0.1"
    assert {"--headless", "--master"} <= set(arguments)
    assert arguments[-2:] == ("--tags", "x")
    assert "--web-port" not in arguments


def test_the_page_is_on_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    arguments = master_arguments(LoadOptions(), tmp_path, "coap://127.0.0.1:5683")
    pairs = dict(pairwise(arguments))
    assert (pairs["--web-host"], pairs["--web-port"]) == ("127.0.0.1", "8089")


def test_a_worker_is_told_its_master() -> None:
    arguments = worker_arguments(LoadOptions(), "10.0.0.1", 5557)
    pairs = dict(pairwise(arguments))
    assert (pairs["--master-host"], pairs["--master-port"]) == ("10.0.0.1", "5557")


@pytest.mark.parametrize(
    ("choices", "source"),
    [
        ({}, "journals"),
        ({"expect_workers": 4}, "locust"),
        ({"master_host": "h", "server": "coap://h:1"}, "journals of this machine"),
    ],
)
def test_the_report_says_what_it_is_made_from(choices: dict[str, Any], source: str) -> None:
    assert figures_from(LoadOptions(**choices)) == source


@pytest.mark.slow
def test_the_command_imports_neither_locust_nor_gevent() -> None:
    look = (
        "import sys, json, harness.cli, harness.load.run, harness.runner.scenario as s\n"
        "s.find_scenarios()\n"
        "print(json.dumps([n for n in ('locust', 'gevent') if n in sys.modules]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=WITHIN_S
    )
    assert json.loads(run.stdout) == []
