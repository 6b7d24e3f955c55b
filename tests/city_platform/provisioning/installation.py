"""A provisioning component in the test's own event loop, and a security API to hand keys to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.provisioning import ProvisioningConfig, run
from city_platform.stores.pre_shared_keys import PreSharedKey
from contracts.api import ImportJob, RowErrors
from harness.testing.clock import HandMovedClock
from runtime.http import bind, json_response, make_app, problem, serving
from runtime.http_client import HttpClient
from tests.processes import WITHIN_S

TOKEN = "token-of-this-test"
BROKER_URI = "mqtts://127.0.0.1:8883"


class Installation:
    """A running component, reached over HTTP as anybody would."""

    def __init__(self, state: Path, address: str) -> None:
        self.state = state
        self.address = address
        self.client = HttpClient(address, TOKEN)

    async def bring(
        self, manifest: bytes, content_type: str = "text/csv"
    ) -> tuple[ImportJob, RowErrors]:
        """Import a manifest and wait until its job has ended."""
        job = await self.client.send("POST", "/v1/imports", manifest, ImportJob, content_type)
        async with asyncio.timeout(WITHIN_S):
            while job.state == "running":
                await asyncio.sleep(0.005)
                job = await self.client.get(f"/v1/imports/{job.id}", ImportJob)
        path = f"/v1/imports/{job.id}/errors?limit=10000"
        return job, await self.client.get(path, RowErrors)


@contextlib.asynccontextmanager
async def installed(
    folder: Path, draw: Callable[[int], bytes] | None = None, **changes: Any
) -> AsyncIterator[Installation]:
    """Run the component until the block ends."""
    token_file = folder / "token"
    token_file.write_text(TOKEN)
    config = ProvisioningConfig(
        **{
            "state_dir": str(folder / "state"),
            "token_file": str(token_file),
            "services": ("svc:bridge:s1",),
            "broker_uri": BROKER_URI,
            **changes,
        }
    )
    ready: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    chance = {} if draw is None else {"draw": draw}
    task = asyncio.ensure_future(run(config, HandMovedClock(), ready.set_result, **chance))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    found = Installation(folder / "state", ready.result()["http"])
    try:
        yield found
    finally:
        await found.client.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class SecurityServer:
    """Takes keys as the LwM2M server's admin API does, and refuses as long as it is told to."""

    def __init__(self) -> None:
        self.keys: dict[str, PreSharedKey] = {}
        self.requests = 0
        self.refusals_left = 0
        self.refused_endpoints: set[str] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its `host:port` while the block runs."""
        routes = [
            Route("/v1/security", self._post, methods=["POST"]),
            Route("/v1/security/{endpoint}", self._delete, methods=["DELETE"]),
        ]
        async with serving(make_app(routes, TOKEN), bind("127.0.0.1", 0)) as address:
            yield address

    async def _delete(self, request: Request) -> Response:
        if self.refusals_left:
            self.refusals_left -= 1
            return problem(503, "not now")
        if self.keys.pop(request.path_params["endpoint"], None) is None:
            return problem(404, "no such key")
        return Response(status_code=204)

    async def _post(self, request: Request) -> Response:
        self.requests += 1
        if self.refusals_left:
            self.refusals_left -= 1
            return problem(503, "not now")
        errors = []
        for number, line in enumerate((await request.body()).splitlines(), start=1):
            key = msgspec.json.decode(line, type=PreSharedKey)
            if key.endpoint in self.refused_endpoints:
                errors.append({"row": number, "reason": "the security store is full"})
            else:
                self.keys[key.endpoint] = key
        return json_response({"rejected": len(errors), "errors": errors})
