"""The whole component over HTTP, alone and behind its gate, and what MQTT's rules bring."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from city_platform.audit import AuditConfig, run
from city_platform.audit.config import AuditLimits
from city_platform.audit.outbox import AuditOutbox
from city_platform.audit.service import CommandTargets
from city_platform.audit.signing import read_head, read_public_key
from city_platform.audit.verify import verify
from city_platform.device_tenants import Directory
from city_platform.identity.config import AccessConfig
from city_platform.rules import CallbackTarget, RuleRunner, default_rules
from city_platform.stores.audit_log import AuditQuery
from city_platform.stores.device_directory import DirectoryEntry, SqliteDeviceDirectory
from contracts.data_interface import Command, Event, Outcome, encode
from contracts.topics import Topics
from mqtt.connection import InboundMessage
from tests.city_platform.audit.logs import NOW_US, HandClock, entry, keeping
from tests.city_platform.identity.issuing import ISSUER, claims, public_jwk, token
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow
TOKEN = "token-of-this-test"


@contextlib.asynccontextmanager
async def auditing(folder: Path, **changes: Any) -> AsyncIterator[str]:
    (folder / "token").write_text(TOKEN)
    config = AuditConfig(
        state_dir=str(folder / "audit"),
        token_file=str(folder / "token"),
        limits=AuditLimits(archive_entries_max=3),
        **changes,
    )
    ready: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(run(config, HandClock(), ready.set_result, draw=os.urandom))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield ready.result()["http"]
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ask(
    address: str, method: str, path: str, bearer: str, body: Any = None
) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=WITHIN_S) as client:
        headers = {"Authorization": f"Bearer {bearer}"}
        content = None if body is None else msgspec.json.encode(body)
        return await client.request(method, path, headers=headers, content=content)


def test_entries_of_an_outbox_are_kept_found_archived_and_verified(tmp_path: Path) -> None:
    async def story() -> None:
        async with auditing(tmp_path) as address:
            acts = AuditOutbox(
                tmp_path / "outbox.sqlite", lambda: (address, str(tmp_path / "token")), 100
            )
            await acts.open()
            for number in range(8):
                await acts.add(entry(number))
            await acts.send()
            assert acts.waiting == 0
            await acts.close()
            page = (await ask(address, "GET", "/v1/audit?device=lamp-3", TOKEN)).json()
            assert [one["entry"]["reference"] for one in page["entries"]] == ["cmd-3"]
            first = (await ask(address, "GET", "/v1/audit?limit=5", TOKEN)).json()
            rest = (
                await ask(address, "GET", f"/v1/audit?before={first['next_before']}", TOKEN)
            ).json()
            numbers = [one["sequence"] for one in first["entries"] + rest["entries"]]
            assert numbers == [8, 7, 6, 5, 4, 3, 2, 1]
            head = await ask(address, "GET", "/v1/audit/head", TOKEN)
            key = read_public_key((tmp_path / "audit/audit.pub").read_bytes())
            assert read_head(head.content, key).sequence == 8

    asyncio.run(story())
    found = verify(tmp_path / "audit")
    assert (found.verdict, found.head.sequence) == ("intact", 8)
    assert verify(tmp_path / "audit/objects").entries == 8


def test_wrong_requests_are_problems(tmp_path: Path) -> None:
    async def story() -> None:
        async with auditing(tmp_path) as address:
            for method, path, body, status in (
                ("GET", "/v1/audit?limit=x", None, 400),
                ("GET", "/v1/audit?nothing=1", None, 400),
                ("POST", "/v1/audit/entries", {"no": "list"}, 422),
                ("POST", "/v1/audit/entries", ["x" * 4_200_000], 413),
            ):
                answer = await ask(address, method, path, TOKEN, body)
                assert answer.status_code == status
                assert answer.headers["content-type"] == "application/problem+json"
            assert (await ask(address, "GET", "/v1/audit", "wrong")).status_code == 401

    asyncio.run(story())


def test_behind_a_gate_everybody_finds_what_is_of_their_tenants_alone(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_bytes(msgspec.json.encode({"keys": [public_jwk()]}))
    access = AccessConfig(issuer=ISSUER, keys_file=str(keys))

    async def story() -> None:
        async with auditing(tmp_path, access=access) as address:
            kept = [entry(1), entry(2, tenant="hills"), entry(3, tenant="")]
            body = msgspec.to_builtins(kept)
            controller = token(claims("harbour:controller"))
            root = token(claims("*:administrator"))
            assert (await ask(address, "POST", "/v1/audit/entries", root, body)).status_code == 403
            sent = await ask(address, "POST", "/v1/audit/entries", TOKEN, body)
            assert sent.json() == {"head": 3}
            for bearer, query, numbers in (
                (controller, "", [1]),
                (controller, "?tenant=hills", []),
                (root, "", [3, 2, 1]),
                (root, "?tenant=hills", [2]),
            ):
                page = (await ask(address, "GET", f"/v1/audit{query}", bearer)).json()
                assert [one["sequence"] for one in page["entries"]] == numbers
            analyst = token(claims("harbour:analyst"))
            assert (await ask(address, "GET", "/v1/audit", analyst)).status_code == 403

    asyncio.run(story())


def message(topic: str, payload: bytes) -> InboundMessage:
    return InboundMessage(
        topic=topic,
        payload=payload,
        qos=1,
        packet_id=1,
        duplicate=False,
        retain=False,
        connection=1,
    )


def lamp(endpoint: str) -> DirectoryEntry:
    return DirectoryEntry(
        endpoint=endpoint, tenant="harbour", site="s", group="g", model="m", serial="1",
        street="", latitude=0.0, longitude=0.0, installed_on="2026-01-01", attributes={},
    )  # fmt: skip


def test_the_rules_keep_every_command_and_the_ends_of_these_alone(tmp_path: Path) -> None:
    def command(name: str) -> bytes:
        return encode(
            Command(
                id=name, endpoint="lamp-1", operation="execute", expires_at_us=NOW_US, path="/3/0/4"
            )
        )

    def ended(name: str) -> bytes:
        return encode(
            Event(
                server="north", epoch="e", seq=1, kind="result", endpoint="lamp-1", at_us=NOW_US,
                result=Outcome(id=name, operation="execute", code="2.04"),
            )
        )  # fmt: skip

    async def story() -> list[tuple[str, str, str, str]]:
        places = SqliteDeviceDirectory(tmp_path / "devices.sqlite")
        await places.put([lamp("lamp-1")])
        places.close()
        directory = Directory(str(tmp_path / "devices.sqlite"), HandClock().now_ns)
        async with keeping(tmp_path) as (keeper, log):
            targets = CommandTargets(keeper, directory, Topics(), HandClock())
            runner = RuleRunner(
                None,
                default_rules("city_platform.audit"),
                {
                    "published": CallbackTarget(targets.published),
                    "ended": CallbackTarget(targets.ended),
                },
            )
            for topic, payload in (
                ("lwm2m/lamp-1/command", command("cmd-1")),
                ("lwm2m/north/lamp-1/command", command("cmd-1")),
                ("lwm2m/lamp-1/command", b"rubbish"),
            ):
                runner.handle_message(message(topic, payload))
            await runner.close()
            for name in ("cmd-1", "credentials-1", "cmd-1"):
                runner.handle_message(message("lwm2m/north/lamp-1/event/result", ended(name)))
            runner.handle_message(message("lwm2m/north/lamp-1/event/result", b"rubbish"))
            await runner.close()
            assert runner.counts["acknowledged"] == 7
            found = await log.search(AuditQuery(is_attributed=False))
            assert len(found) == 3
            everything = await log.search(AuditQuery())
        directory.close()
        return [
            (one.entry.operation, one.entry.outcome, one.entry.reference, one.entry.tenant)
            for one in reversed(everything)
        ]

    assert asyncio.run(story()) == [
        ("command.execute", "published", "cmd-1", "harbour"),
        ("unreadable_command", "published", "", "harbour"),
        ("command.execute", "succeeded", "cmd-1", "harbour"),
    ]
