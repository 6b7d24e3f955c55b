"""Remembers which messages came, and what was answered, so that a duplicate acts only once.

RFC 7252 §4.5: a duplicate is known by its source endpoint and message id together. It also carries
the same token: a message of the same id and another token is new (devices that rebooted often
start from the same id). Memory is bounded per peer and in total; what is full forgets the oldest
answered message. A message that is not yet answered is never forgotten: when there are only such,
the new one is refused, as if it had been lost on the way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import msgspec

from lwm2m.coap.message import HEADER_BYTES
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.peers import Peer, PeerTable
from lwm2m.coap.redaction import show, shown_fields

_TRIES_TO_EVICT = 16
_FORGOTTEN = -1.0

_HIDDEN = frozenset({"answer"})


class Remembered(msgspec.Struct, gc=False, eq=False):
    """A message that came. `answer` is None while the application has not decided; `b""` when a
    duplicate is to be ignored. Without `token`, that of the answer is its own: most are kept for
    minutes, and one copy is enough."""

    peer: Peer
    message_id: int
    token: bytes
    expires_at: float
    answer: bytes | None = None

    def __repr__(self) -> str:
        return show(self, _HIDDEN)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]  # a generator
        return shown_fields(self, _HIDDEN)


class AnswerMemory:
    """All remembered messages of all peers."""

    __slots__ = (
        "_answer_bytes", "_bytes_max", "_count_max", "_order", "_peers", "_per_peer_max",
    )  # fmt: skip

    def __init__(self, parameters: TransmissionParameters, peers: PeerTable) -> None:
        self._peers = peers
        self._per_peer_max = parameters.remembered_per_peer_max
        self._count_max = parameters.remembered_max
        self._bytes_max = parameters.remembered_bytes_max
        # In order of arrival. Holds forgotten ones until they come to the front.
        self._order: deque[Remembered] = deque()
        self._answer_bytes = 0

    def __len__(self) -> int:
        return len(self._order)

    def recall(self, peer: Peer, message_id: int, token: bytes, now: float) -> Remembered | None:
        """The message that this one repeats."""
        recent = peer.recent
        if recent is None:
            return None
        found = recent.get(message_id) if isinstance(recent, dict) else recent
        if (
            found is None
            or found.message_id != message_id
            or found.expires_at <= now
            or (found.token or _token_of(found.answer)) != token
        ):
            return None
        return found

    def remember(
        self, peer: Peer, message_id: int, token: bytes, expires_at: float, now: float
    ) -> Remembered | None:
        """Note a message. None when there is no room because all that is known is unanswered."""
        if not self.has_room(peer, now):
            return None
        recent = peer.recent
        entry = Remembered(peer, message_id, token, expires_at)
        if type(recent) is dict and message_id not in recent:
            recent[message_id] = entry
        elif recent is None:
            peer.recent = entry
        else:
            self._add(peer, recent, entry)
        self._order.append(entry)
        return entry

    def has_room(self, peer: Peer, now: float) -> bool:
        """Whether `keep` may follow at once: makes room for one more message of this peer."""
        order = self._order
        if (
            peer.recent is None
            and order
            and order[0].expires_at > now
            and len(order) < self._count_max
            and self._answer_bytes <= self._bytes_max
        ):
            return True
        return self._find_room(peer, now)

    def _find_room(self, peer: Peer, now: float) -> bool:
        order = self._order
        # Each arrival pays for two expiries: under load no sweep ever has much to do.
        if order and order[0].expires_at <= now:
            self.expire(now, at_most=2)
            self._peers.keep(peer)
        recent = peer.recent
        count = 0
        if recent is not None:
            count = len(recent) if type(recent) is dict else 1
        if (
            count >= self._per_peer_max
            or len(order) >= self._count_max
            or self._answer_bytes > self._bytes_max
        ):
            has_room = self._make_room(peer, count)
            self._peers.keep(peer)
            return has_room
        return True

    def keep(self, peer: Peer, message_id: int, answer: bytes, expires_at: float) -> None:
        """Note a message that has been answered already: `remember` and `store` as one."""
        entry = Remembered(peer, message_id, b"", expires_at, answer)
        recent = peer.recent
        if recent is None:
            peer.recent = entry
        elif type(recent) is dict and message_id not in recent:
            recent[message_id] = entry
        else:
            self._add(peer, recent, entry)
        self._order.append(entry)
        self._answer_bytes += len(answer)

    def has_room_for(self, count: int, now: float) -> bool:
        """Whether `keep_first` may follow at once for so many, without that any is forgotten."""
        order = self._order
        return (
            (not order or order[0].expires_at > now)
            and len(order) + count <= self._count_max
            and self._answer_bytes <= self._bytes_max
        )

    def keep_first(
        self,
        peers: Sequence[Peer],
        message_ids: Iterable[int],
        answers: Sequence[bytes],
        expires_at: float,
    ) -> None:
        """`keep` the first message of each of these peers."""
        entries = list(
            map(Remembered, peers, message_ids, repeat(b""), repeat(expires_at), answers)
        )
        for peer, entry in zip(peers, entries, strict=True):
            peer.recent = entry
        self._order += entries
        self._answer_bytes += sum(map(len, answers))

    def store(self, entry: Remembered, answer: bytes) -> None:
        """Keep what was answered; a later answer to the same message replaces it."""
        if entry.expires_at == _FORGOTTEN:
            return
        self._answer_bytes += len(answer) - len(entry.answer or b"")
        entry.answer = answer

    def expire(self, now: float, at_most: int) -> None:
        """Forget up to `at_most` messages that are past EXCHANGE_LIFETIME."""
        order = self._order
        while order and order[0].expires_at <= now and at_most > 0:
            at_most -= 1
            self._forget(order.popleft())

    def next_expiry(self) -> float | None:
        """When the oldest message is past its time."""
        return self._order[0].expires_at if self._order else None

    def forget_peer(self, peer: Peer) -> None:
        """Forget all messages of one peer."""
        for entry in _entries(peer.recent):
            self._release(entry)
        peer.recent = None

    def _add(
        self, peer: Peer, recent: Remembered | dict[int, Remembered], entry: Remembered
    ) -> None:
        """Keep one more message of a peer. From the second on they are in a dictionary, which takes
        more room than a message does."""
        if not isinstance(recent, dict):
            recent = peer.recent = {recent.message_id: recent}
        # Popped first: a reused id has to move to the end of the order.
        replaced = recent.pop(entry.message_id, None)
        if replaced is not None:
            self._release(replaced)
        recent[entry.message_id] = entry

    def _make_room(self, peer: Peer, count: int) -> bool:
        if count >= self._per_peer_max and not self._evict_of_peer(peer):
            return False
        while len(self._order) >= self._count_max or self._answer_bytes > self._bytes_max:
            if not self._evict_oldest():
                return False
        return True

    def _evict_of_peer(self, peer: Peer) -> bool:
        recent = peer.recent
        # Not a copy of all: mostly the oldest is answered, and this is for each message of one who
        # has said as much as may be kept.
        entries = recent.values() if isinstance(recent, dict) else _entries(recent)
        found = next((entry for entry in entries if entry.answer is not None), None)
        if found is None:
            return False
        self._leave(found)
        self._release(found)
        return True

    def _evict_oldest(self) -> bool:
        order = self._order
        for _ in range(min(len(order), _TRIES_TO_EVICT)):
            entry = order.popleft()
            if entry.answer is not None or not self._is_known(entry):
                self._forget(entry)
                return True
            order.append(entry)
        return False

    @staticmethod
    def _is_known(entry: Remembered) -> bool:
        recent = entry.peer.recent
        return recent is entry or (
            isinstance(recent, dict) and recent.get(entry.message_id) is entry
        )

    @staticmethod
    def _leave(entry: Remembered) -> None:
        """Take it from what is known of its peer."""
        peer = entry.peer
        if isinstance(peer.recent, dict):
            del peer.recent[entry.message_id]
            peer.recent = peer.recent or None
        else:
            peer.recent = None

    def _forget(self, entry: Remembered) -> None:
        if not self._is_known(entry):
            return
        self._leave(entry)
        self._release(entry)
        if entry.peer.recent is None:
            self._peers.release(entry.peer)

    def _release(self, entry: Remembered) -> None:
        self._answer_bytes -= len(entry.answer or b"")
        entry.answer = None
        entry.expires_at = _FORGOTTEN


def _token_of(answer: bytes | None) -> bytes:
    """The token of a message, of at most 8 bytes."""
    return answer[HEADER_BYTES : HEADER_BYTES + (answer[0] & 15)] if answer else b""


def _entries(recent: Remembered | dict[int, Remembered] | None) -> list[Remembered]:
    """What is remembered of one peer, oldest first."""
    if recent is None:
        return []
    return list(recent.values()) if isinstance(recent, dict) else [recent]
