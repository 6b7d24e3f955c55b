"""A bench lets nobody in unauthenticated, keeps who did what, and leaves no secret anywhere."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvloop
from rich.console import Console

from contracts.api import CommandRecord
from harness.bench.bench import Bench, BenchPlan, bench_up
from harness.bench.state import KEPT_PREFIX
from harness.runner.cohort import choose
from harness.runner.execute import execute
from harness.runner.scenario import RunOptions, find_scenario
from harness.runner.secrets import scan, secrets_of
from runtime.clock import SystemClock
from runtime.journal import NoJournal
from tests.processes import WITHIN_S

pytestmark = [pytest.mark.slow, pytest.mark.bench]

READ = {"operation": "read", "path": "/3/0", "expires_in_s": 5.0}
OF_OTHERS = [{"tenant": "nobodys", "role": "controller"}]
COMPONENTS = ("provisioning", "control", "ingestion", "bootstrap", "identity", "audit")


class _Page(msgspec.Struct):
    entries: list[dict[str, Any]]


def verified(folder: Path) -> tuple[int, str]:
    """What `lamplighter audit verify` says of a log."""
    command = "from harness.command import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", command, "audit", "verify", str(folder)],
        capture_output=True, text=True, check=False, timeout=WITHIN_S,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


async def asked(bench: Bench, component: str, path: str, bearer: str | None, **more: Any) -> Any:
    """An answer that refuses, which is an RFC 9457 problem."""
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    address = bench.address(component, "http")
    async with httpx.AsyncClient(
        base_url=f"http://{address}", headers=headers, timeout=WITHIN_S
    ) as client:
        answer = await client.request(more.pop("method", "GET"), path, **more)
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == answer.status_code
    assert found["title"]
    assert found["detail"]
    return answer


async def nobody_gets_in_without_a_token(bench: Bench) -> None:
    for component in COMPONENTS:
        for bearer in (None, "made-up", bench.operators.token("analyst")[:-4] + "AAAA"):
            answer = await asked(bench, component, "/v1/counts", bearer)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def each_role_has_its_own_operations(bench: Bench, endpoint: str) -> None:
    await bench.operators.add("others", OF_OTHERS)
    commands = f"/v1/devices/{endpoint}/commands"
    for who in ("analyst", "provisioner", "administrator", "others"):
        bearer = bench.operators.token(who)
        answer = await asked(bench, "control", commands, bearer, method="POST", json=READ)
        assert answer.status_code == 403, who
    # What services share lets them tell one another, and nothing else.
    answer = await asked(bench, "control", commands, bench.token(), method="POST", json=READ)
    assert answer.status_code == 403
    for who, component, path in (
        ("controller", "ingestion", f"/v1/devices/{endpoint}/readings"),
        ("controller", "provisioning", "/v1/certificates"),
        ("analyst", "identity", "/v1/users"),
        ("analyst", "audit", "/v1/audit"),
    ):
        answer = await asked(bench, component, path, bench.operators.token(who))
        assert answer.status_code == 403, path


async def what_was_done_is_kept(bench: Bench, endpoint: str) -> None:
    async with bench.http("control") as client:
        body = msgspec.json.encode(READ)
        path = f"/v1/devices/{endpoint}/commands"
        command = await client.send("POST", path, body, CommandRecord)
    async with bench.http("audit") as client:
        entries = await found(
            bench, f"?reference={command.id}&operation=command.*&attributed=true", 1
        )
        assert [one["attributed_to"] for one in entries] == ["bench-controller"]
        denied = await found(bench, f"?device={endpoint}&outcome=denied", 5)
        names = {one["entry"]["who"] for one in denied}
        assert {"bench-analyst", "bench-others", "service:control-token"} <= names
        (imported,) = await found(bench, "?operation=import_manifest", 1)
        assert imported["entry"]["who"] == "bench-provisioner"
        await found(bench, "?operation=set_up&who=bench-administrator", 1)


async def one_who_is_removed_is_there_once(bench: Bench, endpoint: str) -> None:
    async with bench.http("provisioning") as client:
        await client.send("DELETE", f"/v1/devices/{endpoint}", b"", msgspec.Raw)
    ended = await found(bench, f"?device={endpoint}&operation=device_removed", 1)
    asked_for = await found(bench, f"?device={endpoint}&operation=remove_device", 1)
    for entries in (ended, asked_for):
        assert [one["entry"]["who"] for one in entries] == ["bench-provisioner"]


async def found(bench: Bench, query: str, wanted: int) -> list[dict[str, Any]]:
    """What a search of the audit log finds, once it is there."""
    async with bench.http("audit") as client:
        for _ in range(2_000):
            entries = (await client.get(f"/v1/audit{query}", _Page)).entries
            if len(entries) >= wanted:
                return entries
    raise AssertionError(f"the audit log has nothing for {query}")


def test_who_may_what_on_a_bench_and_what_is_kept_of_it(tmp_path: Path) -> None:
    cohort = choose(None, 3, seed=1)
    endpoint, removed = cohort.rows[0].endpoint, cohort.rows[1].endpoint
    plan = BenchPlan(output_dir=tmp_path / "out", state_dir=tmp_path / "state", with_fleet=False)
    failures: list[Exception] = []

    async def story() -> None:
        async with bench_up(
            plan, NoJournal(), SystemClock(), lambda name, said: None, failures.append
        ) as bench:
            await bench.import_manifest(cohort.manifest, cohort.content_type)
            await nobody_gets_in_without_a_token(bench)
            await each_role_has_its_own_operations(bench, endpoint)
            await what_was_done_is_kept(bench, endpoint)
            await one_who_is_removed_is_there_once(bench, removed)

    uvloop.run(story())
    assert failures == []
    log = tmp_path / "state/audit"
    code, text = verified(log)
    assert (code, text[:7]) == (0, "intact:"), text
    with sqlite3.connect(log / "audit.sqlite") as opened:
        # Whoever can write the file can take its guard away.
        opened.execute("DROP TRIGGER entries_are_not_changed")
        opened.execute("UPDATE entries SET who = 'somebody' WHERE sequence = 2")
    opened.close()
    code, text = verified(log)
    assert code == 1
    assert "entry 2: was altered" in text


@pytest.fixture
def kept_state() -> Iterator[list[Path]]:
    """The state folder that a run has kept; it is removed."""
    found: list[Path] = []
    yield found
    for folder in found:
        assert folder.name.startswith(KEPT_PREFIX)
        shutil.rmtree(folder)


def test_nothing_that_a_run_leaves_has_one_of_its_secrets(
    tmp_path: Path, kept_state: list[Path]
) -> None:
    told = io.StringIO()
    scenario = find_scenario("onboarding.city_block_comes_online")
    options = RunOptions(devices=4, out=tmp_path, seed=1, keep_state=True)
    # What it judges is not the matter here, and on a busy machine it may be anything.
    done = uvloop.run(execute(scenario, options, Console(file=told, width=400)))
    (line,) = [line for line in told.getvalue().splitlines() if "state kept in" in line]
    state = Path(line.partition("state kept in ")[2].partition(" (")[0])
    kept_state.append(state)
    secrets = [*secrets_of(state, []), *_of_operators(state)]
    # CA, services and devices; tokens of services; the issuer's key and the audit's; people's.
    assert len(secrets) > 20
    left = [path for path in done.directory.rglob("*") if path.is_file()]
    names = {path.name for path in left}
    assert {"report.html", "report.json", "junit.xml", "runner.jsonl", "identity.log"} <= names
    result = scan(secrets, left)
    assert result.searched_bytes > 50_000
    assert result.found == []
    (searched,) = (
        json.loads(one)
        for one in (done.directory / "journal/runner.jsonl").read_text().splitlines()
        if "searched_bytes" in one
    )
    assert searched.get("found", []) == []
    assert not any(secret in told.getvalue().encode() for secret in secrets)


def _of_operators(state: Path) -> Iterator[bytes]:
    folder = state / "operator_tokens"
    passwords = msgspec.json.decode((folder / "passwords.json").read_bytes(), type=dict[str, str])
    for name, password in passwords.items():
        yield password.encode()
        yield (folder / name).read_bytes().rpartition(b".")[2]
