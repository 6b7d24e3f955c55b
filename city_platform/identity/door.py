"""The door to the password check: who may come in, who waits, and one turn at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

from city_platform.identity.addresses import Addresses
from city_platform.identity.config import IdentityConfig
from city_platform.identity.passwords import TooManySignIns
from city_platform.identity.refusals import Refusal
from city_platform.identity.waiting_room import Lane, NoPlace, Visitor, WaitingRoom

_Ticket = asyncio.Future[None]


class Door:
    """Lets sign-ins to the one thread that looks at passwords. It counts into `counts`."""

    def __init__(
        self, config: IdentityConfig, now_ns: Callable[[], int], counts: Counter[str]
    ) -> None:
        self._now_ns = now_ns
        self._counts = counts
        self._addresses = Addresses(config.address_budget, config.lifetimes.known_client_s)
        self._room: WaitingRoom[_Ticket] = WaitingRoom(
            config.sign_ins_waiting_max,
            # With so many wrong it is locked, and further ones are not looked at.
            config.lock_out.failures_free + 1,
            config.sign_ins_waiting_per_address_max,
        )
        self._is_taken = False

    def lane(self, address: str, *, is_known: bool) -> Lane:
        """As what somebody comes from there."""
        if is_known:
            return Lane.KNOWN
        is_familiar = self._addresses.is_familiar(address, self._now_ns())
        return Lane.FAMILIAR if is_familiar else Lane.STRANGER

    def check_budget(self, address: str) -> None:
        """Raises `Refusal` while too many passwords from this address were wrong."""
        wait_s = self._addresses.wait_s(address, self._now_ns())
        if wait_s > 0:
            self._counts["sign_ins_address_spent"] += 1
            raise Refusal(
                429, "too many wrong passwords from your address",
                f"wait {max(1.0, wait_s):.0f} s, then try again", wait_s,
            )  # fmt: skip

    @contextlib.asynccontextmanager
    async def turn(self, visitor: Visitor) -> AsyncIterator[None]:
        """One sign-in's turn: two wrong passwords at once must count as two.

        Raises `Refusal` for a name or an address with too many at once, and `TooManySignIns`.
        """
        self._enter(visitor)
        try:
            await self._await_turn(visitor)
            try:
                if visitor.lane is not Lane.KNOWN:
                    # Others from there have had their turn meanwhile.
                    self.check_budget(visitor.address)
                yield
            finally:
                self._hand_on()
        finally:
            self._room.leave(visitor)

    def count(self, visitor: Visitor, is_right: bool) -> None:
        """A password was looked at. Wrong ones of who is known are counted by that alone."""
        if is_right or visitor.lane is not Lane.KNOWN:
            self._addresses.count(visitor.address, is_right, self._now_ns())

    def _enter(self, visitor: Visitor) -> None:
        match self._room.enter(visitor):
            case NoPlace.NAME:
                self._counts["sign_ins_while_locked"] += 1
                raise Refusal(429, "too many sign-ins at once", "wait 1 s, then try again", 1.0)
            case NoPlace.ADDRESS:
                self._counts["sign_ins_too_many_from_address"] += 1
                raise Refusal(
                    429, "too many sign-ins at once from your address",
                    "wait 1 s, then try again", 1.0,
                )  # fmt: skip
            case NoPlace.ROOM:
                self._counts["sign_ins_too_many"] += 1
                raise TooManySignIns

    async def _await_turn(self, visitor: Visitor) -> None:
        if not self._is_taken:
            self._is_taken = True
            return
        ticket: _Ticket = asyncio.get_running_loop().create_future()
        self._room.wait(visitor, ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            self._room.give_up(visitor, ticket)
            if ticket.done() and not ticket.cancelled():
                # It was called in the moment in which its client hung up.
                self._hand_on()
            raise

    def _hand_on(self) -> None:
        while (ticket := self._room.call()) is not None:
            if not ticket.done():
                ticket.set_result(None)
                return
        self._is_taken = False
