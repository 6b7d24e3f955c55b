"""Thresholds, steps and edges: which values an observation tells of, and how often it looks."""

from __future__ import annotations

import pytest

from lwm2m.reporting import NO_ATTRIBUTES
from tests.lwm2m.reporting.watched import BEGAN_S, FLAG, LEVEL, OTHER, UNIX_S, A, S, Watched, level

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
