"""Passes requests of pages on to one component, with the session's token in place of its cookie.

Only operations of the table go through, and of those none that gives out tokens or that stays open.
Bodies and answers are streamed; what the component answers, also errors, is what the page gets.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from city_platform.dashboard.gate import MATCH, Finder, finder, session_of, unreachable
from city_platform.dashboard.sessions import Session
from city_platform.dashboard.upstream import Answer, Body, Upstream, UpstreamUnavailable
from city_platform.identity.operations import Match, OperationTable
from city_platform.identity.operations import Scope as TenantScope
from runtime.http import BodyTooLarge, problem, read_body

UPLOAD: Final = "import_manifest"
# Streams without an end: pages have `/live`.
NOT_PASSED: Final = frozenset({"read_feed", "read_changes"})
_PATH_SAFE: Final = "/:@!$&'()*+,;=-._~"
_ASKED: Final = (
    "accept",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "x-file-name",
)
_TOLD: Final = (
    "cache-control",
    "content-disposition",
    "content-length",
    "content-type",
    "etag",
    "retry-after",
)
_PLACES: Final = ("content-location", "location")
# Called with an answer's status and the place in it before the answer goes out; may change headers.
Watch = Callable[[Session, Match, Request, Answer, MutableHeaders], Awaitable[None]]


def proxied(component: str, prefix: str) -> Finder:
    """Finds what may be passed on to the component under `prefix`."""
    find = finder(OperationTable(component), prefix)

    def find_passed(scope: Scope) -> Match | None:
        match = find(scope)
        if match is None or match.operation.scope is TenantScope.PUBLIC:
            return None
        return None if match.operation.name in NOT_PASSED or scope["method"] == "HEAD" else match

    return find_passed


class Proxy:
    """An ASGI application behind a `SessionGate`."""

    def __init__(
        self,
        upstream: Upstream,
        prefix: str,
        *,
        body_bytes_max: int,
        upload_bytes_max: int,
        watch: Watch,
    ) -> None:
        self._upstream = upstream
        self._prefix = prefix
        self._body_bytes_max = body_bytes_max
        self._upload_bytes_max = upload_bytes_max
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        answer = _Started(send)
        try:
            await self._pass(Request(scope, receive), answer)
        except ClientDisconnect:
            return
        except BodyTooLarge as error:
            await answer.instead(problem(413, "request too large", str(error)), scope, receive)
        except UpstreamUnavailable as error:
            if answer.has_begun:
                # What was sent is no whole answer, and must not look like one.
                raise
            await answer.instead(unreachable(error), scope, receive)

    async def _pass(self, request: Request, send: _Started) -> None:
        session, match = session_of(request), request.scope[MATCH]
        headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
        async with self._upstream.request(
            request.method,
            self._target(request.scope),
            token=session.access_token,
            headers=headers,
            body=await self._body(request, match),
        ) as answer:
            told = self._headers(answer)
            await self._watch(session, match, request, answer, told)
            await send(
                {"type": "http.response.start", "status": answer.status, "headers": told.raw}
            )
            async with contextlib.aclosing(answer.chunks()) as chunks:
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _body(self, request: Request, match: Match) -> Body:
        if match.operation.name == UPLOAD:
            return _bounded(request, self._upload_bytes_max)
        # Whether it says a key twice is looked at where it goes.
        return await read_body(request, self._body_bytes_max, may_repeat_keys=True)

    def _target(self, scope: Scope) -> str:
        # Quoted anew: whatever the path was spelled like, it is what the table matched.
        path = quote(scope["path"].removeprefix(self._prefix), safe=_PATH_SAFE)
        query = scope.get("query_string", b"").decode("latin-1")
        return f"{path}?{query}" if query else path

    def _headers(self, answer: Answer) -> MutableHeaders:
        told = MutableHeaders()
        for name in _TOLD:
            if name in answer.headers:
                told[name] = answer.headers[name]
        for name in _PLACES:
            if answer.headers.get(name, "").startswith("/"):
                told[name] = self._prefix + answer.headers[name]
        return told


class _Started:
    """`send` that remembers whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        self.has_begun = True
        await self._send(message)

    async def instead(self, answer: Response, scope: Scope, receive: Receive) -> None:
        """Send this answer where none has begun."""
        if not self.has_begun:
            await answer(scope, receive, self._send)


async def _bounded(request: Request, bytes_max: int) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > bytes_max:
            raise BodyTooLarge(f"at most {bytes_max} bytes: split it")
        yield chunk
