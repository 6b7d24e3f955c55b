"""Posts to one path of a component at their times, with as little CPU as may be: what an operator's
program costs shares the cores with what is measured."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools

from harness.errors import HarnessError

ANSWER_BYTES_MAX = 65_536
CONNECTED_WITHIN_S = 60.0


class Post(NamedTuple):
    """One request: where, what, and when it was meant to go (monotonic nanoseconds)."""

    path: str
    body: bytes
    intended_ns: int


class Posters:
    """A bounded number of connections, each with one request at a time; what finds none waits.

    `answered` gets each answer's body. An answer of 400 or more ends it all: `until_idle` raises.
    """

    def __init__(
        self, address: str, token: Callable[[], str], answered: Callable[[Post, bytes], None]
    ) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._token = token
        self._answered = answered
        self._waiting = deque[Post]()
        self._free: list[_Connection] = []
        self._all: list[_Connection] = []
        self._under_way = 0
        self._idle = asyncio.Event()
        self._failed: HarnessError | None = None

    async def open(self, connections: int) -> None:
        """Connect. Raises `OSError`, of which `TimeoutError` is one."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECTED_WITHIN_S):
            for _ in range(connections):
                opened = loop.create_connection(lambda: _Connection(self), *self._address)
                _, connection = await opened
                self._all.append(connection)
        self._free = list(self._all)

    def post(self, post: Post) -> None:
        """Send it now, or when a connection is free."""
        self._idle.clear()
        self._under_way += 1
        if self._free:
            self._free.pop().send(post, self._head(post))
        else:
            self._waiting.append(post)

    async def until_idle(self, within_s: float) -> None:
        """Wait for every answer. Raises `HarnessError`."""
        try:
            async with asyncio.timeout(within_s):
                while self._under_way and self._failed is None:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            self._failed = HarnessError(f"{self._under_way} posts have no answer: {within_s:g} s")
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """Close the connections."""
        for connection in self._all:
            connection.close()

    def ended(self, connection: _Connection, post: Post, status: int, body: bytes) -> None:
        """An answer came; the connection takes the next."""
        if status >= 400:
            self.fail(f"POST {post.path}: {status} {body[:200].decode(errors='replace')}")
            return
        self._under_way -= 1
        self._answered(post, body)
        if self._waiting:
            following = self._waiting.popleft()
            connection.send(following, self._head(following))
            return
        self._free.append(connection)
        if not self._under_way:
            self._idle.set()

    def fail(self, what: str) -> None:
        """It cannot go on."""
        self._failed = self._failed or HarnessError(what)
        self._idle.set()

    def _head(self, post: Post) -> bytes:
        host, port = self._address
        return (
            f"POST {post.path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Authorization: Bearer {self._token()}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(post.body)}\r\n\r\n"
        ).encode()


class _Connection(asyncio.Protocol):
    """One connection. Of its methods httptools calls those that begin with `on_`."""

    def __init__(self, posters: Posters) -> None:
        self._posters = posters
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._post: Post | None = None
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is one by its methods, and not by its class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._post is not None:
            self._posters.fail(f"POST {self._post.path}: the connection was lost: {exc}")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._posters.fail(f"no HTTP answer: {error}")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > ANSWER_BYTES_MAX:
            self._posters.fail("an answer is longer than may be")

    def on_message_complete(self) -> None:
        post, body = self._post, self._body
        self._post, self._body = None, b""
        if post is not None:
            self._posters.ended(self, post, self._parser.get_status_code(), body)

    def send(self, post: Post, head: bytes) -> None:
        """Send one request; its answer is told to the posters."""
        assert self._transport is not None
        self._post = post
        self._transport.write(head + post.body)

    def close(self) -> None:
        """Close it."""
        self._post = None
        if self._transport is not None:
            self._transport.close()
