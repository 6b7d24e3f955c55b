"""How many devices a second come from power-on to the last write of their credentials.

    python -m benchmarks.onboarding [--devices N] [--rate N/s] [--broker embedded|mosquitto]
                                    [--security none|psk|x509]

Devices are switched on at an open rate and open no MQTT connection of their own: that is another
measurement. With DTLS each makes a full handshake first. Prints one JSON line. `--profile DIR`
samples every process with py-spy, when that is installed, and puts folded stacks of each into the
directory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from benchmarks.rig import CpuMeter, Fields, Rig, output_directory, profiled, rig_up, write_line
from contracts.journal import (
    DeviceBootstrapped,
    DeviceRegistered,
    DeviceStarted,
    LoopSample,
    MessageSeen,
)
from harness.bench import configs
from harness.journal import Journal, read_run
from harness.runner.cohort import choose
from harness.runner.execute import security_of
from harness.runner.instruments import taps_on
from harness.runner.live import Live
from harness.runner.progress import Progress
from harness.runner.run import Run
from harness.runner.scenario import RunOptions
from harness.security import SECURITIES

PATIENCE_S = 30.0
# Completions between these parts of all count: the ramp at either end does not.
FROM_RATIO, TO_RATIO = 0.1, 0.9


class BootstrapsSeen(Live):
    """Also counts whose bootstrap has ended, as the broker tap sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.bootstrapped: set[str] = set()

    def message_seen(self, record: MessageSeen) -> None:
        """See `Live`."""
        if record.event_kind == "bootstrap":
            self.bootstrapped.add(record.endpoint)
        super().message_seen(record)


async def measure(
    options: RunOptions, broker: str, out: Path | None, profile: Path | None
) -> Fields:
    """The figures of one run. Raises `HarnessError` when a device was not bootstrapped."""
    security = security_of(options)
    live = BootstrapsSeen()
    with output_directory(out) as output:
        async with (
            rig_up(output, live, broker=broker, security=security) as rig,
            taps_on(rig.bench, rig.journal, rig.clock, live, broker=True),
        ):
            measured = await _onboard(options, rig, live, profile)
        return {
            "benchmark": "onboarding",
            "devices": options.devices,
            "offered_per_s": options.rate_per_s,
            "broker": broker,
            "security": security,
            **figures(read_run(output)),
            **measured,
        }


async def _onboard(
    options: RunOptions, rig: Rig, live: BootstrapsSeen, profile: Path | None
) -> Fields:
    cohort = choose(None, options.devices, options.seed)
    count = len(cohort.rows)
    run = Run(
        options, rig.bench, cohort, rig.journal, rig.clock, live, Progress(Console(quiet=True), 1)
    )
    await run.provision_rows()
    credentials = await rig.bench.device_credentials(cohort.rows)
    fleet = configs.fleet(rig.bench, cohort.rows, options, [], credentials)
    await rig.bench.start_fleet({**fleet, "connects": False})
    async with profiled(rig, profile):
        meter = CpuMeter(rig.bench, rig.clock)
        run.switch_on()
        await live.until(
            f"{count} devices bootstrapped",
            lambda: len(live.bootstrapped) >= count,
            count / (options.rate_per_s or 1.0) + PATIENCE_S,
        )
        measured = {"cpu_us_per_device": meter.us_each(count), "conditions": meter.conditions()}
    await run.end_fleet()
    return measured


# ---- from the journal ----


def figures(journal: Journal) -> Fields:
    """Rates and latencies of every stage, from what the instruments recorded."""
    intended = {each.endpoint: each.intended_at_ns for each in journal.of(DeviceStarted)}
    lags = sorted(each.at_ns - each.intended_at_ns for each in journal.of(DeviceStarted))
    return {
        "stages": {name: _stage(reached, intended) for name, reached in _reached(journal).items()},
        "whole_per_s": _whole_per_s(journal, intended),
        "loader_lag_p99_ms": _ms(percentile(lags, 0.99)),
        "socket_drops": sum(each.socket_drops for each in journal.of(LoopSample)),
        "retransmissions": sum(each.retransmissions for each in journal.of(LoopSample)),
    }


def _reached(journal: Journal) -> dict[str, dict[str, int]]:
    """When each device first reached each stage."""
    stages: dict[str, dict[str, int]] = {
        "registered": {},
        "event_published": {},
        "credentials_published": {},
        "bootstrapped": {},
    }
    for registered in journal.of(DeviceRegistered):
        stages["registered"].setdefault(registered.endpoint, registered.at_ns)
    for seen in journal.of(MessageSeen):
        if seen.event_kind == "registered":
            stages["event_published"].setdefault(seen.endpoint, seen.at_ns)
        elif seen.topic_kind == "credentials":
            stages["credentials_published"].setdefault(seen.endpoint, seen.at_ns)
    for ended in journal.of(DeviceBootstrapped):
        stages["bootstrapped"].setdefault(ended.endpoint, ended.at_ns)
    return stages


def _whole_per_s(journal: Journal, intended: dict[str, int]) -> float:
    """All devices, from the first power-on to the last bootstrap: with the ramp at either end."""
    ended = [each.at_ns for each in journal.of(DeviceBootstrapped)]
    return round(len(intended) / (max(ended) - min(intended.values())) * 1e9, 1) if ended else 0.0


def _stage(reached: dict[str, int], intended: dict[str, int]) -> Fields:
    latencies = sorted(at_ns - intended[endpoint] for endpoint, at_ns in reached.items())
    return {
        "count": len(reached),
        "per_s": round(sustained_per_s(sorted(reached.values())), 1),
        "p50_ms": _ms(percentile(latencies, 0.5)),
        "p99_ms": _ms(percentile(latencies, 0.99)),
    }


def sustained_per_s(completions_ns: Sequence[int]) -> float:
    """Completions a second between the 10th and the 90th percentile; 0 for fewer than two."""
    if len(completions_ns) < 2:
        return 0.0
    first = int(FROM_RATIO * (len(completions_ns) - 1))
    last = int(TO_RATIO * (len(completions_ns) - 1))
    took_ns = completions_ns[last] - completions_ns[first]
    return (last - first) / took_ns * 1e9 if took_ns else 0.0


def percentile(ascending: Sequence[int], ratio: float) -> int:
    """By nearest rank; 0 of nothing."""
    return ascending[min(len(ascending) - 1, int(ratio * len(ascending)))] if ascending else 0


def _ms(duration_ns: int) -> float:
    return round(duration_ns / 1e6, 1)


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=3_000)
    parser.add_argument("--rate", type=float, default=1_000.0, help="devices switched on a second")
    parser.add_argument("--broker", choices=["embedded", "mosquitto"], default="embedded")
    parser.add_argument("--security", choices=SECURITIES, default="none")
    parser.add_argument("--out", type=Path, default=None, help="keep logs and journal here")
    parser.add_argument("--profile", type=Path, default=None, help="directory for py-spy's output")
    told = parser.parse_args()
    options = RunOptions(devices=told.devices, rate_per_s=told.rate, security=told.security)
    line = uvloop.run(measure(options, told.broker, told.out, told.profile))
    write_line(line, sys.stdout.write)


if __name__ == "__main__":
    main()
