"""Hands pre-shared keys to the LwM2M server's security store, again and again until it has them.

The keys that wait are those that the key store marks: a kill or a server that is down loses none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from city_platform.stores.pre_shared_keys import PreSharedKey, PreSharedKeyStore
from runtime.http_client import HttpClient, HttpError

KEYS_PER_REQUEST = 1_000
RETRY_S_MIN, RETRY_S_MAX = 0.1, 5.0
PATH = "/v1/security"

_log = logging.getLogger(__name__)


class RefusedKey(msgspec.Struct, frozen=True):
    """A line that the server did not take; `row` counts from 1."""

    row: int
    reason: str


class SecurityAnswer(msgspec.Struct, frozen=True):
    """The security API's answer, as far as it matters here."""

    rejected: int = 0
    errors: list[RefusedKey] = []


class KeysRefused(Exception):
    """The server took the request, and not all of its keys. They stay to be handed over."""


class HandOver:
    """`run` sends what waits whenever `wake` is called; `done` tells when nothing waits any more.

    `server` gives the admin API's `host:port` (None: there is none, nothing is sent) and the file
    with its token; both may change while it runs.
    """

    def __init__(
        self, keys: PreSharedKeyStore, server: Callable[[], tuple[str | None, str]]
    ) -> None:
        self._keys = keys
        self._server = server
        self._wanted = asyncio.Event()
        self._settled = asyncio.Event()
        self.last_problem = ""

    def wake(self) -> None:
        """There may be keys to hand over."""
        self._settled.clear()
        self._wanted.set()

    async def done(self, within_s: float) -> bool:
        """Whether the server has all keys, waiting at most `within_s` for it."""
        try:
            async with asyncio.timeout(within_s):
                await self._settled.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Hand over until cancelled."""
        pause_s = RETRY_S_MIN
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._send_all()
            except (
                OSError, HttpError, KeysRefused, msgspec.DecodeError, sqlite3.OperationalError
            ) as error:  # fmt: skip
                self.last_problem = str(error)
                _log.warning("keys wait for the LwM2M server, again in %.1f s: %s", pause_s, error)
                await self._pause(pause_s)
                pause_s = min(pause_s * 2, RETRY_S_MAX)
            else:
                pause_s = RETRY_S_MIN
                if not self._wanted.is_set():
                    self._settled.set()

    async def _pause(self, pause_s: float) -> None:
        """Wait, unless an import brings more: it is tried at once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wanted.wait()
        self._wanted.set()

    async def _send_all(self) -> None:
        address, token_file = self._server()
        if address is None:
            return
        client = HttpClient(address, read_token(token_file))
        refused: list[RefusedKey] = []
        after = ""
        try:
            while keys := await self._keys.to_hand_over(after, KEYS_PER_REQUEST):
                refused += await self._send(client, keys)
                after = keys[-1].endpoint
        finally:
            await client.close()
        if refused:
            raise KeysRefused(f"{len(refused)} keys, the first because: {refused[0].reason}")

    async def _send(self, client: HttpClient, keys: list[PreSharedKey]) -> list[RefusedKey]:
        answer = await client.send(
            "POST", PATH, key_lines(keys), SecurityAnswer, "application/x-ndjson"
        )
        if answer.rejected != len(answer.errors):
            raise KeysRefused(f"{answer.rejected} keys, and not which")
        refused = {error.row for error in answer.errors}
        await self._keys.mark_handed_over(
            [key for row, key in enumerate(keys, start=1) if row not in refused]
        )
        return answer.errors


def read_token(file: str) -> str:
    """The bearer token that a file holds. Raises `OSError`."""
    return Path(file).read_text().strip()


def key_lines(keys: list[PreSharedKey]) -> bytes:
    """The body of the security API: `{"endpoint", "identity", "key"}` a line, the key as base64."""
    return b"\n".join(msgspec.json.encode(key) for key in keys) + b"\n"
