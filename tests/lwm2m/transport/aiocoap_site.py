"""What aiocoap serves in the tests that have it as the other side."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import aiocoap  # type: ignore[import-untyped]  # it has no py.typed
from aiocoap import resource

from lwm2m.transport import open_udp

WITHIN_S = 60.0
BODY = bytes(range(256)) * 12


class Store(resource.Resource):  # type: ignore[misc]  # aiocoap's base is untyped
    """Answers every method with its code and the body it got."""

    async def render(self, request: Any) -> Any:
        """aiocoap: any method."""
        if request.code in (aiocoap.GET, aiocoap.DELETE):
            body = BODY if request.code == aiocoap.GET else b""
        else:
            body = request.payload
        code = aiocoap.CONTENT if request.code in (aiocoap.GET, aiocoap.FETCH) else aiocoap.CHANGED
        return aiocoap.Message(code=code, payload=body, content_format=42)


class Counter(resource.ObservableResource):  # type: ignore[misc]  # likewise
    """A number that can be observed; `step` makes it the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def step(self) -> None:
        """Count, and notify."""
        self.number += 1
        self.updated_state()

    async def render_get(self, request: Any) -> Any:
        """aiocoap: GET."""
        return aiocoap.Message(payload=str(self.number).encode())


def make_site() -> tuple[Any, Counter]:
    """A site with `store` and `counter`."""
    counter = Counter()
    site = resource.Site()
    site.add_resource(["store"], Store())
    site.add_resource(["counter"], counter)
    return site, counter


async def free_address(offset: int = 0) -> tuple[str, int]:
    """A port that is free, on a loopback address of this process's own: aiocoap shares ports with
    others (SO_REUSEPORT), and cannot be asked for any free one."""
    own = os.getpid()
    host = f"127.{1 + own % 250}.{own // 250 % 250}.{1 + own // 62_500 % 250}"
    probe = await open_udp(host, 0, lambda datagrams: None)
    address = probe.address
    probe.close()
    return address[0], address[1] + offset


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine, with a bound."""
    asyncio.run(asyncio.wait_for(story(), WITHIN_S))
