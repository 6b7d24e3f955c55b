"""What an endpoint knows of each peer, made when the peer first matters and dropped when idle."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from lwm2m.coap.answers import Remembered
    from lwm2m.coap.requester import SentRequest
    from lwm2m.coap.responder import ReceivedRequest
    from lwm2m.coap.transfers import Transfer

_SEGMENT_BITS = 12
_SEGMENT_MASK = (1 << _SEGMENT_BITS) - 1


class Peer(msgspec.Struct, gc=False, eq=False):
    """One remote endpoint. Containers are None until needed: most peers never need most of them."""

    address: Hashable
    touched_at: float
    next_message_id: int = -1
    left_segments: dict[int, float] | None = None
    # Requests that hold a place of NSTART, and those that wait for one.
    outstanding: int = 0
    waiting: deque[SentRequest] | None = None
    # Our requests by token; our confirmable responses by message id.
    open: dict[bytes, SentRequest] | None = None
    responding: dict[int, ReceivedRequest] | None = None
    # Their requests that the application has not answered: how many.
    pending: int = 0
    # Their messages by message id, for duplicates.
    recent: dict[int, Remembered] | None = None
    # Unfinished block-wise bodies.
    transfers: dict[Hashable, Transfer] | None = None
    observations: dict[bytes, ReceivedRequest] | None = None

    def __repr__(self) -> str:
        return f"<Peer {self.address}>"

    def is_busy(self) -> bool:
        """Whether anything but its message ids is still needed."""
        return bool(
            self.open
            or self.waiting
            or self.recent
            or self.responding
            or self.pending
            or self.transfers
            or self.observations
        )


class Chance:
    """Random bytes in small portions, drawn from the source in large ones."""

    __slots__ = ("_at", "_draw", "_pool")
    _POOL_BYTES = 1024

    def __init__(self, draw: Callable[[int], bytes]) -> None:
        self._draw = draw
        self._pool = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        """`count` bytes, at most 1,024, that were not given out before."""
        at = self._at
        if at + count > len(self._pool):
            self._pool = self._draw(self._POOL_BYTES)
            at = 0
        self._at = at + count
        return self._pool[at : at + count]


class PeerTable:
    """All peers by address."""

    __slots__ = ("_chance", "_check_order", "_lifetime_s", "by_address")

    def __init__(self, chance: Chance, exchange_lifetime_s: float) -> None:
        self._chance = chance
        self._lifetime_s = exchange_lifetime_s
        self.by_address: dict[Hashable, Peer] = {}
        # When each peer that has message ids is next looked at: once per lifetime.
        self._check_order: deque[tuple[float, Peer]] = deque()

    def get(self, address: Hashable, now: float) -> Peer:
        """The peer at this address, made if need be."""
        peer = self.by_address.get(address)
        if peer is None:
            peer = self.by_address[address] = Peer(address, now)
        return peer

    def take_message_id(self, peer: Peer, now: float) -> int:
        """The peer's next message id, or -1 while all of them may still be under way.

        RFC 7252 §4.4: an id is not used again towards a peer within EXCHANGE_LIFETIME. That is
        watched by segments of 4,096 ids.
        """
        message_id = peer.next_message_id
        if message_id < 0:
            # §4.4 recommends a random start, so that a restart does not meet its own ids.
            message_id = int.from_bytes(self._chance.take(2), "big")
            self._check_order.append((now + self._lifetime_s, peer))
        elif message_id & _SEGMENT_MASK == 0 and not self._enter_segment(peer, now):
            return -1
        peer.next_message_id = (message_id + 1) & 0xFFFF
        peer.touched_at = now
        return message_id

    def _enter_segment(self, peer: Peer, now: float) -> bool:
        if peer.left_segments is None:
            peer.left_segments = {}
        segment = peer.next_message_id >> _SEGMENT_BITS
        if self.message_ids_free_at(peer) > now:
            return False
        peer.left_segments[(segment - 1) & 15] = now
        peer.left_segments.pop(segment, None)
        return True

    def message_ids_free_at(self, peer: Peer) -> float:
        """When the segment of the next message id may be entered."""
        left = (peer.left_segments or {}).get(peer.next_message_id >> _SEGMENT_BITS)
        return 0.0 if left is None else left + self._lifetime_s

    def reserve_message_ids(self, peer: Peer, after: int, now: float) -> None:
        """Go on after this id."""
        if peer.next_message_id < 0:
            self._check_order.append((now + self._lifetime_s, peer))
        peer.next_message_id = (after + 1) & 0xFFFF
        peer.touched_at = now

    def skip_message_id(self, peer: Peer, used: int, now: float) -> None:
        """Have the next id come after `used`, which is under way, unless it does already."""
        behind = (used - peer.next_message_id) & 0xFFFF
        if peer.next_message_id < 0 or behind < 0x8000:
            self.reserve_message_ids(peer, used, now)
        peer.touched_at = now

    def release(self, peer: Peer) -> None:
        """Drop a peer at once when nothing of it is left, and no message id was ever used."""
        if peer.next_message_id < 0 and not peer.is_busy():
            self.by_address.pop(peer.address, None)

    def forget(self, address: Hashable) -> Peer | None:
        """Remove a peer."""
        return self.by_address.pop(address, None)

    def drop_idle(self, now: float, at_most: int) -> None:
        """Remove peers that used no message id for EXCHANGE_LIFETIME and have nothing open."""
        order = self._check_order
        while order and order[0][0] <= now and at_most > 0:
            at_most -= 1
            peer = order.popleft()[1]
            if self.by_address.get(peer.address) is not peer:
                continue
            if peer.is_busy() or peer.touched_at + self._lifetime_s > now:
                order.append((now + self._lifetime_s, peer))
            else:
                del self.by_address[peer.address]

    def next_check(self) -> float | None:
        """When the first peer is to be looked at."""
        return self._check_order[0][0] if self._check_order else None
