"""The devices of a caller's tenants, asked of provisioning page by page, remembered for seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from city_platform.dashboard.sessions import Session
from city_platform.dashboard.upstream import Upstream, UpstreamUnavailable, Whole
from city_platform.identity.operations import operation_named
from contracts.api import DevicePage, FoundDevice

# One less than a page of the device graph holds.
PAGE_DEVICES: Final = 999
TENANTS_CACHED: Final = 64
_CURSOR_MARK: Final = "~"

Query = Sequence[tuple[str, str]]


class Refused(Exception):
    """Provisioning refused a search; its answer is what the page gets."""

    def __init__(self, answer: Whole) -> None:
        super().__init__(f"provisioning answered {answer.status}")
        self.answer = answer


class TooManyDevices(Exception):
    """There are more devices than a map holds."""


class Devices(NamedTuple):
    """Devices, and the directory's revision of which none of them is older."""

    found: list[FoundDevice]
    revision: int


class _Cached(msgspec.Struct, frozen=True):
    asking: asyncio.Task[Devices]
    until_ns: int
    number: int


class Fleet:
    """Asks for devices with the token of whoever asks. `now_ns` is the monotonic clock, `revision`
    gives the number of the directory's last change."""

    def __init__(
        self,
        provisioning: Upstream,
        now_ns: Callable[[], int],
        revision: Callable[[], Awaitable[int]],
        *,
        devices_max: int,
        cached_s: float,
    ) -> None:
        self._provisioning = provisioning
        self._revision = revision
        self._now_ns = now_ns
        self._devices_max = devices_max
        self._cached_ns = int(cached_s * 1e9)
        self._cached: dict[str | None, _Cached] = {}
        self._questions = 0

    async def devices(
        self, session: Session, tenant: str | None, *, is_fresh: bool = False
    ) -> Devices:
        """All devices of the session's tenants, or of one of them.

        `is_fresh`: as they are now, and not as they were up to `cached_s` ago.
        Raises `Refused`, `TooManyDevices`, `UpstreamUnavailable`.
        """
        found: list[FoundDevice] = []
        revisions = []
        for one in tenants_of(session, tenant):
            part = await self._all_of(session, one, is_fresh=is_fresh)
            found += part.found
            revisions.append(part.revision)
            if len(found) > self._devices_max:
                raise TooManyDevices(f"over {self._devices_max:,} devices: name a tenant")
        return Devices(found, min(revisions, default=0))

    async def search(self, session: Session, query: Query) -> DevicePage:
        """One page of a search over the session's tenants. Raises as `devices`.

        Tenants are searched one after the other; the cursor says which one is at its turn.
        """
        given = dict(query)
        tenants = tenants_of(session, given.pop("tenant", None))
        mark, _, cursor = given.pop("cursor", "").partition(_CURSOR_MARK)
        number = int(mark) if mark.isdecimal() and len(mark) < 9 else 0
        rest = [(name, value) for name, value in query if name not in ("tenant", "cursor")]
        while number < len(tenants):
            page = await self._page(session, tenants[number], rest, cursor)
            if page.next_cursor is not None:
                return _continued(page, f"{number}{_CURSOR_MARK}{page.next_cursor}")
            number, cursor = number + 1, ""
            if page.devices:
                return _continued(
                    page, f"{number}{_CURSOR_MARK}" if number < len(tenants) else None
                )
        return DevicePage(devices=[])

    async def close(self) -> None:
        """End what is being asked."""
        asking = [one.asking for one in self._cached.values()]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _all_of(self, session: Session, tenant: str | None, *, is_fresh: bool) -> Devices:
        # A question that began before this may have missed what it is about.
        number_min = self._questions + 1 if is_fresh else 0
        known = self._cached.get(tenant)
        while known is not None and not known.asking.done() and known.number < number_min:
            await asyncio.wait({known.asking})
            known = self._cached.get(tenant)
        if known is None or known.number < number_min or self._is_over(known):
            known = self._begin(session, tenant)
        # All who wait share one question, and who goes does not end it for the others.
        return await asyncio.shield(known.asking)

    def _is_over(self, known: _Cached) -> bool:
        return known.asking.done() and self._now_ns() >= known.until_ns

    def _begin(self, session: Session, tenant: str | None) -> _Cached:
        asking = asyncio.ensure_future(self._ask_all(session, tenant))
        asking.add_done_callback(lambda done: self._drop_failed(tenant, done))
        self._questions += 1
        known = _Cached(asking, self._now_ns() + self._cached_ns, self._questions)
        self._cached[tenant] = known
        self._drop_oldest()
        return known

    async def _ask_all(self, session: Session, tenant: str | None) -> Devices:
        # Asked first: what comes while devices are asked for is told again, which does no harm.
        revision = await self._revision()
        found: list[FoundDevice] = []
        cursor = ""
        while True:
            page = await self._page(session, tenant, [("limit", str(PAGE_DEVICES))], cursor)
            found += page.devices
            if page.next_cursor is None:
                return Devices(found, revision)
            if len(found) > self._devices_max:
                raise TooManyDevices(f"over {self._devices_max:,} devices: name a tenant")
            cursor = page.next_cursor

    async def _page(
        self, session: Session, tenant: str | None, query: Query, cursor: str
    ) -> DevicePage:
        asked = list(query)
        if tenant is not None:
            asked.append(("tenant", tenant))
        if cursor:
            asked.append(("cursor", cursor))
        answer = await self._provisioning.ask(
            "GET", f"/v1/devices?{urlencode(asked)}", token=session.access_token
        )
        if answer.status != 200:
            raise Refused(answer)
        try:
            return msgspec.json.decode(answer.body, type=DevicePage)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamUnavailable(f"provisioning's page is not understood: {error}") from None

    def _drop_failed(self, tenant: str | None, done: asyncio.Task[Devices]) -> None:
        known = self._cached.get(tenant)
        failed = done.cancelled() or done.exception() is not None
        if failed and known is not None and known.asking is done:
            del self._cached[tenant]

    def _drop_oldest(self) -> None:
        while len(self._cached) > TENANTS_CACHED:
            tenant = next(iter(self._cached))
            if not self._cached[tenant].asking.done():
                return
            del self._cached[tenant]


def tenants_of(session: Session, tenant: str | None) -> Sequence[str | None]:
    """The tenants to ask for, one by one; None is all of them at once."""
    own = session.caller.tenants_for(operation_named("search_devices"))
    if own is None:
        return [tenant]
    if tenant is None:
        return sorted(own)
    # Another one's tenant is as one that does not exist.
    return [tenant] if tenant in own else []


def _continued(page: DevicePage, cursor: str | None) -> DevicePage:
    return DevicePage(devices=page.devices, next_cursor=cursor)
