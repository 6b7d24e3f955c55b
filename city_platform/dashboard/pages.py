"""The built pages, held in memory: what is not a name in the built folder is not there."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runtime.http import problem

INDEX: Final = "/index.html"
NOT_BUILT: Final = "the pages are not built: run `make dashboard`, then start the dashboard again"
PAGES_BYTES_MAX: Final = 64 * 1024 * 1024
# `[name]-[hash]` as esbuild names what it makes: such a name never gets another content.
_HASHED: Final = re.compile(r"-[A-Z0-9]{8}\.[a-z0-9.]+", re.ASCII)
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
_PACKED: Final = frozenset({".html", ".js", ".mjs", ".css", ".json", ".geojson", ".map", ".svg"})
# Without style or script: it asks for nothing, and the policy of all answers holds for it, too.
_NOT_BUILT_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>No pages yet · Lamplighter</title>
<main>
<h1>The dashboard runs, and its pages are not built yet</h1>
<p>In the folder of the checkout, run</p>
<pre><code>make dashboard</code></pre>
<p>and start again what you started: <code>lamplighter up</code>, or the dashboard itself.
It takes Node.js 20 or newer, and says what to install where there is none.</p>
<p>All else works without the pages. <a href="/healthz">/healthz</a> says that this runs.</p>
</main>
</html>
"""


class Page(NamedTuple):
    """One file: its bytes, also packed where that is shorter, and how long browsers keep it."""

    body: bytes
    packed: bytes | None
    media_type: str
    etag: str
    cache_control: str


class UnreadablePages(OSError):
    """The folder of pages cannot be read as a whole; the text says why."""


def load_pages(folder: Path) -> dict[str, Page]:
    """All files of the folder by the path that asks for them; none when it is not there.

    Raises `UnreadablePages` when it holds more than pages would.
    """
    found: dict[str, Page] = {}
    total = 0
    for place, _folders, names in os.walk(folder):
        for name in sorted(names):
            path = Path(place, name)
            body = path.read_bytes()
            total += len(body)
            if total > PAGES_BYTES_MAX:
                raise UnreadablePages(f"{folder} holds over {PAGES_BYTES_MAX:,} bytes: no pages")
            found[f"/{path.relative_to(folder).as_posix()}"] = _page(name, body)
    return found


class Pages:
    """Serves what `load_pages` found. An ASGI application."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages

    @property
    def are_built(self) -> bool:
        """Whether there is a page to begin with."""
        return INDEX in self._pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a page."""
        await self.answer(scope["method"], scope["path"], Headers(scope=scope))(
            scope, receive, send
        )

    def answer(self, method: str, path: str, headers: Headers) -> Response:
        """The page, or what is wrong."""
        if method not in ("GET", "HEAD"):
            found = problem(405, "wrong method", "pages are read")
            found.headers["Allow"] = "GET, HEAD"
            return found
        page = self._pages.get(path)
        if page is None and "." not in path.rpartition("/")[2]:
            # A place inside the application, such as `/devices/lamp-1`: its page finds out.
            page = self._pages.get(INDEX)
        if page is not None:
            return _served(page, headers, with_body=method == "GET")
        if self.are_built:
            return problem(404, "no such page", path[:200])
        if "text/html" in headers.get("accept", ""):
            return Response(
                _NOT_BUILT_PAGE if method == "GET" else None, 503, media_type="text/html"
            )
        return problem(503, "no pages", NOT_BUILT)


def _page(name: str, body: bytes) -> Page:
    ending = Path(name).suffix
    # No name and time in what is packed: the same pages are the same bytes on every machine.
    packed = gzip.compress(body, 9, mtime=0) if ending in _PACKED else None
    return Page(
        body=body,
        packed=packed if packed is not None and len(packed) < len(body) else None,
        media_type=_TYPES.get(ending, "application/octet-stream"),
        etag=f'"{sha256(body).hexdigest()[:32]}"',
        cache_control=_FOR_EVER if _HASHED.search(name) else "no-cache",
    )


def _served(page: Page, asked: Headers, with_body: bool) -> Response:
    headers = {"ETag": page.etag, "Cache-Control": page.cache_control, "Vary": "Accept-Encoding"}
    if is_known(asked, page.etag):
        return Response(status_code=304, headers=headers)
    body = page.body
    if page.packed is not None and takes_gzip(asked):
        body, headers["Content-Encoding"] = page.packed, "gzip"
    headers["Content-Length"] = str(len(body))
    return Response(body if with_body else b"", 200, headers, page.media_type)


def is_known(asked: Headers, etag: str) -> bool:
    """Whether a browser says that it has this already (RFC 9110 §13.1.2)."""
    known = [one.strip().removeprefix("W/") for one in asked.get("if-none-match", "").split(",")]
    return etag in known


def takes_gzip(asked: Headers) -> bool:
    """Whether a browser takes gzip (RFC 9110 §12.5.3)."""
    for one in asked.get("accept-encoding", "").lower().split(","):
        name, _, quality = one.partition(";")
        if name.strip() == "gzip":
            return quality.strip().replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
