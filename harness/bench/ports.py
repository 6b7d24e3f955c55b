"""Ports that are known before the process that listens on them has been told of them."""

from __future__ import annotations

import socket


class ReservedPort:
    """A free port on loopback that the system gives to nobody else until it is released.

    It is bound and does not listen: whoever is told of it can still bind it with `SO_REUSEADDR`,
    as `runtime.http.bind` does (Linux: an address may be bound twice while nobody listens there).
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, 0))
        self.port: int = self._socket.getsockname()[1]
        self.address = f"{host}:{self.port}"

    def release(self) -> None:
        """Anybody may have it."""
        self._socket.close()
