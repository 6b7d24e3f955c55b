"""Requests to one of the platform's components, side by side, bodies streamed both ways.

It passes on what a component answers, also errors; it knows nothing of routes. GET requests use
kept connections and are tried again when a kept one had ended; everything else gets a connection
of its own, so that nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Mapping
from typing import Final, TypeVar

import httptools
import msgspec

from runtime.correlation import correlation_id

_READ_BYTES: Final = 262_144
# What our components answer as a whole; longer answers are read piece by piece.
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
# The components close a kept connection that is idle for 5 s.
_KEPT_FOR_S: Final = 4.0
_KEPT_MAX: Final = 8

Body = bytes | AsyncIterable[bytes]
_T = TypeVar("_T")


class UpstreamUnavailable(Exception):
    """A component cannot be asked, or its answer ended too early; the text says which and why."""


class Answer:
    """A component's answer: status, headers in lower case, and a body that is read once."""

    def __init__(self, name: str, connection: _Connection, within_s: float) -> None:
        self._name = name
        self._connection = connection
        self._within_s = within_s
        self.status = connection.status
        self.headers: dict[str, str] = connection.headers

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises `UpstreamUnavailable` when it ends too early."""
        while (chunk := await _bounded(self._name, self._within_s, self._connection.next())) != b"":
            yield chunk

    async def read(self, bytes_max: int = ANSWER_BYTES_MAX) -> bytes:
        """The whole body. Raises `UpstreamUnavailable`, also when it is longer than that."""
        body = bytearray()
        async with contextlib.aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > bytes_max:
                    raise UpstreamUnavailable(f"{self._name} answered over {bytes_max:,} bytes")
        return bytes(body)


class Whole(msgspec.Struct, frozen=True):
    """An answer that was read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes


class Upstream:
    """One component at `host:port`; at most `requests_max` requests at one time."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        within_s: float = 30.0,
        requests_max: int = 64,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._tls = tls
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._authority = address
        self._within_s = within_s
        self._turns = asyncio.Semaphore(requests_max)
        self._kept: list[tuple[float, _Connection]] = []

    def __repr__(self) -> str:
        return f"Upstream({self.name!r}, {self._authority!r})"

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        target: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        within_s: float | None = None,
    ) -> AsyncIterator[Answer]:
        """Send a request; the answer is good inside the block. Raises `UpstreamUnavailable`.

        `target` is a path with its query, encoded as on the wire.
        """
        allowed_s = within_s or self._within_s
        head = self._head(method, target, token, headers or {}, body)
        try:
            # Not `wait_for`: in Python 3.11 it may take a cancellation for a result.
            async with asyncio.timeout(self._within_s):
                await self._turns.acquire()
        except TimeoutError:
            raise UpstreamUnavailable(f"{self.name}: too many requests wait for it") from None
        connection = None
        try:
            connection = await self._exchange(method, head, body, allowed_s)
            yield Answer(self.name, connection, allowed_s)
            if connection.is_reusable and len(self._kept) < _KEPT_MAX:
                self._kept.append((asyncio.get_running_loop().time(), connection))
                connection = None
        finally:
            self._turns.release()
            if connection is not None:
                connection.close()

    async def ask(
        self,
        method: str,
        target: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        within_s: float | None = None,
    ) -> Whole:
        """The whole answer to a small JSON request. Raises `UpstreamUnavailable`."""
        headers = {**(headers or {}), **({"Content-Type": "application/json"} if body else {})}
        async with self.request(
            method, target, token=token, headers=headers, body=body, within_s=within_s
        ) as answer:
            return Whole(answer.status, answer.headers, await answer.read())

    def close(self) -> None:
        """Close what is kept."""
        while self._kept:
            self._kept.pop()[1].close()

    async def _exchange(self, method: str, head: bytes, body: Body, within_s: float) -> _Connection:
        kept = self._take() if method == "GET" else None
        if kept is not None:
            try:
                await _bounded(self.name, within_s, kept.exchange(head, body))
            except UpstreamUnavailable:
                # It ended between two requests: the next one is new.
                kept.close()
            except BaseException:
                kept.close()
                raise
            else:
                return kept
        connection = await _bounded(
            self.name, within_s, _connect(self._host, self._port, self._tls)
        )
        try:
            # An upload takes as long as it takes; the bound begins with its end.
            limit_s = within_s if isinstance(body, bytes) else None
            await _bounded(self.name, limit_s, connection.exchange(head, body, within_s))
        except BaseException:
            connection.close()
            raise
        return connection

    def _take(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._kept:
            since, connection = self._kept.pop()
            if now - since < _KEPT_FOR_S and not connection.has_ended:
                return connection
            connection.close()
        return None

    def _head(
        self, method: str, target: str, token: str | None, headers: Mapping[str, str], body: Body
    ) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        if found := correlation_id():
            # What the component behind logs of this request has the same id.
            lines.append(f"X-Request-Id: {found}")
        if not isinstance(body, bytes):
            lines.append("Transfer-Encoding: chunked")
        elif body or method not in ("GET", "DELETE"):
            lines.append(f"Content-Length: {len(body)}")
        if any("\r" in line or "\n" in line for line in lines):
            raise UpstreamUnavailable(f"{self.name}: a header with a line break is not passed on")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


class _Connection:
    """One connection, one request after the other; what httptools calls back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._has_head = False
        self._is_complete = False
        self._keeps = False
        self._is_sent = False
        self._parser = httptools.HttpResponseParser(self)

    @property
    def has_ended(self) -> bool:
        """Whether the component closed it."""
        return self._reader.at_eof() or self._writer.is_closing()

    @property
    def is_reusable(self) -> bool:
        """Whether the exchange is over on both sides and the connection goes on."""
        return self._is_complete and self._keeps and self._is_sent and not self.has_ended

    async def exchange(self, head: bytes, body: Body, within_s: float = 30.0) -> None:
        """Send a request and read the answer's head, which may come before all is sent."""
        self._begin()
        self._writer.write(head)
        if isinstance(body, bytes):
            self._writer.write(body)
            await self._writer.drain()
            self._is_sent = True
            await self._read_head()
            return
        sending = asyncio.ensure_future(self._send(body))
        reading = asyncio.ensure_future(self._read_head())
        try:
            await asyncio.wait({sending, reading}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not reading.done():
                self._raise_unless_refused(sending)
                async with asyncio.timeout(within_s):
                    await reading
            reading.result()
        finally:
            for task in (sending, reading):
                task.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)

    async def next(self) -> bytes:
        """The next piece of the body, empty at its end."""
        while not self._pieces and not self._is_complete:
            await self._feed()
        piece = b"".join(self._pieces)
        self._pieces.clear()
        return piece

    def close(self) -> None:
        """Close it; what has not been sent is dropped."""
        self._writer.transport.abort()

    def _raise_unless_refused(self, sending: asyncio.Future[None]) -> None:
        error = sending.exception()
        # A component that refuses a body stops taking it: its answer may still be on the way.
        if error is not None and not isinstance(error, ConnectionError):
            raise error

    async def _send(self, body: AsyncIterable[bytes]) -> None:
        async for chunk in body:
            if chunk:
                self._writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await self._writer.drain()
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        self._is_sent = True

    async def _read_head(self) -> None:
        while not self._has_head:
            await self._feed()

    async def _feed(self) -> None:
        data = await self._reader.read(_READ_BYTES)
        if not data:
            raise ConnectionResetError("it closed before its answer was complete")
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._has_head = True
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._is_complete = True
        # Asked now: afterwards the parser has forgotten how the message was framed.
        self._keeps = self._parser.should_keep_alive()


async def _connect(host: str, port: int, tls: ssl.SSLContext | None) -> _Connection:
    return _Connection(*await asyncio.open_connection(host, port, ssl=tls))


async def _bounded(name: str, within_s: float | None, step: Awaitable[_T]) -> _T:
    """The step's result, with what went wrong told by the component's name."""
    try:
        async with asyncio.timeout(within_s):
            return await step
    except TimeoutError:
        raise UpstreamUnavailable(f"{name} did not answer in time") from None
    except (OSError, httptools.HttpParserError) as error:
        raise UpstreamUnavailable(f"{name} cannot be reached: {error}") from error
