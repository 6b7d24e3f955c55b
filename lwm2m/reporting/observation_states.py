"""The states of one observation at the client, as a table.

Every cell is written out: a state to go to, or None where the event changes nothing there.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, TypeAlias


class ObservationState(enum.StrEnum):
    """Where an observation stands."""

    WATCHING = "watching"
    """Nothing is to be said."""
    WAITING = "waiting"
    """A notification is due and the minimum period is not over."""
    UNREACHABLE = "unreachable"
    """The server cannot be reached, nothing is to be said."""
    STORING = "storing"
    """The server cannot be reached; what is to be said is kept."""
    ENDED = "ended"
    """Over: a new Observe makes another one."""


class ObservationEvent(enum.StrEnum):
    """What can happen to an observation."""

    CONDITION_MET = "condition_met"
    MINIMUM_PERIOD_ELAPSED = "minimum_period_elapsed"
    MAXIMUM_PERIOD_ELAPSED = "maximum_period_elapsed"
    SERVER_UNREACHABLE = "server_unreachable"
    SERVER_REACHABLE = "server_reachable"
    NOTIFICATION_DISCARDED = "notification_discarded"
    TARGET_GONE = "target_gone"
    CANCELLED = "cancelled"
    NOTIFICATION_FAILED = "notification_failed"
    SERVER_LEFT = "server_left"


ObservationTransitions: TypeAlias = Mapping[
    ObservationState, Mapping[ObservationEvent, ObservationState | None]
]

_S, _E = ObservationState, ObservationEvent

OBSERVATION_TRANSITIONS: Final[ObservationTransitions] = {
    _S.WATCHING: {
        _E.CONDITION_MET: _S.WAITING,
        _E.MINIMUM_PERIOD_ELAPSED: None,
        _E.MAXIMUM_PERIOD_ELAPSED: _S.WATCHING,
        _E.SERVER_UNREACHABLE: _S.UNREACHABLE,
        _E.SERVER_REACHABLE: None,
        _E.NOTIFICATION_DISCARDED: None,
        _E.TARGET_GONE: _S.ENDED,
        _E.CANCELLED: _S.ENDED,
        _E.NOTIFICATION_FAILED: _S.ENDED,
        _E.SERVER_LEFT: _S.ENDED,
    },
    _S.WAITING: {
        # LwM2M Core §5.1.2: it stays due, even when the value goes back meanwhile.
        _E.CONDITION_MET: _S.WAITING,
        _E.MINIMUM_PERIOD_ELAPSED: _S.WATCHING,
        _E.MAXIMUM_PERIOD_ELAPSED: _S.WATCHING,
        _E.SERVER_UNREACHABLE: _S.STORING,
        _E.SERVER_REACHABLE: None,
        _E.NOTIFICATION_DISCARDED: None,
        _E.TARGET_GONE: _S.ENDED,
        _E.CANCELLED: _S.ENDED,
        _E.NOTIFICATION_FAILED: _S.ENDED,
        _E.SERVER_LEFT: _S.ENDED,
    },
    _S.UNREACHABLE: {
        _E.CONDITION_MET: _S.STORING,
        _E.MINIMUM_PERIOD_ELAPSED: None,
        _E.MAXIMUM_PERIOD_ELAPSED: _S.STORING,
        _E.SERVER_UNREACHABLE: None,
        _E.SERVER_REACHABLE: _S.WATCHING,
        _E.NOTIFICATION_DISCARDED: None,
        _E.TARGET_GONE: _S.ENDED,
        _E.CANCELLED: _S.ENDED,
        _E.NOTIFICATION_FAILED: _S.ENDED,
        _E.SERVER_LEFT: _S.ENDED,
    },
    _S.STORING: {
        _E.CONDITION_MET: _S.STORING,
        _E.MINIMUM_PERIOD_ELAPSED: None,
        _E.MAXIMUM_PERIOD_ELAPSED: _S.STORING,
        _E.SERVER_UNREACHABLE: None,
        _E.SERVER_REACHABLE: _S.WAITING,
        # /1/x/6 is false: what could not be sent is not sent later either.
        _E.NOTIFICATION_DISCARDED: _S.UNREACHABLE,
        _E.TARGET_GONE: _S.ENDED,
        _E.CANCELLED: _S.ENDED,
        _E.NOTIFICATION_FAILED: _S.ENDED,
        _E.SERVER_LEFT: _S.ENDED,
    },
    _S.ENDED: {
        _E.CONDITION_MET: None,
        _E.MINIMUM_PERIOD_ELAPSED: None,
        _E.MAXIMUM_PERIOD_ELAPSED: None,
        _E.SERVER_UNREACHABLE: None,
        _E.SERVER_REACHABLE: None,
        _E.NOTIFICATION_DISCARDED: None,
        _E.TARGET_GONE: None,
        _E.CANCELLED: None,
        _E.NOTIFICATION_FAILED: None,
        _E.SERVER_LEFT: None,
    },
}
