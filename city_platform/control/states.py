"""How far a command has come, as a table, and what an outcome means for it."""

from __future__ import annotations

from enum import Enum

from contracts.api import CommandState
from contracts.data_interface import Outcome, Stage


class Occurrence(Enum):
    """What moves a command on."""

    PUBLISHED = "published"
    BROKER_ACKNOWLEDGED = "broker_acknowledged"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    EXPIRED = "expired"
    LOST = "lost"


_ENDS: dict[Occurrence, CommandState] = {
    Occurrence.SUCCEEDED: "succeeded",
    Occurrence.REFUSED: "refused",
    Occurrence.EXPIRED: "expired",
    Occurrence.LOST: "unknown",
}

# `queued` is recorded, `sent` published, `delivered` in the broker's hands.
TRANSITIONS: dict[CommandState, dict[Occurrence, CommandState]] = {
    "queued": {Occurrence.PUBLISHED: "sent", **_ENDS},
    "sent": {
        Occurrence.PUBLISHED: "sent",
        Occurrence.BROKER_ACKNOWLEDGED: "delivered",
        **_ENDS,
    },
    "delivered": {
        Occurrence.PUBLISHED: "delivered",
        Occurrence.BROKER_ACKNOWLEDGED: "delivered",
        **_ENDS,
    },
    "succeeded": {},
    "refused": {},
    # What the device did counts more than that nobody had heard of it in time.
    "expired": {
        Occurrence.SUCCEEDED: "succeeded",
        Occurrence.REFUSED: "refused",
        Occurrence.LOST: "unknown",
    },
    "unknown": {
        Occurrence.SUCCEEDED: "succeeded",
        Occurrence.REFUSED: "refused",
        Occurrence.EXPIRED: "expired",
    },
}

_OCCURRENCE_OF_STAGE: dict[Stage, Occurrence] = {
    "invalid": Occurrence.REFUSED,
    "not_registered": Occurrence.REFUSED,
    "coap": Occurrence.REFUSED,
    "cancelled": Occurrence.REFUSED,
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
