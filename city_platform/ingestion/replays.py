"""Puts dead letters back into the spool, once each, and tells what became of them.

A letter goes back with the time at which it was received first, so that readings without times of
their own are the same readings. A kill between the spool and the note lets it go back twice: then
the store finds that the second brings nothing new.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import msgspec

from city_platform.ingestion.intake import Intake
from city_platform.stores.dead_letters import FoundLetter, LetterQuery, SqliteDeadLetterStore

# Own choice: what one request puts back.
REPLAYED_MAX: Final = 1_000

ReplayOutcome = Literal["waiting", "pending", "accepted", "refused_again"]


class ReplayedSome(NamedTuple):
    """How many letters were put back, and whether the query has more that wait."""

    replayed: int
    has_more: bool


class Replays:
    """`stored` is the first spool position that is not stored."""

    def __init__(
        self,
        letters: SqliteDeadLetterStore,
        intake: Intake,
        wall_us: Callable[[], int],
        stored: Callable[[], int],
    ) -> None:
        self._letters = letters
        self._intake = intake
        self._wall_us = wall_us
        self._stored = stored

    async def replay(self, position: int, who: str) -> FoundLetter | None:
        """The letter, put back now or before; None when there is none.

        Raises `IntakeFull` and `SpoolFull`: then it was not put back.
        """
        found = await self._letters.describe(position)
        if found is None or found.replay is not None:
            return found
        letter = await self._letters.get(position)
        if letter is None:
            return None
        replayed_as = await self._intake.put_back(letter.received_us, letter.topic, letter.payload)
        await self._letters.note_replay(position, who, self._wall_us(), replayed_as)
        return await self._letters.describe(position)

    async def replay_some(self, query: LetterQuery, who: str) -> ReplayedSome:
        """Put back the letters of a query that wait, in their order. Raises as `replay`."""
        limit = min(query.limit, REPLAYED_MAX)
        query = msgspec.structs.replace(query, state="waiting", limit=limit + 1)
        found = await self._letters.find(query)
        # One after the other: that is all the memory they take.
        for letter in found[:limit]:
            await self.replay(letter.position, who)
        return ReplayedSome(len(found[:limit]), len(found) > limit)

    def outcome(self, letter: FoundLetter) -> ReplayOutcome:
        """What became of a letter."""
        if letter.replay is None:
            return "waiting"
        if letter.replay.is_refused_again:
            return "refused_again"
        return "accepted" if letter.replay.replayed_as < self._stored() else "pending"
