"""How many devices register a second at the server emulator, every event delivered.

    python -m benchmarks.registrations [--devices N] [--rate N/s] [--updates N] [--hold S]
                                       [--aiocoap-exchanges N] [--leshan]

Three processes: the server emulator with its log on disk, a reader on its data interface that
checks that no event is missing, and endpoints that register and then update over loopback UDP.
Without `--rate` a window of exchanges is kept under way; with it arrivals are open-loop and timed
from when they were meant. `--hold` keeps all registered for so many seconds at `--lifetime`.

Prints one JSON line: rates, CPU microseconds of each process, bytes of the server per registered
device, and the rate of an aiocoap client and server in the same run. `--leshan` puts the same load
on Leshan's server beside it, where Java and Maven are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.child_process import START_S, Child, child, killed, lines_of
from benchmarks.event_reader import read_events
from benchmarks.register_loader import WINDOW_DEFAULT, Done, Order, load
from harness.reporting.environment import environment_notes

Fields = dict[str, Any]
EVENTS_WITHIN_S = 60.0
ENDS_WITHIN_S = 30.0
# Memory is told at these numbers of devices, and at the last.
MARKS = (20_000, 100_000)
# How often a device that is kept registered updates: as ours do, in good time.
UPDATES_PER_LIFETIME = 1.7


class Server:
    """A server process that can be looked at."""

    def __init__(self, pid: int, coap: tuple[str, int]) -> None:
        self.coap = coap
        self._process = psutil.Process(pid)

    def cpu_s(self) -> tuple[float, float]:
        """CPU used so far by all its threads, in all and in the kernel."""
        times = self._process.cpu_times()
        return float(times.user + times.system), float(times.system)

    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(self._process.memory_info().rss)


class Emulator(Server):
    """Our server emulator; `reader` is at its data interface."""

    def __init__(self, process: subprocess.Popen[bytes], addresses: Mapping[str, str]) -> None:
        host, _, port = addresses["coap"].rpartition(":")
        super().__init__(process.pid, (host, int(port)))
        self.data_url = f"ws://{addresses['data']}/v1/data"


@contextlib.contextmanager
def emulator_up(directory: Path, settings: Fields) -> Iterator[tuple[Emulator, str]]:
    """The server emulator as a bench starts it, and the token of its data interface."""
    tokens = {name: f"{name}-of-the-benchmark" for name in ("token", "data_token")}
    for name, token in tokens.items():
        (directory / name).write_text(f"{token}\n")
    config = {
        "server": "server-1",
        "state_dir": str(directory / "state"),
        "token_file": str(directory / "token"),
        "data_token_file": str(directory / "data_token"),
        **settings,
    }
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.lwm2m_server", "--config", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(msgspec.json.encode(config) + b"\n")
            process.stdin.flush()
            try:
                line = next(lines_of(process, START_S, "the server emulator"))
            except EOFError:
                raise RuntimeError((directory / "server.log").read_text()[-2_000:]) from None
            yield Emulator(process, json.loads(line)["ready"]), tokens["data_token"]
        finally:
            killed(process, asked_first_s=ENDS_WITHIN_S)


class Measurement:
    """One load on one server, phase by phase.

    A rate is from the first request to the last answer, or to the last event at its reader; what
    the processes do before and after is in their CPU.
    """

    def __init__(self, server: Server, loader: Child, reader: Child | None) -> None:
        self._server = server
        self._loader = loader
        self._reader = reader

    def phase(self, order: Order) -> Fields:
        """Carry an order out and wait for its events: rate, latency and CPU by process."""
        before = self._seen()
        server_before = self._server.cpu_s()
        done = msgspec.convert(self._loader.ask(msgspec.to_builtins(order)), Done)
        answered = done.count - done.failed - sum(done.refused.values())
        after = self._await_events(before["seq"] + answered)
        wall_s = done.wall_s
        if self._reader is not None:
            wall_s = (after["heard_ns"] - done.began_ns) / 1e9
        server_after = self._server.cpu_s()
        told: Fields = {
            "count": done.count,
            "per_s": round(done.count / done.wall_s),
            "per_s_with_events": round(done.count / wall_s),
            "server_cpu_us": round((server_after[0] - server_before[0]) / done.count * 1e6, 1),
            "of_it_in_the_kernel_us": round(
                (server_after[1] - server_before[1]) / done.count * 1e6, 1
            ),
            "loader_cpu_us": round(done.cpu_us, 1),
            "refused": done.refused,
            "failed": done.failed,
            "retransmitted": done.retransmitted,
            "socket_drops": done.socket_drops,
            "p50_ms": round(done.p50_ms, 2),
            "p99_ms": round(done.p99_ms, 2),
            "max_ms": round(done.max_ms, 2),
            "loader_lag_p99_ms": round(done.lag_ms, 2),
        }
        if self._reader is not None:
            told["events"] = after["seq"] - before["seq"]
            told["consumer_cpu_us"] = round(
                (after["cpu_s"] - before["cpu_s"]) / done.count * 1e6, 1
            )
        return told

    def events(self) -> Fields:
        """What the reader counted in all; nothing without one."""
        seen = self._seen()
        return {name: seen[name] for name in ("kinds", "gaps", "gone") if name in seen}

    def _seen(self) -> Fields:
        if self._reader is None:
            return {"seq": 0, "cpu_s": 0.0}
        found: Fields = self._reader.ask("report")
        found["seq"] = max(0, found["seq"])
        return found

    def _await_events(self, seq: int) -> Fields:
        deadline = time.monotonic() + EVENTS_WITHIN_S
        while (seen := self._seen())["seq"] < seq and self._reader is not None:
            if seen["gone"] or time.monotonic() > deadline:
                raise RuntimeError(f"{seq - seen['seq']} events were not delivered {seen['gone']}")
            time.sleep(0.01)
        return seen


def measure(told: argparse.Namespace) -> Fields:
    """All figures of the line."""
    line: Fields = {"benchmark": "registrations", "devices": told.devices}
    if told.aiocoap_exchanges:
        line["aiocoap_per_s"], line["aiocoap_cpu_us"] = _aiocoap(told.aiocoap_exchanges)
    with tempfile.TemporaryDirectory(prefix="lamplighter-registrations-") as name:
        line |= _on_emulator(Path(name), told)
    if told.aiocoap_exchanges:
        for ends in ("", "_with_events"):
            rate = line["register"][f"per_s{ends}"]
            line[f"times_aiocoap{ends}"] = round(rate / line["aiocoap_per_s"], 1)
        cpu_us = line["register"]["server_cpu_us"] + line["register"]["loader_cpu_us"]
        line["times_less_cpu_than_aiocoap"] = round(line["aiocoap_cpu_us"] / cpu_us, 1)
    if told.leshan:
        line["leshan"] = _on_leshan(told)
    return line | {"conditions": _conditions()}


def _on_emulator(directory: Path, told: argparse.Namespace) -> Fields:
    limits = {
        "registrations_max": max(200_000, told.devices),
        "log_bytes_compact": told.compact_mib << 20,
    }
    settings: Fields = {"limits": limits, "sync": told.sync}
    if told.taps:
        settings["journal_file"] = str(directory / "server.jsonl")
    with (
        emulator_up(directory, settings) as (server, token),
        child(read_events, server.data_url, token) as reader,
        child(load, server.coap, told.lifetime) as loader,
    ):
        return _phases(Measurement(server, loader, reader), server, told)


def _phases(measurement: Measurement, server: Server, told: argparse.Namespace) -> Fields:
    line: Fields = {}
    empty = server.rss_bytes()
    first = 0
    memory: Fields = {}
    for mark in sorted({*(mark for mark in MARKS if mark < told.devices), told.devices}):
        order = Order(first, mark - first, window=told.window, rate_per_s=told.rate)
        line[f"register_to_{mark}"] = measurement.phase(order)
        memory[str(mark)] = round((server.rss_bytes() - empty) / mark)
        first = mark
    line["register"] = line.pop(f"register_to_{told.devices}")
    if told.updates:
        order = Order(
            0,
            told.devices,
            updates=True,
            window=told.window,
            rate_per_s=told.update_rate or told.rate,
        )
        line["update"] = measurement.phase(order)
    if told.hold:
        every_s = told.lifetime / UPDATES_PER_LIFETIME
        order = Order(0, told.devices, updates=True, repeat_s=told.hold, every_s=every_s)
        line["hold"] = measurement.phase(order)
    return line | {
        "server_bytes_per_device": memory,
        "server_rss_mb": round(server.rss_bytes() / 1e6, 1),
        "events": measurement.events(),
    }


def _aiocoap(exchanges: int) -> tuple[int, float]:
    """Exchanges a second, and CPU of both ends for one, of the pair in `benchmarks.coap_core`."""
    found = json.loads(
        subprocess.run(
            [sys.executable, "-m", "benchmarks.coap_core", "--exchanges", "2000",
             "--aiocoap-exchanges", str(exchanges)],
            check=True, capture_output=True, timeout=300,
        ).stdout
    )["aiocoap"]  # fmt: skip
    return found["exchanges_per_s"], found["client_cpu_us"] + found["server_cpu_us"]


@contextlib.contextmanager
def leshan_up() -> Iterator[Server]:
    """Leshan's server, its registrations told on standard output and read away."""
    from tests.interop.fetch_leshan import fetch
    from tests.interop.leshan_peer import object_models

    process = subprocess.Popen(
        ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", ":".join(fetch()), "Peer"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    drain: subprocess.Popen[bytes] | None = None
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        config = {"role": "server", "psk": [], "x509_endpoints": [], "models": object_models()}
        process.stdin.write(msgspec.json.encode(config) + b"\n")
        process.stdin.flush()
        ready = json.loads(next(lines_of(process, START_S, "Leshan's server")))["ready"]
        drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        yield Server(process.pid, ("127.0.0.1", ready["coap"]))
    finally:
        killed(process)
        if drain is not None:
            killed(drain)


def _on_leshan(told: argparse.Namespace) -> Fields:
    """The same load, twice: the first warms Java up and is told as well."""
    with leshan_up() as server, child(load, server.coap, told.lifetime) as loader:
        measurement = Measurement(server, loader, None)
        cold = measurement.phase(Order(0, told.devices, window=told.window))
        warm = measurement.phase(Order(0, told.devices, window=told.window))
        update = measurement.phase(Order(0, told.devices, updates=True, window=told.window))
        return {
            "register_cold": cold,
            "register": warm,
            "update": update,
            "server_rss_mb": round(server.rss_bytes() / 1e6, 1),
        }


def _conditions() -> Fields:
    return {
        "load_after": round(os.getloadavg()[0], 2),
        "state_on": tempfile.gettempdir(),
        **{each.name.partition(":")[2]: each.text for each in environment_notes(0)},
    }


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=20_000)
    parser.add_argument("--window", type=int, default=WINDOW_DEFAULT, help="exchanges under way")
    parser.add_argument("--rate", type=float, default=0.0, help="arrivals a second, open-loop")
    parser.add_argument("--updates", action="store_true", help="then one Update of each")
    parser.add_argument("--update-rate", type=float, default=0.0, help="likewise, of Updates")
    parser.add_argument("--hold", type=float, default=0.0, help="keep registered for so many s")
    parser.add_argument("--lifetime", type=int, default=86_400, help="of a registration, in s")
    parser.add_argument("--sync", action="store_true", help="the log survives a power cut as well")
    parser.add_argument("--taps", action="store_true", help="with the server's own journal")
    parser.add_argument("--compact-mib", type=int, default=64, help="growth that compacts the log")
    parser.add_argument("--aiocoap-exchanges", type=int, default=1_500, help="0: do not compare")
    parser.add_argument("--leshan", action="store_true", help="the same load on Leshan's server")
    sys.stdout.write(json.dumps(measure(parser.parse_args())) + "\n")


if __name__ == "__main__":
    main()
