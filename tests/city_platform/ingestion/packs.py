"""Packs as devices send them, and an ingestion without MQTT and HTTP to put them into."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cbor2

from city_platform.broker_access import BrokerAccess
from city_platform.ingestion.component import Ingestion
from city_platform.ingestion.config import IngestionConfig, IngestionLimits
from city_platform.stores.device_directory import DirectoryEntry
from contracts.api import Commit, FeedLine
from harness.testing.clock import HandMovedClock
from tests.processes import WITHIN_S

# Labels of RFC 8428 §6.
BASE_NAME, BASE_TIME, NAME, UNIT, VALUE, STRING, BOOLEAN, TIME, DATA = -2, -3, 0, 1, 2, 3, 4, 6, 8

NOW_S = 1_767_225_600.0
NO_BROKER = BrokerAccess(address="127.0.0.1:1", ca_file="", certificate_file="", key_file="")


def state_topic(endpoint: str = "lamp-1") -> str:
    return f"devices/{endpoint}/state"


def alarm_topic(endpoint: str = "lamp-1") -> str:
    return f"devices/{endpoint}/alarm"


def state(
    endpoint: str = "lamp-1", sequence: int = 1, values: dict[str, Any] | None = None
) -> bytes:
    """A pack of absolute device time: a second per sequence number."""
    given = {"3416/0/3": 0.5, "3416/0/46": 33.25} if values is None else values
    records: list[dict[int | str, Any]] = [
        {NAME: path, _label(value): value} for path, value in given.items()
    ]
    head = {BASE_NAME: f"{endpoint}/", BASE_TIME: NOW_S + sequence, "seq": sequence, "boot": "b1"}
    return cbor2.dumps([{**head, **records[0]}, *records[1:]])


def alarm(endpoint: str = "lamp-1", sequence: int = 1, **changes: Any) -> bytes:
    """A pack of one raised alarm; a change to None leaves the field out."""
    record: dict[int | str, Any] = {
        BASE_NAME: f"{endpoint}/",
        BASE_TIME: NOW_S + sequence,
        NAME: "3416/0/5",
        BOOLEAN: True,
        "seq": sequence,
        "boot": "b1",
        "alarm": "lamp_failure",
        "severity": "major",
        "aseq": sequence,
    }
    named = {"raised": BOOLEAN, "path": NAME, "time": BASE_TIME, "base": BASE_NAME}
    for name, value in changes.items():
        record[named.get(name, name)] = value
    return cbor2.dumps([{key: value for key, value in record.items() if value is not None}])


def _label(value: object) -> int:
    labels = {bool: BOOLEAN, str: STRING, bytes: DATA}
    return labels.get(type(value), VALUE)


def config(folder: Path, *, directory_file: Path | None = None, **limits: Any) -> IngestionConfig:
    return IngestionConfig(
        broker=NO_BROKER,
        state_dir=str(folder),
        token_file="",
        directory_file=str(directory_file) if directory_file else None,
        limits=IngestionLimits(**limits),
    )


@contextlib.asynccontextmanager
async def ingesting(
    folder: Path, clock: HandMovedClock | None = None, **settings: Any
) -> AsyncIterator[Ingestion]:
    """An ingestion that runs until the block ends, then stops as at SIGTERM."""
    async with contextlib.AsyncExitStack() as opened:
        found = await Ingestion.open(config(folder, **settings), clock or HandMovedClock(), opened)
        tasks = [asyncio.ensure_future(part) for part in (found.intake.run(), found.pipeline.run())]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            unexpected = [one for one in results if not isinstance(one, asyncio.CancelledError)]
            assert unexpected == []


async def stored(found: Ingestion) -> None:
    """Wait until the backlog is empty."""
    async with asyncio.timeout(WITHIN_S):
        while found.pipeline.backlog:  # noqa: ASYNC110 - a bounded look from outside
            await asyncio.sleep(0.002)


def directory_entry(endpoint: str, tenant: str) -> DirectoryEntry:
    """A device of a tenant, as provisioning keeps it."""
    return DirectoryEntry(
        endpoint=endpoint,
        tenant=tenant,
        site="quay",
        group="g",
        model="street_lamp",
        serial="s",
        street="Kade",
        latitude=52.0,
        longitude=4.0,
        installed_on="2026-05-31",
        attributes={},
    )


def commits(lines: list[FeedLine]) -> list[Commit]:
    return [line for line in lines if isinstance(line, Commit)]
