"""What a client does about an alert of DTLS or TLS (LwM2M Core 1.1 §5.2.8, as three groups)."""

from __future__ import annotations

import enum
from typing import Final

from lwm2m.registration.states import ClientEvent


class AlertReaction(enum.StrEnum):
    """What an alert means for the registration or bootstrap that was under way."""

    RETRY = "retry"
    GIVE_UP = "give_up"
    IGNORE = "ignore"


# By number (RFC 5246 §7.2 and IANA's registry). What is not here is retried.
ALERT_REACTIONS: Final[dict[int, AlertReaction]] = {
    **dict.fromkeys(
        (0, 10, 20, 21, 22, 40, 47, 50, 51, 70, 71, 86, 90, 100, 111), AlertReaction.RETRY
    ),
    **dict.fromkeys((42, 43, 44, 45, 46, 48, 49, 112, 113, 114, 115), AlertReaction.GIVE_UP),
    **dict.fromkeys((30, 41, 60, 110), AlertReaction.IGNORE),
}

# What each reaction is to a registration; None: its exchange ends in its own way.
ALERT_EVENTS: Final[dict[AlertReaction, ClientEvent | None]] = {
    AlertReaction.RETRY: ClientEvent.UNANSWERED,
    AlertReaction.GIVE_UP: ClientEvent.SECURITY_REFUSED,
    AlertReaction.IGNORE: None,
}


def reaction_to(alert: int) -> AlertReaction:
    """What this alert means; numbers that nobody knows are worth another attempt."""
    return ALERT_REACTIONS.get(alert, AlertReaction.RETRY)
