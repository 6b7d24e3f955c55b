"""`GET /live`: server-sent events (HTML Living Standard §9.2) of what a user may see."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.dashboard.config import DashboardLimits
from city_platform.dashboard.following import Bell, ChangeSource, CommandWatch, SeenCommand
from city_platform.dashboard.gate import session_of
from city_platform.dashboard.live_state import LiveState, Sight
from city_platform.dashboard.membership import Membership, told_changes
from city_platform.dashboard.sessions import Session, Sessions
from city_platform.dashboard.streamed import Streamed
from city_platform.dashboard.token_sources import SessionEnded
from city_platform.dashboard.upstream import UpstreamUnavailable
from city_platform.identity.callers import Caller
from city_platform.identity.operations import operation_named
from runtime.http import problem

KEEP_ALIVE_S: Final = 15.0
# What a browser waits for before it comes again.
RETRY_MS: Final = 3_000
_PLACE: Final = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9]{1,18})", re.ASCII)


class Place(NamedTuple):
    """Up to where a page has seen the live state."""

    epoch: str
    revision: int


class LiveFeeds:
    """The route and all its readers."""

    def __init__(
        self,
        state: LiveState,
        source: ChangeSource,
        commands: CommandWatch,
        membership: Membership,
        bell: Bell,
        sessions: Sessions,
        limits: DashboardLimits,
    ) -> None:
        self._state = state
        self._source = source
        self._commands = commands
        self._membership = membership
        self._bell = bell
        self._sessions = sessions
        self._limits = limits
        self._is_closed = False
        self.readers = 0

    @property
    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [Route("/live", self._get)]

    async def _get(self, request: Request) -> Response:
        session = session_of(request)
        if self.readers >= self._limits.live_max:
            return problem(429, "too many live feeds", "close a page, or try again later")
        if session.live_feeds >= self._limits.live_per_session_max:
            return problem(429, "too many live feeds", "close another page of this session")
        return Streamed(
            self.follow(session, _place(request), _fleet_revision(request)),
            "text/event-stream",
            # Proxies on the way must not gather it.
            {"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    def close(self) -> None:
        """End all feeds: their pages come again when there is a dashboard again."""
        self._is_closed = True
        self._bell.ring()

    async def follow(
        self, session: Session, place: Place | None, fleet_revision: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """What a page is told, until it goes or its session ends."""
        self.readers += 1
        session.live_feeds += 1
        self._commands.wake()
        reader = _Reader(self._state, self._source, self._commands, self._limits, place)
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            now = await self._membership.look()
            seen = now if fleet_revision is None else fleet_revision
            members = _MemberReader(self._state, self._membership, self._limits, seen)
            self._membership.wake()
            while await self._may_go_on(session):
                told = [*reader.events(session.caller), *await members.events(session.caller)]
                # One write: the pages' bound on messages is one on writes.
                if told:
                    yield b"".join(told)
                await asyncio.sleep(self._limits.live_gap_s)
                if reader.is_behind or members.is_behind:
                    continue
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        await self._bell.wait()
                except TimeoutError:
                    yield b": still here\n\n"
            if not self._is_closed:
                yield _event("signed_out", {})
        finally:
            self.readers -= 1
            session.live_feeds -= 1

    async def _may_go_on(self, session: Session) -> bool:
        if self._is_closed:
            return False
        try:
            await self._sessions.renew(session)
        except (SessionEnded, UpstreamUnavailable):
            return False
        return session.caller.may_somewhere(operation_named("follow_live"))


class _Reader:
    """One page's place in what it is told."""

    def __init__(
        self,
        state: LiveState,
        source: ChangeSource,
        commands: CommandWatch,
        limits: DashboardLimits,
        place: Place | None,
    ) -> None:
        self._state = state
        self._source = source
        self._commands = commands
        self._devices_max = limits.live_devices_max
        self._seen = place or Place(state.epoch, state.revision)
        self._seen_commands = commands.revision
        self._told_source = ""
        self._has_begun = False

    @property
    def is_behind(self) -> bool:
        """Whether there is something to tell."""
        return (
            self._seen != (self._state.epoch, self._state.revision)
            or self._seen_commands != self._commands.revision
            or self._told_source != self._source.source
        )

    def events(self, caller: Caller) -> list[bytes]:
        """What is to be told now, in one go."""
        found: list[bytes] = []
        now = Place(self._state.epoch, self._state.revision)
        if not self._has_begun:
            self._has_begun = True
            found.append(_event("hello", {"epoch": now.epoch, "revision": now.revision}))
        if self._told_source != self._source.source:
            self._told_source = self._source.source
            found.append(_event("source", {"telemetry": self._told_source}))
        if self._seen != now:
            found += self._changes(sight_of(caller), now)
            self._seen = now
        if self._seen_commands != self._commands.revision:
            found += self._command_changes(caller)
            self._seen_commands = self._commands.revision
        return found

    def _changes(self, sight: Sight, now: Place) -> list[bytes]:
        if self._seen.epoch != now.epoch or self._seen.revision > now.revision:
            return [_event("resync", {"reason": "the live data began anew"}, now)]
        changed = self._state.changed_since(self._seen.revision, self._devices_max)
        if changed is None:
            reason = f"over {self._devices_max} devices changed since this page was told"
            return [_event("resync", {"reason": reason}, now)]
        told = (self._state.told(one, self._seen.revision, sight) for one in changed)
        devices = [one for one in told if one is not None]
        if not devices:
            return []
        return [_event("changes", {"revision": now.revision, "devices": devices}, now)]

    def _command_changes(self, caller: Caller) -> list[bytes]:
        tenants = caller.tenants_for(operation_named("read_command"))
        seen = [one for one in self._commands.since(self._seen_commands) if self._is(one, tenants)]
        if not seen:
            return []
        return [_event("commands", {"commands": [msgspec.Raw(one.document) for one in seen]})]

    def _is(self, command: SeenCommand, tenants: frozenset[str] | None) -> bool:
        """Whether a command's device is of these tenants; None: of all."""
        if tenants is None:
            return True
        device = self._state.get(command.endpoint)
        return device is not None and device.tenant in tenants


class _MemberReader:
    """Up to where one page has heard which devices there are."""

    def __init__(
        self, state: LiveState, membership: Membership, limits: DashboardLimits, seen: int
    ) -> None:
        self._state = state
        self._membership = membership
        self._devices_max = limits.live_devices_max
        self._seen = seen
        # A page of another directory: what it has seen says nothing of this one.
        self._is_lost = seen > membership.revision

    @property
    def is_behind(self) -> bool:
        """Whether devices came or went."""
        return self._is_lost or self._seen < self._membership.revision

    async def events(self, caller: Caller) -> list[bytes]:
        """What is to be told of devices that came or went."""
        if not self.is_behind:
            return []
        sight, now = sight_of(caller), self._membership.revision
        changes = None
        if not self._is_lost:
            changes = await self._membership.changes(self._seen, self._devices_max)
        self._is_lost = False
        told = None if changes is None else told_changes(changes, self._state, sight)
        if told is None:
            self._seen = now
            return [_event("resync", {"reason": "more devices changed than can be told"})]
        self._seen = max([now, *(one.revision for one in changes or ())])
        if not told["added"] and not told["removed"]:
            return []
        return [_event("fleet", {"fleet": self._seen, **told})]


def sight_of(caller: Caller) -> Sight:
    """Whose devices, and whose telemetry, somebody may see."""
    return Sight(
        caller.tenants_for(operation_named("search_devices")),
        caller.tenants_for(operation_named("read_readings")),
    )


def _place(request: Request) -> Place | None:
    """What the browser says that it has seen: of the stream itself, or of the map it loaded."""
    query = request.query_params
    told = request.headers.get("last-event-id") or (
        f"{query.get('epoch', '')}.{query.get('revision', '')}"
    )
    found = _PLACE.fullmatch(told)
    return None if found is None else Place(found[1], int(found[2]))


def _fleet_revision(request: Request) -> int | None:
    """Which of the directory's changes the page's map holds already."""
    told = request.query_params.get("fleet", "")
    return int(told) if told.isascii() and told.isdecimal() and len(told) < 18 else None


def _event(name: str, data: object, place: Place | None = None) -> bytes:
    # JSON has no line break, so that one `data` line holds it.
    head = b"" if place is None else f"id: {place.epoch}.{place.revision}\n".encode()
    return head + b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
