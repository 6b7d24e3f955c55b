"""The gate before a real component's routes: who comes in, and what is kept of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from city_platform.audit import AuditConfig
from city_platform.audit import run as run_audit
from city_platform.identity.config import AccessConfig, ServiceToken
from city_platform.provisioning import ProvisioningConfig
from city_platform.provisioning import run as run_provisioning
from city_platform.stores.device_directory import SqliteDeviceDirectory
from runtime.clock import SystemClock
from tests.city_platform.audit.test_service import lamp
from tests.city_platform.identity.issuing import ISSUER, claims, public_jwk, token
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow
TOKEN = "token-of-this-test"


async def start(run: Any, config: Any) -> tuple[asyncio.Task[None], str]:
    ready: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(run(config, SystemClock(), ready.set_result, draw=os.urandom))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    return task, ready.result()["http"]


async def ask(
    address: str, method: str, path: str, bearer: str, body: Any = None
) -> httpx.Response:
    async with httpx.AsyncClient(
        base_url=f"http://{address}", verify=False, timeout=WITHIN_S
    ) as client:
        headers = {"Authorization": f"Bearer {bearer}"}
        return await client.request(
            method, path, headers=headers, content=msgspec.json.encode(body)
        )


def access(folder: Path, **changes: Any) -> AccessConfig:
    (folder / "keys.json").write_bytes(msgspec.json.encode({"keys": [public_jwk()]}))
    return AccessConfig(
        issuer=ISSUER,
        audience="lamplighter",
        keys_file=str(folder / "keys.json"),
        leeway_s=10.0**10,
        **changes,
    )


def test_provisioning_behind_the_gate_tells_the_audit_who_did_what(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "bench").write_text("token-of-the-bench")
    state = tmp_path / "provisioning"

    async def add_lamp() -> None:
        places = SqliteDeviceDirectory(state / "devices.sqlite")
        await places.put([lamp("lamp-1")])
        places.close()

    async def story() -> None:
        await add_lamp()
        audit, audit_address = await start(
            run_audit,
            AuditConfig(state_dir=str(tmp_path / "audit"), token_file=str(tmp_path / "token")),
        )
        provisioning, address = await start(
            run_provisioning,
            ProvisioningConfig(
                state_dir=str(state),
                token_file=str(tmp_path / "token"),
                access=access(
                    tmp_path,
                    directory_file=str(state / "devices.sqlite"),
                    audit_api=audit_address,
                    state_dir=str(tmp_path),
                    service_tokens=(
                        ServiceToken(
                            name="bench", file=str(tmp_path / "bench"), roles=("provisioner",)
                        ),
                    ),
                ),
            ),
        )
        wanted = {"broker_uri": "mqtts://127.0.0.1:8883"}
        bench = "token-of-the-bench"
        own, others = token(claims("harbour:analyst")), token(claims("hills:analyst"))
        assert (await ask(address, "PUT", "/v1/settings", bench, wanted)).status_code == 403
        assert (await ask(address, "PUT", "/v1/settings", TOKEN, wanted)).status_code == 200
        assert (await ask(address, "GET", "/v1/devices/lamp-1", others)).status_code == 403
        # The gate lets through; the device itself was never provisioned.
        assert (await ask(address, "GET", "/v1/devices/lamp-1", own)).status_code == 404
        async with asyncio.timeout(WITHIN_S):
            found: list[Any] = []
            while len(found) < 2:
                page = await ask(audit_address, "GET", "/v1/audit", TOKEN)
                found = page.json()["entries"]
        kept = [(one["entry"]["who"], one["entry"]["outcome"]) for one in reversed(found)]
        assert kept == [
            ("service:bench", "denied"),
            ("service:provisioning-token", "succeeded"),
        ]
        for task in (provisioning, audit):
            task.cancel()
        await asyncio.gather(provisioning, audit, return_exceptions=True)

    asyncio.run(story())


def test_without_access_the_bearer_of_the_token_may_everything(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)

    async def story() -> None:
        config = ProvisioningConfig(
            state_dir=str(tmp_path / "state"), token_file=str(tmp_path / "token")
        )
        task, address = await start(run_provisioning, config)
        for bearer, status in ((TOKEN, 404), ("other", 401), (token(claims("*:analyst")), 401)):
            assert (await ask(address, "GET", "/v1/devices/x", bearer)).status_code == status
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())


def test_a_program_whose_token_file_is_empty_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "empty").write_text("\n")
    config = ProvisioningConfig(
        state_dir=str(tmp_path / "state"),
        token_file=str(tmp_path / "token"),
        access=access(
            tmp_path,
            service_tokens=(
                ServiceToken(name="bench", file=str(tmp_path / "empty"), roles=("analyst",)),
            ),
        ),
    )
    with pytest.raises(ValueError, match="must hold the token of bench"):
        asyncio.run(start(run_provisioning, config))
