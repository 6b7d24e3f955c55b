"""How long a command takes from an operator's POST to its result on MQTT, at an open rate.

    python -m benchmarks.commands [--devices N] [--rate N/s] [--seconds S]
                                  [--broker embedded|mosquitto]

Registered devices are read by commands, one after the other; a command's time begins when it was
meant to be posted, so that a loader or platform that falls behind shows. Devices open no MQTT
connection. Prints one JSON line; `unanswered` commands got no result within the patience. `bars`
says of each bar whether it is met, or that this run offered too little to tell. With `--judge` the
exit code is 0 when all are met, 1 when one is not, 2 when one cannot be told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console

from benchmarks.bars import Bar, cores_allow_per_s, exit_code, told
from benchmarks.onboarding import BootstrapsSeen, percentile, sustained_per_s
from benchmarks.posting import Post, Posters
from benchmarks.rig import (
    CpuMeter,
    Fields,
    Rig,
    made_directory,
    output_directory,
    profiled,
    rig_up,
    write_line,
)
from contracts.api import CommandRequest
from contracts.topics import fill
from harness.bench import configs
from harness.bench.bench import tap_identity
from harness.runner.cohort import choose
from harness.runner.execute import security_of
from harness.runner.instruments import taps_on
from harness.runner.progress import Progress
from harness.runner.run import Run
from harness.runner.scenario import RunOptions
from mqtt.connection import InboundMessage
from mqtt.transport import MqttClient, client_tls

REGISTER_PER_S: Final = 200.0
PATIENCE_S: Final = 30.0
# What must be reached: commands a second, over so many devices, and the 99th percentile.
BAR_PER_S: Final = 500.0
BAR_DEVICES: Final = 5_000
BAR_P99_MS: Final = 50.0
# Connections on which commands are posted: each carries one request at a time.
POSTERS: Final = 16
# The device's own time: every model has it, and a device reads it anew.
PATH: Final = "/3/0/13"


class _Result(msgspec.Struct):
    id: str
    code: str = ""


class _Posted(msgspec.Struct):
    """What is looked at of a POST's answer."""

    id: str


class _Event(msgspec.Struct):
    """What is looked at of a `result` event."""

    result: _Result


class Operator:
    """Posts commands at their times and hears their results on MQTT."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._events = msgspec.json.Decoder(_Event)
        self._posts = msgspec.json.Decoder(_Posted)
        self._intended_ns: dict[str, int] = {}
        self._heard_ns: dict[str, int] = {}
        self._lag_ns: list[int] = []
        self.codes: dict[str, int] = {}
        self._heard = asyncio.Event()
        self.client = _tap(rig, self._result)

    async def post_all(self, endpoints: Sequence[str], rate_per_s: float, count: int) -> None:
        """Post `count` commands, to each device in turn."""
        bench, clock = self._rig.bench, self._rig.clock
        posters = Posters(
            bench.address("control", "http"), bench.operators.bearer("controller"), self._posted
        )
        body = msgspec.json.encode(
            CommandRequest(operation="read", path=PATH, expires_in_s=PATIENCE_S)
        )
        paths = itertools.cycle([f"/v1/devices/{endpoint}/commands" for endpoint in endpoints])
        await posters.open(POSTERS)
        try:
            began_ns = clock.now_ns()
            for number, path in zip(range(count), paths, strict=False):
                intended_ns = began_ns + int(number / rate_per_s * 1e9)
                if (early_ns := intended_ns - clock.now_ns()) > 0:
                    await asyncio.sleep(early_ns / 1e9)
                self._lag_ns.append(clock.now_ns() - intended_ns)
                posters.post(Post(path, body, intended_ns))
            await posters.until_idle(count / rate_per_s * 4 + PATIENCE_S)
        finally:
            posters.close()

    async def until_answered(self, within_s: float) -> None:
        """Wait until every command that was posted has its result, or the patience ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while len(self._answered()) < len(self._intended_ns):
                    self._heard.clear()
                    await self._heard.wait()

    def figures(self) -> Fields:
        """Rates and round trips."""
        took = self._answered()
        trips = sorted(ended - began for began, ended in took)
        return {
            "posted": len(self._intended_ns),
            "unanswered": len(self._intended_ns) - len(took),
            "codes": self.codes,
            "per_s": round(sustained_per_s(sorted(ended for _, ended in took)), 1),
            "round_trip_ms": {
                name: round(percentile(trips, ratio) / 1e6, 1)
                for name, ratio in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
            },
            "loader_lag_p99_ms": round(percentile(sorted(self._lag_ns), 0.99) / 1e6, 1),
        }

    def _answered(self) -> list[tuple[int, int]]:
        heard = self._heard_ns
        return [(began, heard[name]) for name, began in self._intended_ns.items() if name in heard]

    def _posted(self, post: Post, answer: bytes) -> None:
        self._intended_ns[self._posts.decode(answer).id] = post.intended_ns

    def _result(self, message: InboundMessage) -> None:
        result = self._events.decode(message.payload).result
        # A result that was kept and comes again is not a second one.
        if result.id not in self._heard_ns:
            self._heard_ns[result.id] = self._rig.clock.now_ns()
            self.codes[result.code] = self.codes.get(result.code, 0) + 1
            self._heard.set()


def _tap(rig: Rig, arrived: Any) -> MqttClient:
    host, _, port = rig.bench.address("broker", "mqtt").rpartition(":")
    files = configs.client_files(rig.bench.plan, tap_identity())
    topic_filter = fill(rig.bench.plan.topics.event, kind="result")
    return MqttClient(
        client_id=tap_identity(),
        address=(host, int(port)),
        tls=client_tls(files["ca_file"], files["certificate_file"], files["key_file"]),
        clock=rig.clock,
        chance=random.Random(0).random,
        subscriptions=[(topic_filter, 0)],
        on_message=arrived,
    )


async def measure(
    options: RunOptions,
    rate_per_s: float,
    seconds: float,
    broker: str,
    profile: Path | None = None,
) -> Fields:
    """The figures of one run; with `profile`, each process is sampled into this directory. Raises
    `HarnessError` when a device was not bootstrapped."""
    security = security_of(options)
    live = BootstrapsSeen()
    with output_directory() as output:
        async with rig_up(output, live, broker=broker, security=security) as rig:
            endpoints = await _switched_on(options, rig, live)
            operator = Operator(rig)
            task = asyncio.ensure_future(operator.client.run())
            try:
                await asyncio.wait_for(operator.client.connected.wait(), PATIENCE_S)
                meter = CpuMeter(rig.bench, rig.clock)
                count = round(rate_per_s * seconds)
                async with profiled(rig, profile):
                    await operator.post_all(endpoints, rate_per_s, count)
                    await operator.until_answered(PATIENCE_S)
                cpu_us = meter.us_each(count)
                measured = {
                    "cpu_us_per_command": cpu_us,
                    "cores_allow_per_s": cores_allow_per_s(cpu_us, os.cpu_count() or 1),
                    "conditions": meter.conditions(),
                }
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return {
            "benchmark": "commands",
            "devices": options.devices,
            "offered_per_s": rate_per_s,
            "broker": broker,
            "security": security,
            **(found := operator.figures()),
            "bars": told(bars_of(found, options.devices, rate_per_s)),
            **measured,
        }


def bars_of(found: Fields, devices: int, offered_per_s: float) -> list[Bar]:
    """The bars; with less than they ask for only a failure can be told."""
    bars = [
        Bar("answered_per_s", BAR_PER_S * 0.99, found["per_s"]),
        Bar("round_trip_p99_ms", BAR_P99_MS, found["round_trip_ms"]["p99"], is_ceiling=True),
        Bar("unanswered", 0, found["unanswered"], is_ceiling=True),
    ]
    if devices >= BAR_DEVICES and offered_per_s >= BAR_PER_S:
        return bars
    because = f"{offered_per_s:g} commands a second to {devices} devices, not 500 to 5,000"
    return [
        bar._replace(measured=None, because=because)
        if bar.is_met or bar.name == "answered_per_s"
        else bar
        for bar in bars
    ]


async def _switched_on(options: RunOptions, rig: Rig, live: BootstrapsSeen) -> list[str]:
    """Register all devices, with their credentials written and no connection opened."""
    cohort = choose(None, options.devices, options.seed)
    run = Run(
        options, rig.bench, cohort, rig.journal, rig.clock, live, Progress(Console(quiet=True), 1)
    )
    async with taps_on(rig.bench, rig.journal, rig.clock, live, broker=True):
        await run.provision_rows()
        credentials = await rig.bench.device_credentials(cohort.rows)
        fleet = configs.fleet(rig.bench, cohort.rows, options, [], credentials)
        await rig.bench.start_fleet({**fleet, "connects": False})
        run.switch_on(rate_per_s=REGISTER_PER_S)
        await live.until(
            f"{options.devices} devices bootstrapped",
            lambda: len(live.bootstrapped) >= len(cohort.rows),
            len(cohort.rows) / REGISTER_PER_S * 4 + PATIENCE_S,
        )
    return [row.endpoint for row in cohort.rows]


def main() -> int:
    """Measure and print the line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--rate", type=float, default=200.0, help="commands a second")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--broker", choices=["embedded", "mosquitto"], default="embedded")
    parser.add_argument(
        "--profile", type=made_directory, default=None, help="directory for py-spy's output"
    )
    parser.add_argument("--judge", action="store_true", help="exit code by the bars")
    asked = parser.parse_args()
    options = RunOptions(devices=asked.devices)
    line = uvloop.run(measure(options, asked.rate, asked.seconds, asked.broker, asked.profile))
    write_line(line, sys.stdout.write)
    return exit_code(line) if asked.judge else 0


if __name__ == "__main__":
    sys.exit(main())
