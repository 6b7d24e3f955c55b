"""Who is signed in at the dashboard: tokens stay here, browsers hold an id that means nothing else.

A session's access token is renewed shortly before it ends, by whichever request comes first; what
its user may do is asked anew with every renewal, so that a taken role is gone with the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from base64 import urlsafe_b64encode
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Final

from city_platform.dashboard.sealed_sessions import KeptSession, SealedSessions
from city_platform.dashboard.token_sources import (
    IDENTITY,
    ISSUER,
    IdentityTokens,
    SessionEnded,
    SignInRefused,
    TokenSource,
    TokenSources,
)
from city_platform.dashboard.upstream import UpstreamUnavailable
from city_platform.identity.bodies import SignIn, Tokens
from city_platform.identity.callers import Caller
from city_platform.stores.worker import Worker
from runtime.clock import Clock

SECRET_BYTES: Final = 32
# A token is renewed when less than this is left of it, so that none ends on its way.
RENEW_BEFORE_S: Final = 60.0
HOUSEKEEPING_S: Final = 600.0


class Session:
    """One signed-in browser. Its repr shows no secret."""

    def __init__(
        self, session_id: str, csrf: str, began_us: int, ends_at_us: int, source: str
    ) -> None:
        self.id = session_id
        self.source = source
        self.csrf = csrf
        self.began_us = began_us
        self.ends_at_us = ends_at_us
        self.caller = Caller(kind="user", name="", subject="", grants=frozenset())
        self.access_token = ""
        self.renew_at_ns = 0
        self.dies_at_ns = 0
        self.refresh_token = ""
        # What the browser keeps for its next sign-in; only until it was told.
        self.known_client: str | None = None
        self.has_ended = False
        self.live_feeds = 0
        self.renewal: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Session({self.caller.name!r})"

    def is_csrf(self, given: str) -> bool:
        """Whether a request carries this session's token against forgery."""
        return hmac.compare_digest(given.encode(), self.csrf.encode())


class Sessions:
    """All sessions. `session_s` bounds each; beyond `sessions_max` the oldest one ends."""

    def __init__(
        self,
        sources: TokenSources,
        kept: SealedSessions,
        clock: Clock,
        draw: Callable[[int], bytes],
        *,
        session_s: float,
        sessions_max: int,
    ) -> None:
        self._sources = sources
        self._kept = kept
        self._clock = clock
        self._draw = draw
        self._session_s = session_s
        self._sessions_max = sessions_max
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._opening: dict[str, asyncio.Lock] = {}
        self._worker = Worker("dashboard-sessions")
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sessions)

    async def sign_in(self, wanted: SignIn, client_address: str) -> Session:
        """Begin a session for who comes from there. Raises `SignInRefused`,
        `UpstreamUnavailable`."""
        identity = self._sources[IDENTITY]
        assert isinstance(identity, IdentityTokens)
        try:
            tokens = await identity.sign_in(wanted, client_address)
        except SignInRefused:
            self.counts["sign_ins.refused"] += 1
            raise
        session = await self._begin(tokens, IDENTITY)
        session.known_client = tokens.known_client
        return session

    async def begin_at_issuer(self, tokens: Tokens) -> Session:
        """Begin a session with the tokens of another issuer. Raises `UpstreamUnavailable`."""
        return await self._begin(tokens, ISSUER)

    async def _begin(self, tokens: Tokens, source: str) -> Session:
        now_us = self._clock.wall_us()
        session = Session(
            self._secret(), self._secret(), now_us, now_us + int(self._session_s * 1e6), source
        )
        await self._take(session, tokens)
        self._sessions[session.id] = session
        self.counts["sign_ins"] += 1
        while len(self._sessions) > self._sessions_max:
            await self.end(next(iter(self._sessions.values())))
        return session

    async def find(self, session_id: str) -> Session | None:
        """The session of a cookie, also from before a restart. Raises `UpstreamUnavailable`."""
        session = self._sessions.get(session_id)
        if session is None and len(session_id) <= 2 * SECRET_BYTES:
            session = await self._reopen(session_id)
        if session is None:
            return None
        try:
            await self.renew(session)
        except SessionEnded:
            return None
        return session

    async def renew(self, session: Session) -> None:
        """See that its access token is good for a while. Raises `SessionEnded`.

        When identity cannot be reached, a token that is still good is used up to its end; then
        `UpstreamUnavailable` is raised, and the session waits.
        """
        if session.has_ended or self._clock.wall_us() >= session.ends_at_us:
            await self._forget(session)
            raise SessionEnded
        if self._clock.now_ns() < session.renew_at_ns:
            return
        if session.renewal is None:
            # One for all that wait, and not theirs to cancel: a refresh token is good once, and
            # one whose answer nobody took would end the session.
            session.renewal = asyncio.ensure_future(self._refresh(session))
            session.renewal.add_done_callback(lambda done: _renewed(session, done))
        try:
            await asyncio.shield(session.renewal)
        except UpstreamUnavailable:
            if self._clock.now_ns() >= session.dies_at_ns:
                raise

    async def end(self, session: Session) -> None:
        """Sign out: identity takes the session's tokens back. Nothing is raised."""
        await self._forget(session)
        with contextlib.suppress(UpstreamUnavailable):
            await self._source(session).revoke(session.refresh_token)
        self.counts["sign_outs"] += 1

    async def keep_house(self) -> None:
        """Forget sessions that have ended, every ten minutes."""
        while True:
            now_us = self._clock.wall_us()
            for session in [one for one in self._sessions.values() if one.ends_at_us <= now_us]:
                await self._forget(session)
            await self._worker.do(self._kept.drop_older, now_us / 1e6 - self._session_s)
            await asyncio.sleep(HOUSEKEEPING_S)

    async def close(self) -> None:
        """Let renewals end, then the thread that writes sessions."""
        renewals = [one.renewal for one in self._sessions.values() if one.renewal is not None]
        await asyncio.gather(*renewals, return_exceptions=True)
        self._worker.close()

    async def _reopen(self, session_id: str) -> Session | None:
        """A session that an earlier run kept."""
        async with self._one_opens(session_id):
            if (known := self._sessions.get(session_id)) is not None:
                return known
            kept = await self._worker.do(self._kept.get, session_id)
            if kept is None or kept.source not in self._sources:
                return None
            session = Session(session_id, kept.csrf, kept.began_us, kept.ends_at_us, kept.source)
            session.refresh_token = kept.refresh_token
            self._sessions[session_id] = session
            self.counts["reopened"] += 1
            return session

    @contextlib.asynccontextmanager
    async def _one_opens(self, session_id: str) -> AsyncIterator[None]:
        lock = self._opening.setdefault(session_id, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            self._opening.pop(session_id, None)

    async def _refresh(self, session: Session) -> None:
        try:
            tokens = await self._source(session).refresh(session.refresh_token)
        except SessionEnded:
            await self._forget(session)
            self.counts["refreshes.refused"] += 1
            raise
        await self._take(session, tokens)
        self.counts["refreshes"] += 1

    async def _take(self, session: Session, tokens: Tokens) -> None:
        """New tokens: keep them, and ask whose they are."""
        # The old refresh token is used up: the new one is kept before anything else can fail.
        session.refresh_token = tokens.refresh_token
        session.access_token = tokens.access_token
        now_ns = self._clock.now_ns()
        lasts_s = float(tokens.expires_in_s)
        session.dies_at_ns = now_ns + int(lasts_s * 1e9)
        session.renew_at_ns = now_ns
        await self._worker.do(self._kept.put, session.id, _kept_of(session))
        session.caller = await self._source(session).who(tokens.access_token)
        session.renew_at_ns = now_ns + int(max(lasts_s - RENEW_BEFORE_S, lasts_s / 2) * 1e9)

    def _source(self, session: Session) -> TokenSource:
        return self._sources[session.source]

    async def _forget(self, session: Session) -> None:
        session.has_ended = True
        self._sessions.pop(session.id, None)
        await self._worker.do(self._kept.drop, session.id)

    def _secret(self) -> str:
        return urlsafe_b64encode(self._draw(SECRET_BYTES)).decode().rstrip("=")


def _renewed(session: Session, done: asyncio.Task[None]) -> None:
    session.renewal = None
    if not done.cancelled():
        # Whoever waited has been told; where nobody waits any more, the next request tries again.
        done.exception()


def _kept_of(session: Session) -> KeptSession:
    return KeptSession(
        refresh_token=session.refresh_token, csrf=session.csrf,
        began_us=session.began_us, ends_at_us=session.ends_at_us, source=session.source,
    )  # fmt: skip
