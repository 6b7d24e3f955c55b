"""How long a command takes from an operator's POST to its result on MQTT, at an open rate.

    python -m benchmarks.commands [--devices N] [--rate N/s] [--seconds S]
                                  [--broker embedded|mosquitto]

Registered devices are read by commands, one after the other; a command's time begins when it was
meant to be posted, so that a loader or platform that falls behind shows. Devices open no MQTT
connection. Prints one JSON line; `unanswered` commands got no result within the patience.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console

from benchmarks.onboarding import BootstrapsSeen, percentile, sustained_per_s
from benchmarks.rig import CpuMeter, Fields, Rig, output_directory, rig_up, write_line
from contracts.api import CommandRecord, CommandRequest
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
from runtime.http_client import HttpClient

REGISTER_PER_S: Final = 200.0
PATIENCE_S: Final = 30.0
# Connections on which commands are posted: each carries one request at a time.
POSTERS: Final = 16
# The device's own time: every model has it, and a device reads it anew.
PATH: Final = "/3/0/13"


class _Result(msgspec.Struct):
    id: str
    code: str = ""


class _Event(msgspec.Struct):
    """What is looked at of a `result` event."""

    result: _Result


class Operator:
    """Posts commands at their times and hears their results on MQTT."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._events = msgspec.json.Decoder(_Event)
        self._intended_ns: dict[str, int] = {}
        self._heard_ns: dict[str, int] = {}
        self._lag_ns: list[int] = []
        self._free = asyncio.Queue[HttpClient]()
        self.codes: dict[str, int] = {}
        self._heard = asyncio.Event()
        self.client = _tap(rig, self._result)

    async def post_all(self, endpoints: Sequence[str], rate_per_s: float, count: int) -> None:
        """Post `count` commands, to each device in turn."""
        posters = [self._rig.bench.http("control") for _ in range(POSTERS)]
        for poster in posters:
            self._free.put_nowait(poster)
        clock = self._rig.clock
        began_ns = clock.now_ns()
        async with asyncio.TaskGroup() as posting:
            for number, endpoint in zip(range(count), itertools.cycle(endpoints), strict=False):
                intended_ns = began_ns + int(number / rate_per_s * 1e9)
                await asyncio.sleep(max(0.0, (intended_ns - clock.now_ns()) / 1e9))
                self._lag_ns.append(clock.now_ns() - intended_ns)
                posting.create_task(self._post(endpoint, intended_ns))
        for poster in posters:
            await poster.close()

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

    async def _post(self, endpoint: str, intended_ns: int) -> None:
        poster = await self._free.get()
        try:
            wanted = CommandRequest(operation="read", path=PATH, expires_in_s=PATIENCE_S)
            found = await poster.post(f"/v1/devices/{endpoint}/commands", wanted, CommandRecord)
            self._intended_ns[found.id] = intended_ns
        finally:
            self._free.put_nowait(poster)

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


async def measure(options: RunOptions, rate_per_s: float, seconds: float, broker: str) -> Fields:
    """The figures of one run. Raises `HarnessError` when a device was not bootstrapped."""
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
                await operator.post_all(endpoints, rate_per_s, count)
                await operator.until_answered(PATIENCE_S)
                measured = {
                    "cpu_us_per_command": meter.us_each(count),
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
            **operator.figures(),
            **measured,
        }


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


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--rate", type=float, default=200.0, help="commands a second")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--broker", choices=["embedded", "mosquitto"], default="embedded")
    told = parser.parse_args()
    options = RunOptions(devices=told.devices)
    line = uvloop.run(measure(options, told.rate, told.seconds, told.broker))
    write_line(line, sys.stdout.write)


if __name__ == "__main__":
    main()
