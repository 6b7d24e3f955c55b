"""What a link is: a way for datagrams to leave and to come, addressed by peers of its own form."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol, TypeVar

Address = TypeVar("Address", bound=Hashable)
# What has come, and what comes while that is being dealt with: to be gone through once, at once.
Datagrams = Iterable[tuple[bytes, Address]]
Receive = Callable[[Datagrams[Address]], None]


class Link(Protocol):
    """One socket, or the simulation of one. Peers are what it hands out with datagrams."""

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        """Send each datagram to its peer, in order. Never blocks, never raises for the network."""

    def close(self) -> None:
        """Stop receiving and release the socket. Safe to call twice."""
