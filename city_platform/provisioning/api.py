"""The HTTP interface of provisioning: `contracts.api` says its routes and bodies.

A manifest is answered with 202 as soon as it is on disk; whatever is wrong with it, also when it is
empty or no manifest at all, is told by the job. Only what keeps it from being taken at all is told
at once: 409 (the broker's URI is not set), 413 (too large), 429 (too many imports wait).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.provisioning.certificate_routes import caller_of
from city_platform.provisioning.certificates import Draw
from city_platform.provisioning.file_names import HEADER, file_name
from city_platform.provisioning.hand_over import HandOver
from city_platform.provisioning.importing import Stores
from city_platform.provisioning.jobs import Jobs
from city_platform.provisioning.runner import ImportRunner, TooManyImports
from city_platform.provisioning.settings import InvalidSetting, SettingsFile
from city_platform.stores.worker import Worker
from contracts.api import DeviceRecord, Settings
from runtime.files import OWNER_ONLY
from runtime.http import BodyTooLarge, json_response, problem, read_body

SETTINGS_BYTES_MAX = 65_536
IMPORTS_LIMIT = 50
IMPORTS_LIMIT_MAX = 1_000
_WRITE_BYTES = 262_144
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
# What SQLite can compare a row's number with.
_ROW_MAX = 2**63 - 1


class UploadTooLarge(Exception):
    """The body is larger than the configuration allows."""


class ProvisioningApi:
    """The routes and what they need."""

    def __init__(
        self,
        runner: ImportRunner,
        jobs: Jobs,
        stores: Stores,
        settings: SettingsFile,
        hand_over: HandOver,
        draw: Draw,
        upload_bytes_max: int,
    ) -> None:
        self._runner = runner
        self._jobs = jobs
        self._stores = stores
        self._settings = settings
        self._hand_over = hand_over
        self._draw = draw
        self._upload_bytes_max = upload_bytes_max
        self._writer = Worker("uploads")

    def routes(self) -> Sequence[BaseRoute]:
        """All routes of the component."""
        return [
            Route("/v1/imports", self._post_import, methods=["POST"]),
            Route("/v1/imports", self._list_imports),
            Route("/v1/imports/{id}", self._get_import),
            Route("/v1/imports/{id}/errors", self._get_errors),
            Route("/v1/devices/{endpoint}", self._get_device),
            Route("/v1/settings", self._put_settings, methods=["PUT"]),
            Route("/healthz", self._healthy),
        ]

    def close(self) -> None:
        """End the thread that writes uploads."""
        self._writer.close()

    async def _post_import(self, request: Request) -> Response:
        if self._settings.now.broker_uri is None:
            return problem(409, "no broker", "the broker's URI is not set: PUT /v1/settings")
        if self._runner.is_full:
            return problem(429, "too many imports wait", "try again when one has ended")
        job_id = self._draw(8).hex()
        path = self._runner.upload_path(job_id)
        try:
            await self._receive(request, path)
            name = file_name(request.headers.get(HEADER, ""))
            job = await self._runner.submit(job_id, name=name, who=caller_of(request))
        except UploadTooLarge:
            path.unlink(missing_ok=True)
            return problem(
                413, "manifest too large", f"at most {self._upload_bytes_max} bytes: split it"
            )
        except TooManyImports:
            path.unlink(missing_ok=True)
            return problem(429, "too many imports wait", "try again when one has ended")
        except BaseException:
            # Who sends has gone, or the disk takes no more: what came may hold keys.
            path.unlink(missing_ok=True)
            raise
        answer = json_response(job, 202)
        answer.headers["Location"] = f"/v1/imports/{job_id}"
        return answer

    async def _receive(self, request: Request, path: Path) -> None:
        """Write the body to `path` as it arrives; it may hold keys, so nobody else may read it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        received, waiting = 0, bytearray()
        with os.fdopen(descriptor, "wb") as file:
            async for chunk in request.stream():
                received += len(chunk)
                if received > self._upload_bytes_max:
                    raise UploadTooLarge
                waiting += chunk
                if len(waiting) >= _WRITE_BYTES:
                    await self._writer.do(file.write, bytes(waiting))
                    waiting.clear()
            await self._writer.do(file.write, bytes(waiting))

    async def _list_imports(self, request: Request) -> Response:
        given = dict(request.query_params)
        unknown = set(given) - {"limit", "cursor"}
        limit, cursor = given.get("limit", str(IMPORTS_LIMIT)), given.get("cursor", "")
        if unknown:
            return problem(400, "wrong query", f"unknown: {', '.join(sorted(unknown))[:80]}")
        if not _NUMBER.fullmatch(limit) or not 0 < int(limit) <= IMPORTS_LIMIT_MAX:
            return problem(400, "wrong query", f"limit: must be 1 to {IMPORTS_LIMIT_MAX}")
        if cursor and not _NUMBER.fullmatch(cursor):
            return problem(400, "wrong query", "cursor: is none of ours")
        page = await self._jobs.newest_first(int(cursor) if cursor else None, int(limit))
        return json_response(page)

    async def _get_import(self, request: Request) -> Response:
        job = await self._jobs.get(request.path_params["id"])
        return json_response(job) if job else problem(404, "no such import")

    async def _get_errors(self, request: Request) -> Response:
        job_id = request.path_params["id"]
        if await self._jobs.get(job_id) is None:
            return problem(404, "no such import")
        try:
            after = int(request.query_params.get("after", "0"))
            limit = int(request.query_params.get("limit", "1000"))
        except ValueError:
            return problem(400, "wrong query", "after and limit are whole numbers")
        if not 0 <= after <= _ROW_MAX:
            return problem(400, "wrong query", f"after is a row's number, 0 to {_ROW_MAX}")
        return json_response(await self._jobs.errors(job_id, after, limit))

    async def _get_device(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        thing = (await self._stores.things.get([endpoint])).get(endpoint)
        entry = await self._stores.directory.get(endpoint)
        key = (await self._stores.keys.get([endpoint])).get(endpoint)
        if thing is None or entry is None or key is None:
            return problem(404, "no such device", f"{endpoint[:128]!r} is not provisioned")
        placed: dict[str, Any] = msgspec.structs.asdict(entry)
        return json_response(
            DeviceRecord(
                **placed,
                psk_identity=key.identity,
                thing=thing.name,
                policy=thing.policy_name,
                groups=thing.groups,
                credentials_version=thing.certificate.sha256[:16],
                certificate_expires_at_us=thing.certificate.expires_at_us,
            )
        )

    async def _put_settings(self, request: Request) -> Response:
        try:
            body = await read_body(request, SETTINGS_BYTES_MAX)
            kept = self._settings.update(msgspec.json.decode(body, type=Settings))
        except BodyTooLarge as error:
            return problem(413, "request too large", str(error))
        except (
            InvalidSetting,
            msgspec.DecodeError,
            UnicodeDecodeError,
            RecursionError,
        ) as error:
            return problem(400, "wrong settings", str(error))
        self._hand_over.wake()
        return json_response(kept)

    async def _healthy(self, request: Request) -> Response:
        return json_response({"status": "ok"})
