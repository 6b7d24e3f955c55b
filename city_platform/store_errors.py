"""What is said while a component's disk or database takes nothing: 503 and what to do, not a 500,
and at `/readyz` that it is so.

For every route behind `gated`; those that know more say more before it comes to this.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from city_platform.stores.passing import is_passing
from city_platform.stores.sqlite import is_damage
from runtime.http import ErrorAnswer, problem

READY_PATH: Final = "/readyz"
RETRY_AFTER_S: Final = 5
# Room for a commit of each of a component's stores. A file of one byte may have room in a disk that
# is full, in a block that is there already.
ROOM_BYTES: Final = 65_536
# A store that refused is asked again by the next request; until one has come, this is how long it
# is taken to refuse still.
REFUSED_FOR_S: Final = 10.0
_log = logging.getLogger(__name__)


def store_problem(error: Exception) -> Response:
    """503 with `Retry-After`."""
    answer = problem(
        503,
        "the disk takes nothing now",
        f"{_text(error)}: ask again; what is done already stays done",
    )
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer


class StoreTrouble:
    """Whether a component's stores take what they are given: `folder` is where they are, None where
    it is not known."""

    def __init__(self, folder: Path | None, now_ns: Callable[[], int]) -> None:
        self._folder = folder
        self._now_ns = now_ns
        self._refused = ""
        self._refused_ns = 0
        # It does not pass: until the component is started with another database.
        self._damage = ""

    @property
    def answers(self) -> Mapping[type[Exception], ErrorAnswer]:
        """How handlers' errors are answered: for `make_app`."""
        return {
            sqlite3.OperationalError: self._answer,
            sqlite3.DatabaseError: self._answer_damage,
            OSError: self._answer,
        }

    async def now(self) -> str | None:
        """What is the matter; None when nothing is known to be."""
        if self._damage:
            return self._damage
        age_s = (self._now_ns() - self._refused_ns) / 1e9
        if self._refused and age_s < REFUSED_FOR_S:
            return f"a store refused {age_s:.0f} s ago: {self._refused}"
        if self._folder is None:
            return None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, _without_room, self._folder)

    async def _answer(self, request: Request, error: Exception) -> Response:
        if not is_passing(error):
            raise error
        self._refused, self._refused_ns = _text(error), self._now_ns()
        return store_problem(error)

    async def _answer_damage(self, request: Request, error: Exception) -> Response:
        if not is_damage(error):
            raise error
        self._damage = f"a store is damaged ({error}): restore it from a backup"
        _log.error("%s %s: %s", request.method, request.url.path, self._damage)
        return problem(503, "a store is damaged", f"{error}: who runs this must restore it")


class TroubleAtReadiness:
    """An application whose `/readyz` says too that its stores take nothing."""

    def __init__(self, app: ASGIApp, trouble: StoreTrouble) -> None:
        self._app = app
        self._trouble = trouble

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "http" and scope["path"] == READY_PATH:
            found = await self._trouble.now()
            if found is not None:
                await problem(503, "not ready", found)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _without_room(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM_BYTES))
            file.flush()
    except OSError as error:
        return f"the disk of {folder} takes no {ROOM_BYTES // 1024} KiB: {error.strerror}"
    return None


def _text(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
