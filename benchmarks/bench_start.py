"""How long a bench takes until every process is ready, and until none is left.

    python -m benchmarks.bench_start [--times N]

Prints one JSON line: the times, CPU by process at readiness (importing is most of it), and, from a
further run with `-X importtime`, which packages each process spends its start on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator

import uvloop

from benchmarks.rig import Fields, Rig, output_directory, rig_up, write_line
from contracts.journal import BenchDown, BenchReady
from harness.journal import read_run
from harness.runner.live import Live
from runtime.clock import SystemClock

# A line of `-X importtime`: microseconds of the module itself, of it with what it imports, name.
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|\s*([\w.]+)")
_SHOWN = 6


async def measure(times: int, broker: str) -> Fields:
    """The figures of `times` starts, and of one more that watches imports."""
    load = os.getloadavg()[0]
    starts = [await _start(broker) for _ in range(times)]
    with _importtime():
        imports = (await _start(broker))["imports_ms"]
    return {
        "benchmark": "bench_start",
        "broker": broker,
        "ready_s": [each["ready_s"] for each in starts],
        "down_s": [each["down_s"] for each in starts],
        "left": sum(len(each["left"]) for each in starts),
        "cpu_ms_at_ready": starts[-1]["cpu_ms"],
        "imports_ms": imports,
        "conditions": {"load_before": round(load, 2), **starts[-1]["conditions"]},
    }


async def _start(broker: str) -> Fields:
    with output_directory() as output:
        clock = SystemClock()
        began_ns = clock.now_ns()
        async with rig_up(output, Live(), broker=broker) as rig:
            process_times = _cpu_ms(rig)
            ready_s = (clock.now_ns() - began_ns) / 1e9
        journal = read_run(output)
        ready, down = journal.of(BenchReady)[-1], journal.of(BenchDown)[-1]
        return {
            "ready_s": round(ready.ready_s, 3),
            "down_s": round(down.down_s, 3),
            "left": down.left,
            "cpu_ms": process_times,
            "conditions": {"cores_used": round(sum(process_times.values()) / ready_s / 1e3, 2)},
            "imports_ms": {
                log.stem: imports_ms(log.read_text(errors="replace"))
                for log in sorted((output / "logs").glob("*.log"))
            },
        }


def _cpu_ms(rig: Rig) -> dict[str, int]:
    return {name: round(each.sample()[0] * 1e3) for name, each in rig.bench.processes.items()}


@contextlib.contextmanager
def _importtime() -> Iterator[None]:
    os.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONPROFILEIMPORTTIME"]


def imports_ms(log: str) -> dict[str, float]:
    """Milliseconds by top-level package, the most expensive first, of an `-X importtime` log."""
    spent_us: Counter[str] = Counter()
    for own_us, _, name in _LINE.findall(log):
        spent_us["all"] += int(own_us)
        spent_us[name.partition(".")[0]] += int(own_us)
    return {name: round(us / 1e3, 1) for name, us in spent_us.most_common(_SHOWN + 1)}


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--broker", choices=["embedded", "mosquitto"], default="embedded")
    told = parser.parse_args()
    write_line(uvloop.run(measure(told.times, told.broker)), sys.stdout.write)


if __name__ == "__main__":
    main()
