"""Each benchmark runs, very small, and says what it promises: ratios, never times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.bench_start import imports_ms
from benchmarks.onboarding import percentile, sustained_per_s
from harness.bench.configs import PROCESSES
from harness.bench.forking import can_fork
from tests.processes import WITHIN_S

ROOT = Path(__file__).parents[2]
# What a bench starts unless it is asked for pages.
STARTED = set(PROCESSES) - {"dashboard"}
FORK_SERVERS = {"fork-server-platform", "fork-server-bench"} if can_fork() else set()


def line_of(module: str, *arguments: str) -> dict[str, Any]:
    """What `python -m benchmarks.<module>` prints."""
    ended = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=ROOT, capture_output=True, timeout=4 * WITHIN_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr.decode()[-2_000:]
    found: dict[str, Any] = msgspec.json.decode(ended.stdout)
    assert found["benchmark"] == module
    return found


@pytest.mark.slow
@pytest.mark.bench
@pytest.mark.parametrize("security", ["none", "psk"])
def test_onboarding_tells_rate_latency_and_cost_of_every_stage(
    tmp_path: Path, security: str
) -> None:
    line = line_of(
        "onboarding", "--devices", "20", "--rate", "100", "--out", str(tmp_path / "out"),
        "--security", security,
    )  # fmt: skip
    assert line["security"] == security
    assert list(line["stages"]) == [
        "registered", "event_published", "credentials_published", "bootstrapped",
    ]  # fmt: skip
    for stage in line["stages"].values():
        assert stage["count"] == 20
        assert stage["per_s"] > 0
        assert 0 < stage["p50_ms"] <= stage["p99_ms"]
    assert line["stages"]["registered"]["p50_ms"] <= line["stages"]["bootstrapped"]["p50_ms"]
    assert set(line["cpu_us_per_device"]) == STARTED | FORK_SERVERS | {"runner"}
    assert line["conditions"]["python"]
    assert line["messages_per_device"]["coap_registers"] == 1
    # The broker object, and all publications at once.
    assert line["messages_per_device"]["coap_requests_of_commands"] == 2
    assert line["messages_per_device"]["mqtt_credentials"] == 1
    journal = (tmp_path / "out" / "journal" / "fleet.jsonl").read_text()
    assert "credentials_activated" in journal
    assert "device_connected" not in journal, "connections are another measurement"


@pytest.mark.slow
@pytest.mark.bench
def test_provisioning_tells_rows_per_second_and_that_a_second_import_changes_nothing() -> None:
    line = line_of("provisioning", "--rows", "60")
    assert line["created"]["accepted"] == line["unchanged"]["accepted"] == 60
    assert line["created"]["rejected"] == 0
    assert (line["created"]["unchanged_ratio"], line["unchanged"]["unchanged_ratio"]) == (0, 1)
    assert line["created"]["rows_per_s"] > 0
    without_fleet = STARTED - {"fleet"}
    assert set(line["created"]["cpu_us_per_row"]) == without_fleet | FORK_SERVERS | {"runner"}


@pytest.mark.slow
@pytest.mark.bench
def test_bench_start_tells_times_and_imports_of_every_process() -> None:
    line = line_of("bench_start", "--times", "1")
    assert len(line["ready_s"]) == len(line["down_s"]) == 1
    assert line["left"] == 0
    assert set(line["imports_ms"]) == set(line["cpu_ms_at_ready"]) == STARTED | FORK_SERVERS
    # Whoever imports ahead spares the others.
    assert all(line["imports_ms"][name]["all"] > 0 for name in FORK_SERVERS or STARTED)


@pytest.mark.slow
@pytest.mark.bench
def test_our_coap_core_takes_a_fraction_of_the_cpu_of_aiocoap() -> None:
    line = line_of("coap_core", "--exchanges", "6000", "--aiocoap-exchanges", "300")
    assert line["ours"]["failed"] == 0
    assert (line["outstanding"], line["objects"]) == (20, 13)
    assert line["links"]["cpu_us"] < line["ours"]["cpu_us"]
    # By CPU, and half of what it is: other processes disturb rates.
    assert line["times_less_cpu"] >= 6


@pytest.mark.slow
@pytest.mark.bench
def test_an_established_psk_session_keeps_most_of_the_plain_rate() -> None:
    line = line_of("dtls", "--devices", "150", "--x509-devices", "20", "--exchanges", "2000")
    for kind, resumed in (("psk", 0), ("psk_with_tickets", 150), ("x509", 20)):
        assert line[kind]["failed"]["handshakes"] == 0
        assert line[kind]["again"]["were_resumed"] >= resumed
    assert line["register"]["plain"]["failed"] == line["register"]["psk"]["failed"] == 0
    assert line["register"]["psk_to_plain_by_cpu"] >= 0.4


def test_the_sustained_rate_leaves_out_the_ramp_at_either_end() -> None:
    ramp_s, steady_s = [0.0, 5.0], [10 + number / 100 for number in range(96)]
    completions_ns = [round(at_s * 1e9) for at_s in (*ramp_s, *steady_s, 20.0, 30.0)]
    assert sustained_per_s(completions_ns) == pytest.approx(100)
    assert sustained_per_s([7]) == 0


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentile(range(1, 101), 0.5) == 51
    assert percentile(range(1, 101), 0.99) == 100
    assert percentile([], 0.5) == 0


def test_imports_are_summed_by_package_from_an_importtime_log() -> None:
    log = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:      1500 |       1500 |     lwm2m.coap\n"
        "import time:       500 |       2000 |   lwm2m\n"
        "import time:       300 |        300 | asyncio\n"
        "12:00:00 server INFO something else\n"
    )
    assert imports_ms(log) == {"all": 2.3, "lwm2m": 2.0, "asyncio": 0.3}
