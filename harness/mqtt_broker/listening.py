"""The TLS listener of a broker, whose certificates can be exchanged while it listens."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from mqtt.tls import ServerContext
from mqtt.transport.secured import Failure, SecuredConnection

_BACKLOG = 4096


class Listener:
    """Accepts connections for `factory`, which hears of them once TLS is established.

    A TLS context can forget no anchor and keeps the keys of its tickets: `renew` gives new
    connections another one. `counts` has the handshakes that came to nothing, by reason.
    """

    def __init__(
        self, factory: Callable[[], asyncio.BaseProtocol], handshake_within_s: float
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._factory = factory
        self._handshake_within_s = handshake_within_s
        self._server: asyncio.Server | None = None
        self._context: ServerContext | None = None

    async def open(self, host: str, port: int, context: ServerContext) -> str:
        """Listen; `host:port` of the listener, where `port` 0 took a free one."""
        self._context = context
        self._server = await asyncio.get_running_loop().create_server(
            self._accept, host, port, backlog=_BACKLOG
        )
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    def renew(self, context: ServerContext) -> None:
        """Who connects from now on does so by `context`; who is connected stays."""
        self._context = context

    def close(self) -> None:
        """Accept nobody any more."""
        if self._server is not None:
            self._server.close()

    def _accept(self) -> asyncio.BaseProtocol:
        assert self._context is not None
        return SecuredConnection(
            self._context.open(), self._factory(), self._handshake_within_s, self._failed
        )

    def _failed(self, reason: Failure) -> None:
        # One of OpenSSL's texts, the system's or ours: no stranger can make these many.
        self.counts[str(reason)] += 1
