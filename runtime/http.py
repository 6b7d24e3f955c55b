"""An HTTP server in a component's own event loop: Starlette on uvicorn, JSON by msgspec."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})


class PortInUse(OSError):
    """Another program listens on the port that the configuration names."""


def json_response(body: msgspec.Struct | dict[str, Any] | list[Any], status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def problem(status: int, title: str, detail: str = "") -> Response:
    """An RFC 9457 answer: what is wrong, where, and what to do."""
    body = {"type": "about:blank", "status": status, "title": title, "detail": detail}
    return Response(msgspec.json.encode(body), status, media_type="application/problem+json")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `PortInUse` with what to do."""
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise PortInUse(
            error.errno, f"cannot listen on {host}:{port} ({error.strerror}): choose another port"
        ) from error
    found.listen(512)
    found.setblocking(False)
    return found


def make_app(routes: Sequence[BaseRoute], token: str | None) -> ASGIApp:
    """An application whose every route but the public ones asks for `token` as bearer."""
    app = Starlette(
        routes=list(routes),
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
    )
    return app if token is None else _BearerGate(app, token)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncIterator[str]:
    """Serve `app` on `listener` while the block runs; yields its `host:port`."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await server.begun.wait()
        host, port = listener.getsockname()[:2]
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """Leaves signals to the component and tells when it has begun."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.begun.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class _BearerGate:
    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            given = dict(scope["headers"]).get(b"authorization", b"")
            scheme, _, credentials = given.partition(b" ")
            # RFC 9110 §11.1: the scheme is case-insensitive.
            if scheme.lower() != b"bearer" or not hmac.compare_digest(credentials, self._expected):
                answer = problem(401, "not signed in", "send Authorization: Bearer <token>")
                answer.headers["WWW-Authenticate"] = "Bearer"
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, f"{request.method} {request.url.path}")


async def _server_error(request: Request, error: Exception) -> Response:
    return problem(500, "the component failed", "its log says more")
