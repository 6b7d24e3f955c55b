"""An HTTP server in a component's own event loop: Starlette on uvicorn, JSON by msgspec.

What a peer may send before a request is whole is bounded, in bytes and in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime.json_keys import RepeatedKey, refuse_repeated_keys

PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
# Own choices: request line and headers of one request, and how long they may take to come.
HEAD_BYTES_MAX = 32 * 1024
HEAD_WITHIN_S = 10.0
# How long a body may stand still: a long one may take as long as it does, none may take for ever.
BODY_IDLE_S = 30.0
# What is written at most before it is sent, in bytes.
_JOINED_BYTES_MAX = 64 * 1024
# So little is parsed between two looks at the bound.
_PIECE_BYTES = 8 * 1024


ErrorAnswer = Callable[[Request, Exception], Awaitable[Response]]


class PortInUse(OSError):
    """Another program listens on the port that the configuration names."""

    def __str__(self) -> str:
        # What was written for people, without the system's number of the error.
        return self.strerror or super().__str__()


class BodyTooLarge(Exception):
    """A request's body is longer than it may be; the text says how long that is."""


async def read_body(request: Request, bytes_max: int, *, may_repeat_keys: bool = False) -> bytes:
    """A request's body. Raises `BodyTooLarge` as soon as it is longer than `bytes_max`.

    A JSON body whose object says one key twice raises `RepeatedKey`, which `make_app` answers with
    400, unless it `may_repeat_keys`: where programs of ours send so much that looking costs.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise BodyTooLarge(f"at most {bytes_max} bytes")
    found = bytes(body)
    if not may_repeat_keys:
        refuse_repeated_keys(found)
    return found


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


def make_app(
    routes: Sequence[BaseRoute],
    token: str | None,
    errors: Mapping[type[Exception], ErrorAnswer] | None = None,
    lanes: Sequence[Route] = (),
) -> ASGIApp:
    """An application whose every route but the public ones asks for `token` as bearer.

    `errors` says how what handlers raise is answered; what it does not know is a 500. `lanes` are
    those of the routes that are asked for by the thousand: they are found first, and without what
    Starlette does for all.
    """
    answers: dict[Any, ErrorAnswer] = {
        HTTPException: _http_error,
        ClientDisconnect: _gone,
        RepeatedKey: _repeated_key,
        **(errors or {}),
        Exception: _server_error,
    }
    app: ASGIApp = Starlette(routes=list(routes), exception_handlers=answers)
    if lanes:
        app = _Lanes(app, lanes, answers)
    return app if token is None else _BearerGate(app, token)


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, listener: socket.socket, *, tls: tuple[str, str] | None = None
) -> AsyncIterator[str]:
    """Serve `app` on `listener` while the block runs; yields its `host:port`.

    With `tls`, PEM files of a certificate chain and its key, over HTTPS (TLS 1.2 or newer).
    """
    certificate_file, key_file = tls or (None, None)
    config = uvicorn.Config(
        app,
        http=_BoundedHttp,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        # uvicorn takes X-Forwarded-For from loopback, where every client of one machine is, for
        # who asks; what is behind a proxy is told by a credential (`identity.fronts`).
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate_file,
        ssl_keyfile=key_file,
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


class _BoundedHttp(HttpToolsProtocol):
    """Gives up a peer whose headers, or trailers, do not end.

    The parser puts what belongs to one header together piece by piece: without a bound, its memory
    grows and so does the time that each further piece takes from everybody else of the process.
    """

    # Bytes since the parser came further: to the end of the headers, or in a body.
    _bytes_without_progress = 0
    _head_timer: asyncio.TimerHandle | None = None
    _is_in_head = True
    # When the last bytes of a body came that has not ended, and what looks at that.
    _body_at = 0.0
    _body_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(cast(asyncio.Transport, _Joining(transport, self.loop)))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_body_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_in_head and self._head_timer is None:
            self._await_head()
        while data and not self.transport.is_closing():
            # A head by small pieces, so that it is seen to be too long; a body as it comes.
            size = _PIECE_BYTES if self._is_in_head else len(data)
            self._bytes_without_progress += min(size, len(data))
            super().data_received(data[:size])
            data = data[size:]
            if self._bytes_without_progress > HEAD_BYTES_MAX:
                self._refuse(431, f"send at most {HEAD_BYTES_MAX} bytes of headers")
        if not self._is_in_head and not self.transport.is_closing():
            self._body_at = self.loop.time()
            if self._body_timer is None:
                self._body_timer = self.loop.call_later(BODY_IDLE_S, self._look_at_body)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._bytes_without_progress = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._bytes_without_progress = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._bytes_without_progress = 0
        self._is_in_head = True
        self._stop_body_timer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Instead of uvicorn's line of text. What is wrong is not known any closer than this."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self._answer(400, "send HTTP/1.1 (RFC 9112): this is none, or says its length twice")
        self.transport.close()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _look_at_body(self) -> None:
        self._body_timer = None
        left_s = self._body_at + BODY_IDLE_S - self.loop.time()
        if self.flow.read_paused:
            # We do not read, because the handler is behind: it is not the peer who stands still.
            left_s = BODY_IDLE_S
        if left_s > 0:
            self._body_timer = self.loop.call_later(left_s, self._look_at_body)
            return
        if not self.transport.is_closing():
            if not self.cycle.response_started:
                self._answer(408, f"send on within {BODY_IDLE_S:g} s")
            self.transport.close()

    def _give_up(self) -> None:
        self._head_timer = None
        self._refuse(408, f"send a request within {HEAD_WITHIN_S:g} s")

    def _refuse(self, status: int, what_to_do: str) -> None:
        # Where an answer is under way, another cannot be put into it.
        if self.transport.is_closing():
            return
        if self._is_in_head and (self.cycle is None or self.cycle.response_complete):
            self._answer(status, what_to_do)
        self.transport.close()

    def _answer(self, status: int, what_to_do: str) -> None:
        phrase = HTTPStatus(status).phrase
        body = bytes(problem(status, phrase, what_to_do).body)
        self.transport.write(
            f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )


class _Joining:
    """A transport that sends in one go what is written in one turn of the loop.

    uvicorn writes an answer's head and its body apart: two system calls here, and two wake-ups of
    whoever waits for it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self._bytes = 0
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)
        self._bytes += len(data)
        if self._bytes > _JOINED_BYTES_MAX:
            # The transport says when it has enough, and then whoever writes waits.
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._pieces.clear()
        self._transport.abort()

    def _flush(self) -> None:
        pieces, self._pieces, self._bytes = self._pieces, [], 0
        if pieces and not self._transport.is_closing():
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))


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


class _Lanes:
    """Some routes, answered as Starlette answers them; everything else is passed on."""

    def __init__(
        self, app: ASGIApp, lanes: Sequence[Route], answers: Mapping[Any, ErrorAnswer]
    ) -> None:
        self._app = app
        self._answers = answers
        self._lanes = [
            (method, route.path_regex.match, route.endpoint)
            for route in lanes
            for method in sorted(route.methods or ())
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for method, match, handler in self._lanes:
                if method == scope["method"] and (found := match(scope["path"])):
                    scope["path_params"] = found.groupdict()
                    await self._answer(handler, scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _answer(self, handler: Any, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        failed: Exception | None = None
        try:
            response = await handler(request)
        except Exception as error:  # the boundary to a handler: answered, and reported below
            kind = next(one for one in type(error).__mro__ if one in self._answers)
            if kind is Exception:
                failed = error
            response = await self._answers[kind](request, error)
        await response(scope, receive, send)
        if failed is not None:
            # As Starlette does: who serves it writes it into the log.
            raise failed


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


async def _gone(request: Request, error: Exception) -> Response:
    # Nobody gets it; whoever hangs up in a body does not write a page into the log each time.
    return problem(400, "the request did not end", f"{request.method} {request.url.path}")


async def _repeated_key(request: Request, error: Exception) -> Response:
    return problem(400, "wrong body", str(error))


async def _server_error(request: Request, error: Exception) -> Response:
    return problem(500, "the component failed", "its log says more")
