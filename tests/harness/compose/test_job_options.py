"""The main job in containers goes at a pace that a fleet beside sixteen containers can keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compose.city import ServerPlace
from harness.compose.job import DEVICES_PER_S, PACKS_PER_S, job_options
from harness.compose.standing_bench import JobConfig
from harness.errors import ScenarioError

SERVERS = (ServerPlace("coaps://127.0.0.1:5684", "127.0.0.1:8090", "token"),)
CONFIG = JobConfig(addresses={}, token_files={}, servers=SERVERS, devices_file="devices.ndjson")


@pytest.mark.parametrize("devices", [1, 100, 10_000])
def test_devices_together_send_no_more_than_is_paced(devices: int) -> None:
    options = job_options(CONFIG, devices, Path())
    assert devices / options.reporting_interval_s(devices) <= PACKS_PER_S
    assert options.rate_per_s == DEVICES_PER_S


def test_another_rate_is_taken_and_one_that_is_none_refused() -> None:
    assert job_options(CONFIG, 100, Path(), 50.0).rate_per_s == 50.0
    with pytest.raises(ScenarioError, match="--rate 0"):
        job_options(CONFIG, 100, Path(), 0.0)
