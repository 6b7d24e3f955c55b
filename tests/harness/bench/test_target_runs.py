"""The main job with an account's stores behind the platform: `lamplighter run … --target FILE`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.bench.target import load_target
from harness.runner.scenario import RunOptions
from tests.city_platform.stores.aws.ministack_child import MISSING, ministack, ministack_python
from tests.city_platform.stores.conftest import moto
from tests.scenarios.test_scenarios import MAIN_JOB, broken, run

__all__ = ["moto"]
pytestmark = [pytest.mark.slow, pytest.mark.bench, pytest.mark.moto, pytest.mark.timeout(600)]

DEVICES = 4
TARGET = """\
[stores]
kind = "aws"
region = "eu-central-1"
bucket = "lamplighter-bench-{number}"
create_missing = true

[stores.endpoints]
default = "{default}"
iot = "{iot}"

[stores.limits]
registry_per_s = 1000.0
call_s = 120.0
"""

Endpoints = tuple[str, str]


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as stack:
        yield stack


def _on_moto(url: str, folder: Path, ends: ExitStack) -> Endpoints:
    return url, url


def _on_ministack(url: str, folder: Path, ends: ExitStack) -> Endpoints:
    """MiniStack has no UpdateThingGroupsForThing: things stay with moto, all else is its."""
    if ministack_python() is None:
        pytest.skip(MISSING)
    return ends.enter_context(ministack(folder, enforcing=False)).url, url


@pytest.mark.parametrize(
    "emulator",
    [
        pytest.param(_on_moto, id="moto"),
        pytest.param(_on_ministack, id="ministack", marks=pytest.mark.ministack),
    ],
)
def test_the_main_job_holds_with_an_accounts_stores(
    tmp_path: Path, moto: str, ends: ExitStack, emulator: Callable[..., Endpoints]
) -> None:
    default, iot = emulator(moto, tmp_path, ends)
    file = tmp_path / "aws.toml"
    file.write_text(TARGET.format(default=default, iot=iot, number=os.getpid()))
    options = RunOptions(
        devices=DEVICES, rate_per_s=DEVICES, telemetry_s=2, report_every_s=0.5,
        out=tmp_path / "reports", target=load_target(file),
    )  # fmt: skip
    executed = run(MAIN_JOB, options)
    report = executed.report
    assert broken(report) == {}
    assert report.stages["online"].count == DEVICES
    assert report.readings.stored == report.readings.acknowledged > 0
    assert report.commands.succeeded == report.commands.issued > 0
