"""How a process that serves many small messages is set up, once its imports are done."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

_OBJECTS_BEFORE_A_COLLECTION = 50_000
# How long one thread has the interpreter to itself while another waits; Python's own is 5 ms.
_SWITCH_INTERVAL_S = 0.001


def tune_process() -> None:
    """Spare the garbage collector what stays, and take messages by the batch.

    What lives after the imports lives until the end: the collector need not walk it.

    On Linux the process is scheduled as one that works in batches (SCHED_BATCH, sched(7)): woken by
    the first datagram of a burst, it does not push the sender off the core it shares with it, which
    would make a burst of twenty twenty wakes of one. Processes that it starts are so too.

    A thread that writes to a database gives the interpreter lock away with each statement, and
    waits for it at the next: beside a busy loop so long each time that a commit of ten statements
    would take fifty milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_A_COLLECTION, 20, 50)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    if hasattr(os, "SCHED_BATCH"):
        # Refused in some containers: it is only slower then.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
