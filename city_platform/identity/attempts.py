"""Wrong passwords: how many there may be, and how long one waits after more. A table; pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from city_platform.identity.config import LockOut

# How far a clock is set back now and then, which is no reason to think anything.
CLOCK_STEP_S: Final = 60.0


class AttemptState(enum.StrEnum):
    """How somebody stands who signs in."""

    CLEAR = "clear"
    COUNTING = "counting"
    LOCKED = "locked"
    ON_TRIAL = "on_trial"


class AttemptEvent(enum.StrEnum):
    """What can happen to a sign-in name, whether there is such a user or not."""

    PASSWORD_RIGHT = "password_right"
    PASSWORD_WRONG = "password_wrong"
    ONE_TOO_MANY_WRONG = "one_too_many_wrong"
    WAIT_ELAPSED = "wait_elapsed"
    FORGOTTEN = "forgotten"
    UNLOCKED = "unlocked"


_S, _E = AttemptState, AttemptEvent

# None: it changes nothing. While locked no password is looked at, not even the right one.
ATTEMPT_TRANSITIONS: Final[Mapping[AttemptState, Mapping[AttemptEvent, AttemptState | None]]] = {
    _S.CLEAR: {
        _E.PASSWORD_RIGHT: _S.CLEAR,
        _E.PASSWORD_WRONG: _S.COUNTING,
        _E.ONE_TOO_MANY_WRONG: _S.LOCKED,
        _E.WAIT_ELAPSED: None,
        _E.FORGOTTEN: None,
        _E.UNLOCKED: None,
    },
    _S.COUNTING: {
        _E.PASSWORD_RIGHT: _S.CLEAR,
        _E.PASSWORD_WRONG: _S.COUNTING,
        _E.ONE_TOO_MANY_WRONG: _S.LOCKED,
        _E.WAIT_ELAPSED: None,
        _E.FORGOTTEN: _S.CLEAR,
        _E.UNLOCKED: _S.CLEAR,
    },
    _S.LOCKED: {
        _E.PASSWORD_RIGHT: None,
        _E.PASSWORD_WRONG: None,
        _E.ONE_TOO_MANY_WRONG: None,
        _E.WAIT_ELAPSED: _S.ON_TRIAL,
        _E.FORGOTTEN: _S.CLEAR,
        _E.UNLOCKED: _S.CLEAR,
    },
    # The next wrong one locks for twice as long.
    _S.ON_TRIAL: {
        _E.PASSWORD_RIGHT: _S.CLEAR,
        _E.PASSWORD_WRONG: _S.LOCKED,
        _E.ONE_TOO_MANY_WRONG: _S.LOCKED,
        _E.WAIT_ELAPSED: None,
        _E.FORGOTTEN: _S.CLEAR,
        _E.UNLOCKED: _S.CLEAR,
    },
}


class Attempts(msgspec.Struct, frozen=True, kw_only=True):
    """The wrong passwords in a row for one sign-in name. Times are Unix microseconds."""

    state: AttemptState = AttemptState.CLEAR
    failures: int = 0
    last_us: int = 0
    locked_until_us: int = 0


def at_time(attempts: Attempts, now_us: int, lock_out: LockOut) -> Attempts:
    """How it stands now: waits end, and what is long ago is forgotten."""
    if attempts.failures and now_us - attempts.last_us >= lock_out.forgotten_s * 1e6:
        return _moved(attempts, AttemptEvent.FORGOTTEN)
    left_s = (attempts.locked_until_us - now_us) / 1e6
    # No wait is so long: the clock was ahead when it began, and has been set right. Nobody is to
    # wait for as long as it was wrong.
    is_beyond = left_s > lock_out.longest_s + CLOCK_STEP_S
    if attempts.state is AttemptState.LOCKED and (left_s <= 0 or is_beyond):
        return _moved(attempts, AttemptEvent.WAIT_ELAPSED)
    return attempts


def after_password(attempts: Attempts, is_right: bool, now_us: int, lock_out: LockOut) -> Attempts:
    """How it stands after a password was looked at."""
    if is_right:
        return _moved(attempts, AttemptEvent.PASSWORD_RIGHT)
    is_too_many = attempts.failures >= lock_out.failures_free
    event = AttemptEvent.ONE_TOO_MANY_WRONG if is_too_many else AttemptEvent.PASSWORD_WRONG
    moved = _moved(attempts, event)
    if moved is attempts:
        return attempts
    failures = attempts.failures + 1
    is_locked = moved.state is AttemptState.LOCKED
    return Attempts(
        state=moved.state,
        failures=failures,
        last_us=now_us,
        locked_until_us=now_us + int(wait_s(failures, lock_out) * 1e6) if is_locked else 0,
    )


def unlocked(attempts: Attempts) -> Attempts:
    """How it stands after an administrator has unlocked it."""
    return _moved(attempts, AttemptEvent.UNLOCKED)


def wait_s(failures: int, lock_out: LockOut) -> float:
    """How long one waits after so many wrong passwords in a row."""
    beyond = failures - lock_out.failures_free
    if beyond <= 0:
        return 0.0
    return float(min(lock_out.longest_s, lock_out.first_s * 2.0 ** min(beyond - 1, 60)))


def _moved(attempts: Attempts, event: AttemptEvent) -> Attempts:
    state = ATTEMPT_TRANSITIONS[attempts.state][event]
    if state is None:
        return attempts
    if state is AttemptState.CLEAR:
        return Attempts()
    return msgspec.structs.replace(attempts, state=state)
