"""An observation under a clock that the test moves."""

from __future__ import annotations

from typing import Any

from lwm2m.objects import ObjectPath, Value
from lwm2m.reporting import (
    NO_ATTRIBUTES,
    Notification,
    NotificationAttributes,
    Observation,
    ObservationEvent,
    ObservationState,
    ReportingRules,
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


def watched_in(state: ObservationState, stores: bool = True) -> Watched:
    watched = level(minimum_period_s=10, maximum_period_s=60, stores=stores)
    if state in (S.UNREACHABLE, S.STORING):
        watched.observation.set_reachable(False)
    if state in (S.WAITING, S.STORING):
        watched.at(1, level=21.0)
    if state is S.ENDED:
        watched.observation.end(E.CANCELLED)
    assert watched.observation.state is state
    return watched
