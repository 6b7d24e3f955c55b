"""Where sign-ins wait for their password to be looked at, and whose turn is next. Pure.

A flood must not take what others need: some places are kept for addresses from which somebody has
signed in, and some more for who comes from a place where this user has. Whether there is such a
user gives nobody a place, because whoever gets one would know. Turns go around the lanes, and in
each around the addresses: one that sends a thousand gets no more turns than one that sends one.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict, deque
from typing import Final, Generic, NamedTuple, TypeVar

# One place of so many is kept for each lane but the first.
KEPT_SHARE: Final = 8
_T = TypeVar("_T")


class Lane(enum.IntEnum):
    """Who comes; the higher, the more of the places are open to them."""

    STRANGER = 0
    FAMILIAR = 1
    """From an address from which somebody has signed in."""
    KNOWN = 2
    """With the `known_client` of this user, or signed in already."""


class Visitor(NamedTuple):
    """A sign-in that wants a turn. `counted` is what its wrong passwords are counted by."""

    counted: str
    address: str
    lane: Lane


class NoPlace(enum.Enum):
    """Why somebody cannot wait here."""

    NAME = "name"
    ADDRESS = "address"
    ROOM = "room"


class WaitingRoom(Generic[_T]):
    """Visitors from `enter` to `leave`, and the tickets of those who wait for their turn.

    `places` is how many there may be, of them `per_name` for one name and `per_address` from one
    address; who is known is not counted by address.
    """

    def __init__(self, places: int, per_name: int, per_address: int) -> None:
        kept = places // KEPT_SHARE
        self._places = {lane: places - kept * (Lane.KNOWN - lane) for lane in Lane}
        self._per_name = per_name
        self._per_address = per_address
        self._inside = 0
        self._names: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._waiting: dict[Lane, OrderedDict[str, deque[_T]]] = {
            lane: OrderedDict() for lane in Lane
        }
        self._next_lanes = deque(reversed(Lane))

    def __len__(self) -> int:
        return self._inside

    def enter(self, visitor: Visitor) -> NoPlace | None:
        """Take a place; why not, when there is none."""
        if self._names[visitor.counted] >= self._per_name:
            return NoPlace.NAME
        is_counted = visitor.lane is not Lane.KNOWN
        if is_counted and self._addresses[visitor.address] >= self._per_address:
            return NoPlace.ADDRESS
        if self._inside >= self._places[visitor.lane]:
            return NoPlace.ROOM
        self._inside += 1
        self._names[visitor.counted] += 1
        self._addresses[visitor.address] += is_counted
        return None

    def leave(self, visitor: Visitor) -> None:
        """Give the place up."""
        self._inside -= 1
        _less(self._names, visitor.counted)
        if visitor.lane is not Lane.KNOWN:
            _less(self._addresses, visitor.address)

    def wait(self, visitor: Visitor, ticket: _T) -> None:
        """Wait for a turn."""
        self._waiting[visitor.lane].setdefault(visitor.address, deque()).append(ticket)

    def give_up(self, visitor: Visitor, ticket: _T) -> None:
        """Wait no more; nothing happens when the ticket has had its turn."""
        lane = self._waiting[visitor.lane]
        tickets = lane.get(visitor.address, deque())
        if ticket in tickets:
            tickets.remove(ticket)
            if not tickets:
                del lane[visitor.address]

    def call(self) -> _T | None:
        """The ticket whose turn it is; None when nobody waits."""
        for lane in list(self._next_lanes):
            waiting = self._waiting[lane]
            if not waiting:
                continue
            # The lane that was served is the last one to be asked again.
            self._next_lanes.remove(lane)
            self._next_lanes.append(lane)
            address, tickets = waiting.popitem(last=False)
            ticket = tickets.popleft()
            if tickets:
                waiting[address] = tickets
            return ticket
        return None


def _less(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if counts[name] <= 0:
        # Names come from strangers: none is kept for longer than its sign-in.
        del counts[name]
