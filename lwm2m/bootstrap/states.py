"""A client's bootstrap as a table, and the order of its sources.

Every cell is written out: a state to go to, or None where the event changes nothing there.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import Final, TypeAlias


class BootstrapState(enum.StrEnum):
    """Where a client stands with its bootstrap server."""

    IDLE = "idle"
    HOLDING_OFF = "holding_off"
    REQUESTING = "requesting"
    PACK_REQUESTING = "pack_requesting"
    RECEIVING = "receiving"
    BACKING_OFF = "backing_off"
    DONE = "done"
    FAILED = "failed"


class BootstrapEvent(enum.StrEnum):
    """What can happen to it. An answer is always to the latest request."""

    BOOTSTRAP_REQUESTED = "bootstrap_requested"
    HOLD_OFF_ELAPSED = "hold_off_elapsed"
    PACK_PREFERRED = "pack_preferred"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    SECURITY_REFUSED = "security_refused"
    PACK_TAKEN = "pack_taken"
    PACK_REFUSED = "pack_refused"
    SERVER_ACTED = "server_acted"
    FINISH_ACCEPTED = "finish_accepted"
    FINISH_REFUSED = "finish_refused"
    FINISH_OVERDUE = "finish_overdue"
    BACK_OFF_ELAPSED = "back_off_elapsed"
    RETRIES_EXHAUSTED = "retries_exhausted"


BootstrapTransitions: TypeAlias = Mapping[
    BootstrapState, Mapping[BootstrapEvent, BootstrapState | None]
]

_S, _E = BootstrapState, BootstrapEvent

BOOTSTRAP_TRANSITIONS: Final[BootstrapTransitions] = {
    _S.IDLE: {
        _E.BOOTSTRAP_REQUESTED: _S.HOLDING_OFF,
        _E.HOLD_OFF_ELAPSED: None,
        _E.PACK_PREFERRED: None,
        _E.ACCEPTED: None,
        _E.REFUSED: None,
        _E.UNANSWERED: None,
        _E.SECURITY_REFUSED: None,
        _E.PACK_TAKEN: None,
        _E.PACK_REFUSED: None,
        # Server-initiated, as LwM2M 1.0 has it: without a request.
        _E.SERVER_ACTED: _S.RECEIVING,
        _E.FINISH_ACCEPTED: None,
        _E.FINISH_REFUSED: None,
        _E.FINISH_OVERDUE: None,
        _E.BACK_OFF_ELAPSED: None,
        _E.RETRIES_EXHAUSTED: None,
    },
    _S.HOLDING_OFF: {
        _E.BOOTSTRAP_REQUESTED: _S.HOLDING_OFF,
        _E.HOLD_OFF_ELAPSED: _S.REQUESTING,
        _E.PACK_PREFERRED: _S.PACK_REQUESTING,
        _E.ACCEPTED: None,
        _E.REFUSED: None,
        _E.UNANSWERED: None,
        _E.SECURITY_REFUSED: None,
        _E.PACK_TAKEN: None,
        _E.PACK_REFUSED: None,
        _E.SERVER_ACTED: _S.RECEIVING,
        _E.FINISH_ACCEPTED: None,
        _E.FINISH_REFUSED: None,
        _E.FINISH_OVERDUE: None,
        _E.BACK_OFF_ELAPSED: None,
        _E.RETRIES_EXHAUSTED: None,
    },
    _S.REQUESTING: {
        _E.BOOTSTRAP_REQUESTED: _S.HOLDING_OFF,
        _E.HOLD_OFF_ELAPSED: None,
        _E.PACK_PREFERRED: None,
        _E.ACCEPTED: _S.RECEIVING,
        _E.REFUSED: _S.BACKING_OFF,
        _E.UNANSWERED: _S.BACKING_OFF,
        _E.SECURITY_REFUSED: _S.FAILED,
        _E.PACK_TAKEN: None,
        _E.PACK_REFUSED: None,
        # The first write overtook the answer.
        _E.SERVER_ACTED: _S.RECEIVING,
        _E.FINISH_ACCEPTED: None,
        _E.FINISH_REFUSED: None,
        _E.FINISH_OVERDUE: None,
        _E.BACK_OFF_ELAPSED: None,
        _E.RETRIES_EXHAUSTED: None,
    },
    _S.PACK_REQUESTING: {
        _E.BOOTSTRAP_REQUESTED: _S.HOLDING_OFF,
        _E.HOLD_OFF_ELAPSED: None,
        _E.PACK_PREFERRED: None,
        _E.ACCEPTED: None,
        _E.REFUSED: None,
        _E.UNANSWERED: _S.BACKING_OFF,
        _E.SECURITY_REFUSED: _S.FAILED,
        _E.PACK_TAKEN: _S.DONE,
        # LwM2M 1.2: whatever is wrong with the pack, the older way is tried.
        _E.PACK_REFUSED: _S.REQUESTING,
        _E.SERVER_ACTED: _S.RECEIVING,
        _E.FINISH_ACCEPTED: None,
        _E.FINISH_REFUSED: None,
        _E.FINISH_OVERDUE: None,
        _E.BACK_OFF_ELAPSED: None,
        _E.RETRIES_EXHAUSTED: None,
    },
    _S.RECEIVING: {
        _E.BOOTSTRAP_REQUESTED: _S.HOLDING_OFF,
        _E.HOLD_OFF_ELAPSED: None,
        _E.PACK_PREFERRED: None,
        _E.ACCEPTED: None,
        _E.REFUSED: None,
        _E.UNANSWERED: None,
        _E.SECURITY_REFUSED: None,
        _E.PACK_TAKEN: None,
        _E.PACK_REFUSED: None,
        _E.SERVER_ACTED: _S.RECEIVING,
        _E.FINISH_ACCEPTED: _S.DONE,
        # 4.06: the server may write what is missing, and finish again.
        _E.FINISH_REFUSED: _S.RECEIVING,
        # No Finish within EXCHANGE_LIFETIME.
        _E.FINISH_OVERDUE: _S.BACKING_OFF,
        _E.BACK_OFF_ELAPSED: None,
        _E.RETRIES_EXHAUSTED: None,
    },
    _S.BACKING_OFF: {
        _E.BOOTSTRAP_REQUESTED: _S.HOLDING_OFF,
        _E.HOLD_OFF_ELAPSED: None,
        _E.PACK_PREFERRED: _S.PACK_REQUESTING,
        _E.ACCEPTED: None,
        _E.REFUSED: None,
        _E.UNANSWERED: None,
        _E.SECURITY_REFUSED: None,
        _E.PACK_TAKEN: None,
        _E.PACK_REFUSED: None,
        _E.SERVER_ACTED: _S.RECEIVING,
        _E.FINISH_ACCEPTED: None,
        _E.FINISH_REFUSED: None,
        _E.FINISH_OVERDUE: None,
        _E.BACK_OFF_ELAPSED: _S.REQUESTING,
        _E.RETRIES_EXHAUSTED: _S.FAILED,
    },
    _S.DONE: {
        _E.BOOTSTRAP_REQUESTED: _S.HOLDING_OFF,
        _E.HOLD_OFF_ELAPSED: None,
        _E.PACK_PREFERRED: None,
        _E.ACCEPTED: None,
        _E.REFUSED: None,
        _E.UNANSWERED: None,
        _E.SECURITY_REFUSED: None,
        _E.PACK_TAKEN: None,
        _E.PACK_REFUSED: None,
        _E.SERVER_ACTED: _S.RECEIVING,
        _E.FINISH_ACCEPTED: None,
        _E.FINISH_REFUSED: None,
        _E.FINISH_OVERDUE: None,
        _E.BACK_OFF_ELAPSED: None,
        _E.RETRIES_EXHAUSTED: None,
    },
    _S.FAILED: {
        _E.BOOTSTRAP_REQUESTED: _S.HOLDING_OFF,
        _E.HOLD_OFF_ELAPSED: None,
        _E.PACK_PREFERRED: None,
        _E.ACCEPTED: None,
        _E.REFUSED: None,
        _E.UNANSWERED: None,
        _E.SECURITY_REFUSED: None,
        _E.PACK_TAKEN: None,
        _E.PACK_REFUSED: None,
        _E.SERVER_ACTED: _S.RECEIVING,
        _E.FINISH_ACCEPTED: None,
        _E.FINISH_REFUSED: None,
        _E.FINISH_OVERDUE: None,
        _E.BACK_OFF_ELAPSED: None,
        _E.RETRIES_EXHAUSTED: None,
    },
}


class BootstrapSource(enum.StrEnum):
    """Where a client's configuration can come from, in the order in which they are tried.

    There is no smartcard in a simulated device: `SMARTCARD` is never available.
    """

    SMARTCARD = "smartcard"
    FACTORY = "factory"
    EXISTING_SERVERS = "existing_servers"
    CLIENT_INITIATED = "client_initiated"
    SERVER_INITIATED = "server_initiated"


def next_source(
    failed: BootstrapSource | None, available: Collection[BootstrapSource]
) -> BootstrapSource | None:
    """The source to try after `failed`, from the first one when None (LwM2M Core §6.1.5).

    None when nothing is left: then only a server can begin.
    """
    sources = list(BootstrapSource)
    untried = sources if failed is None else sources[sources.index(failed) + 1 :]
    return next((source for source in untried if source in available), None)
