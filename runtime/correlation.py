"""One id through everything that one request causes: taken from it or drawn, logged, answered.

Logs (`runtime.logs`) have it as `correlation_id`, an answer in `X-Request-Id`.
"""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    # A bridge logs, and loads no Starlette.
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER: Final = "x-request-id"
_DRAWN_BYTES: Final = 8
# Own choice: ids of all tracing systems fit, and nothing that a log or a header could stumble on.
_TAKEN: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
# W3C Trace Context §3.2.2: version, trace id, parent id, flags; later versions may append fields.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_NO_TRACE: Final = b"0" * 32

_current: Final = contextvars.ContextVar("correlation_id", default="")


def correlation_id() -> str:
    """The id of the request that is being answered; empty outside of one."""
    return _current.get()


def taken_from(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that a request brings, empty when it brings none that can be used.

    `X-Request-Id` goes before the trace id of `traceparent`; names are in lower case, as in ASGI.
    """
    by_name = dict(headers)
    given = by_name.get(b"x-request-id", b"").strip()
    if _TAKEN.fullmatch(given):
        return given.decode("ascii")
    trace = _TRACEPARENT.fullmatch(by_name.get(b"traceparent", b"").strip())
    if trace is None or trace[1] == _NO_TRACE:
        return ""
    return trace[1].decode("ascii")


class Correlated:
    """An ASGI application whose requests each have a correlation id, and whose answers tell it.

    Drawn ids are one draw for all, and a number: what else the source gives does not depend on how
    often somebody asks.
    """

    def __init__(self, app: ASGIApp, draw: Callable[[int], bytes]) -> None:
        self._app = app
        self._draw = draw
        self._prefix = ""
        self._drawn = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found = taken_from(scope["headers"]) or self._next()
        header = (HEADER.encode(), found.encode())

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Of an answer that was passed on, the id of the component behind is replaced.
                others = [one for one in message.get("headers", ()) if one[0] != header[0]]
                message = {**message, "headers": [*others, header]}
            await send(message)

        token = _current.set(found)
        try:
            await self._app(scope, receive, tell)
        finally:
            _current.reset(token)

    def _next(self) -> str:
        if not self._prefix:
            self._prefix = self._draw(_DRAWN_BYTES).hex()
        self._drawn += 1
        return f"{self._prefix}-{self._drawn}"
