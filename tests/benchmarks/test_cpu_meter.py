"""What a benchmark says of the CPU that was used is what the system says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from benchmarks.rig import CpuMeter
from harness.bench.bench import Bench
from harness.bench.process import BenchProcess
from runtime.clock import SystemClock
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow

USED_S = 0.4
# A broker process with a Mosquitto beside it, say: the child works, and says when it has done so.
WITH_CHILD = f"""
import subprocess, sys
worker = '''
import sys, time
sys.stdin.readline()
while time.process_time() < {USED_S}:
    pass
print('done', flush=True)
sys.stdin.read()
'''
child = subprocess.Popen(
    [sys.executable, '-c', worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)
print('{{"ready": {{}}}}', flush=True)
sys.stdin.readline()
child.stdin.write('go\\n')
child.stdin.flush()
child.stdout.readline()
print('{{"worked": true}}', flush=True)
sys.stdin.read()
child.stdin.close()
child.wait()
"""


def family_s(pid: int) -> float:
    """CPU that the process and its children have used."""
    own = psutil.Process(pid)
    return sum(one.cpu_times().user + one.cpu_times().system for one in [own, *own.children()])


def test_the_child_of_a_process_is_counted_once(tmp_path: Path) -> None:
    async def story() -> None:
        worked = asyncio.Event()
        process = BenchProcess(
            "broker", "emulated", ["-c", WITH_CHILD], tmp_path / "broker.log",
            lambda _name, message: worked.set() if "worked" in message else None,
        )  # fmt: skip
        async with asyncio.timeout(WITHIN_S):
            await process.start()
            try:
                await process.until_ready(WITHIN_S)
                bench = cast(Bench, SimpleNamespace(processes={"broker": process}))
                meter = CpuMeter(bench, SystemClock())
                before_s = family_s(process.pid)
                process.tell({"work": True})
                await worked.wait()
                told_us, used_s = meter.us_each(1)["broker"], family_s(process.pid) - before_s
            finally:
                await process.stop()
        # Between the two looks nobody works; the system counts in hundredths of a second.
        assert used_s > USED_S / 2
        assert abs(told_us / 1e6 - used_s) <= 0.05

    asyncio.run(story())
