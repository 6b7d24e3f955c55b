"""What an endpoint knows of each peer, made when the peer first matters and dropped when idle."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from lwm2m.coap.answers import Remembered
    from lwm2m.coap.rate_limit import Bucket
    from lwm2m.coap.received_request import ReceivedRequest
    from lwm2m.coap.sent_request import SentRequest
    from lwm2m.coap.transfers import Transfer

_SEGMENT_BITS = 12
_SEGMENT_MASK = (1 << _SEGMENT_BITS) - 1
_TRIES_TO_EVICT = 16


class Asking(msgspec.Struct, gc=False, eq=False):
    """What few peers need that we ask: kept apart so that the others stay small."""

    # PROBING_RATE: until when no further non-confirmable request goes out, and which wait.
    silent_until: float = 0.0
    waiting: deque[SentRequest] = msgspec.field(default_factory=deque)
    # Until when a body sent in blocks without Request-Tag could meet blocks of another of this key.
    uploads: dict[Hashable, float] = msgspec.field(default_factory=dict)
    has_short_tokens: bool = False

    def is_idle(self) -> bool:
        """Whether nothing of this is needed any more."""
        return not (
            self.uploads or self.waiting or self.has_short_tokens or self.silent_until > 0.0
        )


class Notifying(msgspec.Struct, gc=False, eq=False):
    """What is kept of a peer that observes (RFC 7641 §4.5)."""

    # When the next non-confirmable notification would be on time; it may be a burst early.
    next_at: float = 0.0
    # The latest round trip; negative while unknown.
    round_trip_s: float = -1.0
    # Observations whose newest state waits for an acknowledgement of another's.
    waiting: deque[ReceivedRequest] = msgspec.field(default_factory=deque)


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
    # Their messages by message id, for duplicates; of most peers there is just one.
    recent: Remembered | dict[int, Remembered] | None = None
    # Unfinished block-wise bodies.
    transfers: dict[Hashable, Transfer] | None = None
    observations: dict[bytes, ReceivedRequest] | None = None
    # Whether it was seen to be at its address.
    is_validated: bool = False
    asking: Asking | None = None
    notifying: Notifying | None = None
    bucket: Bucket | None = None

    def __repr__(self) -> str:
        return f"<Peer {self.address}>"

    def asked(self) -> Asking:
        """What is kept of the one who is asked; made when it is not there."""
        asking = self.asking
        if asking is None:
            asking = self.asking = Asking()
        return asking

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
            or (self.asking is not None and self.asking.waiting)
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
        """`count` bytes that were not given out before."""
        at = self._at
        end = at + count
        if end <= len(self._pool):
            self._at = end
            return self._pool[at:end]
        if count > self._POOL_BYTES:
            return self._draw(count)
        self._pool = self._draw(self._POOL_BYTES)
        self._at = count
        return self._pool[:count]


class PeerTable:
    """All peers by address."""

    __slots__ = (
        "_chance", "_check_order", "_lifetime_s", "_peers_max", "_validated", "_validated_max",
        "by_address",
    )  # fmt: skip

    def __init__(
        self, chance: Chance, exchange_lifetime_s: float, peers_max: int, validated_max: int
    ) -> None:
        self._chance = chance
        self._lifetime_s = exchange_lifetime_s
        self._peers_max = peers_max
        self._validated_max = validated_max
        self.by_address: dict[Hashable, Peer] = {}
        # Addresses of peers that are dropped and were validated, oldest first. Ordered: a plain
        # dictionary looks for its first entry among all that were deleted before it.
        self._validated: OrderedDict[Hashable, None] = OrderedDict()
        # When each peer that has message ids is next looked at: once per lifetime.
        self._check_order: deque[tuple[float, Peer]] = deque()

    def get(self, address: Hashable, now: float) -> Peer:
        """The peer at this address, made if need be."""
        peer = self.by_address.get(address)
        if peer is None:
            peer = self.by_address[address] = Peer(address, now)
        return peer

    def validate(self, address: Hashable) -> None:
        """Note that who uses this address is really there."""
        peer = self.by_address.get(address)
        if peer is None:
            self._keep_validated(address)
        else:
            peer.is_validated = True

    def was_validated(self, address: Hashable) -> bool:
        """Whether an earlier state of this peer, since dropped, was validated."""
        return address in self._validated

    def _keep_validated(self, address: Hashable) -> None:
        validated = self._validated
        validated.pop(address, None)
        validated[address] = None
        if len(validated) > self._validated_max:
            validated.popitem(last=False)

    def _drop(self, peer: Peer) -> None:
        if peer.is_validated:
            self._keep_validated(peer.address)
        del self.by_address[peer.address]

    def _make_room(self) -> None:
        """Drop the peer that was looked at longest ago and has nothing open."""
        order = self._check_order
        for _ in range(min(len(order), _TRIES_TO_EVICT)):
            due, peer = order.popleft()
            if self.by_address.get(peer.address) is not peer:
                continue
            if not peer.is_busy():
                self._drop(peer)
                return
            # Looked at again when its turn comes; a little late is early enough.
            order.append((due, peer))

    def take_message_id(self, peer: Peer, now: float) -> int:
        """The peer's next message id, or -1 while all of them may still be under way.

        RFC 7252 §4.4: an id is not used again towards a peer within EXCHANGE_LIFETIME. That is
        watched by segments of 4,096 ids.
        """
        message_id = peer.next_message_id
        if message_id & _SEGMENT_MASK and message_id > 0:
            # Within a segment, as nearly all are.
            peer.next_message_id = (message_id + 1) & 0xFFFF
            peer.touched_at = now
            return message_id
        if message_id < 0:
            # §4.4 recommends a random start, so that a restart does not meet its own ids.
            message_id = int.from_bytes(self._chance.take(2), "big")
            if len(self.by_address) > self._peers_max:
                self._make_room()
            self._check_order.append((now + self._lifetime_s, peer))
        elif not self._enter_segment(peer, now):
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
        known = self.by_address.get(peer.address) is peer
        if known and peer.next_message_id < 0 and not peer.is_busy():
            self._drop(peer)

    def keep(self, peer: Peer) -> None:
        """Undo a `release` of a peer of which something is to be kept after all."""
        self.by_address.setdefault(peer.address, peer)

    def forget(self, address: Hashable) -> Peer | None:
        """Remove a peer, also from the validated ones."""
        self._validated.pop(address, None)
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
                self._drop(peer)

    def next_check(self) -> float | None:
        """When the first peer is to be looked at."""
        return self._check_order[0][0] if self._check_order else None
