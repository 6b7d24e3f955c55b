"""When an observation notifies, and of what: values and times in, notifications out.

Pure: `now` is seconds of a monotonic clock, `unix_s` the time that history is stamped with. What is
observed, how values are read and encoded, and to whom a notification goes, is for the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isclose
from typing import Final

import msgspec

from lwm2m.objects import ObjectPath, Value
from lwm2m.reporting.attributes import NO_ATTRIBUTES, NotificationAttributes
from lwm2m.reporting.observation_states import (
    OBSERVATION_TRANSITIONS,
    ObservationEvent,
    ObservationState,
)

CONFIRMABLE_AT_LEAST_EVERY_S: Final = 86_400.0
"""RFC 7641 §4.5: one confirmable notification in 24 hours shows whether anybody listens."""
STORED_REPORTS_MAX: Final = 16
"""Reports kept for an unreachable server when no hqmax says otherwise; the oldest goes first."""
_HISTORY_MAX: Final = 256

Snapshot = Mapping[ObjectPath, Value]
Conditions = Callable[[ObjectPath], NotificationAttributes]


def _unconditional(path: ObjectPath) -> NotificationAttributes:
    return NO_ATTRIBUTES


class ReportingRules(msgspec.Struct, frozen=True, kw_only=True):
    """What an observation goes by; periods are seconds.

    `conditions` gives the thresholds, step and edge that hold for one value. `stores` is /1/x/6:
    whether what happens while the server is unreachable is reported afterwards.
    """

    minimum_period_s: float = 0.0
    maximum_period_s: float | None = None
    minimum_evaluation_period_s: float = 0.0
    maximum_evaluation_period_s: float | None = None
    confirmable: bool = False
    historical_values_max: int = 0
    stores: bool = True
    conditions: Conditions = _unconditional


class Report(msgspec.Struct, frozen=True, gc=False):
    """Values that changed at one time, Unix seconds."""

    unix_s: float
    values: Snapshot


class Notification(msgspec.Struct, frozen=True, gc=False):
    """Send the present values now, after what happened `earlier` and could not be sent."""

    confirmable: bool
    earlier: tuple[Report, ...] = ()


class Observation:
    """One observation, from the answer to its request until it ends.

    Feed it the present values whenever some may have changed and at `next_timer`.
    """

    __slots__ = (
        "_confirmed_at",
        "_evaluated_at",
        "_has_unevaluated",
        "_reported_at",
        "_reports",
        "_rules",
        "_seen",
        "_sent",
        "state",
    )

    def __init__(self, rules: ReportingRules, values: Snapshot, now: float) -> None:
        """`values` are what the request was answered with."""
        self._rules = rules
        self.state = ObservationState.WATCHING
        self._seen = self._sent = values
        self._evaluated_at = self._reported_at = self._confirmed_at = now
        self._has_unevaluated = False
        self._reports: list[Report] | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state is ObservationState.ENDED

    def set_rules(self, rules: ReportingRules) -> None:
        """Attributes were changed: they count from now on, for periods that run as well."""
        self._rules = rules
        self._discard_if_not_stored()

    def evaluate(self, values: Snapshot, now: float, unix_s: float) -> Notification | None:
        """Take the present values; a notification when one may go out now."""
        if self.is_over:
            return None
        if now >= self._evaluated_at + self._rules.minimum_evaluation_period_s:
            self._compare(values, now, unix_s)
        else:
            self._has_unevaluated = True
        return self._take_due(values, now, unix_s)

    def set_reachable(self, is_reachable: bool) -> None:
        """Whether the server can be reached."""
        self._move(
            ObservationEvent.SERVER_REACHABLE
            if is_reachable
            else ObservationEvent.SERVER_UNREACHABLE
        )
        self._discard_if_not_stored()

    def end(self, event: ObservationEvent) -> None:
        """It is over, by one of the events that end it."""
        self._move(event)
        self._reports = None

    def next_timer(self) -> float | None:
        """When `evaluate` has to be called, whatever happens before."""
        rules, state = self._rules, self.state
        is_silent = state in (ObservationState.UNREACHABLE, ObservationState.STORING)
        if self.is_over or (is_silent and not rules.stores):
            return None
        due: list[float] = []
        if state is ObservationState.WAITING:
            due.append(self._reported_at + rules.minimum_period_s)
        if rules.maximum_period_s is not None:
            due.append(self._reported_at + rules.maximum_period_s)
        if self._has_unevaluated:
            due.append(self._evaluated_at + rules.minimum_evaluation_period_s)
        if rules.maximum_evaluation_period_s is not None:
            due.append(self._evaluated_at + rules.maximum_evaluation_period_s)
        return min(due, default=None)

    # ---- inside ----

    def _move(self, event: ObservationEvent) -> bool:
        target = OBSERVATION_TRANSITIONS[self.state][event]
        if target is None:
            return False
        self.state = target
        return True

    def _discard_if_not_stored(self) -> None:
        if not self._rules.stores and self._move(ObservationEvent.NOTIFICATION_DISCARDED):
            self._reports = None

    def _compare(self, values: Snapshot, now: float, unix_s: float) -> None:
        before, self._seen = self._seen, values
        self._evaluated_at, self._has_unevaluated = now, False
        if before == values:
            return
        paths = [path for path in {**before, **values} if self._is_met(path, before, values)]
        if paths:
            self._condition_met(
                Report(unix_s, {path: values[path] for path in paths if path in values})
            )

    def _condition_met(self, report: Report) -> None:
        if self.state is ObservationState.UNREACHABLE and not self._rules.stores:
            return
        self._move(ObservationEvent.CONDITION_MET)
        self._keep(report)

    def _keep(self, report: Report) -> None:
        limit = min(self._rules.historical_values_max, _HISTORY_MAX)
        if not limit and self.state is ObservationState.STORING:
            limit = STORED_REPORTS_MAX
        if not limit:
            return
        if self._reports is None:
            self._reports = []
        self._reports.append(report)
        del self._reports[:-limit]

    def _is_met(self, path: ObjectPath, before: Snapshot, values: Snapshot) -> bool:
        old, new = before.get(path), values.get(path)
        if old is None or new is None:
            # A value came or went: an instance was created, or deleted.
            return True
        if old == new:
            return False
        conditions = self._rules.conditions(path)
        if isinstance(new, bool):
            return conditions.edge is None or conditions.edge is new
        if not (isinstance(new, int | float) and isinstance(old, int | float)):
            return True
        return _is_numeric_condition_met(conditions, old, new, self._sent.get(path))

    def _take_due(self, values: Snapshot, now: float, unix_s: float) -> Notification | None:
        rules = self._rules
        longest = rules.maximum_period_s
        if longest is not None and now >= self._reported_at + longest:
            return self._maximum_period_elapsed(values, now, unix_s)
        if now < self._reported_at + rules.minimum_period_s:
            return None
        if self._move(ObservationEvent.MINIMUM_PERIOD_ELAPSED):
            return self._notify(values, now)
        return None

    def _maximum_period_elapsed(
        self, values: Snapshot, now: float, unix_s: float
    ) -> Notification | None:
        is_sent = self.state in (ObservationState.WATCHING, ObservationState.WAITING)
        if not is_sent and not self._rules.stores:
            return None
        self._move(ObservationEvent.MAXIMUM_PERIOD_ELAPSED)
        if is_sent:
            return self._notify(values, now)
        self._reported_at = now
        self._keep(Report(unix_s, values))
        return None

    def _notify(self, values: Snapshot, now: float) -> Notification:
        earlier = tuple(self._reports or ())
        if earlier and all(values.get(path) == new for path, new in earlier[-1].values.items()):
            earlier = earlier[:-1]
        self._reports = None
        self._sent = self._seen = values
        self._reported_at = now
        confirmable = (
            self._rules.confirmable or now >= self._confirmed_at + CONFIRMABLE_AT_LEAST_EVERY_S
        )
        if confirmable:
            self._confirmed_at = now
        return Notification(confirmable, earlier)


def _is_numeric_condition_met(
    conditions: NotificationAttributes, old: float, new: float, sent: Value | None
) -> bool:
    """Whether a change of a number is worth a notification; without conditions any is."""
    high, low, step = conditions.greater_than, conditions.less_than, conditions.step
    if high is None and low is None and step is None:
        return True
    if high is not None and (old > high) is not (new > high):
        return True
    if low is not None and (old < low) is not (new < low):
        return True
    if step is None:
        return False
    if not isinstance(sent, int | float):
        return True
    difference = abs(new - sent)
    # 20.2 - 20.1 is a little less than 0.1 in binary, and still a step of 0.1 to whoever set it.
    return difference >= step or isclose(difference, step, rel_tol=1e-9)
