"""An ingestion in a process of its own that kills itself at a named point.

`python kill_points_child.py FOLDER FIRST_NUMBER POINT OCCURRENCE` prints each message's number once
it is durable. It imports nothing of the tests, so that it can run so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2

from city_platform.broker_access import BrokerAccess
from city_platform.ingestion.component import Ingestion
from city_platform.ingestion.config import IngestionConfig, IngestionLimits
from runtime.clock import SystemClock

BASE_NAME, BASE_TIME, NAME, VALUE, BOOLEAN = -2, -3, 0, 2, 4
LIMITS = IngestionLimits(segment_bytes=2_000, archive_bytes=1_500, batch_packs_max=7)
NUMBERS = 100_000

# Where: which part of an ingestion, which of its steps, and whether before or after it.
POINTS: dict[str, tuple[str, str, bool]] = {
    "received_not_spooled": ("intake._spool", "append", True),
    "spooled_not_acknowledged": ("intake._spool", "append", False),
    "letters_kept_not_committed": ("letters", "_put", False),
    "written_not_committed": ("store", "_commit", False),
    "committed_not_told": ("store", "commit_now", False),
    "archived_not_noted": ("store", "_set_archived", True),
    "noted_not_dropped": ("pipeline._spool", "drop_before", True),
}


def message(number: int) -> tuple[str, bytes]:
    """Readings, or every third an alarm, or every tenth rubbish."""
    if number % 10 == 9:
        return "devices/lamp-1/state", b"rubbish %d" % number
    head = {BASE_NAME: "lamp-1/", BASE_TIME: 1_780_000_000.0 + number, "seq": number}
    if number % 3:
        return "devices/lamp-1/state", cbor2.dumps([{**head, NAME: "3416/0/3", VALUE: number}])
    alarm = {"alarm": "lamp_failure", "severity": "major", "aseq": number, "boot": "b"}
    record = {**head, NAME: "3416/0/5", BOOLEAN: True, **alarm}
    return "devices/lamp-1/alarm", cbor2.dumps([record])


def arm(found: Ingestion, point: str, occurrence: int) -> None:
    """Have the process die at the point, the so-many-th time."""
    part, step, is_before = POINTS[point]
    holder: Any = found
    for name in part.split("."):
        holder = getattr(holder, name)
    original: Callable[..., Any] = getattr(holder, step)
    left = [occurrence]

    def die_when_due() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(*args: Any) -> Any:
        if is_before:
            die_when_due()
        result = original(*args)
        if not is_before:
            die_when_due()
        return result

    setattr(holder, step, stepping)


async def ingest(folder: Path, first: int, point: str, occurrence: int) -> None:
    """Take messages from number `first` on until it dies, a few at a time."""
    broker = BrokerAccess(address="127.0.0.1:1", ca_file="", certificate_file="", key_file="")
    config = IngestionConfig(broker=broker, state_dir=str(folder), token_file="", limits=LIMITS)
    async with contextlib.AsyncExitStack() as opened:
        found = await Ingestion.open(config, SystemClock(), opened)
        arm(found, point, occurrence)
        tasks = [
            asyncio.ensure_future(found.intake.run()),
            asyncio.ensure_future(found.pipeline.run()),
        ]
        for number in range(first, NUMBERS, 4):
            some = range(number, number + 4)
            await asyncio.gather(*(found.intake.accept(*message(one)) for one in some))
            os.write(1, "".join(f"{one}\n" for one in some).encode())
            if any(task.done() for task in tasks):
                break
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(ingest(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
