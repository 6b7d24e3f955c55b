"""A UDP relay between a peer and us that keeps what passes: plain CoAP, byte for byte."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from typing import Literal, NamedTuple

Direction = Literal["to_target", "from_target"]


class Datagram(NamedTuple):
    """One that passed; `at_s` counts from the first."""

    at_s: float
    direction: Direction
    data: bytes


class Relay:
    """Listens on a port of its own for clients of `target`; each client gets a socket of its own.

    A client keeps its own address family and sees the relay as its server. `close` ends it.
    """

    def __init__(self, target_port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, target_port)
        self._front = _socket(host)
        self._wake, self._woken = socket.socketpair()
        self._backs: dict[tuple[str, int], socket.socket] = {}
        self._clients: dict[int, tuple[str, int]] = {}
        self._passed: list[Datagram] = []
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._front, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where clients send to."""
        return int(self._front.getsockname()[1])

    def passed(self, after: int = 0) -> list[Datagram]:
        """What has passed, from number `after` on, in order."""
        with self._lock:
            return self._passed[after:]

    def close(self) -> None:
        """Pass nothing more."""
        self._wake.send(b"x")
        self._thread.join(5)
        self._selector.close()
        for each in (self._front, self._wake, self._woken, *self._backs.values()):
            each.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                found = key.fileobj
                if found is self._woken:
                    return
                assert isinstance(found, socket.socket)
                self._pass_on(found)

    def _pass_on(self, found: socket.socket) -> None:
        try:
            data, sender = found.recvfrom(65_535)
        except OSError:
            return  # an ICMP error of an earlier datagram: that one is lost, as on any network
        is_front = found is self._front
        self._keep("to_target" if is_front else "from_target", data)
        try:
            if is_front:
                self._back_of(sender).send(data)
            else:
                self._front.sendto(data, self._clients[found.fileno()])
        except OSError:
            return  # likewise

    def _keep(self, direction: Direction, data: bytes) -> None:
        with self._lock:
            if not self._passed:
                self._began = time.monotonic()
            self._passed.append(Datagram(time.monotonic() - self._began, direction, data))

    def _back_of(self, client: tuple[str, int]) -> socket.socket:
        back = self._backs.get(client)
        if back is None:
            back = _socket(self._target[0])
            back.connect(self._target)
            self._backs[client] = back
            self._clients[back.fileno()] = client
            self._selector.register(back, selectors.EVENT_READ)
        return back


def _socket(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    return made
