"""Provisioning is killed while it gives a fleet other certificates, and another authority: it goes
on where it was, and nobody is locked out."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import pytest
from rich.console import Console

from contracts.api import AuthorityStatus, RolloverStep, RotationState
from fake_devices.city import write_manifest
from fake_devices.fleet.own_keys import make_own_keys
from harness.errors import HarnessError
from harness.runner import certificates
from harness.runner.execute import execute
from harness.runner.run import Run
from harness.runner.scenario import RunOptions, find_scenario
from runtime.http_client import HttpClient
from tests.scenarios.test_scale_scenarios import broken

pytestmark = [pytest.mark.slow, pytest.mark.bench, pytest.mark.timeout(600)]

DEVICES = 30
KEEPS_KEY_EVERY = 10
SEED = 20_260_501
KILLS_A_PHASE: Final = 3
# Between two kills: long enough that it comes further, short enough that it does not come through.
PAUSE_S: Final = (0.2, 1.5)
# From a request to a kill: before it was read, while it is done, and after.
REQUEST_S: Final = (0.0, 0.15)
WITHIN_S: Final = 120.0
PROVISIONING: Final = "provisioning"
_T = TypeVar("_T")

# What a step leads to.
STATES: Final[dict[RolloverStep, str]] = {
    "begin": "two_anchors",
    "switch": "new_signs",
    "finish": "one_anchor",
}


async def restart(run: Run) -> None:
    run.bench.kill(PROVISIONING, "while certificates are changed")
    await run.bench.restart(PROVISIONING)


async def ask(run: Run, question: Callable[[HttpClient], Awaitable[_T]]) -> _T:
    client = run.bench.http(PROVISIONING)
    try:
        return await question(client)
    finally:
        await client.close()


async def ask_and_kill(
    run: Run, chance: random.Random, question: Callable[[HttpClient], Awaitable[object]]
) -> None:
    """A request that a kill may cut short anywhere."""
    asked = asyncio.ensure_future(ask(run, question))
    await asyncio.sleep(chance.uniform(*REQUEST_S))
    await restart(run)
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(asked, return_exceptions=True)


async def kills(run: Run, chance: random.Random) -> None:
    for _ in range(KILLS_A_PHASE):
        await run.let_pass(chance.uniform(*PAUSE_S))
        await restart(run)


async def take_step(run: Run, chance: random.Random, step: RolloverStep) -> None:
    """One step of the roll-over, cut short, and asked for again where it was not taken."""
    body = msgspec.json.encode({"step": step})

    async def send(client: HttpClient) -> AuthorityStatus:
        return await client.send("POST", "/v1/authority", body, AuthorityStatus)

    async def look(client: HttpClient) -> AuthorityStatus:
        return await client.get("/v1/authority", AuthorityStatus)

    await ask_and_kill(run, chance, send)
    if (await ask(run, look)).state != STATES[step]:
        await ask(run, send)
    assert (await ask(run, look)).state == STATES[step]


async def story(run: Run) -> None:
    chance = random.Random(SEED)
    endpoints = [row.endpoint for row in run.rows]
    keepers = endpoints[::KEEPS_KEY_EVERY]
    own = make_own_keys(run.rows, keepers, run.bench.plan.state_dir / certificates.OWN_KEYS)
    await run.provision(write_manifest(own.rows))
    await run.start_fleet(own_keys=own.files)
    run.switch_on()
    await run.until_online()
    first = certificates.proofs_now(run, own.files, endpoints)

    async def rotate(client: HttpClient) -> RotationState:
        return await client.send("POST", "/v1/rotations", b"{}", RotationState)

    run.begin("rotation")
    # Whether the kill let it be asked for or not: asked for again it changes nothing that waits.
    await ask_and_kill(run, chance, rotate)
    await ask(run, rotate)
    await kills(run, chance)
    await certificates.until_nothing_is_superseded(run, WITHIN_S)
    await certificates.try_old(run, first)

    second = certificates.proofs_now(run, own.files, endpoints)
    run.begin("rollover")
    await take_step(run, chance, "begin")
    await take_step(run, chance, "switch")
    await kills(run, chance)
    due_ns = run.clock.now_ns() + int(WITHIN_S * 1e9)

    async def left(client: HttpClient) -> int:
        return (await client.get("/v1/authority", AuthorityStatus)).devices_of_previous

    while await ask(run, left):
        if run.clock.now_ns() > due_ns:
            raise HarnessError("some devices have a certificate of the authority before")
        await run.let_pass(certificates.ASKED_EVERY_S)
    await certificates.until_nothing_is_superseded(run, WITHIN_S)
    await take_step(run, chance, "finish")
    await certificates.try_old(run, second)
    await certificates.note_wanted(run)
    await run.let_telemetry_flow(2 * run.report_every_s, phase="telemetry_after")
    await run.drain()
    await run.end_fleet()


def test_a_fleet_gets_its_certificates_although_provisioning_is_killed(tmp_path: Path) -> None:
    asked = find_scenario("security.fleet_rotates_its_certificates")
    scenario = dataclasses.replace(asked, story=story)
    options = RunOptions(devices=DEVICES, rate_per_s=25, out=tmp_path, report_every_s=1.0)
    report = asyncio.run(execute(scenario, options, Console(file=io.StringIO()))).report
    assert broken(report) == {}
