"""The states of a request we sent, and of one we received, as tables (RFC 7252 §4.2, §5.2).

`SENT_TRANSITIONS[state][event]` and `RECEIVED_TRANSITIONS[state][event]` give the next state; a
pair that is not there cannot happen, and asking for it is a fault of ours (`KeyError`).
"""

from __future__ import annotations

from typing import Literal

SentState = Literal["queued", "sent", "acknowledged", "observing", "ended"]
SentEvent = Literal[
    "transmitted",
    "acknowledgement_received",
    "response_received",
    "block_received",
    "repetition_asked",
    "observation_confirmed",
    "observation_ended",
    "timed_out",
    "reset_received",
    "malformed_response_received",
    "cancelled",
]

ReceivedState = Literal["pending", "deferred", "responding", "observed", "ended"]
ReceivedEvent = Literal[
    "acknowledgement_due",
    "answered_at_once",
    "answered_separately",
    "observation_accepted",
    "final_notification_sent",
    "final_notification_left",
    "response_acknowledged",
    "timed_out",
    "reset_received",
    "cancelled",
]

_GIVEN_UP: dict[SentEvent, SentState] = {
    "timed_out": "ended",
    "reset_received": "ended",
    "malformed_response_received": "ended",
    "cancelled": "ended",
}

SENT_TRANSITIONS: dict[SentState, dict[SentEvent, SentState]] = {
    # NSTART, or the supply of message ids, holds it back.
    "queued": {
        "transmitted": "sent",
        "cancelled": "ended",
        # An observation that is about to be cancelled may end by itself before.
        "response_received": "ended",
        "malformed_response_received": "ended",
    },
    "sent": {
        **_GIVEN_UP,
        "acknowledgement_received": "acknowledged",
        "response_received": "ended",
        # The next block is a message of its own: it goes out through the queue.
        "block_received": "queued",
        # RFC 9175 §2.3: 4.01 with Echo. RFC 8974 §2.2: a reset of an extended token.
        "repetition_asked": "queued",
        "observation_confirmed": "observing",
    },
    "acknowledged": {
        **_GIVEN_UP,
        "response_received": "ended",
        "block_received": "queued",
        # RFC 9175 §2.3: 4.01 with Echo. RFC 8974 §2.2: a reset of an extended token.
        "repetition_asked": "queued",
        "observation_confirmed": "observing",
    },
    "observing": {
        "observation_confirmed": "observing",
        # RFC 7641 §3.6: its cancellation takes its place.
        "observation_ended": "ended",
        # A last answer that is no notification may come in blocks.
        "block_received": "queued",
        "response_received": "ended",
        "malformed_response_received": "ended",
        "cancelled": "ended",
    },
    "ended": {},
}

RECEIVED_TRANSITIONS: dict[ReceivedState, dict[ReceivedEvent, ReceivedState]] = {
    # The application has it and may still answer in the acknowledgement.
    "pending": {
        "acknowledgement_due": "deferred",
        "answered_at_once": "ended",
        "observation_accepted": "observed",
        "cancelled": "ended",
    },
    # The empty acknowledgement is out.
    "deferred": {
        "answered_separately": "responding",
        "cancelled": "ended",
    },
    # A separate confirmable response waits for its acknowledgement.
    "responding": {
        "response_acknowledged": "ended",
        "observation_accepted": "observed",
        "timed_out": "ended",
        "reset_received": "ended",
        "cancelled": "ended",
    },
    # Notifications follow (RFC 7641); the peer ends them by a reset or by not acknowledging.
    "observed": {
        "response_acknowledged": "observed",
        # RFC 7641 §4.2: an error ends the observation; a confirmable one is still retransmitted.
        "final_notification_sent": "responding",
        "final_notification_left": "ended",
        "timed_out": "ended",
        "reset_received": "ended",
        "cancelled": "ended",
    },
    "ended": {},
}
