"""Follows what components tell: readings and presence from ingestion, commands from control.

Both are asked by the dashboard itself, once for all browsers. Commands are asked for only while
somebody looks, and more often while some of them are open.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import urlencode

import msgspec

from city_platform.dashboard.live_state import Change, LiveState
from city_platform.dashboard.upstream import Upstream, UpstreamUnavailable, Whole
from contracts.api import FINAL_COMMAND_STATES

WAIT_S: Final = 25
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
OPEN_PAUSE_S: Final = 1.0
IDLE_PAUSE_S: Final = 5.0
CHANGES_ASKED: Final = 5_000
COMMANDS_ASKED: Final = 200
COMMANDS_KEPT: Final = 2_000
SourceState = Literal["connected", "lost"]
_log = logging.getLogger(__name__)


class Bell:
    """Wakes all who wait. Look first and wait then, with no other await between the two."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake who waits now."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        """Until it is rung."""
        await self._rung.wait()


class ChangePage(msgspec.Struct, frozen=True):
    """What `GET /v1/changes` answers."""

    cursor: str
    changes: list[Change] = []


_pages: Final = msgspec.json.Decoder(ChangePage)


class ChangeSource:
    """Keeps a `LiveState` up to date."""

    def __init__(
        self,
        ingestion: Upstream | None,
        token: Callable[[], str],
        state: LiveState,
        bell: Bell,
        counts: Counter[str],
    ) -> None:
        self._ingestion = ingestion
        self._token = token
        self._state = state
        self._bell = bell
        self._counts = counts
        self._cursor: str | None = None
        self.source: SourceState = "lost"

    async def run(self) -> None:
        """Follow until cancelled; what goes wrong is told, and tried again."""
        if self._ingestion is None:
            return
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._step(self._ingestion)
                pause_s = FIRST_PAUSE_S
            except UpstreamUnavailable as error:
                self._become("lost", str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _step(self, ingestion: Upstream) -> None:
        # The first answer comes at once: it tells whether there is a source at all.
        waits_s = WAIT_S if self.source == "connected" else 0
        given = {"after": self._cursor} if self._cursor is not None else {}
        query = urlencode({**given, "wait_s": waits_s, "limit": CHANGES_ASKED})
        target = f"/v1/changes?{query}"
        answer = await ingestion.ask(
            "GET", target, token=self._token(), within_s=WAIT_S + LONGEST_PAUSE_S
        )
        if answer.status == 400:
            # It is another ingestion than before, and does not know what it never told.
            self._cursor = None
        self._take(_decoded(answer))
        self._become("connected", "")

    def _take(self, page: ChangePage) -> None:
        # Where ingestion begins anew it tells the state of all devices: what is known is brought up
        # to date by that, and values that it has not got are still each path's latest ones.
        for change in page.changes:
            self._state.apply(change)
        self._cursor = page.cursor
        self._counts["changes"] += len(page.changes)
        if page.changes:
            self._bell.ring()

    def _become(self, source: SourceState, why: str) -> None:
        if source == self.source:
            return
        self.source = source
        self._bell.ring()
        if source == "lost":
            _log.warning("live data is lost: %s", why)
        else:
            _log.info("live data comes")


class _Command(msgspec.Struct, frozen=True):
    """What the dashboard itself reads of a command; the rest goes to pages as it came."""

    id: str
    endpoint: str
    state: str


class _CommandPage(msgspec.Struct, frozen=True):
    commands: list[msgspec.Raw] = []


class SeenCommand(msgspec.Struct, frozen=True):
    """A command as it was seen last, and at which revision it became so."""

    endpoint: str
    state: str
    document: bytes
    revision: int


class CommandWatch:
    """The newest commands and how far they have come. `looked_at` says whether anybody looks."""

    def __init__(
        self,
        control: Upstream | None,
        token: Callable[[], str],
        bell: Bell,
        looked_at: Callable[[], bool],
    ) -> None:
        self._control = control
        self._token = token
        self._bell = bell
        self._looked_at = looked_at
        self._wanted = asyncio.Event()
        self._commands: OrderedDict[str, SeenCommand] = OrderedDict()
        self.revision = 0

    def wake(self) -> None:
        """Ask soon: a command was sent, or somebody began to look."""
        self._wanted.set()

    async def run(self) -> None:
        """Ask while somebody looks, until cancelled."""
        if self._control is None:
            return
        while True:
            self._wanted.clear()
            if self._looked_at():
                pause_s = await self._ask(self._control)
                # A command that was just sent is looked at again a little later, not at once.
                await asyncio.sleep(min(pause_s, FIRST_PAUSE_S))
            else:
                pause_s = None
            try:
                async with asyncio.timeout(pause_s):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    def since(self, revision: int) -> list[SeenCommand]:
        """Commands that became what they are after a revision, oldest first."""
        found: list[SeenCommand] = []
        for seen in reversed(self._commands.values()):
            if seen.revision <= revision:
                break
            found.append(seen)
        found.reverse()
        return found

    def take(self, body: bytes) -> bool:
        """Read a page of control's list; whether some of them are open."""
        page = msgspec.json.decode(body, type=_CommandPage)
        is_open = False
        # The list has the newest first; it is taken in the order of issue.
        for document in reversed(page.commands):
            one = msgspec.json.decode(document, type=_Command)
            is_open = is_open or one.state not in FINAL_COMMAND_STATES
            known = self._commands.get(one.id)
            if known is not None and known.state == one.state:
                continue
            self.revision += 1
            self._commands[one.id] = SeenCommand(
                one.endpoint, one.state, bytes(document), self.revision
            )
            self._commands.move_to_end(one.id)
        while len(self._commands) > COMMANDS_KEPT:
            self._commands.popitem(last=False)
        return is_open

    async def _ask(self, control: Upstream) -> float:
        before = self.revision
        try:
            answer = await control.ask(
                "GET", f"/v1/commands?limit={COMMANDS_ASKED}", token=self._token()
            )
            is_open = answer.status == 200 and self.take(answer.body)
        except (UpstreamUnavailable, msgspec.DecodeError) as error:
            _log.warning("commands cannot be followed: %s", error)
            return LONGEST_PAUSE_S
        if self.revision != before:
            self._bell.ring()
        return OPEN_PAUSE_S if is_open else IDLE_PAUSE_S


def _decoded(answer: Whole) -> ChangePage:
    if answer.status != 200:
        raise UpstreamUnavailable(f"ingestion answered {answer.status} to /v1/changes")
    try:
        return _pages.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamUnavailable(f"ingestion's changes are not understood: {error}") from None
