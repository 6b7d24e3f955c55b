"""Packs on their way to the broker: kept until acknowledged, bounded, in order."""

from __future__ import annotations

from typing import Literal

import msgspec

StreamName = Literal["state", "alarm"]


class Pack(msgspec.Struct, gc=False):
    """One SenML pack and where it goes. `attempt` counts how often it was handed to a connection.

    `sequence` numbers the packs of a device from 1; a pack made before a reboot keeps its boot id.
    """

    boot: str
    sequence: int
    stream: StreamName
    topic: str
    qos: int
    retain: bool
    payload: bytes
    attempt: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """What makes it the same pack."""
        return (self.boot, self.sequence)


class Outbox:
    """Packs that wait and packs in flight. Never holds more than `packs_max` together."""

    __slots__ = ("_in_flight", "_waiting")

    def __init__(self) -> None:
        # Insertion order is the order of sending; an empty dict is a tenth of an empty deque.
        self._waiting: dict[tuple[str, int], Pack] = {}
        self._in_flight: dict[tuple[str, int], Pack] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    @property
    def waiting(self) -> int:
        """Packs that no connection has been given since it was made."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Packs that the current connection was given and that are not acknowledged."""
        return len(self._in_flight)

    def add(self, pack: Pack, packs_max: int, drop: Literal["oldest", "newest"]) -> Pack | None:
        """Append `pack`; return the one that had to be given up for it, if any.

        What was sent once cannot be taken back: when only such packs wait, the new one is given up.
        """
        if len(self) >= packs_max:
            oldest = self._oldest_unsent() if drop == "oldest" else None
            if oldest is None:
                return pack
            del self._waiting[oldest.key]
        else:
            oldest = None
        self._waiting[pack.key] = pack
        return oldest

    def take(self) -> Pack:
        """The pack that is next to send; it is in flight from now on."""
        pack = self._waiting.pop(next(iter(self._waiting)))
        self._in_flight[pack.key] = pack
        pack.attempt += 1
        return pack

    def acknowledge(self, boot: str, sequence: int) -> Pack | None:
        """Forget a pack in flight. None when it is not (a second PUBACK)."""
        return self._in_flight.pop((boot, sequence), None)

    def packs_in_flight(self) -> list[Pack]:
        """What the connection was given and is not acknowledged, in order."""
        return list(self._in_flight.values())

    def lose_session(self) -> None:
        """What was in flight waits again, before everything else and in its order."""
        self._waiting = self._in_flight | self._waiting
        self._in_flight = {}

    def _oldest_unsent(self) -> Pack | None:
        return next((pack for pack in self._waiting.values() if pack.attempt == 0), None)
