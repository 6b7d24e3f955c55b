"""Hashes passwords with argon2id, one at a time and off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from city_platform.identity.config import PasswordCost
from city_platform.stores.worker import Worker

_T = TypeVar("_T")


class TooManySignIns(Exception):
    """More passwords wait to be looked at than may."""


class Passwords:
    """Hashes and checks. `waiting_max` bounds what strangers can make it do."""

    def __init__(self, cost: PasswordCost, waiting_max: int) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=cost.time_cost, memory_cost=cost.memory_kib, parallelism=cost.parallelism
        )
        self._waiting_max = waiting_max
        self._waiting = 0
        self._worker = Worker("passwords")
        # What is compared where there is no user: it must take as long.
        self._nobody = self._hasher.hash("nobody")

    async def hash(self, password: str) -> str:
        """The text that is kept. Raises `TooManySignIns`."""
        return await self._do(self._hasher.hash, password)

    async def check(self, password_hash: str, password: str) -> bool:
        """Whether it is the password; an empty hash is nobody's. Raises `TooManySignIns`."""
        known = password_hash or self._nobody
        is_right = await self._do(self._verify, known, password)
        return is_right and bool(password_hash)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether a hash has another cost than new ones have."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """End the thread."""
        self._worker.close()

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _do(self, function: Callable[..., _T], *arguments: str) -> _T:
        if self._waiting >= self._waiting_max:
            raise TooManySignIns
        self._waiting += 1
        try:
            return await self._worker.do(function, *arguments)
        finally:
            self._waiting -= 1
