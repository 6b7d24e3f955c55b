"""When an observation notifies: its table and its periods, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m.registration import state_diagram
from lwm2m.reporting import (
    CONFIRMABLE_AT_LEAST_EVERY_S,
    NO_ATTRIBUTES,
    OBSERVATION_TRANSITIONS,
    Notification,
    ObservationEvent,
    ObservationState,
    ReportingRules,
)
from tests.lwm2m.reporting.watched import LEVEL, A, E, S, Watched, level, watched_in

# ---- the table ----


def test_every_state_has_a_cell_for_every_event() -> None:
    assert list(OBSERVATION_TRANSITIONS) == list(S)
    for row in OBSERVATION_TRANSITIONS.values():
        assert list(row) == list(E)


def test_every_state_is_reached_and_only_the_end_is_final() -> None:
    reached = {target for row in OBSERVATION_TRANSITIONS.values() for target in row.values()}
    assert reached - {None} == set(S)
    for state, row in OBSERVATION_TRANSITIONS.items():
        assert bool(set(row.values()) - {None, state}) is (state is not S.ENDED)


def test_the_diagram_has_an_arrow_for_every_step() -> None:
    lines = state_diagram(OBSERVATION_TRANSITIONS, S.WATCHING).splitlines()
    steps = [to for row in OBSERVATION_TRANSITIONS.values() for to in row.values() if to]
    assert lines[1] == "    [*] --> watching"
    assert len(lines) == 2 + len(steps)


STEPS: dict[ObservationEvent, Callable[[Watched], object]] = {
    E.CONDITION_MET: lambda watched: watched.at(2, level=99.0),
    E.MINIMUM_PERIOD_ELAPSED: lambda watched: watched.at(10),
    E.MAXIMUM_PERIOD_ELAPSED: lambda watched: watched.at(60),
    E.SERVER_UNREACHABLE: lambda watched: watched.observation.set_reachable(False),
    E.SERVER_REACHABLE: lambda watched: watched.observation.set_reachable(True),
    E.NOTIFICATION_DISCARDED: lambda watched: watched.observation.set_rules(
        ReportingRules(stores=False)
    ),
    E.TARGET_GONE: lambda watched: watched.observation.end(E.TARGET_GONE),
    E.CANCELLED: lambda watched: watched.observation.end(E.CANCELLED),
    E.NOTIFICATION_FAILED: lambda watched: watched.observation.end(E.NOTIFICATION_FAILED),
    E.SERVER_LEFT: lambda watched: watched.observation.end(E.SERVER_LEFT),
}


NOTIFIES = {
    (S.WAITING, E.MINIMUM_PERIOD_ELAPSED),
    (S.WATCHING, E.MAXIMUM_PERIOD_ELAPSED),
    (S.WAITING, E.MAXIMUM_PERIOD_ELAPSED),
}


@pytest.mark.parametrize("event", list(E))
@pytest.mark.parametrize("state", list(S))
def test_an_observation_does_what_its_table_says(
    state: ObservationState, event: ObservationEvent
) -> None:
    watched = watched_in(state)
    told = STEPS[event](watched)
    target = OBSERVATION_TRANSITIONS[state][event]
    assert watched.observation.state is (target or state)
    assert isinstance(told, Notification) is ((state, event) in NOTIFIES)
    assert watched.observation.is_over is (watched.observation.state is S.ENDED)


# ---- periods ----


def test_any_change_is_told_at_once_when_nothing_limits_it() -> None:
    watched = Watched({LEVEL: 20.0})
    assert watched.at(0) is None
    assert watched.at(1, level=20.5) == Notification(confirmable=False)
    assert watched.at(1, level=20.5) is None
    assert watched.timer is None


def test_texts_flags_and_numbers_are_told_of_alike() -> None:
    for before, after in ((True, False), ("a", "b"), (1, 2), (b"a", b"b")):
        assert level(before).at(1, level=after) is not None


def test_a_change_waits_for_the_minimum_period() -> None:
    watched = level(minimum_period_s=10)
    assert watched.timer is None
    assert watched.at(3, level=21.0) is None
    assert watched.timer == 10
    assert watched.at(9.9) is None
    assert watched.at(10) is not None
    assert watched.at(12, level=22.0) is None
    assert watched.timer == 20


def test_what_waits_is_told_even_if_the_value_went_back() -> None:
    watched = level(minimum_period_s=10)
    watched.at(3, level=21.0)
    watched.at(4, level=20.0)
    assert watched.at(10) is not None
    assert watched.at(30) is None


def test_the_maximum_period_tells_without_a_change() -> None:
    watched = level(maximum_period_s=60)
    assert watched.timer == 60
    assert watched.at(59.9) is None
    assert watched.at(60) is not None
    assert watched.timer == 120
    assert watched.at(70, level=1.0) is not None
    assert watched.timer == 130


# ---- confirmable ----


def test_notifications_are_confirmable_when_asked_for() -> None:
    assert level(confirmable=True).at(1, level=1.0) == Notification(confirmable=True)


def test_one_notification_in_a_day_is_confirmable() -> None:
    watched = level()
    assert watched.at(CONFIRMABLE_AT_LEAST_EVERY_S - 1, level=1.0) == Notification(False)
    assert watched.at(CONFIRMABLE_AT_LEAST_EVERY_S, level=2.0) == Notification(True)
    assert watched.at(CONFIRMABLE_AT_LEAST_EVERY_S + 1, level=3.0) == Notification(False)


# ---- history, and servers that cannot be reached ----


@given(
    st.lists(st.tuples(st.floats(0.1, 30), st.floats(-50, 50)), max_size=30),
    st.integers(0, 20),
    st.integers(0, 40),
    st.sampled_from([NO_ATTRIBUTES, A(greater_than=10.0), A(step=5.0)]),
)
def test_notifications_keep_to_the_periods(
    steps: list[tuple[float, float]], shortest: int, longest: int, attributes: A
) -> None:
    watched = level(
        0.0,
        attributes,
        minimum_period_s=shortest,
        maximum_period_s=longest if longest > shortest else None,
    )
    now, told = 0.0, [0.0]
    for pause, value in steps:
        until = now + pause
        while (due := watched.timer) is not None and due <= until:
            assert due > now or due == pytest.approx(now)
            now = due
            if watched.at(now) is not None:
                told.append(now)
        now = until
        if watched.at(now, level=value) is not None:
            told.append(now)
    for before, after in pairwise(told):
        assert after - before >= shortest - 1e-6
        if longest > shortest:
            assert after - before <= longest + 1e-6
