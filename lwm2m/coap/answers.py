"""Remembers which messages came, and what was answered, so that a duplicate acts only once.

RFC 7252 §4.5: a duplicate is known by its source endpoint and message id together. It also carries
the same token: a message of the same id and another token is new (devices that rebooted often
start from the same id). Memory is bounded per peer and in total; what is full forgets the oldest
answered message. A message that is not yet answered is never forgotten: when there are only such,
the new one is refused, as if it had been lost on the way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.peers import Peer, PeerTable
from lwm2m.coap.redaction import show, shown_fields

_TRIES_TO_EVICT = 16
_FORGOTTEN = -1.0

_HIDDEN = frozenset({"answer"})


class Remembered(msgspec.Struct, gc=False, eq=False):
    """A message that came. `answer` is None while the application has not decided; `b""` when a
    duplicate is to be ignored."""

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

    __slots__ = ("_answer_bytes", "_order", "_parameters", "_peers")

    def __init__(self, parameters: TransmissionParameters, peers: PeerTable) -> None:
        self._peers = peers
        self._parameters = parameters
        # In order of arrival. Holds forgotten ones until they come to the front.
        self._order: deque[Remembered] = deque()
        self._answer_bytes = 0

    def __len__(self) -> int:
        return len(self._order)

    def recall(self, peer: Peer, message_id: int, token: bytes, now: float) -> Remembered | None:
        """The message that this one repeats."""
        if peer.recent is None:
            return None
        found = peer.recent.get(message_id)
        if found is None or found.token != token or found.expires_at <= now:
            return None
        return found

    def remember(
        self, peer: Peer, message_id: int, token: bytes, expires_at: float, now: float
    ) -> Remembered | None:
        """Note a message. None when there is no room because all that is known is unanswered."""
        order = self._order
        # Each arrival pays for two expiries: under load no sweep ever has much to do.
        if order and order[0].expires_at <= now:
            self.expire(now, at_most=2)
        if not self._make_room(peer):
            return None
        entry = Remembered(peer, message_id, token, expires_at)
        if peer.recent is None:
            peer.recent = {message_id: entry}
        else:
            # Popped first: a reused id has to move to the end of the order.
            replaced = peer.recent.pop(message_id, None)
            if replaced is not None:
                self._release(replaced)
            peer.recent[message_id] = entry
        order.append(entry)
        return entry

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
        for entry in (peer.recent or {}).values():
            self._release(entry)
        peer.recent = None

    def _make_room(self, peer: Peer) -> bool:
        limits = self._parameters
        recent = peer.recent
        if (
            recent is not None
            and len(recent) >= limits.remembered_per_peer_max
            and not self._evict_of_peer(recent)
        ):
            return False
        while (
            len(self._order) >= limits.remembered_max
            or self._answer_bytes > limits.remembered_bytes_max
        ):
            if not self._evict_oldest():
                return False
        return True

    def _evict_of_peer(self, recent: dict[int, Remembered]) -> bool:
        for message_id, entry in recent.items():
            if entry.answer is not None:
                del recent[message_id]
                self._release(entry)
                return True
        return False

    def _evict_oldest(self) -> bool:
        order = self._order
        for _ in range(min(len(order), _TRIES_TO_EVICT)):
            entry = order.popleft()
            if entry.answer is not None or not self._is_known(entry):
                self._forget(entry)
                return True
            order.append(entry)
        return False

    def _is_known(self, entry: Remembered) -> bool:
        recent = entry.peer.recent
        return recent is not None and recent.get(entry.message_id) is entry

    def _forget(self, entry: Remembered) -> None:
        recent = entry.peer.recent
        if recent is None or recent.get(entry.message_id) is not entry:
            return
        del recent[entry.message_id]
        self._release(entry)
        if not recent:
            entry.peer.recent = None
            self._peers.release(entry.peer)

    def _release(self, entry: Remembered) -> None:
        self._answer_bytes -= len(entry.answer or b"")
        entry.answer = None
        entry.expires_at = _FORGOTTEN
