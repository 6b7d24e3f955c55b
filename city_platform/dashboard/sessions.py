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
from typing import Final, TypeVar

import msgspec

from city_platform.dashboard.sealed_sessions import KeptSession, SealedSessions
from city_platform.dashboard.upstream import Upstream, UpstreamUnavailable, Whole
from city_platform.identity.bodies import Me, RefreshToken, SignIn, Tokens
from city_platform.identity.callers import Caller
from city_platform.stores.worker import Worker
from runtime.clock import Clock

SECRET_BYTES: Final = 32
# A token is renewed when less than this is left of it, so that none ends on its way.
RENEW_BEFORE_S: Final = 60.0
HOUSEKEEPING_S: Final = 600.0
_T = TypeVar("_T")


class SignInRefused(Exception):
    """Identity refused; its answer is what the browser gets."""

    def __init__(self, answer: Whole) -> None:
        super().__init__(f"identity answered {answer.status}")
        self.answer = answer


class SessionEnded(Exception):
    """The session is over: the user must sign in again."""


class Session:
    """One signed-in browser. Its repr shows no secret."""

    def __init__(self, session_id: str, csrf: str, began_us: int, ends_at_us: int) -> None:
        self.id = session_id
        self.csrf = csrf
        self.began_us = began_us
        self.ends_at_us = ends_at_us
        self.caller = Caller(kind="user", name="", subject="", grants=frozenset())
        self.access_token = ""
        self.renew_at_ns = 0
        self.dies_at_ns = 0
        self.refresh_token = ""
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
        identity: Upstream,
        kept: SealedSessions,
        clock: Clock,
        draw: Callable[[int], bytes],
        *,
        session_s: float,
        sessions_max: int,
    ) -> None:
        self._identity = identity
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

    async def sign_in(self, wanted: SignIn) -> Session:
        """Begin a session. Raises `SignInRefused`, `UpstreamUnavailable`."""
        answer = await self._identity.ask("POST", "/v1/sign-in", body=msgspec.json.encode(wanted))
        if answer.status != 200:
            self.counts["sign_ins.refused"] += 1
            raise SignInRefused(answer)
        now_us = self._clock.wall_us()
        session = Session(
            self._secret(), self._secret(), now_us, now_us + int(self._session_s * 1e6)
        )
        await self._take(session, answer)
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
        body = msgspec.json.encode(RefreshToken(refresh_token=session.refresh_token))
        with contextlib.suppress(UpstreamUnavailable):
            await self._identity.ask("POST", "/v1/sign-out", body=body)
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
            if kept is None:
                return None
            session = Session(session_id, kept.csrf, kept.began_us, kept.ends_at_us)
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
        body = msgspec.json.encode(RefreshToken(refresh_token=session.refresh_token))
        answer = await self._identity.ask("POST", "/v1/refresh", body=body)
        if answer.status >= 500 or answer.status == 429:
            raise UpstreamUnavailable(f"identity answered {answer.status} to a refresh")
        if answer.status != 200:
            await self._forget(session)
            self.counts["refreshes.refused"] += 1
            raise SessionEnded
        await self._take(session, answer)
        self.counts["refreshes"] += 1

    async def _take(self, session: Session, answer: Whole) -> None:
        """New tokens: keep them, and ask whose they are."""
        tokens = _decoded(answer.body, Tokens)
        # The old refresh token is used up: the new one is kept before anything else can fail.
        session.refresh_token = tokens.refresh_token
        session.access_token = tokens.access_token
        now_ns = self._clock.now_ns()
        lasts_s = float(tokens.expires_in_s)
        session.dies_at_ns = now_ns + int(lasts_s * 1e9)
        session.renew_at_ns = now_ns
        await self._worker.do(self._kept.put, session.id, _kept_of(session))
        me = await self._identity.ask("GET", "/v1/me", token=tokens.access_token)
        if me.status != 200:
            raise UpstreamUnavailable(f"identity answered {me.status} to its own token")
        who = _decoded(me.body, Me)
        session.caller = Caller(
            kind="user", name=who.name, subject=who.name, grants=frozenset(who.grants)
        )
        session.renew_at_ns = now_ns + int(max(lasts_s - RENEW_BEFORE_S, lasts_s / 2) * 1e9)

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
        began_us=session.began_us, ends_at_us=session.ends_at_us,
    )  # fmt: skip


def _decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # msgspec names places, never values.
        raise UpstreamUnavailable(f"identity's answer is not understood: {error}") from None
