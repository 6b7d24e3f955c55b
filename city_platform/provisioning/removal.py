"""Takes a device out: its access first, its data last, and what it did stays in the audit.

Every step can be done again. How many are done is kept in the registry, so that a kill, or an LwM2M
server that is down, leaves a removal that goes on later, and never a device that can still connect
while nobody knows of it any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import msgspec

from city_platform.provisioning.acts import ActLog
from city_platform.provisioning.hand_over import PATH, read_token
from city_platform.provisioning.importing import Stores
from city_platform.provisioning.revocations import Revocations
from city_platform.stores.certificate_register import CertificateQuery, Removal
from city_platform.stores.object_store import credentials_name, withheld_name
from runtime.http_client import HttpClient, HttpError

RETRY_S: Final = 30.0
_NOT_FOUND: Final = 404

_log = logging.getLogger(__name__)


class RemovalWaits(Exception):
    """A step could not be done now; it is tried again until it can."""


class Step(NamedTuple):
    """One thing that is taken away."""

    name: str
    take: Callable[[str], Awaitable[None]]


class Removals:
    """Removes devices. `server` gives the LwM2M server's admin API (None: there is none) and the
    file with its token."""

    def __init__(
        self,
        stores: Stores,
        revocations: Revocations,
        acts: ActLog,
        server: Callable[[], tuple[str | None, str]],
        *,
        wall_us: Callable[[], int],
        changed: Callable[[], None],
        turn: asyncio.Lock,
    ) -> None:
        self._stores = stores
        self._register = stores.things.register
        self._revocations = revocations
        self._acts = acts
        self._server = server
        self._wall_us = wall_us
        self._changed = changed
        self._turn = turn
        self.steps: Final = (
            # Access: to the broker, to credentials, to the LwM2M server.
            Step("certificates_revoked", self._revoke),
            Step("credentials_deleted", self._delete_credentials),
            Step("pre_shared_key_deleted", self._delete_key),  # so that it is not handed over again
            Step("pre_shared_key_taken_from_server", self._take_key_from_server),
            # Data: where it stands, and last that it ever was.
            Step("directory_entry_deleted", self._delete_entry),
        )

    async def remove(self, endpoint: str, who: str) -> list[str] | None:
        """Remove a device; the names of the steps, in order, or None when there is none.

        Raises `RemovalWaits` when it goes on later.
        """
        if not await self._stores.things.get([endpoint]) and not await self._is_going(endpoint):
            return None
        removal = await self._register.begin_removal(endpoint, who)
        await self._go_on(removal)
        return [*(step.name for step in self.steps), "thing_deleted"]

    async def run(self) -> None:
        """Go on with what was begun, until cancelled."""
        while True:
            for removal in await self._register.removals():
                try:
                    await self._go_on(removal)
                except RemovalWaits as error:
                    _log.warning("the removal of %s waits: %s", removal.thing, error)
            await asyncio.sleep(RETRY_S)

    async def _is_going(self, endpoint: str) -> bool:
        return any(found.thing == endpoint for found in await self._register.removals())

    async def _go_on(self, removal: Removal) -> None:
        # An import must not bring back what is on its way out.
        async with self._turn:
            for number, step in enumerate(self.steps):
                if number >= removal.steps_done:
                    await step.take(removal.thing)
                    await self._register.end_removal_step(removal.thing, number + 1)
            # Told before the last trace is gone: a kill between makes it be told twice.
            await self._acts.record(
                removal.who,
                "remove_device",
                removal.thing,
                "succeeded",
                ", ".join(step.name for step in self.steps),
            )
            await self._register.end_removal(removal.thing)

    async def _revoke(self, endpoint: str) -> None:
        query = CertificateQuery(thing=endpoint, limit=1_000)
        usable = [
            found.sha256
            for found in await self._register.certificates(query)
            if found.state in ("active", "superseded")
        ]
        await self._register.tell(usable, "revoked", self._wall_us(), "cessation_of_operation")
        await self._revocations.publish(self._wall_us())

    async def _delete_credentials(self, endpoint: str) -> None:
        await self._stores.objects.delete(credentials_name(endpoint))
        await self._stores.objects.delete(withheld_name(endpoint))

    async def _take_key_from_server(self, endpoint: str) -> None:
        address, token_file = self._server()
        if address is None:
            return
        client = HttpClient(address, read_token(token_file))
        try:
            await client.send("DELETE", f"{PATH}/{endpoint}", b"", type(None))
        except HttpError as error:
            if error.status != _NOT_FOUND:
                raise RemovalWaits(f"the LwM2M server at {address}: {error}") from error
        except (OSError, msgspec.DecodeError) as error:
            raise RemovalWaits(f"the LwM2M server at {address}: {error}") from error
        finally:
            await client.close()

    async def _delete_key(self, endpoint: str) -> None:
        await self._stores.keys.delete([endpoint])

    async def _delete_entry(self, endpoint: str) -> None:
        await self._stores.directory.delete([endpoint])
        self._changed()
