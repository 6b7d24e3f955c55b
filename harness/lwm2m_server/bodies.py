"""Bodies of requests to the administration, read within bounds: one JSON text, or NDJSON rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

BODY_BYTES_MAX = 1_048_576
ROWS_AT_ONCE = 1_000
REJECTED_TOLD_MAX = 1_000


class RejectedRow(msgspec.Struct, frozen=True):
    """A line that was not taken; counted from 1."""

    row: int
    reason: str


class SecurityImport(msgspec.Struct, frozen=True):
    """What became of the lines. At most 1,000 rejected ones are named."""

    rows: int
    changed: int
    rejected: int
    errors: list[RejectedRow]


async def read_body(request: Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The whole body. Raises `HTTPException` (413) for one that is larger."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise HTTPException(413, f"the body is larger than {bytes_max} bytes")
    return bytes(body)


async def take_rows(
    request: Request,
    put: Callable[[bytes], bool],
    flush: Callable[[], None],
    *,
    refusals: tuple[type[Exception], ...],
    line_bytes_max: int,
) -> SecurityImport:
    """Hand each line to `put`, which says whether it changed anything or raises a refusal.

    A bad row does not stop the others. All are on disk when this returns.
    """
    rows = changed = rejected = 0
    errors: list[RejectedRow] = []
    async for line in _lines(request, line_bytes_max):
        rows += 1
        try:
            changed += put(line)
        except refusals as error:
            rejected += 1
            if rejected <= REJECTED_TOLD_MAX:
                errors.append(RejectedRow(rows, str(error)))
        if rows % ROWS_AT_ONCE == 0:
            flush()
            await asyncio.sleep(0)  # datagrams wait meanwhile
    flush()
    return SecurityImport(rows, changed, rejected, errors)


async def _lines(request: Request, line_bytes_max: int) -> AsyncIterator[bytes]:
    """The lines of a body; one that is too long comes cut, and is then no row."""
    rest = b""
    async for chunk in request.stream():
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[: line_bytes_max + 1]
        for line in lines:
            if line.strip():
                yield line[:line_bytes_max]
    if rest.strip():
        yield rest[:line_bytes_max]
