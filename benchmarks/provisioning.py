"""How many manifest rows a second provisioning imports, over HTTP and with everything behind it.

    python -m benchmarks.provisioning [--rows N]

The real component imports the extended harbour district: a key and a certificate each, thing,
policy, groups, directory, credentials file, and the pre-shared key handed to the security API of
the LwM2M server emulator. Counted from the request to *finished*. Prints one JSON line, with a
second import of the same manifest, which changes nothing. `--profile DIR` samples every process
with py-spy, when that is installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvloop
from rich.console import Console

from benchmarks.rig import CpuMeter, Fields, Rig, output_directory, profiled, rig_up, write_line
from harness.runner.cohort import Cohort, choose
from harness.runner.live import Live
from harness.runner.progress import Progress
from harness.runner.run import Run
from harness.runner.scenario import RunOptions


async def measure(rows: int, out: Path | None, profile: Path | None) -> Fields:
    """The figures of two imports of one manifest: all rows new, then none changed."""
    options = RunOptions(devices=rows)
    cohort = choose(None, rows, options.seed)
    live = Live()
    with output_directory(out) as output:
        async with rig_up(output, live, with_fleet=False) as rig:
            run = Run(
                options, rig.bench, cohort, rig.journal, rig.clock, live,
                Progress(Console(quiet=True), rows),
            )  # fmt: skip
            async with profiled(rig, profile):
                created = await _import(run, rig, cohort)
            unchanged = await _import(run, rig, cohort)
    return {
        "benchmark": "provisioning",
        "rows": rows,
        "manifest_bytes": len(cohort.manifest),
        "created": created,
        "unchanged": unchanged,
    }


async def _import(run: Run, rig: Rig, cohort: Cohort) -> Fields:
    meter = CpuMeter(rig.bench, rig.clock)
    began_ns = rig.clock.now_ns()
    job = await run.provision(cohort.manifest, cohort.content_type)
    took_s = (rig.clock.now_ns() - began_ns) / 1e9
    return {
        "rows_per_s": round(job.rows / took_s),
        "accepted": job.accepted,
        "rejected": job.rejected,
        "unchanged_ratio": round(job.unchanged / max(1, job.rows), 3),
        "cpu_us_per_row": meter.us_each(job.rows),
        "conditions": meter.conditions(),
    }


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--out", type=Path, default=None, help="keep logs and journal here")
    parser.add_argument("--profile", type=Path, default=None, help="directory for py-spy's output")
    told = parser.parse_args()
    write_line(uvloop.run(measure(told.rows, told.out, told.profile)), sys.stdout.write)


if __name__ == "__main__":
    main()
