"""Notices a server that answers nothing, and tells of it once: retries alone are silent for long.

It stands between a link and its user, as a trace does; nothing passes differently for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Final

from lwm2m.transport.link import Datagrams, Link
from lwm2m.transport.peers import address_of
from lwm2m.transport.tracing import Receive, Wrap

# The first one may have been lost on the way; by the third (7 to 11 s with RFC 7252's parameters)
# somebody waits for a word.
_TOLD_AT: Final = 3
_PEERS_MAX: Final = 256


class _Watch:
    """What was sent last to each peer that has not been heard, and how often."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._latest: dict[Hashable, tuple[bytes, int]] = {}
        self._done: set[tuple[str, int]] = set()

    def sent(self, data: bytes, peer: Hashable) -> None:
        """A datagram leaves; the same bytes again are a retransmission (RFC 7252 §4.2)."""
        address = address_of(peer)
        if address in self._done:
            return
        before, times = self._latest.get(peer, (b"", 0))
        times = times + 1 if before == data else 1
        if times >= _TOLD_AT:
            self._end(address)
            self._tell("nothing answers at {}:{} yet; trying again".format(*address))
        elif peer in self._latest or len(self._latest) < _PEERS_MAX:
            self._latest[peer] = data, times

    def heard(self, peer: Hashable) -> None:
        """Somebody is there."""
        address = address_of(peer)
        if address not in self._done:
            self._end(address)

    def _end(self, address: tuple[str, int]) -> None:
        self._done.add(address)
        self._latest = {p: kept for p, kept in self._latest.items() if address_of(p) != address}


class _WatchedLink:
    """A link whose datagrams are noted as they leave. Satisfies `Link`."""

    def __init__(self, link: Link, watch: _Watch) -> None:
        self._link = link
        self._watch = watch

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        """See `Link`."""
        for data, peer in datagrams:
            self._watch.sent(data, peer)
        self._link.send(datagrams)

    def close(self) -> None:
        """See `Link`."""
        self._link.close()


def noting_silence(wrap: Wrap, tell: Callable[[str], None]) -> Wrap:
    """`wrap`, with a line to `tell` for each server that has answered nothing at all when a message
    goes to it for the third time. For a few peers: a fleet has figures instead."""

    def both(receive: Receive) -> tuple[Receive, Callable[[Link], Link]]:
        watch = _Watch(tell)
        pass_on, wrap_link = wrap(receive)

        def heard(datagrams: Datagrams[Hashable]) -> Datagrams[Hashable]:
            for data, peer in datagrams:
                watch.heard(peer)
                yield data, peer

        def received(datagrams: Datagrams[Hashable]) -> None:
            pass_on(heard(datagrams))

        return received, lambda link: _WatchedLink(wrap_link(link), watch)

    return both
