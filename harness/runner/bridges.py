"""What a story does with several servers and bridges: moves devices, kills a bridge, asks how they
stand, and takes control's memory away."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from typing import Final

from contracts.api import FINAL_COMMAND_STATES, CommandRecord, CommandRequest
from contracts.bridge_status import BridgeList, BridgeStanding
from contracts.journal import CommandConcluded, CommandIssued
from harness.bench import topology
from harness.checks.bridges import NOTE_BRIDGE_BACK, NOTE_BRIDGE_LOST, NOTE_MOVED
from harness.runner.run import Run
from runtime.http_client import HttpClient, HttpError

ASKED_EVERY_S: Final = 0.1
_EXPIRES_S: Final = 60.0


async def standings(run: Run) -> dict[str, BridgeStanding]:
    """How control shows every bridge, by its server's name."""
    client = run.bench.http("control")
    try:
        found = await client.get("/v1/bridges", BridgeList)
    finally:
        await client.close()
    return {bridge.server: bridge for bridge in found.bridges}


async def until_shown(run: Run, pair: topology.Pair, state: str, *, within_s: float) -> bool:
    """Wait until control shows a bridge in this state, and note it; whether it did."""
    due_ns = run.clock.now_ns() + round(within_s * 1e9)
    while (await standings(run)).get(pair.server, _NOBODY).state != state:
        if run.clock.now_ns() > due_ns:
            run.give_up(f"{pair.bridge_process} was not shown as {state} within {within_s:g} s")
            return False
        await asyncio.sleep(ASKED_EVERY_S)
    name = NOTE_BRIDGE_LOST if state == "lost" else NOTE_BRIDGE_BACK
    run.note(name, endpoint=pair.bridge_process, text=pair.server)
    return True


async def until_held(run: Run, devices: int, *, within_s: float) -> bool:
    """Wait until control knows a holder for so many devices, and bridges have none besides."""
    due_ns = run.clock.now_ns() + round(within_s * 1e9)
    while True:
        found = (await standings(run)).values()
        if sum(bridge.devices_held for bridge in found) == devices:
            return True
        if run.clock.now_ns() > due_ns:
            run.give_up(f"control does not know the holders of all devices after {within_s:g} s")
            return False
        await asyncio.sleep(ASKED_EVERY_S)


def move(run: Run, endpoints: Sequence[str]) -> None:
    """Give each of these devices the next server after its own; the old one is told nothing."""
    plan, of = run.bench.plan, len(run.bench.fleets)
    places = {row.endpoint: place for place, row in enumerate(run.rows)}
    wanted: dict[tuple[int, int], list[int]] = {}
    for endpoint in endpoints:
        target = (topology.home_of(plan, endpoint) + 1) % plan.servers
        fleet, position = places[endpoint] % of, places[endpoint] // of
        wanted.setdefault((fleet, target), []).append(position)
        run.note(NOTE_MOVED, endpoint=endpoint, text=topology.pair_of(plan, target).server)
    for (fleet, target), positions in sorted(wanted.items()):
        message = {"move": {"positions": positions, "server": run.bench.server_uri(target)}}
        run.bench.fleets[fleet].tell(message)


async def read_open_loop(run: Run, endpoints: Sequence[str], path: str, rate_per_s: float) -> None:
    """Post a read to each, at this rate, and journal how each ended, whatever that is."""
    client = run.bench.http("control")
    request = CommandRequest(operation="read", path=path, expires_in_s=_EXPIRES_S)
    issued: list[CommandRecord] = []
    for endpoint in endpoints:
        intended_ns = run.clock.now_ns()
        record = await client.post(f"/v1/devices/{endpoint}/commands", request, CommandRecord)
        run.journal.record(
            CommandIssued(
                at_ns=intended_ns,
                id=record.id,
                endpoint=endpoint,
                path=path,
                intended_at_ns=intended_ns,
            )
        )
        issued.append(record)
        await asyncio.sleep(1 / rate_per_s)
    for record in issued:
        await _until_final(run, client, record)
    await client.close()


async def restart_control_without_memory(run: Run) -> None:
    """Control loses its database: it knows no holder any more, so commands go to every bridge."""
    run.bench.kill("control", "its database is lost")
    await run.bench.processes["control"].until_killed()
    shutil.rmtree(run.bench.plan.state_dir / "control")
    (run.bench.plan.state_dir / "control").mkdir()
    await run.bench.restart("control")


async def _until_final(run: Run, client: HttpClient, record: CommandRecord) -> None:
    due_ns = run.clock.now_ns() + round(2 * _EXPIRES_S * 1e9)
    while record.state not in FINAL_COMMAND_STATES:
        if run.clock.now_ns() > due_ns:
            run.give_up(f"command {record.id} has no final state")
            return
        await asyncio.sleep(ASKED_EVERY_S)
        try:
            record = await client.get(f"/v1/commands/{record.id}", CommandRecord)
        except HttpError as error:
            run.give_up(f"command {record.id}: {error}")
            return
    code = record.outcome.code if record.outcome else None
    run.journal.record(
        CommandConcluded(
            at_ns=run.clock.now_ns(),
            id=record.id,
            endpoint=record.endpoint,
            state=record.state,
            code=code or "",
        )
    )


_NOBODY: Final = BridgeStanding(
    server="", state="unknown", since_us=None, heard_at_us=None, devices_held=0
)
