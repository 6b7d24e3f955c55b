"""What audit hears at a real broker: also a command that our API knows nothing of."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import httpx
import msgspec
import pytest
import uvloop
from typer.testing import CliRunner

from city_platform.audit.bodies import AuditPage
from city_platform.audit.command import app
from city_platform.broker_access import BrokerAccess, open_client
from contracts.data_interface import Cancel, Command, Event, Outcome, encode
from mqtt.transport.client import MqttClient
from runtime.clock import SystemClock
from tests.city_platform.together.installation import TOKEN, Installation, installation
from tests.city_platform.together.test_bootstrap_and_control import HAS_MOSQUITTO
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow

BROKERS = [
    "embedded",
    pytest.param(
        "mosquitto",
        marks=[
            pytest.mark.mosquitto,
            pytest.mark.skipif(not HAS_MOSQUITTO, reason="needs a mosquitto program"),
        ],
    ),
]


def opened_as(parts: Installation, identity: str) -> MqttClient:
    """A program with a service's certificate, which is not that service."""
    name = identity.replace(":", "_")
    pki = parts.folder / "pki"
    access = BrokerAccess(
        address=parts.mqtt,
        ca_file=str(pki / "ca.pem"),
        certificate_file=str(pki / f"{name}.pem"),
        key_file=str(pki / f"{name}.key"),
    )
    return open_client(
        access, identity, SystemClock(), subscriptions=[], on_message=lambda message: None
    )


async def publish(parts: Installation, identity: str, topic: str, payload: bytes) -> None:
    """Publish one message; return when the broker has it."""
    client = opened_as(parts, identity)
    running = asyncio.ensure_future(client.run())
    acknowledged = asyncio.Event()
    client.publish(topic, payload, on_acknowledged=acknowledged.set)
    async with asyncio.timeout(WITHIN_S):
        await acknowledged.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def kept(parts: Installation, query: str, wanted: int) -> list[tuple[str, str, str, str]]:
    """Operation, outcome, reference and attribution of what a search finds, oldest first."""
    address = parts.addresses["audit"]["http"]
    async with (
        httpx.AsyncClient(base_url=f"http://{address}", timeout=WITHIN_S) as client,
        asyncio.timeout(WITHIN_S),
    ):
        page = AuditPage(entries=[])
        while len(page.entries) < wanted:
            answer = await client.get(
                f"/v1/audit{query}", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            page = msgspec.json.decode(answer.content, type=AuditPage)
    return [
        (one.entry.operation, one.entry.outcome, one.entry.reference, one.attributed_to)
        for one in reversed(page.entries)
    ]


def command(number: int) -> bytes:
    return encode(
        Command(
            id=f"forged-{number}", endpoint="lamp-1", operation="write", path="/3311/0/5851",
            expires_at_us=2_000_000_000_000_000, issued_by="the mayor",
        )
    )  # fmt: skip


def ended(number: int) -> bytes:
    return encode(
        Event(
            server="north", epoch="e", seq=number, kind="result", endpoint="lamp-1", at_us=1,
            result=Outcome(id=f"forged-{number}", operation="write", code="2.04"),
        )
    )  # fmt: skip


@pytest.fixture(scope="module", params=BROKERS)
def kept_log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a log: what somebody else than our API published, and how it ended."""

    tmp_path = tmp_path_factory.mktemp("installation")

    async def story() -> None:
        async with installation(tmp_path, request.param) as (parts, _):
            await parts.start("audit")
            await publish(parts, "svc:control", "lwm2m/lamp-1/command", command(1))
            await kept(parts, "", 1)
            result = "lwm2m/north/lamp-1/event/result"
            await publish(parts, "svc:bridge:north", result, ended(1))
            await kept(parts, "", 2)
            held = "lwm2m/north/lamp-1/command"
            await publish(parts, "svc:control", held, encode(Cancel(id="forged-1")))
            await publish(parts, "svc:control", held, b"no command at all")
            found = await kept(parts, "?attributed=false", 4)
            assert found == [
                ("command.write", "published", "forged-1", ""),
                ("command.write", "succeeded", "forged-1", ""),
                ("command.cancel", "published", "forged-1", ""),
                ("unreadable_command", "published", "", ""),
            ]

    uvloop.run(story())
    return tmp_path / "audit"


@pytest.fixture
def log(kept_log: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(kept_log, tmp_path / "audit"))


def verified(folder: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", str(folder)])
    return result.exit_code, result.output


def test_what_others_published_is_in_the_log_and_the_log_is_intact(log: Path) -> None:
    code, text = verified(log)
    assert code == 0, text
    assert text.startswith("intact: ")


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE entries SET who = 'nobody' WHERE sequence = 1", "entry 1: was altered"),
        ("DELETE FROM entries WHERE sequence = 2", "lines before it are missing"),
        ("DELETE FROM entries WHERE sequence = 4", "ends at entry 3"),
    ],
    ids=["altered", "taken out", "cut off"],
)
def test_who_tampers_with_the_log_is_found_out(log: Path, statement: str, found: str) -> None:
    with sqlite3.connect(log / "audit.sqlite") as opened:
        for name in ("entries_stay", "entries_are_not_changed"):
            opened.execute(f"DROP TRIGGER {name}")
        opened.execute(statement)
    opened.close()
    code, text = verified(log)
    assert code == 1
    assert found in text
