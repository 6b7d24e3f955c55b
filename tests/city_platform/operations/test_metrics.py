"""What real components count is what `GET /metrics` says, by a row for each count."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.api import CommandRequest
from contracts.data_interface import Value
from contracts.metrics import UNLISTED
from tests.city_platform.control.installed import controlled
from tests.city_platform.dashboard.installation import MANIFEST, TOKEN, Installation
from tests.city_platform.dashboard.installation import installed as dashboard_installed
from tests.city_platform.ingestion.test_component import broker, ingestion, make_pki
from tests.city_platform.together.installation import Installation as Together
from tests.city_platform.together.installation import installation, until
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow

Numbers = dict[str, float]


async def asked(address: str, path: str = "/metrics", **headers: str) -> httpx.Response:
    given = {"Authorization": f"Bearer {TOKEN}", **headers}
    async with httpx.AsyncClient(
        base_url=f"http://{address}", verify=False, timeout=WITHIN_S
    ) as client:
        return await client.get(path, headers={name: one for name, one in given.items() if one})


async def measured(address: str, component: str) -> Numbers:
    """Every metric without labels, and none that the table does not know."""
    answer = await asked(address)
    assert answer.status_code == 200, answer.text
    samples = [
        sample
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    ]
    assert [sample.labels for sample in samples if sample.name == UNLISTED] == []
    info = [sample for sample in samples if sample.name == "lamplighter_component_info"]
    assert [sample.labels for sample in info] == [{"component": component}]
    found = {sample.name: sample.value for sample in samples if not sample.labels}
    assert found["process_resident_memory_bytes"] > 0
    return found


async def bearer(installation: Installation, username: str) -> str:
    """An access token of this user."""
    address = installation.addresses["identity"]["http"]
    body = {"username": username, "password": "a sentence that nobody guesses"}
    async with httpx.AsyncClient(
        base_url=f"http://{address}", verify=False, timeout=WITHIN_S
    ) as client:
        return str((await client.post("/v1/sign-in", json=body)).json()["access_token"])


def test_components_before_people_tell_their_counts_to_those_who_may_know(tmp_path: Path) -> None:
    async def story() -> None:
        async with dashboard_installed(tmp_path) as parts:
            await parts.start_audit()
            await parts.restart_dashboard()
            root = await parts.set_up(
                ana=[("harbour", "analyst")], pia=[("*", "provisioner"), ("*", "controller")]
            )
            pia = await parts.signed_in("pia")
            await parts.bring(pia, MANIFEST)
            await (await parts.signed_in("ana")).get("/api/devices")
            await root.sign_in("nobody", "wrong")
            at = {name: one["http"] for name, one in parts.addresses.items()}
            found = {name: await measured(address, name) for name, address in at.items()}
            assert set(found) == {"identity", "provisioning", "audit", "dashboard"}
            assert found["identity"]["lamplighter_identity_sign_ins_total"] == 3
            assert found["identity"]["lamplighter_identity_sign_ins_refused_total"] == 1
            assert found["dashboard"]["lamplighter_dashboard_sessions"] == 3
            assert found["provisioning"]["lamplighter_provisioning_imports_waiting"] == 0
            # Who may read them where people sign in: the row of each operation.
            analyst, other = await bearer(parts, "ana"), await bearer(parts, "pia")
            for name in ("identity", "provisioning", "audit"):
                allowed = await asked(at[name], Authorization=f"Bearer {analyst}")
                refused = await asked(at[name], Authorization=f"Bearer {other}")
                nobody = await asked(at[name], Authorization="")
                codes = [one.status_code for one in (allowed, refused, nobody)]
                assert codes == [200, 403, 401], name

    asyncio.run(story())


def test_one_click_has_one_id_through_dashboard_and_component(tmp_path: Path) -> None:
    async def story() -> None:
        async with dashboard_installed(tmp_path) as parts:
            root = await parts.set_up()
            answer = await root.get("/api/session", **{"X-Request-Id": "click-1"})
            assert answer.headers["x-request-id"] == "click-1"
            passed_on = await root.get("/api/identity/v1/users", **{"X-Request-Id": "click-2"})
            assert passed_on.status_code == 200
            assert passed_on.headers.get_list("x-request-id") == ["click-2"]
            refused = await asked(
                parts.addresses["provisioning"]["http"], "/v1/imports/x",
                Authorization="", traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
            )  # fmt: skip
            assert refused.status_code == 401
            assert refused.headers["x-request-id"] == "a" * 32

    asyncio.run(story())


def test_components_at_the_broker_tell_what_they_carried(tmp_path: Path) -> None:
    async def story() -> None:
        async with installation(tmp_path, "embedded") as (parts, server):
            for number in range(3):
                parts.add_credentials(f"lamp-{number}")
                server.register(f"lamp-{number}")
            await parts.start("audit")
            await parts.start("bootstrap")
            await parts.start("control")
            await parts.start("bridge:north", data_interface=server.address, http="127.0.0.1:0")
            await until(lambda: all(_is_written(server.devices[one].values) for one in _LAMPS))
            await _dimmed(parts)
            for name in ("bootstrap", "control", "audit", "bridge:north"):
                found = await measured(parts.addresses[name]["http"], name.partition(":")[0])
                if name == "control":
                    assert found["lamplighter_control_commands_total"] == 1
                if name == "bridge:north":
                    assert found["lamplighter_bridge_credentials_begun_total"] >= 3
                    assert found["lamplighter_bridge_commands_passed_on_total"] == 1
                if name == "bootstrap":
                    assert found["lamplighter_bootstrap_published_total"] >= 3

    asyncio.run(story())


_LAMPS = [f"lamp-{number}" for number in range(3)]


def _is_written(values: dict[str, object]) -> bool:
    return values.get("/18831/0/5") is True and values.get("/18831/1/5") is True


async def _dimmed(parts: Together) -> None:
    body = CommandRequest(operation="write", path="/3416/0/1", values=[
        Value("/3416/0/1", "integer", 40)
    ])  # fmt: skip
    client = parts.http("control")
    await client.send("POST", "/v1/devices/lamp-0/commands", msgspec.json.encode(body), msgspec.Raw)
    async with asyncio.timeout(WITHIN_S):
        while True:
            answer = await asked(parts.addresses["control"]["http"])
            if "lamplighter_control_succeeded_total 1" in answer.text:
                return
            await asyncio.sleep(0.02)


def test_a_control_in_use_has_a_row_for_everything_that_it_counts(tmp_path: Path) -> None:
    async def story() -> None:
        async with controlled(tmp_path) as control:
            await control.start()
            await control.provision(("lamp-1", "harbour", "pier"), ("lamp-2", "harbour", "pier"))
            group = await control.post(
                "/v1/commands",
                {
                    "command": {"operation": "read", "path": "/3/0/9"},
                    "target": {"devices": ["lamp-1", "lamp-2"]},
                },
            )
            await control.post(f"/v1/group-commands/{group['id']}/cancel")
            await control.until_ended(group)
            address = control.parts.addresses["control"]["http"]
            found = await measured(address, "control")
            assert 1 <= found["lamplighter_control_commands_total"] <= 2

    asyncio.run(story())


def test_ingestion_tells_what_its_stores_have(tmp_path: Path) -> None:
    async def story() -> None:
        make_pki(tmp_path / "pki", "lamp-1")
        (tmp_path / "token").write_text(TOKEN)
        async with (
            broker(tmp_path) as mqtt,
            ingestion(tmp_path, mqtt) as client,
        ):
            found = await measured(f"{client._host}:{client._port}", "ingestion")
            assert found["lamplighter_ingestion_backlog"] == 0
            assert found["lamplighter_ingestion_stored_total"] == 0

    asyncio.run(story())
