"""How many new requests are admitted, by token buckets for each peer and for all of them, and how
many Resets are given.

What is refused is told as one event a second, however many datagrams it was.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from lwm2m.coap.events import DatagramRejected
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.peers import Peer

_TOLD_EVERY_S = 1.0
_RESETS_COUNTED_FOR_S = 1.0


class Bucket(msgspec.Struct, gc=False, eq=False):
    """Requests that may still come at once, as of a time in seconds."""

    left: float
    at: float


class Refusals(msgspec.Struct, gc=False, eq=False):
    """Requests that were refused since the last event told of any; a timer tells the rest."""

    handle: int
    count: int = 0
    peer: Hashable = None
    quiet_until: float = 0.0
    tick: int = 0


class RequestLimiter:
    """Decides which new requests are admitted."""

    __slots__ = ("_all", "_burst", "_per_peer_burst", "_per_peer_per_s", "_per_s", "refusals")

    def __init__(self, parameters: TransmissionParameters, handle: int) -> None:
        self._per_s = parameters.requests_per_s
        self._burst = parameters.requests_burst
        self._per_peer_per_s = parameters.requests_per_peer_per_s
        self._per_peer_burst = parameters.requests_per_peer_burst
        self._all = Bucket(self._burst, 0.0)
        self.refusals = Refusals(handle)

    @staticmethod
    def is_needed(parameters: TransmissionParameters) -> bool:
        """Whether the parameters limit anything."""
        return parameters.requests_per_s > 0 or parameters.requests_per_peer_per_s > 0

    def admits(self, peer: Peer, now: float) -> bool:
        """Whether one more request of this peer may pass; it is then counted."""
        of_peer = None
        if self._per_peer_per_s > 0:
            of_peer = peer.bucket = peer.bucket or Bucket(self._per_peer_burst, now)
            if not _has_one(of_peer, self._per_peer_per_s, self._per_peer_burst, now):
                return False
        # Second, so that what a greedy peer is refused costs the others nothing.
        if self._per_s > 0:
            if not _has_one(self._all, self._per_s, self._burst, now):
                return False
            self._all.left -= 1
        if of_peer is not None:
            of_peer.left -= 1
        return True

    def note_refusal(self, peer: Hashable, now: float) -> DatagramRejected | None:
        """Count one refusal. The event, when it is the first after a quiet second; else the timer
        is to be set for `refusals.quiet_until`."""
        refusals = self.refusals
        refusals.count += 1
        refusals.peer = peer
        return self.tell(now) if now >= refusals.quiet_until else None

    def tell(self, now: float) -> DatagramRejected | None:
        """One event for all refusals that no event has told of yet."""
        refusals = self.refusals
        count, peer = refusals.count, refusals.peer
        refusals.count, refusals.peer = 0, None
        if count == 0:
            return None
        refusals.quiet_until = now + _TOLD_EVERY_S
        detail = f"{count} requests over the rate that is admitted"
        return DatagramRejected(peer, "busy", detail, count)


class ResetLimiter:
    """Decides which messages that cannot be processed are rejected by a Reset.

    RFC 7252 §4.2 allows to ignore them silently. What is given is counted by the second, and in
    that second by peer: what is kept is bounded, whoever sends, and nothing of it stays.
    """

    __slots__ = ("_given", "_per_peer_per_s", "_per_s", "_total", "_until", "withheld")

    def __init__(self, parameters: TransmissionParameters) -> None:
        self._per_s = parameters.resets_per_s
        self._per_peer_per_s = parameters.resets_per_peer_per_s
        self._until = 0.0
        self._total = 0
        self._given: dict[Hashable, int] = {}
        self.withheld = 0

    def admits(self, address: Hashable, now: float) -> bool:
        """Whether one more Reset may go to this peer; it is then counted, and else as withheld."""
        if now >= self._until:
            self._until = now + _RESETS_COUNTED_FOR_S
            self._total = 0
            self._given.clear()
        given = self._given.get(address, 0)
        if self._total >= self._per_s or given >= self._per_peer_per_s:
            self.withheld += 1
            return False
        self._total += 1
        self._given[address] = given + 1
        return True


def _has_one(bucket: Bucket, per_s: float, burst: int, now: float) -> bool:
    bucket.left = min(float(burst), bucket.left + (now - bucket.at) * per_s)
    bucket.at = now
    return bucket.left >= 1
