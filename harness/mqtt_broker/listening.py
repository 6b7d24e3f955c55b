"""The TLS listener of a broker, whose certificates can be exchanged while it listens."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

_BACKLOG = 4096


class Listener:
    """Accepts connections for `factory`. A TLS context can forget no anchor and keeps the keys of
    its tickets, so each `renew` makes another server, on the same sockets: the kernel's queue of
    those who wait to be accepted goes on, and nobody is refused in between."""

    def __init__(
        self, factory: Callable[[], asyncio.BaseProtocol], handshake_within_s: float
    ) -> None:
        self._factory = factory
        self._handshake_within_s = handshake_within_s
        self._server: asyncio.Server | None = None
        self._context: ssl.SSLContext | None = None

    async def open(self, host: str, port: int, context: ssl.SSLContext) -> str:
        """Listen; `host:port` of the listener, where `port` 0 took a free one."""
        self._context = context
        self._server = await asyncio.get_running_loop().create_server(
            self._factory,
            host,
            port,
            ssl=context,
            ssl_handshake_timeout=self._handshake_within_s,
            backlog=_BACKLOG,
        )
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def renew(self, context: ssl.SSLContext) -> None:
        """Who connects from now on does so by `context`; who is connected stays. With the same
        context as now nothing is done."""
        before = self._server
        assert before is not None
        if context is self._context:
            return
        self._context = context
        loop = asyncio.get_running_loop()
        for listening in before.sockets:
            self._server = await loop.create_server(
                self._factory,
                sock=listening.dup(),
                ssl=context,
                ssl_handshake_timeout=self._handshake_within_s,
                backlog=_BACKLOG,
            )
        before.close()

    def close(self) -> None:
        """Accept nobody any more."""
        if self._server is not None:
            self._server.close()
