"""What an observation keeps while a notification waits or its server cannot be reached."""

from __future__ import annotations

from lwm2m.objects import Value
from lwm2m.reporting import STORED_REPORTS_MAX, Notification
from tests.lwm2m.reporting.watched import LEVEL, UNIX_S, S, level, watched_in


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
    watched = watched_in(S.WAITING, stores=False)
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
    watched = watched_in(S.ENDED)
    assert watched.at(1000, level=0.0) is None
    assert watched.timer is None
