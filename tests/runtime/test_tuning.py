"""A process is set up for many small messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.processes import WITHIN_S

_PROGRAM = """
import gc, json, os, sys
from runtime.tuning import tune_process
tune_process()
found = [gc.get_freeze_count() > 0, gc.get_threshold()[0], sys.getswitchinterval()]
print(json.dumps([*found, os.sched_getscheduler(0)]))
"""


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="there is no SCHED_BATCH here")
def test_a_tuned_process_spares_the_collector_works_in_batches_and_lets_threads_in() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        timeout=WITHIN_S,
    )
    is_frozen, threshold, switch_interval_s, policy = json.loads(done.stdout)
    assert is_frozen
    assert threshold > 10_000
    assert switch_interval_s < 0.005, "a thread that writes does not wait long for a busy loop"
    # A container may refuse it.
    assert policy in (os.SCHED_BATCH, os.SCHED_OTHER)
