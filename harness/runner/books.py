"""Asks every part that keeps something about devices what it has, for a check that they agree."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from contracts.api import DeviceRecord, Readings
from contracts.load import StoreAsked
from harness.runner.run import Run
from runtime.http_client import HttpClient, HttpError

_ASKED_AT_ONCE: Final = 8
_PAGE: Final = 1_000


async def ask_stores(run: Run) -> None:
    """Journal, of every device of the run, what server, provisioning and telemetry store say."""
    run.begin("asking the stores")
    held = await _registered(run)
    rows = run.rows
    async with asyncio.TaskGroup() as group:
        for first in range(_ASKED_AT_ONCE):
            endpoints = [row.endpoint for row in rows[first::_ASKED_AT_ONCE]]
            group.create_task(_ask(run, endpoints, held))


class _Registered(msgspec.Struct):
    endpoint: str


class _Page(msgspec.Struct):
    """As much of the server's `RegistrationPage` as is looked at."""

    registrations: list[_Registered]
    next_after: int | None = None


async def _registered(run: Run) -> set[str]:
    """The endpoints that the LwM2M server holds."""
    client, after, found = run.bench.server_admin(), 0, set[str]()
    while True:
        page = await client.get(f"/v1/registrations?after={after}&limit={_PAGE}", _Page)
        found.update(each.endpoint for each in page.registrations)
        if page.next_after is None:
            await client.close()
            return found
        after = page.next_after


async def _ask(run: Run, endpoints: list[str], held: set[str]) -> None:
    provisioning, ingestion = run.bench.http("provisioning"), run.bench.http("ingestion")
    for endpoint in endpoints:
        thing = await _thing(provisioning, endpoint)
        readings = await ingestion.get(f"/v1/devices/{endpoint}/readings?limit=1", Readings)
        newest = readings.readings[0] if readings.readings else ("", "", 0, 0)
        run.journal.record(
            StoreAsked(
                at_ns=run.clock.now_ns(),
                endpoint=endpoint,
                registered=endpoint in held,
                thing=thing,
                path=newest[1],
                time_us=newest[2],
                value=newest[3],
            )
        )
    for client in (provisioning, ingestion):
        await client.close()


async def _thing(provisioning: HttpClient, endpoint: str) -> str:
    try:
        return (await provisioning.get(f"/v1/devices/{endpoint}", DeviceRecord)).thing
    except HttpError as error:
        if error.status == 404:
            return ""
        raise
