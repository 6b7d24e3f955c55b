"""A small HTTP/1.1 client on the running loop: keep-alive, bearer token, JSON, streamed lines.

For talking to our own components: one connection per client, requests in order. It parses with
httptools and has no thread, pool or redirect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, TypeVar

import httptools
import msgspec

Body = TypeVar("Body")

BODY_BYTES_MAX = 64 * 1024 * 1024


class HttpError(Exception):
    """The server answered with an error; `detail` is its problem text."""

    def __init__(self, status: int, what: str, detail: str) -> None:
        super().__init__(f"{what}: {status} {detail}")
        self.status = status
        self.detail = detail


class ConnectionLost(OSError):
    """The server went away before its answer was complete."""


class HttpClient:
    """Requests to one `host:port`, one after the other. Reconnects when the connection was lost.

    The connection is kept until `close`, or the end of an `async with`. `token` is the bearer
    token, or what gives the one that is good now, asked for each request.
    """

    def __init__(
        self,
        address: str,
        token: str | Callable[[], str] | None = None,
        *,
        within_s: float = 30.0,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._within_s = within_s
        self._token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"HttpClient({self._host}:{self._port})"

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def get(self, path: str, kind: type[Body]) -> Body:
        """The JSON body of `path`, typed. Raises `HttpError`, `ConnectionLost` or `OSError`."""
        return msgspec.json.decode(await self._exchange("GET", path, b"", ""), type=kind)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | AsyncIterable[bytes],
        kind: type[Body],
        content_type: str = "application/json",
    ) -> Body:
        """Send `body` (chunked when it is an iterable) and return the typed JSON answer."""
        answer = await self._exchange(method, path, body, content_type)
        return msgspec.json.decode(answer or b"null", type=kind)

    async def post(self, path: str, body: msgspec.Struct, kind: type[Body]) -> Body:
        """POST a struct as JSON."""
        return await self.send("POST", path, msgspec.json.encode(body), kind)

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a streamed answer as they come, on a connection of their own."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        try:
            writer.write(self._head("GET", path, "", "close"))
            pending = b""
            while not answer.complete:
                data = await reader.read(262_144)
                if not data:
                    return
                parser.feed_data(data)
                self._raise_for_status(parser, answer, f"GET {path}")
                *whole, pending = (pending + answer.take()).split(b"\n")
                for line in whole:
                    if line:
                        yield line
        finally:
            writer.close()

    async def close(self) -> None:
        """Close the kept connection."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _exchange(
        self, method: str, path: str, body: bytes | AsyncIterable[bytes], content_type: str
    ) -> bytes:
        async with self._turn:
            kept = self._streams is not None
            try:
                async with asyncio.timeout(self._within_s):
                    return await self._attempt(method, path, body, content_type)
            except TimeoutError:
                await self.close()
                raise ConnectionLost(
                    f"{self} did not answer {method} {path} within {self._within_s:g} s"
                ) from None
            except ConnectionLost:
                # A kept connection may have timed out at the other side: one more try on a new one.
                if not kept or not isinstance(body, bytes):
                    raise
                return await self._attempt(method, path, body, content_type)
            except BaseException:
                await self.close()
                raise

    async def _attempt(
        self, method: str, path: str, body: bytes | AsyncIterable[bytes], content_type: str
    ) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        try:
            await self._write(writer, method, path, body, content_type)
            return await self._read(reader, f"{method} {path}")
        except (ConnectionError, httptools.HttpParserError) as error:
            await self.close()
            raise ConnectionLost(f"{self} lost during {method} {path}: {error}") from error

    async def _write(
        self,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        body: bytes | AsyncIterable[bytes],
        content_type: str,
    ) -> None:
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        if isinstance(body, bytes):
            length = f"Content-Length: {len(body)}\r\n" if method != "GET" else ""
            writer.write(self._head(method, path, kind + length, "keep-alive") + body)
            return
        writer.write(
            self._head(method, path, kind + "Transfer-Encoding: chunked\r\n", "keep-alive")
        )
        async for chunk in body:
            if chunk:
                writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await writer.drain()
        writer.write(b"0\r\n\r\n")

    async def _read(self, reader: asyncio.StreamReader, what: str) -> bytes:
        answer = _Answer()
        parser = answer.parser = httptools.HttpResponseParser(answer)
        while not answer.complete:
            data = await reader.read(262_144)
            if not data:
                raise ConnectionResetError("closed before the answer was complete")
            parser.feed_data(data)
        if not answer.is_connection_kept:
            await self.close()
        if parser.get_status_code() >= 400:
            raise HttpError(parser.get_status_code(), what, _detail(answer.take()))
        return answer.take()

    def _head(self, method: str, path: str, headers: str, connection: str) -> bytes:
        token = self._token() if callable(self._token) else self._token
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"{authorization}{headers}Connection: {connection}\r\n\r\n"
        ).encode()

    @staticmethod
    def _raise_for_status(parser: httptools.HttpResponseParser, answer: _Answer, what: str) -> None:
        if answer.headers_complete and parser.get_status_code() >= 400:
            raise HttpError(parser.get_status_code(), what, _detail(answer.take()))


class _Answer:
    """Collects what httptools calls back."""

    def __init__(self) -> None:
        self.complete = False
        self.headers_complete = False
        self.is_connection_kept = False
        self.parser: httptools.HttpResponseParser | None = None
        self._body = bytearray()

    def on_headers_complete(self) -> None:
        self.headers_complete = True

    def on_body(self, body: bytes) -> None:
        if len(self._body) + len(body) > BODY_BYTES_MAX:
            raise ConnectionResetError("the answer is larger than this client takes")
        self._body += body

    def on_message_complete(self) -> None:
        self.complete = True
        # Afterwards the parser has forgotten how the message was framed, and always says no.
        self.is_connection_kept = self.parser is not None and self.parser.should_keep_alive()

    def take(self) -> bytes:
        taken = bytes(self._body)
        self._body.clear()
        return taken


def _detail(body: bytes) -> str:
    try:
        found: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body[:200].decode(errors="replace")
    if not isinstance(found, dict):
        return str(found)[:200]
    return f"{found.get('title', '')}: {found.get('detail', '')}"
