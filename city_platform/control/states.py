"""How far a command has come, as a table, and what an outcome means for it."""

from __future__ import annotations

from enum import Enum

from contracts.api import CommandState
from contracts.data_interface import Outcome, Stage


class Occurrence(Enum):
    """What moves a command on."""

    PUBLISHED = "published"
    BROKER_ACKNOWLEDGED = "broker_acknowledged"
    # Its server never sent it, and another one holds the device now.
    DEVICE_MOVED = "device_moved"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    LOST = "lost"


_ENDS: dict[Occurrence, CommandState] = {
    Occurrence.SUCCEEDED: "succeeded",
    Occurrence.REFUSED: "refused",
    Occurrence.FAILED: "failed",
    Occurrence.EXPIRED: "expired",
    Occurrence.CANCELLED: "cancelled",
    Occurrence.LOST: "unknown",
}
# What the device did counts more than that nobody had heard of it in time.
_TOLD_LATE: dict[Occurrence, CommandState] = {
    Occurrence.SUCCEEDED: "succeeded",
    Occurrence.REFUSED: "refused",
}

# `queued` is recorded, `sent` published, `delivered` in the broker's hands. `refused` is the
# device's answer; `failed` says that no device was asked, and at which stage it ended.
TRANSITIONS: dict[CommandState, dict[Occurrence, CommandState]] = {
    "queued": {Occurrence.PUBLISHED: "sent", **_ENDS},
    "sent": {
        Occurrence.PUBLISHED: "sent",
        Occurrence.BROKER_ACKNOWLEDGED: "delivered",
        Occurrence.DEVICE_MOVED: "queued",
        **_ENDS,
    },
    "delivered": {
        Occurrence.PUBLISHED: "delivered",
        Occurrence.BROKER_ACKNOWLEDGED: "delivered",
        Occurrence.DEVICE_MOVED: "queued",
        **_ENDS,
    },
    "succeeded": {},
    "refused": {},
    "failed": _TOLD_LATE,
    "expired": {**_TOLD_LATE, Occurrence.LOST: "unknown"},
    "cancelled": {**_TOLD_LATE, Occurrence.LOST: "unknown"},
    "unknown": {
        **_TOLD_LATE,
        Occurrence.FAILED: "failed",
        Occurrence.EXPIRED: "expired",
        Occurrence.CANCELLED: "cancelled",
    },
}

_OCCURRENCE_OF_STAGE: dict[Stage, Occurrence] = {
    "invalid": Occurrence.FAILED,
    "not_registered": Occurrence.FAILED,
    "coap": Occurrence.REFUSED,
    "cancelled": Occurrence.CANCELLED,
    "expired": Occurrence.EXPIRED,
    # Sent and not answered: it may have happened.
    "timeout": Occurrence.LOST,
    "unknown": Occurrence.LOST,
}


def occurrence_of(outcome: Outcome) -> Occurrence:
    """What an outcome says of its command."""
    if outcome.succeeded:
        return Occurrence.SUCCEEDED
    if outcome.is_unreadable:
        # The device did it, and what it answered cannot be used: neither done nor refused.
        return Occurrence.LOST
    if outcome.error is not None and outcome.code is None:
        return _OCCURRENCE_OF_STAGE[outcome.error.stage]
    return Occurrence.REFUSED if outcome.code is not None else Occurrence.LOST
