"""A session's refresh tokens: each is good once, and one that comes twice ends them all.

Who steals a refresh token and uses it, or is overtaken by its owner, makes one token come twice;
then nobody has the session any more (RFC 9700 §4.14.2). A table; pure.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from city_platform.identity.attempts import CLOCK_STEP_S


class FamilyState(enum.StrEnum):
    """How a session stands."""

    OPEN = "open"
    SIGNED_OUT = "signed_out"
    REVOKED = "revoked"
    EXPIRED = "expired"


class FamilyEvent(enum.StrEnum):
    """What can happen to a session."""

    REFRESHED = "refreshed"
    REUSED = "reused"
    SIGNED_OUT = "signed_out"
    USER_CHANGED = "user_changed"
    LIFETIME_ELAPSED = "lifetime_elapsed"


_S, _E = FamilyState, FamilyEvent
_ENDED: Final[Mapping[FamilyEvent, FamilyState | None]] = dict.fromkeys(FamilyEvent)

# None: it changes nothing. A session that ended gives nobody a token again.
FAMILY_TRANSITIONS: Final[Mapping[FamilyState, Mapping[FamilyEvent, FamilyState | None]]] = {
    _S.OPEN: {
        _E.REFRESHED: _S.OPEN,
        _E.REUSED: _S.REVOKED,
        _E.SIGNED_OUT: _S.SIGNED_OUT,
        # Disabled, another password, fewer roles.
        _E.USER_CHANGED: _S.REVOKED,
        _E.LIFETIME_ELAPSED: _S.EXPIRED,
    },
    _S.SIGNED_OUT: _ENDED,
    _S.REVOKED: _ENDED,
    _S.EXPIRED: _ENDED,
}


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A session: all refresh tokens that came from one sign-in. Times are Unix microseconds."""

    id: str
    username: str
    begun_at_us: int
    expires_at_us: int
    state: FamilyState = FamilyState.OPEN


def moved(family: Family, event: FamilyEvent) -> Family:
    """The session after an event."""
    state = FAMILY_TRANSITIONS[family.state][event]
    return family if state is None else msgspec.structs.replace(family, state=state)


def at_time(family: Family, now_us: int) -> Family:
    """The session as it stands now.

    One that begins later than now has the time of a clock that was ahead, and would last for as
    long as that was wrong: its time is over too.
    """
    is_over = now_us >= family.expires_at_us or family.begun_at_us > now_us + CLOCK_STEP_S * 1e6
    return moved(family, FamilyEvent.LIFETIME_ELAPSED) if is_over else family


def after_presentation(family: Family, is_current: bool, now_us: int) -> tuple[Family, bool]:
    """The session after one of its tokens was presented, and whether a new one is to be given."""
    now = at_time(family, now_us)
    if not is_current:
        return moved(now, FamilyEvent.REUSED), False
    return moved(now, FamilyEvent.REFRESHED), now.state is FamilyState.OPEN
