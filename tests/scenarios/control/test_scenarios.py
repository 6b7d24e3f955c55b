"""The control scenarios as a user runs them, in small: whole benches, real processes."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from contracts.report import Report
from harness.runner.execute import execute
from harness.runner.scenario import RunOptions, find_scenario

pytestmark = [pytest.mark.slow, pytest.mark.bench, pytest.mark.timeout(600)]


def run(name: str, options: RunOptions) -> Report:
    console = Console(file=io.StringIO())
    return asyncio.run(execute(find_scenario(name), options, console)).report


def broken(report: Report) -> dict[str, str]:
    return {check.name: check.summary for check in report.checks if check.outcome != "holds"}


def test_a_group_command_reaches_everyone(tmp_path: Path) -> None:
    options = RunOptions(devices=40, rate_per_s=40, out=tmp_path, report_every_s=0.5)
    report = run("control.group_command_reaches_everyone", options)
    assert broken(report) == {}
    assert report.commands.succeeded == report.commands.issued == 40


def test_kills_execute_nothing_twice(tmp_path: Path) -> None:
    options = RunOptions(devices=30, rate_per_s=30, out=tmp_path)
    report = run("control.kills_execute_nothing_twice", options)
    assert broken(report) == {}
    assert {kill.process for kill in report.kills} == {"control", "bridge", "server", "broker"}
