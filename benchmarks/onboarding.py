"""How many devices a second come from power-on to the last write of their credentials.

    python -m benchmarks.onboarding [--devices N] [--rate N/s] [--broker embedded|mosquitto]
                                    [--security none|psk|x509] [--online] [--judge]

Devices are switched on at an open rate and open no MQTT connection of their own; with `--online`
they do, each with its own certificate, and the last stage is that its first reading is stored. With
DTLS each makes a full handshake first. Prints one JSON line. `bars` says of each bar of this broker
and security whether it is met: the rate when at least 60 s were measured, and the latency when
`--share-of N` says that this run offers 70 % of N devices a second, the rate that was sustained.
With `--judge` the exit code is 0 when all are met, 1 when one is not, 2 when one cannot be told.
`--profile DIR` samples every process with py-spy, when that is installed, and puts folded stacks of
each into the directory; `--profile-only bridge,bootstrap` samples only those.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import uvloop
from rich.console import Console

from benchmarks.bars import Bar, cores_allow_per_s, exit_code, told
from benchmarks.rig import (
    CpuMeter,
    Fields,
    Rig,
    made_directory,
    output_directory,
    profiled,
    rig_up,
    until_idle,
    write_line,
)
from contracts.journal import (
    CommandReceived,
    CommandSent,
    DeviceBootstrapped,
    DeviceRegistered,
    DeviceStarted,
    EventLogged,
    EventsAcknowledged,
    LoopSample,
    MessageSeen,
    ReadingsStored,
)
from contracts.load import DeviceUpdated
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

# Devices a second, by broker and security, sustained for so long.
BOOTSTRAPPED_PER_S = {
    ("embedded", "none"): 800,
    ("mosquitto", "none"): 2_000,
    ("embedded", "psk"): 500,
    ("mosquitto", "psk"): 1_200,
}
ONLINE_PER_S = {"embedded": 250, "mosquitto": 450}
SUSTAINED_S = 60.0
P99_MS, P99_AT_RATIO = 150.0, 0.7


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
    options: RunOptions,
    broker: str,
    out: Path | None,
    profile: Path | None,
    *,
    goes_online: bool = False,
    share_of_per_s: float | None = None,
    profile_only: Collection[str] = (),
) -> Fields:
    """The figures of one run. Raises `HarnessError` when a device was not bootstrapped."""
    security = security_of(options)
    live = BootstrapsSeen()
    with output_directory(out) as output:
        async with (
            rig_up(output, live, broker=broker, security=security) as rig,
            taps_on(rig.bench, rig.journal, rig.clock, live, broker=True),
        ):
            spies = profiled(rig, profile, profile_only)
            measured = await _onboard(options, rig, live, spies, goes_online)
        found = figures(read_run(output), goes_online=goes_online)
        return {
            "benchmark": "onboarding",
            "devices": options.devices,
            "offered_per_s": options.rate_per_s,
            "broker": broker,
            "security": security,
            **({} if share_of_per_s is None else {"share_of_per_s": share_of_per_s}),
            **found,
            "bars": told(bars_of(found, options, broker, security, share_of_per_s)),
            **measured,
        }


async def _onboard(
    options: RunOptions,
    rig: Rig,
    live: BootstrapsSeen,
    spies: AbstractAsyncContextManager[None],
    goes_online: bool,
) -> Fields:
    cohort = choose(None, options.devices, options.seed)
    count = len(cohort.rows)
    run = Run(
        options, rig.bench, cohort, rig.journal, rig.clock, live, Progress(Console(quiet=True), 1)
    )
    await run.provision_rows()
    credentials = await rig.bench.device_credentials(cohort.rows)
    fleet = configs.fleet(rig.bench, cohort.rows, options, [], credentials)
    await rig.bench.start_fleet({**fleet, "connects": goes_online})
    await until_idle(rig)
    async with spies:
        meter = CpuMeter(rig.bench, rig.clock)
        run.switch_on()
        reached = live.online if goes_online else live.bootstrapped
        await live.until(
            f"{count} devices {'online' if goes_online else 'bootstrapped'}",
            lambda: len(reached) >= count,
            count / (options.rate_per_s or 1.0) + PATIENCE_S,
        )
        cpu_us = meter.us_each(count)
        measured = {
            "cpu_us_per_device": cpu_us,
            "cores_allow_per_s": cores_allow_per_s(cpu_us, os.cpu_count() or 1),
            "conditions": meter.conditions(),
        }
    await run.end_fleet()
    return measured


# ---- from the journal ----


def bars_of(
    found: Fields,
    options: RunOptions,
    broker: str,
    security: str,
    share_of_per_s: float | None,
) -> list[Bar]:
    """The bars of this broker and security. `share_of_per_s`: the rate that was sustained."""
    stage = found["stages"].get("online")
    if stage is not None:
        wanted = ONLINE_PER_S[broker] if security == "none" else None
        return [] if wanted is None else [_rate_bar("online_per_s", wanted, stage)]
    wanted = BOOTSTRAPPED_PER_S.get((broker, security))
    stage = found["stages"]["bootstrapped"]
    if wanted is None:
        return []
    rate, offered = _rate_bar("bootstrapped_per_s", wanted, stage), options.rate_per_s or 0.0
    if share_of_per_s is None:
        told_p99, because = None, "say --share-of the sustained rate"
    elif offered < share_of_per_s * P99_AT_RATIO * 0.99:
        told_p99, because = None, f"less than 70 % of {share_of_per_s:g} was offered"
    else:
        told_p99, because = found["registered_to_bootstrapped_p99_ms"], ""
    latency = Bar("p99_ms_at_70_percent", P99_MS, told_p99, is_ceiling=True, because=because)
    return [latency] if share_of_per_s is not None else [rate, latency]


def _rate_bar(name: str, wanted: float, stage: Fields) -> Bar:
    """A rate that was not sustained for long enough can only be told when it is too low."""
    is_long = stage["lasted_s"] >= SUSTAINED_S * 0.95
    if is_long or stage["per_s"] < wanted:
        return Bar(name, wanted, stage["per_s"])
    return Bar(name, wanted, None, because=f"measured for {stage['lasted_s']:g} s, not 60 s")


def figures(journal: Journal, *, goes_online: bool = False) -> Fields:
    """Rates and latencies of every stage, from what the instruments recorded."""
    intended = {each.endpoint: each.intended_at_ns for each in journal.of(DeviceStarted)}
    lags = sorted(each.at_ns - each.intended_at_ns for each in journal.of(DeviceStarted))
    stages = _reached(journal)
    if goes_online:
        stages["online"] = _online(journal)
    registered = stages["registered"]
    trips = sorted(
        at_ns - registered[endpoint]
        for endpoint, at_ns in stages["bootstrapped"].items()
        if endpoint in registered
    )
    return {
        "stages": {name: _stage(reached, intended) for name, reached in stages.items()},
        "registered_to_bootstrapped_p99_ms": _ms(percentile(trips, 0.99)),
        "whole_per_s": _whole_per_s(journal, intended),
        "loader_lag_p99_ms": _ms(percentile(lags, 0.99)),
        "socket_drops": sum(each.socket_drops for each in journal.of(LoopSample)),
        "retransmissions": sum(each.retransmissions for each in journal.of(LoopSample)),
        "messages_per_device": messages_per_device(journal, len(intended)),
    }


def messages_per_device(journal: Journal, devices: int) -> Fields:
    """What one device's onboarding took on each hop: exchanges over CoAP, frames of the data
    interface, publications over MQTT."""
    counts = Counter(
        {
            "coap_registers": len(journal.of(DeviceRegistered)),
            "coap_updates": len(journal.of(DeviceUpdated)),
            "coap_requests_of_commands": len(journal.of(CommandSent)),
            "frames_of_commands": len(journal.of(CommandReceived)),
            "frames_of_acknowledgements": len(journal.of(EventsAcknowledged)),
        }
    )
    counts.update(f"frames_of_event_{each.kind}" for each in journal.of(EventLogged))
    for seen in journal.of(MessageSeen):
        counts[f"mqtt_{seen.event_kind or seen.topic_kind}"] += 1
    return {name: round(number / max(1, devices), 2) for name, number in sorted(counts.items())}


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


def _online(journal: Journal) -> dict[str, int]:
    """When the first reading of each device was stored."""
    online: dict[str, int] = {}
    for stored in journal.of(ReadingsStored):
        for endpoint, *_ in stored.rows:
            online.setdefault(endpoint, stored.at_ns)
    return online


def _whole_per_s(journal: Journal, intended: dict[str, int]) -> float:
    """All devices, from the first power-on to the last bootstrap: with the ramp at either end."""
    ended = [each.at_ns for each in journal.of(DeviceBootstrapped)]
    return round(len(intended) / (max(ended) - min(intended.values())) * 1e9, 1) if ended else 0.0


def _stage(reached: dict[str, int], intended: dict[str, int]) -> Fields:
    latencies = sorted(at_ns - intended[endpoint] for endpoint, at_ns in reached.items())
    ends_ns = sorted(reached.values())
    return {
        "count": len(reached),
        "lasted_s": round((ends_ns[-1] - ends_ns[0]) / 1e9, 1) if ends_ns else 0.0,
        "per_s": round(sustained_per_s(ends_ns), 1),
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


def main() -> int:
    """Measure and print the line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=3_000)
    parser.add_argument("--rate", type=float, default=1_000.0, help="devices switched on a second")
    parser.add_argument("--broker", choices=["embedded", "mosquitto"], default="embedded")
    parser.add_argument("--security", choices=SECURITIES, default="none")
    parser.add_argument("--out", type=Path, default=None, help="keep logs and journal here")
    parser.add_argument(
        "--profile", type=made_directory, default=None, help="directory for py-spy's output"
    )
    parser.add_argument(
        "--profile-only", default="", help="names of processes, with commas: sample no others"
    )
    parser.add_argument("--online", action="store_true", help="until the first reading is stored")
    parser.add_argument("--share-of", type=float, help="sustained devices a second: for the p99")
    parser.add_argument("--judge", action="store_true", help="exit code by the bars")
    asked = parser.parse_args()
    options = RunOptions(devices=asked.devices, rate_per_s=asked.rate, security=asked.security)
    line = uvloop.run(
        measure(
            options, asked.broker, asked.out, asked.profile,
            goes_online=asked.online, share_of_per_s=asked.share_of,
            profile_only=[name for name in asked.profile_only.split(",") if name],
        )
    )  # fmt: skip
    write_line(line, sys.stdout.write)
    return exit_code(line) if asked.judge else 0


if __name__ == "__main__":
    sys.exit(main())
