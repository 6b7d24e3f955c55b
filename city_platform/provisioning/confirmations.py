"""Asks the bootstrap handler which devices have their renewed credentials, and revokes what those
replaced: as soon as nobody needs it, and not before.

The other end of an overlap, for devices that nobody hears of, is `lifecycle`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec

from city_platform.provisioning.credentials import version_of
from city_platform.provisioning.hand_over import read_token
from city_platform.stores.certificate_register import CertificateQuery, CertificateRecord
from city_platform.stores.thing_registry import ThingRegistry
from contracts.api import ConfirmedVersions, DevicesAsked
from runtime.http_client import HttpClient, HttpError

ASKED_AT_ONCE: Final = 1_000
PATH: Final = "/v1/confirmed"

_log = logging.getLogger(__name__)


class Confirmations:
    """`run` looks for certificates that are superseded and not needed any more. `handler` gives the
    bootstrap handler's `host:port` (None: there is none) and the file with its token.

    `revoke` revokes certificates, as superseded, and publishes that. `renewed` has the handler told
    of devices that may not have their newest certificate; a kill may have come between.
    """

    def __init__(
        self,
        things: ThingRegistry,
        handler: Callable[[], tuple[str | None, str]],
        revoke: Callable[[Sequence[str]], Awaitable[None]],
        *,
        renewed: Callable[[Iterable[str]], None] = lambda _: None,
        every_s: float,
        valid_s: float,
        wall_us: Callable[[], int],
    ) -> None:
        self._things = things
        self._handler = handler
        self._revoke = revoke
        self._renewed = renewed
        self._every_s = every_s
        self._valid_us = int(valid_s * 1e6)
        self._wall_us = wall_us
        self._superseded = asyncio.Event()

    def superseded(self) -> None:
        """There are certificates that were replaced just now."""
        self._superseded.set()

    async def run(self) -> None:
        """Look as long as there are any, until cancelled; while there are none, wait."""
        # There may be some of before, and devices that were not told: registered ones would not ask
        # until the old one has ended.
        await self.tell_again()
        self._superseded.set()
        while True:
            await self._superseded.wait()
            self._superseded.clear()
            try:
                await self.look()
            except (OSError, HttpError, msgspec.DecodeError) as error:
                _log.warning("nobody can say which devices have their new certificate: %s", error)
            if await self._are_any_left():
                self._superseded.set()
                await asyncio.sleep(self._every_s)

    async def tell_again(self) -> None:
        """Have the handler told of all devices that have a certificate of before."""
        query = CertificateQuery(state="superseded", limit=ASKED_AT_ONCE)
        while page := await self._things.register.certificates(query):
            self._renewed(sorted({found.thing for found in page}))
            query = msgspec.structs.replace(query, after=page[-1].sha256)

    async def look(self) -> int:
        """Revoke what is not needed any more; how many. Raises `OSError`, `HttpError` and
        `DecodeError` when the handler cannot be asked."""
        address, token_file = self._handler()
        if address is None:
            return 0
        client, revoked = HttpClient(address, read_token(token_file)), list[str]()
        try:
            query = CertificateQuery(
                state="superseded",
                since_before_us=self._wall_us() - self._valid_us + 1,
                limit=ASKED_AT_ONCE,
            )
            while page := await self._things.register.certificates(query):
                revoked += await self._not_needed(client, page)
                query = msgspec.structs.replace(query, after=page[-1].sha256)
        finally:
            await client.close()
        if revoked:
            await self._revoke(revoked)
        return len(revoked)

    async def _not_needed(
        self, client: HttpClient, page: Sequence[CertificateRecord]
    ) -> Iterable[str]:
        names = sorted({found.thing for found in page})
        things = await self._things.get(names)
        answer = await client.post(PATH, DevicesAsked(endpoints=names), ConfirmedVersions)
        has_newest = {
            name
            for name, thing in things.items()
            if answer.versions.get(name) == version_of(thing.certificate.sha256)
        }
        # One of a device that was removed is revoked already.
        return [found.sha256 for found in page if found.thing in has_newest]

    async def _are_any_left(self) -> bool:
        query = CertificateQuery(state="superseded", limit=1)
        return bool(await self._things.register.certificates(query))
