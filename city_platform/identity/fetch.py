"""Fetches one small document over HTTPS, or over HTTP from this machine. No redirects."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httptools

WITHIN_S: Final = 10.0
_READ_BYTES: Final = 65_536


class FetchFailed(Exception):
    """A document could not be fetched; the text says from where and why."""


def is_allowed(url: str) -> bool:
    """Whether a URL may be fetched: https, or http to a loopback address, without credentials."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- reading it is what raises for an impossible one
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or not url.isascii() or " " in url:
        return False
    if any(ord(letter) < 33 for letter in url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))


async def fetch(url: str, bytes_max: int, ca_file: str | None = None) -> bytes:
    """The body of a 200 answer. Raises `FetchFailed`."""
    if not is_allowed(url):
        raise FetchFailed(f"{url[:200]!r} is neither https nor on this machine")
    try:
        async with asyncio.timeout(WITHIN_S):
            return await _exchange(urlsplit(url), bytes_max, ca_file)
    except TimeoutError:
        raise FetchFailed(f"{url[:200]} did not answer within {WITHIN_S:g} s") from None
    except (OSError, httptools.HttpParserError) as error:
        raise FetchFailed(f"{url[:200]}: {error}") from error


async def _exchange(parts: SplitResult, bytes_max: int, ca_file: str | None) -> bytes:
    context = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
    port = parts.port or (443 if context else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    try:
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
            "Connection: close\r\n\r\n".encode("ascii")
        )
        return await _read(reader, bytes_max)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, bytes_max: int) -> bytes:
    answer = _Answer(bytes_max)
    parser = httptools.HttpResponseParser(answer)
    while not answer.is_complete:
        data = await reader.read(_READ_BYTES)
        if not data:
            # An answer without a length ends with its connection.
            break
        parser.feed_data(data)
        if answer.is_too_large:
            raise FetchFailed(f"the answer has more than {bytes_max} bytes")
    if not answer.has_headers:
        raise FetchFailed("the connection was closed before an answer")
    if parser.get_status_code() != 200:
        raise FetchFailed(f"answered {parser.get_status_code()}")
    return bytes(answer.body)


class _Answer:
    """Collects what httptools calls back."""

    def __init__(self, bytes_max: int) -> None:
        self.body = bytearray()
        self.has_headers = False
        self.is_complete = False
        self.is_too_large = False
        self._bytes_max = bytes_max

    def on_headers_complete(self) -> None:
        self.has_headers = True

    def on_body(self, body: bytes) -> None:
        self.is_too_large = len(self.body) + len(body) > self._bytes_max
        if not self.is_too_large:
            self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
