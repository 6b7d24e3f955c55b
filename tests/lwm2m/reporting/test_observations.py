"""When an observation notifies: rule by rule, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m.objects import ObjectPath, Value
from lwm2m.registration import state_diagram
from lwm2m.reporting import (
    CONFIRMABLE_AT_LEAST_EVERY_S,
    NO_ATTRIBUTES,
    OBSERVATION_TRANSITIONS,
    STORED_REPORTS_MAX,
    AttributeTable,
    Notification,
    NotificationAttributes,
    Observation,
    ObservationEvent,
    ObservationState,
    ReportingRules,
    rules_for,
    server_account,
    server_defaults,
)

S, E = ObservationState, ObservationEvent
A = NotificationAttributes
LEVEL, OTHER, FLAG = ObjectPath(3303, 0, 5700), ObjectPath(3303, 0, 5601), ObjectPath(3342, 0, 5500)
BEGAN_S = 1000.0
UNIX_S = 1.8e9


class Watched:
    """An observation with its clock: `set` changes values, `at` moves time."""

    def __init__(self, values: dict[ObjectPath, Value], **rules: Any) -> None:
        self.values = values
        self.observation = Observation(ReportingRules(**rules), dict(values), BEGAN_S)
        self.now = 0.0

    def at(self, seconds: float, **changes: Value) -> Notification | None:
        """The notification at `seconds` after the beginning, after `level=…`, `flag=…`."""
        paths = {"level": LEVEL, "other": OTHER, "flag": FLAG}
        self.now = seconds
        self.values |= {paths[name]: value for name, value in changes.items()}
        return self.observation.evaluate(dict(self.values), BEGAN_S + seconds, UNIX_S + seconds)

    @property
    def timer(self) -> float | None:
        """Seconds after the beginning."""
        due = self.observation.next_timer()
        return None if due is None else due - BEGAN_S


def level(start: Value = 20.0, attributes: A = NO_ATTRIBUTES, **rules: Any) -> Watched:
    return Watched({LEVEL: start}, conditions=lambda path: attributes, **rules)


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


def _in(state: ObservationState, stores: bool = True) -> Watched:
    watched = level(minimum_period_s=10, maximum_period_s=60, stores=stores)
    if state in (S.UNREACHABLE, S.STORING):
        watched.observation.set_reachable(False)
    if state in (S.WAITING, S.STORING):
        watched.at(1, level=21.0)
    if state is S.ENDED:
        watched.observation.end(E.CANCELLED)
    assert watched.observation.state is state
    return watched


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
    watched = _in(state)
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


def test_new_rules_count_for_periods_that_run() -> None:
    watched = level(maximum_period_s=60)
    watched.observation.set_rules(ReportingRules(maximum_period_s=20))
    assert watched.timer == 20
    assert watched.at(25) is not None


# ---- thresholds, step, edge ----


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([21.0, 29.0, 30.0], []),
        ([31.0], [0]),
        ([31.0, 35.0, 30.0, 31.0], [0, 2, 3]),
        ([31.0, 29.0], [0, 1]),
    ],
)
def test_crossing_the_upper_threshold_is_told_in_either_direction(
    values: list[float], told: list[int]
) -> None:
    assert _told(A(greater_than=30.0), values) == told


@pytest.mark.parametrize(
    ("values", "told"),
    [([11.0, 10.0], []), ([9.0, 8.0, 10.0, 12.0], [0, 2]), ([-5.0, 50.0], [0, 1])],
)
def test_crossing_the_lower_threshold_is_told_in_either_direction(
    values: list[float], told: list[int]
) -> None:
    assert _told(A(less_than=10.0), values) == told


def test_a_step_is_counted_from_what_was_told_last() -> None:
    assert _told(A(step=2.0), [21.0, 21.9, 22.0, 23.0, 20.5, 20.0]) == [2, 5]


def test_a_step_is_no_matter_of_binary_fractions() -> None:
    assert _told(A(step=0.1), [20.1, 20.2, 20.3, 20.4]) == [0, 1, 2, 3]


def test_any_one_of_several_conditions_is_enough() -> None:
    both = A(greater_than=30.0, less_than=10.0, step=5.0)
    assert _told(both, [24.0, 25.0, 29.0, 31.0, 30.5, 9.0]) == [1, 3, 5]


def test_a_step_beneath_which_nothing_was_told_yet_is_told() -> None:
    watched = Watched({OTHER: 1.0}, conditions=lambda path: A(step=5.0))
    assert watched.at(1, level=1.0) is not None


def test_a_step_from_what_was_no_number_is_told() -> None:
    watched = Watched({LEVEL: 20.0}, minimum_period_s=10, conditions=lambda path: A(step=5.0))
    del watched.values[LEVEL]
    assert watched.at(20) is not None
    watched.observation.evaluate({LEVEL: 20.0}, BEGAN_S + 21, UNIX_S)
    assert watched.at(22, level=21.0) is None
    assert watched.observation.state is S.WAITING


def _told(attributes: A, values: list[float]) -> list[int]:
    watched = level(20.0, attributes)
    return [
        index
        for index, value in enumerate(values)
        if watched.at(index + 1, level=value) is not None
    ]


@pytest.mark.parametrize(("edge", "told"), [(True, [1]), (False, [0]), (None, [0, 1])])
def test_an_edge_tells_of_one_direction(edge: bool | None, told: list[int]) -> None:
    watched = Watched({FLAG: True}, conditions=lambda path: A(edge=edge))
    flags = [False, True]
    assert told == [
        index for index, flag in enumerate(flags) if watched.at(index + 1, flag=flag) is not None
    ]


def test_a_condition_of_one_value_lets_the_others_speak() -> None:
    watched = Watched(
        {LEVEL: 20.0, OTHER: 1.0},
        conditions=lambda path: A(greater_than=30.0) if path == LEVEL else NO_ATTRIBUTES,
    )
    assert watched.at(1, level=25.0) is None
    assert watched.at(2, other=2.0) is not None


def test_values_that_come_and_go_are_told_of() -> None:
    watched = Watched({LEVEL: 20.0}, conditions=lambda path: A(greater_than=30.0))
    assert watched.at(1, other=1.0) is not None
    del watched.values[OTHER]
    assert watched.at(2) is not None


# ---- evaluation periods ----


def test_values_are_not_looked_at_more_often_than_the_minimum_evaluation_period() -> None:
    watched = level(minimum_evaluation_period_s=10)
    assert watched.at(3, level=21.0) is None
    assert watched.observation.state is S.WATCHING
    assert watched.timer == 10
    assert watched.at(10) is not None
    assert watched.timer is None


def test_a_peak_between_two_evaluations_goes_unseen() -> None:
    watched = level(20.0, A(greater_than=30.0), minimum_evaluation_period_s=10)
    watched.at(3, level=99.0)
    watched.at(4, level=20.0)
    assert watched.at(10) is None


def test_values_are_looked_at_once_in_the_maximum_evaluation_period() -> None:
    watched = level(maximum_evaluation_period_s=30)
    assert watched.timer == 30
    watched.values[LEVEL] = 21.0
    assert watched.at(30) is not None
    assert watched.timer == 60


# ---- confirmable ----


def test_notifications_are_confirmable_when_asked_for() -> None:
    assert level(confirmable=True).at(1, level=1.0) == Notification(confirmable=True)


def test_one_notification_in_a_day_is_confirmable() -> None:
    watched = level()
    assert watched.at(CONFIRMABLE_AT_LEAST_EVERY_S - 1, level=1.0) == Notification(False)
    assert watched.at(CONFIRMABLE_AT_LEAST_EVERY_S, level=2.0) == Notification(True)
    assert watched.at(CONFIRMABLE_AT_LEAST_EVERY_S + 1, level=3.0) == Notification(False)


# ---- history, and servers that cannot be reached ----


def _levels(notification: Notification | None) -> list[tuple[float, Value | None]]:
    assert notification is not None
    return [(each.unix_s - UNIX_S, each.values.get(LEVEL)) for each in notification.earlier]


def test_history_is_kept_while_a_notification_waits() -> None:
    watched = level(minimum_period_s=10, historical_values_max=3)
    for second in range(1, 6):
        watched.at(second, level=20.0 + second)
    assert _levels(watched.at(10)) == [(3, 23.0), (4, 24.0)]
    watched.at(11, level=1.0)
    watched.at(12, level=2.0)
    watched.values[LEVEL] = 3.0
    assert _levels(watched.at(20)) == [(11, 1.0), (12, 2.0)]


def test_without_history_only_the_newest_value_is_told() -> None:
    watched = level(minimum_period_s=10)
    for second in range(1, 6):
        watched.at(second, level=20.0 + second)
    assert _levels(watched.at(10)) == []


def test_what_an_unreachable_server_missed_is_stored_within_bounds() -> None:
    watched = level()
    watched.observation.set_reachable(False)
    for second in range(1, 100):
        assert watched.at(second, level=float(second)) is None
    assert watched.timer is None
    watched.observation.set_reachable(True)
    assert watched.timer is not None
    earlier = _levels(watched.at(200))
    assert len(earlier) == STORED_REPORTS_MAX - 1
    assert earlier[-1] == (98, 98.0)


def test_a_history_is_bounded_whatever_is_asked_for() -> None:
    watched = level(historical_values_max=10**9)
    watched.observation.set_reachable(False)
    for second in range(1, 400):
        watched.at(second, level=float(second))
    watched.observation.set_reachable(True)
    assert len(_levels(watched.at(500))) == 255


def test_nothing_is_stored_when_the_server_object_says_so() -> None:
    watched = level(stores=False, maximum_period_s=1000)
    watched.observation.set_reachable(False)
    assert watched.at(1, level=21.0) is None
    assert watched.timer is None
    assert watched.at(2000) is None
    watched.observation.set_reachable(True)
    assert watched.observation.state is S.WATCHING


def test_what_waits_is_discarded_when_the_server_goes_and_nothing_is_stored() -> None:
    watched = _in(S.WAITING, stores=False)
    watched.observation.set_reachable(False)
    assert watched.observation.state is S.UNREACHABLE


def test_the_maximum_period_stores_as_well() -> None:
    watched = level(maximum_period_s=10)
    watched.observation.set_reachable(False)
    assert watched.timer == 10
    assert watched.at(10) is None
    assert watched.timer == 20
    watched.observation.set_reachable(True)
    assert watched.at(12) == Notification(False)


def test_an_observation_that_ended_says_nothing() -> None:
    watched = _in(S.ENDED)
    assert watched.at(1000, level=0.0) is None
    assert watched.timer is None


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


# ---- rules ----


def server_values(**resources: Value) -> tuple[list[ObjectPath], dict[ObjectPath, Value]]:
    numbers = {"pmin": 2, "pmax": 3, "storing": 6, "mute": 23, "mode": 26}
    base = ObjectPath(1, 4)
    values: dict[ObjectPath, Value] = {base.child(0): 101, ObjectPath(1, 0, 0): 100}
    values |= {base.child(numbers[name]): value for name, value in resources.items()}
    return [ObjectPath(0, 0), ObjectPath(1, 0), base], values


def test_the_server_object_says_the_defaults() -> None:
    instances, values = server_values(pmin=5, pmax=50, storing=False, mute=False, mode=1)
    found = server_defaults(101, instances, values)
    assert found.attributes == A(minimum_period_s=5, maximum_period_s=50, confirmable=True)
    assert (found.stores, found.send_is_muted) == (False, False)
    assert server_account(101, instances, values) == ObjectPath(1, 4)


def test_without_a_word_the_defaults_are_the_standards() -> None:
    instances, values = server_values()
    found = server_defaults(101, instances, values)
    assert found == server_defaults(999, instances, values)
    assert (found.attributes, found.stores, found.send_is_muted) == (NO_ATTRIBUTES, True, True)
    instances, values = server_values(pmin=-1, pmax=True, mode=0)
    assert server_defaults(101, instances, values).attributes == A(confirmable=False)


def _rules(
    *targets: ObjectPath | None,
    parameters: A = NO_ATTRIBUTES,
    version: str = "1.2",
    **defaults: Any,
) -> ReportingRules:
    instances, values = server_values(**defaults)
    table = AttributeTable()
    for path, changes in (
        (LEVEL, {"minimum_period_s": 7, "step": 1.0}),
        (OTHER, {"maximum_period_s": 5, "historical_values_max": 3}),
        (FLAG, {"maximum_period_s": 9, "confirmable": True}),
    ):
        table.change(101, path, changes, _MODELS, "1.2")
    found = server_defaults(101, instances, values)
    return rules_for(101, targets, parameters, table, found, version)


class _Anything(dict[int, Any]):
    """Models in which every resource is a number."""

    def get(self, key: int, default: object = None) -> Any:
        from lwm2m.objects import ObjectModel, ResourceModel, ValueType

        kinds = {n: ResourceModel(n, "n", ValueType.FLOAT, "R") for n in (5700, 5601, 5500)}
        return ObjectModel(key, "any", "1.0", "1.0", True, False, kinds)


_MODELS: Any = _Anything()


def test_attached_attributes_win_over_the_server_s_defaults() -> None:
    rules = _rules(LEVEL, pmin=3, pmax=30)
    assert (rules.minimum_period_s, rules.maximum_period_s) == (7, 30)
    assert rules.conditions(LEVEL).step == 1.0
    assert rules.conditions(OTHER).step is None


def test_parameters_of_the_observation_win_over_attached_attributes() -> None:
    rules = _rules(LEVEL, parameters=A(minimum_period_s=1, step=9.0), pmax=30)
    assert (rules.minimum_period_s, rules.maximum_period_s) == (1, 30)
    assert rules.conditions(LEVEL).step == 9.0


def test_a_composite_goes_by_the_periods_of_all_its_paths() -> None:
    rules = _rules(LEVEL, OTHER, FLAG)
    # The shortest maximum, 5 s, is below the longest minimum, 7 s.
    assert (rules.minimum_period_s, rules.maximum_period_s) == (7, 8)
    assert (rules.confirmable, rules.historical_values_max) == (True, 3)
    rules = _rules(OTHER, FLAG)
    assert (rules.minimum_period_s, rules.maximum_period_s) == (0, 5)


def test_the_root_of_a_composite_goes_by_the_defaults() -> None:
    rules = _rules(None, pmin=3, pmax=30)
    assert (rules.minimum_period_s, rules.maximum_period_s) == (3, 30)
    assert rules.maximum_evaluation_period_s is None
