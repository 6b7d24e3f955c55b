"""Queue mode (LwM2M Core §6.5): when a client listens, as its server and as itself see it.

A client in queue mode listens for a window after each message of its own and sleeps otherwise.
Only who is awake until when is kept here; what waits meanwhile is its holder's business.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Hashable, Mapping
from typing import Final, TypeAlias

import msgspec

# RFC 7252 §4.8.2 MAX_TRANSMIT_WAIT with the default parameters: LwM2M Core §6.5's window.
AWAKE_S: Final = 93.0


class QueueModeState(enum.StrEnum):
    """Where one client stands."""

    ALWAYS_ON = "always_on"
    AWAKE = "awake"
    ASLEEP = "asleep"


class QueueModeEvent(enum.StrEnum):
    """What can happen to it."""

    ENTERED = "entered"
    HEARD_FROM = "heard_from"
    UNANSWERED = "unanswered"
    WINDOW_ELAPSED = "window_elapsed"
    LEFT = "left"


class SleeperEvent(enum.StrEnum):
    """What can happen to a client that is in queue mode, as it sees itself."""

    SPOKE = "spoke"
    WINDOW_ELAPSED = "window_elapsed"


QueueModeTransitions: TypeAlias = Mapping[
    QueueModeState, Mapping[QueueModeEvent, QueueModeState | None]
]
SleeperTransitions: TypeAlias = Mapping[
    QueueModeState, Mapping[SleeperEvent, QueueModeState | None]
]

_S, _E, _C = QueueModeState, QueueModeEvent, SleeperEvent

QUEUE_MODE_TRANSITIONS: Final[QueueModeTransitions] = {
    _S.ALWAYS_ON: {
        _E.ENTERED: _S.AWAKE,
        _E.HEARD_FROM: None,
        _E.UNANSWERED: None,
        _E.WINDOW_ELAPSED: None,
        _E.LEFT: None,
    },
    _S.AWAKE: {
        _E.ENTERED: _S.AWAKE,
        _E.HEARD_FROM: _S.AWAKE,
        # Its window is shorter than ours, or the network ate the request: it will speak again.
        _E.UNANSWERED: _S.ASLEEP,
        _E.WINDOW_ELAPSED: _S.ASLEEP,
        _E.LEFT: _S.ALWAYS_ON,
    },
    _S.ASLEEP: {
        _E.ENTERED: _S.AWAKE,
        _E.HEARD_FROM: _S.AWAKE,
        _E.UNANSWERED: None,
        _E.WINDOW_ELAPSED: None,
        _E.LEFT: _S.ALWAYS_ON,
    },
}

SLEEPER_TRANSITIONS: Final[SleeperTransitions] = {
    _S.AWAKE: {_C.SPOKE: _S.AWAKE, _C.WINDOW_ELAPSED: _S.ASLEEP},
    _S.ASLEEP: {_C.SPOKE: _S.AWAKE, _C.WINDOW_ELAPSED: None},
}


class QueueModeChanged(msgspec.Struct, frozen=True, gc=False):
    """A client woke up or fell asleep; `key` is what its server calls it."""

    key: Hashable
    state: QueueModeState


class QueueModeTable:
    """The clients of one server that are in queue mode; others are `ALWAYS_ON` and cost nothing.

    `key` is whatever the server calls a client by, such as a registration id. `now` is seconds of
    the server's clock. One heap entry per awake client; hearing from it does not touch the heap.
    """

    __slots__ = ("_asleep", "_awake_s", "_awake_until", "_due", "_looked_at", "_watches")

    def __init__(self, awake_s: float = AWAKE_S) -> None:
        self._awake_s = awake_s
        self._awake_until: dict[Hashable, float] = {}
        self._asleep: set[Hashable] = set()
        self._due: list[tuple[float, int, Hashable]] = []
        # When the heap will look at a client: its only valid entry there.
        self._looked_at: dict[Hashable, tuple[float, int]] = {}
        self._watches = 0

    def __len__(self) -> int:
        return len(self._awake_until) + len(self._asleep)

    def state_of(self, key: Hashable) -> QueueModeState:
        """Where this client stands."""
        if key in self._awake_until:
            return QueueModeState.AWAKE
        return QueueModeState.ASLEEP if key in self._asleep else QueueModeState.ALWAYS_ON

    def is_awake(self, key: Hashable, now: float) -> bool:
        """Whether a request can go out to this client now; always to one without queue mode."""
        if key in self._asleep:
            return False
        awake_until = self._awake_until.get(key)
        return awake_until is None or now < awake_until

    def enter(self, key: Hashable, now: float) -> QueueModeChanged | None:
        """The client registered in queue mode: it is awake. None if it was before."""
        return self._move(key, QueueModeEvent.ENTERED, now)

    def heard_from(self, key: Hashable, now: float) -> QueueModeChanged | None:
        """A message of the client arrived: its window begins anew. Tells when this woke it."""
        return self._move(key, QueueModeEvent.HEARD_FROM, now)

    def unanswered(self, key: Hashable, now: float) -> QueueModeChanged | None:
        """A request that was sent while the client was awake got no answer: it sleeps."""
        return self._move(key, QueueModeEvent.UNANSWERED, now)

    def leave(self, key: Hashable) -> None:
        """The registration ended, or was updated without queue mode."""
        self._move(key, QueueModeEvent.LEFT, 0.0)

    def next_timer(self) -> float | None:
        """When to call `handle_timer` next; it may find that nobody fell asleep."""
        return self._due[0][0] if self._due else None

    def handle_timer(self, now: float) -> list[QueueModeChanged]:
        """Let clients sleep whose window is over, the earliest first."""
        fell_asleep: list[QueueModeChanged] = []
        while self._due and self._due[0][0] <= now:
            due, number, key = heapq.heappop(self._due)
            if self._looked_at.get(key) != (due, number):
                continue
            del self._looked_at[key]
            if self._awake_until[key] > now:
                self._watch(key)
            else:
                changed = self._move(key, QueueModeEvent.WINDOW_ELAPSED, now)
                assert changed is not None
                fell_asleep.append(changed)
        return fell_asleep

    def _move(self, key: Hashable, event: QueueModeEvent, now: float) -> QueueModeChanged | None:
        state = self.state_of(key)
        target = QUEUE_MODE_TRANSITIONS[state][event]
        if target is None:
            return None
        if target is QueueModeState.AWAKE:
            self._asleep.discard(key)
            self._awake_until[key] = now + self._awake_s
            if key not in self._looked_at:
                self._watch(key)
        else:
            self._awake_until.pop(key, None)
            self._looked_at.pop(key, None)
            self._asleep.discard(key)
        if target is QueueModeState.ALWAYS_ON:
            return None
        if target is QueueModeState.ASLEEP:
            self._asleep.add(key)
        return None if target is state else QueueModeChanged(key, target)

    def _watch(self, key: Hashable) -> None:
        # The number keeps the heap from comparing keys, which need not have an order.
        self._watches += 1
        entry = self._looked_at[key] = self._awake_until[key], self._watches
        heapq.heappush(self._due, (*entry, key))
        if len(self._due) > 2 * len(self._looked_at) + 64:
            # Clients that register anew all the time leave entries behind.
            self._due = [(*found, each) for each, found in self._looked_at.items()]
            heapq.heapify(self._due)


class Sleeper:
    """A client in queue mode as it sees itself: it listens until its window is over."""

    __slots__ = ("_awake_s", "_awake_until", "state")

    def __init__(self, awake_s: float = AWAKE_S) -> None:
        self._awake_s = awake_s
        self._awake_until: float | None = None
        self.state = QueueModeState.ASLEEP

    @property
    def is_awake(self) -> bool:
        """Whether it hears what is sent to it."""
        return self.state is QueueModeState.AWAKE

    def next_timer(self) -> float | None:
        """When to call `handle_timer` next; None while it sleeps."""
        return self._awake_until

    def spoke(self, now: float) -> None:
        """It sends a message, or answers one: the window begins anew (LwM2M Core §6.5)."""
        target = SLEEPER_TRANSITIONS[self.state][SleeperEvent.SPOKE]
        assert target is not None
        self.state = target
        self._awake_until = now + self._awake_s

    def handle_timer(self, now: float) -> bool:
        """Fall asleep when the window is over; whether it did."""
        if self._awake_until is None or now < self._awake_until:
            return False
        target = SLEEPER_TRANSITIONS[self.state][SleeperEvent.WINDOW_ELAPSED]
        assert target is not None
        self.state, self._awake_until = target, None
        return True
