"""How many devices a second are back online after all were cut off, by TLS session or by proof.

    python -m benchmarks.reconnects [--devices N] [--times N] [--broker NAME] [--judge]

Devices with a certificate and a TLS 1.2 connection each, those of the simulated fleet, are cut off
all at once and connect again, 20 at a time; each publishes a pack at QoS 1 as soon as the broker
has accepted it, and is back when ingestion has stored that pack. First with full handshakes, in
which each proves itself by its certificate, then by the tickets of their last sessions (RFC 5077),
`--times` times in turn. A rate is from the cut to the last pack stored, the median of its times.
Prints one JSON line. `resumed` counts the connections that went on with a session. `bars` says of
each bar whether it is met; with `--judge` the exit code is 0 when all are met, 1 when one is not, 2
when one cannot be told.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import Mapping, Sequence

import uvloop

from benchmarks.bars import Bar, cores_allow_per_s, exit_code, told
from benchmarks.mqtt_broker import Pki, broker_up, temporary_folder
from benchmarks.rig import Fields, plain_conditions, write_line
from benchmarks.telemetry import (
    CONNECTED_WITHIN_S,
    TOKEN,
    Child,
    Cpu,
    child_up,
    ingestion_up,
    until_stored,
    write_keys,
)
from harness.mqtt_broker.mosquitto import find_mosquitto
from runtime.http_client import HttpClient

# Twice as many as come online for the first time, which the platform's certificates decide.
RESUMED_PER_S = {"embedded": 500, "mosquitto": 900}
# Fewer are over before a rate can be told.
BARS_DEVICES = 1_000
WAYS = ("full", "resumed")


async def measure(devices: int, times: int, broker: str) -> Fields:
    """Both rates, each of them `times` times."""
    with temporary_folder() as folder:
        pki = Pki(folder)
        keys_file = write_keys(pki, folder, devices)
        async with broker_up(broker, pki) as (host_and_port, broker_pid):
            address = "{}:{}".format(*host_and_port)
            config = {"address": address, "keys_file": str(keys_file), "window": 2}
            async with (
                ingestion_up(pki, folder, address) as (ingestion, api),
                HttpClient(api, TOKEN) as client,
                child_up("benchmarks.publishing", config, folder / "fleet.json") as fleet,
            ):
                await fleet.hear(CONNECTED_WITHIN_S)
                pids = {"broker": broker_pid, "fleet": fleet.pid, "ingestion": ingestion.pid}
                found: dict[str, list[Fields]] = {way: [] for way in WAYS}
                for number in range(times * len(WAYS)):
                    way, cpu = WAYS[number % len(WAYS)], Cpu(pids)
                    wanted = devices * (number + 1)
                    found[way].append(await _back_online(fleet, client, way, wanted, cpu))
    full, resumed = (_of_all(found[way], devices) for way in WAYS)
    return {
        "benchmark": "reconnects",
        "broker": broker,
        "devices": devices,
        "times": times,
        "times_as_fast": round(resumed["per_s"] / full["per_s"], 2),
        "full": full,
        "resumed": resumed,
        "bars": told(bars_of(full, resumed, devices, broker)),
        "conditions": plain_conditions(),
    }


async def _back_online(fleet: Child, client: HttpClient, way: str, wanted: int, cpu: Cpu) -> Fields:
    """Cut all and wait until `wanted` packs are stored."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await fleet.ask({"packs": 1, "again": way})
    published = (await fleet.hear(CONNECTED_WITHIN_S))["published"]
    counts = await until_stored(client, wanted)
    count = int(published["acknowledged"])
    return {
        "per_s": round(count / (loop.time() - began), 1),
        "attempts": published["attempts"],
        "resumed": published["resumed"],
        "lost": wanted - counts.packs,
        "cpu_us": cpu.us_each(count),
    }


def _of_all(found: Sequence[Fields], devices: int) -> Fields:
    """The time with the median rate, and what must not happen in any."""
    rates = [each["per_s"] for each in found]
    median = min(found, key=lambda each: abs(each["per_s"] - statistics.median(rates)))
    return {
        "per_s": median["per_s"],
        "rates_per_s": rates,
        "resumed": min(each["resumed"] for each in found),
        "attempts": max(each["attempts"] for each in found),
        "lost": max(0, *(each["lost"] for each in found)),
        "cpu_us_per_device": median["cpu_us"],
        "cores_allow_per_s": cores_allow_per_s(median["cpu_us"], os.cpu_count() or 1),
    }


def bars_of(
    full: Mapping[str, float], resumed: Mapping[str, float], devices: int, broker: str
) -> list[Bar]:
    """The bars of this broker; only a failure can be told with too few devices."""
    rate = Bar("resumed_per_s", RESUMED_PER_S[broker], resumed["per_s"])
    if devices < BARS_DEVICES and rate.is_met:
        rate = rate._replace(measured=None, because=f"{devices} devices, not {BARS_DEVICES}")
    return [
        rate,
        Bar("resumed_of_all", devices, resumed["resumed"]),
        Bar("resumed_without_tickets", 0, full["resumed"], is_ceiling=True),
        Bar("lost", 0, max(full["lost"], resumed["lost"]), is_ceiling=True),
    ]


def main() -> int:
    """Measure and print the line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=2_000)
    parser.add_argument("--times", type=int, default=3, help="that each way is measured")
    parser.add_argument("--broker", choices=sorted(RESUMED_PER_S), default="embedded")
    parser.add_argument("--judge", action="store_true", help="exit code by the bars")
    asked = parser.parse_args()
    if asked.broker == "mosquitto" and find_mosquitto() is None:
        parser.error("there is no mosquitto on this machine")
    line = uvloop.run(measure(asked.devices, asked.times, asked.broker))
    write_line(line, sys.stdout.write)
    return exit_code(line) if asked.judge else 0


if __name__ == "__main__":
    sys.exit(main())
