"""How long a run's report takes to make from its journal.

    python -m benchmarks.report_generation [--devices N] [--packs N]

A made-up run in which every claim holds is written as a journal; it is then read, judged by the
main job's checks, and written as `report.json`, `report.html` and `junit.xml`, as after every run.
Prints one JSON line: CPU seconds of each part, records a second, and the sizes.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.rig import Fields, plain_conditions, write_line
from harness import checks
from harness.journal import read_run
from harness.journal.example import Plan, example_run
from harness.reporting import write_report

# All arrive within this: the made-up run's commands come at a fixed time after it began.
ARRIVALS_S = 4.0


def measure(devices: int, packs: int) -> Fields:
    """The figures of one report."""
    with tempfile.TemporaryDirectory(prefix="lamplighter-benchmark-") as name:
        directory = Path(name)
        records = example_run(Plan(devices=devices, packs=packs, rate_per_s=devices / ARRIVALS_S))
        journal = directory / "journal" / "runner.jsonl"
        journal.parent.mkdir()
        with journal.open("wb") as file:
            file.writelines(msgspec.json.encode(record) + b"\n" for record in records)
        count = len(records)
        del records
        before_s = time.process_time()
        read_run(directory)
        read_s = time.process_time() - before_s
        before_s = time.process_time()
        report = write_report(directory, "example", "A made-up run.", checks.MAIN_JOB)
        whole_s = time.process_time() - before_s
        return {
            "benchmark": "report_generation",
            "devices": devices,
            "records": count,
            "journal_bytes": journal.stat().st_size,
            "verdict": report.verdict,
            "read_cpu_s": round(read_s, 3),
            "whole_cpu_s": round(whole_s, 3),
            "records_per_s": round(count / whole_s),
            "html_bytes": (directory / "report.html").stat().st_size,
            "rss_bytes_max": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "conditions": plain_conditions(),
        }


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=2_000)
    parser.add_argument("--packs", type=int, default=20, help="of each device")
    told = parser.parse_args()
    write_line(measure(told.devices, told.packs), sys.stdout.write)


if __name__ == "__main__":
    main()
