"""Imports of manifests: a dry run, and the refused rows as a file to download."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.dashboard.gate import guarded, session_of
from city_platform.dashboard.manifest_check import ManifestCheck
from city_platform.dashboard.map_routes import no_component, passed_on
from city_platform.dashboard.sessions import Session
from city_platform.dashboard.streamed import Streamed
from city_platform.dashboard.upstream import Upstream, UpstreamUnavailable
from city_platform.stores.worker import Worker
from contracts.api import ImportJob, RowErrors
from contracts.manifest import RowError
from runtime.http import BodyTooLarge, json_response, problem

CHECKS_MAX: Final = 2
ERRORS_ASKED: Final = 1_000
_PIECE_BYTES: Final = 262_144
# A cell that begins so is a formula to a spreadsheet.
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


class ImportRoutes:
    """The routes and what they need."""

    def __init__(
        self,
        provisioning: Upstream | None,
        manifest_bytes_max: int,
    ) -> None:
        self._provisioning = provisioning
        self._manifest_bytes_max = manifest_bytes_max
        self._worker = Worker("dashboard-checks")
        self._checks = 0

    @property
    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/api/imports/check", guarded(self._check), methods=["POST"]),
            Route("/api/imports/{id}/errors.csv", guarded(self._errors)),
        ]

    def close(self) -> None:
        """End the thread that checks."""
        self._worker.close()

    async def _check(self, request: Request) -> Response:
        if self._checks >= CHECKS_MAX:
            return problem(429, "too many dry runs", "try again when one has ended")
        self._checks += 1
        try:
            return json_response(await self._checked(request))
        except BodyTooLarge as error:
            return problem(413, "manifest too large", str(error))
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self._checks -= 1

    async def _checked(self, request: Request) -> dict[str, Any]:
        check = ManifestCheck()
        received, waiting = 0, bytearray()
        async for chunk in request.stream():
            received += len(chunk)
            if received > self._manifest_bytes_max:
                raise BodyTooLarge(f"at most {self._manifest_bytes_max} bytes: split it")
            waiting += chunk
            if len(waiting) >= _PIECE_BYTES:
                await self._worker.do(check.feed, bytes(waiting))
                waiting.clear()
            if check.is_over:
                return check.report()
        await self._worker.do(check.feed, bytes(waiting))
        await self._worker.do(check.finish)
        return check.report()

    async def _errors(self, request: Request) -> Response:
        if self._provisioning is None:
            return no_component("provisioning")
        session, job_id = session_of(request), request.path_params["id"]
        answer = await self._provisioning.ask(
            "GET", f"/v1/imports/{quote(job_id, safe='')}", token=session.access_token
        )
        if answer.status != 200:
            return passed_on(answer)
        # Of the answer, so that nothing of the request is put into a header.
        job = msgspec.json.decode(answer.body, type=ImportJob)
        return Streamed(
            self._rows(self._provisioning, session, job.id),
            "text/csv; charset=utf-8",
            {"Content-Disposition": f'attachment; filename="errors-{quote(job.id)}.csv"'},
        )

    async def _rows(
        self, provisioning: Upstream, session: Session, job_id: str
    ) -> AsyncGenerator[bytes, None]:
        yield _csv([("row", "field", "reason", "endpoint")])
        after: int | None = 0
        while after is not None:
            answer = await provisioning.ask(
                "GET",
                f"/v1/imports/{quote(job_id, safe='')}/errors?after={after}&limit={ERRORS_ASKED}",
                token=session.access_token,
            )
            if answer.status != 200:
                raise UpstreamUnavailable(f"provisioning answered {answer.status}")
            page = msgspec.json.decode(answer.body, type=RowErrors)
            yield _csv([_cells(one) for one in page.errors])
            after = page.next_after


def _cells(error: RowError) -> tuple[str, ...]:
    texts = (error.field, error.reason, error.endpoint)
    return (str(error.row), *(f"'{one}" if one.startswith(_FORMULAS) else one for one in texts))


def _csv(rows: Sequence[tuple[str, ...]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
