"""An ingestion in a process of its own, to be killed: prints each pack's number once it is durable.

`python kill_child.py FOLDER FIRST_NUMBER`; it imports nothing of the tests, so that it can run so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cbor2

from city_platform.broker_access import BrokerAccess
from city_platform.ingestion.component import Ingestion
from city_platform.ingestion.config import IngestionConfig, IngestionLimits
from runtime.clock import SystemClock

# Labels of RFC 8428 §6.
BASE_NAME, BASE_TIME, NAME, VALUE = -2, -3, 0, 2
ENDPOINTS = ("lamp-0", "lamp-1", "lamp-2")
RECORDS = 3
NUMBERS = 100_000
# Small, so that files and objects begin and end often.
LIMITS = IngestionLimits(segment_bytes=4_000, archive_bytes=3_000, batch_packs_max=7)

Key = tuple[str, str, int]


def readings_of(number: int) -> Iterator[tuple[Key, float]]:
    """Key and value of each record of a pack."""
    endpoint = ENDPOINTS[number % len(ENDPOINTS)]
    time_us = (1_780_000_000 + number) * 1_000_000
    for resource in range(RECORDS):
        yield (endpoint, f"/3416/0/{resource}", time_us), number + resource / 4


def pack(number: int) -> tuple[str, bytes]:
    """Topic and payload of a pack."""
    records: list[dict[int | str, object]] = []
    for (endpoint, path, time_us), value in readings_of(number):
        records.append(
            {
                BASE_NAME: f"{endpoint}/",
                BASE_TIME: time_us / 1e6,
                NAME: path[1:],
                VALUE: value,
                "seq": number,
            }
        )
    return f"devices/{endpoint}/state", cbor2.dumps(records)


async def ingest(folder: Path, first: int) -> None:
    """Take packs from number `first` on until killed, a few at a time."""
    broker = BrokerAccess(address="127.0.0.1:1", ca_file="", certificate_file="", key_file="")
    config = IngestionConfig(broker=broker, state_dir=str(folder), token_file="", limits=LIMITS)
    async with contextlib.AsyncExitStack() as opened:
        found = await Ingestion.open(config, SystemClock(), opened)
        tasks = [
            asyncio.ensure_future(found.intake.run()),
            asyncio.ensure_future(found.pipeline.run()),
        ]
        for number in range(first, NUMBERS, 4):
            some = range(number, number + 4)
            await asyncio.gather(*(found.intake.accept(*pack(one)) for one in some))
            os.write(1, "".join(f"{one}\n" for one in some).encode())
            if any(task.done() for task in tasks):
                break
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(ingest(Path(sys.argv[1]), int(sys.argv[2])))
