"""The tables of identity, cell by cell, and what follows from them over any course of events."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.identity.accounts import (
    ACCOUNT_TRANSITIONS,
    AccountEvent,
    AccountState,
    User,
    WrongAccount,
    check_grants,
    check_password,
    check_username,
    is_root,
)
from city_platform.identity.attempts import (
    ATTEMPT_TRANSITIONS,
    AttemptEvent,
    Attempts,
    AttemptState,
    after_password,
    at_time,
    unlocked,
    wait_s,
)
from city_platform.identity.callers import Grant
from city_platform.identity.config import LockOut
from city_platform.identity.families import (
    FAMILY_TRANSITIONS,
    Family,
    FamilyEvent,
    FamilyState,
    after_presentation,
    moved,
)
from city_platform.identity.signing import KEY_TRANSITIONS, KeyEvent, KeyState
from tests.city_platform.identity.issuing import NOW_US

LOCK_OUT = LockOut(failures_free=3, first_s=1.0, longest_s=8.0, forgotten_s=100.0)
TABLES: list[tuple[Any, type[StrEnum], type[StrEnum]]] = [
    (ATTEMPT_TRANSITIONS, AttemptState, AttemptEvent),
    (FAMILY_TRANSITIONS, FamilyState, FamilyEvent),
    (ACCOUNT_TRANSITIONS, AccountState, AccountEvent),
    (KEY_TRANSITIONS, KeyState, KeyEvent),
]


@pytest.mark.parametrize(("table", "states", "events"), TABLES)
def test_every_cell_of_a_table_is_written_out(
    table: Any, states: type[StrEnum], events: type[StrEnum]
) -> None:
    assert set(table) == set(states)
    for cells in table.values():
        assert set(cells) == set(events)
        assert all(cell is None or cell in states for cell in cells.values())


def test_wrong_passwords_cost_nothing_at_first_and_then_twice_as_long_each_time() -> None:
    found, now_us, waits = Attempts(), NOW_US, []
    for _ in range(9):
        found = after_password(found, False, now_us, LOCK_OUT)
        waits.append((max(0, found.locked_until_us - now_us)) / 1e6)
        now_us = max(now_us, found.locked_until_us)
        found = at_time(found, now_us, LOCK_OUT)
    assert waits == [0, 0, 0, 1, 2, 4, 8, 8, 8]


def test_while_locked_not_even_the_right_password_counts() -> None:
    locked = Attempts(
        state=AttemptState.LOCKED, failures=4, last_us=NOW_US, locked_until_us=NOW_US + 1_000_000
    )
    assert after_password(locked, True, NOW_US, LOCK_OUT) == locked
    assert after_password(locked, False, NOW_US, LOCK_OUT) == locked
    assert at_time(locked, NOW_US + 999_999, LOCK_OUT).state is AttemptState.LOCKED
    on_trial = at_time(locked, NOW_US + 1_000_000, LOCK_OUT)
    assert on_trial.state is AttemptState.ON_TRIAL
    assert after_password(on_trial, True, NOW_US, LOCK_OUT) == Attempts()
    assert unlocked(locked) == Attempts()
    assert unlocked(Attempts()) == Attempts()


def test_a_clock_that_was_ahead_keeps_nobody_out_for_as_long_as_it_was() -> None:
    year_us = 365 * 86_400_000_000
    locked = after_password(
        Attempts(state=AttemptState.COUNTING, failures=3, last_us=NOW_US + year_us),
        False, NOW_US + year_us, LOCK_OUT,
    )  # fmt: skip
    assert locked.state is AttemptState.LOCKED
    on_trial = at_time(locked, NOW_US, LOCK_OUT)
    assert on_trial.state is AttemptState.ON_TRIAL
    # The next wrong one locks again, by the clock as it is now.
    again = after_password(on_trial, False, NOW_US, LOCK_OUT)
    assert again.locked_until_us == NOW_US + 2_000_000
    # A step back of a second is none of it.
    assert at_time(again, NOW_US - 1_000_000, LOCK_OUT) == again


def test_what_is_long_ago_is_forgotten() -> None:
    counting = Attempts(state=AttemptState.COUNTING, failures=3, last_us=NOW_US)
    assert at_time(counting, NOW_US + 99_000_000, LOCK_OUT) == counting
    assert at_time(counting, NOW_US + 100_000_000, LOCK_OUT) == Attempts()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20_000_000)), max_size=40))
def test_whatever_is_tried_a_guesser_gets_no_more_than_the_waits_allow(
    tries: list[tuple[bool, int]],
) -> None:
    found, now_us, looked_at = Attempts(), NOW_US, 0
    for is_right, pause_us in tries:
        now_us += pause_us
        found = at_time(found, now_us, LOCK_OUT)
        if found.state is AttemptState.LOCKED:
            assert found.locked_until_us > now_us
            assert found.locked_until_us - found.last_us <= LOCK_OUT.longest_s * 1e6
            continue
        looked_at = 0 if is_right else looked_at + 1
        found = after_password(found, is_right, now_us, LOCK_OUT)
        assert found.failures <= looked_at
        is_locked = found.state is AttemptState.LOCKED
        assert is_locked is (found.failures > LOCK_OUT.failures_free)


@given(st.integers(0, 10**9))
def test_a_wait_is_never_longer_than_the_longest(failures: int) -> None:
    assert 0 <= wait_s(failures, LOCK_OUT) <= LOCK_OUT.longest_s


def family(**changes: Any) -> Family:
    fields: dict[str, Any] = {
        "id": "f", "username": "ann", "begun_at_us": NOW_US, "expires_at_us": NOW_US + 10
    }  # fmt: skip
    return Family(**(fields | changes))


@given(st.lists(st.sampled_from([*FamilyEvent, "current", "old"]), max_size=20), st.integers(0, 20))
def test_a_session_that_ended_gives_nobody_a_token_again(events: list[Any], at_us: int) -> None:
    found, has_ended = family(), False
    for event in events:
        if isinstance(event, FamilyEvent):
            found, is_good = moved(found, event), False
        else:
            found, is_good = after_presentation(found, event == "current", NOW_US + at_us)
        assert not (has_ended and is_good)
        has_ended = has_ended or found.state is not FamilyState.OPEN
        assert has_ended is (found.state is not FamilyState.OPEN)


def test_a_refresh_token_that_comes_twice_ends_the_session() -> None:
    after, is_good = after_presentation(family(), False, NOW_US)
    assert (after.state, is_good) == (FamilyState.REVOKED, False)
    assert after_presentation(after, True, NOW_US)[1] is False


def test_a_session_ends_with_its_time_however_often_it_was_refreshed() -> None:
    assert after_presentation(family(), True, NOW_US + 9)[1] is True
    after, is_good = after_presentation(family(), True, NOW_US + 10)
    assert (after.state, is_good) == (FamilyState.EXPIRED, False)


def test_a_session_of_a_clock_that_was_ahead_is_over_when_it_is_set_right() -> None:
    ahead = family(begun_at_us=NOW_US + 3_600_000_000, expires_at_us=NOW_US + 7_200_000_000)
    after, is_good = after_presentation(ahead, True, NOW_US)
    assert (after.state, is_good) == (FamilyState.EXPIRED, False)
    # A step back of a second is none of it.
    assert after_presentation(family(expires_at_us=NOW_US + 10), True, NOW_US - 1_000_000)[1]


@given(st.text(max_size=150))
def test_any_name_is_one_or_refused(text: str) -> None:
    try:
        name = check_username(text)
    except WrongAccount:
        return
    assert check_username(name) == name == text.lower()


@given(st.text(max_size=300))
def test_any_password_is_one_or_refused(text: str) -> None:
    with contextlib.suppress(WrongAccount):
        assert len(check_password(text, "ann", 12)) >= 12


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("short", "at least 12"),
        ("aaaaaaaaaaaaaaa", "easily guessed"),
        ("my name is Ann!", "easily guessed"),
        ("x" * 257, "at most 256"),
        ("a good\x00sentence", "control characters"),
    ],
)
def test_a_bad_password_says_why(password: str, says: str) -> None:
    with pytest.raises(WrongAccount, match=says):
        check_password(password, "ann", 12)


def test_a_password_is_the_same_on_every_keyboard() -> None:
    composed, decomposed = "straße à la carte", "straße a\u0300 la carte"
    assert check_password(composed, "x-y", 12) == check_password(decomposed, "x-y", 12)


def test_grants_are_sorted_checked_and_never_a_programs() -> None:
    two = [Grant("hills", "analyst"), Grant("*", "controller"), Grant("hills", "analyst")]
    assert check_grants(two) == [Grant("*", "controller"), Grant("hills", "analyst")]
    for wrong, says in (
        ([Grant("a b", "analyst")], r"grants\[0\]\.tenant"),
        ([Grant("a", "service")], r"grants\[0\]\.role"),
        ([Grant("a", "analyst")] * 201, "at most 200"),
    ):
        with pytest.raises(WrongAccount, match=says):
            check_grants(wrong)


def test_who_manages_the_installation_is_who_may_everywhere_and_is_not_disabled() -> None:
    root = User(username="ann", grants=[Grant("*", "administrator")], password_hash="secret")
    assert is_root(root)
    disabled = root.moved(AccountEvent.DISABLED)
    assert disabled is not None
    assert not is_root(disabled)
    assert not is_root(User(username="ann", grants=[Grant("harbour", "administrator")]))
    assert "secret" not in repr(root)
