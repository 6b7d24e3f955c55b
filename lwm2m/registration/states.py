"""The states of a registration at both ends, as tables.

Every cell is written out: a state to go to, or None where the event changes nothing there.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, TypeAlias, TypeVar


class ServerState(enum.StrEnum):
    """Where a server stands with one registration id."""

    ABSENT = "absent"
    REGISTERED = "registered"


class ServerEvent(enum.StrEnum):
    """What can happen to a registration at its server."""

    REGISTER_ACCEPTED = "register_accepted"
    UPDATE_RECEIVED = "update_received"
    DEREGISTER_RECEIVED = "deregister_received"
    REPLACED = "replaced"
    LIFETIME_ELAPSED = "lifetime_elapsed"


class ClientState(enum.StrEnum):
    """Where a device stands with its server."""

    UNREGISTERED = "unregistered"
    REGISTERING = "registering"
    REGISTERED = "registered"
    UPDATING = "updating"
    DEREGISTERING = "deregistering"
    BACKING_OFF = "backing_off"
    GAVE_UP = "gave_up"
    DISABLING = "disabling"
    DISABLED = "disabled"


class ClientEvent(enum.StrEnum):
    """What can happen to a device's registration. An answer is always to the latest request."""

    REGISTER_REQUESTED = "register_requested"
    UPDATE_FELL_DUE = "update_fell_due"
    DEREGISTER_REQUESTED = "deregister_requested"
    DISABLE_REQUESTED = "disable_requested"
    ACCEPTED = "accepted"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    VERSION_REFUSED = "version_refused"
    SERVER_BUSY = "server_busy"
    UNANSWERED = "unanswered"
    SECURITY_REFUSED = "security_refused"
    BACK_OFF_ELAPSED = "back_off_elapsed"
    RETRIES_EXHAUSTED = "retries_exhausted"
    DISABLE_ELAPSED = "disable_elapsed"


State = TypeVar("State", bound=enum.StrEnum)
Event = TypeVar("Event", bound=enum.StrEnum)
ServerTransitions: TypeAlias = Mapping[ServerState, Mapping[ServerEvent, ServerState | None]]
ClientTransitions: TypeAlias = Mapping[ClientState, Mapping[ClientEvent, ClientState | None]]

_S, _SE = ServerState, ServerEvent

SERVER_TRANSITIONS: Final[ServerTransitions] = {
    _S.ABSENT: {
        _SE.REGISTER_ACCEPTED: _S.REGISTERED,
        # LwM2M Core §6.2.2: answered 4.04, upon which the client registers again.
        _SE.UPDATE_RECEIVED: None,
        _SE.DEREGISTER_RECEIVED: None,
        _SE.REPLACED: None,
        _SE.LIFETIME_ELAPSED: None,
    },
    _S.REGISTERED: {
        # A new Register gets a new id: an id is accepted once.
        _SE.REGISTER_ACCEPTED: None,
        _SE.UPDATE_RECEIVED: _S.REGISTERED,
        _SE.DEREGISTER_RECEIVED: _S.ABSENT,
        _SE.REPLACED: _S.ABSENT,
        _SE.LIFETIME_ELAPSED: _S.ABSENT,
    },
}

_C, _CE = ClientState, ClientEvent

CLIENT_TRANSITIONS: Final[ClientTransitions] = {
    _C.UNREGISTERED: {
        _CE.REGISTER_REQUESTED: _C.REGISTERING,
        _CE.UPDATE_FELL_DUE: None,
        _CE.DEREGISTER_REQUESTED: None,
        _CE.DISABLE_REQUESTED: _C.DISABLED,
        _CE.ACCEPTED: None,
        _CE.NOT_FOUND: None,
        _CE.REFUSED: None,
        _CE.VERSION_REFUSED: None,
        _CE.SERVER_BUSY: None,
        _CE.UNANSWERED: None,
        _CE.SECURITY_REFUSED: None,
        _CE.BACK_OFF_ELAPSED: None,
        _CE.RETRIES_EXHAUSTED: None,
        _CE.DISABLE_ELAPSED: None,
    },
    _C.REGISTERING: {
        _CE.REGISTER_REQUESTED: _C.REGISTERING,
        _CE.UPDATE_FELL_DUE: None,
        # There is no location to delete: if the server accepts after all, its lifetime ends it.
        _CE.DEREGISTER_REQUESTED: _C.UNREGISTERED,
        _CE.DISABLE_REQUESTED: _C.DISABLED,
        _CE.ACCEPTED: _C.REGISTERED,
        _CE.NOT_FOUND: _C.BACKING_OFF,
        _CE.REFUSED: _C.BACKING_OFF,
        # 4.12: once more, with the next older version.
        _CE.VERSION_REFUSED: _C.REGISTERING,
        _CE.SERVER_BUSY: _C.BACKING_OFF,
        _CE.UNANSWERED: _C.BACKING_OFF,
        # An alert that no retry mends: see `alerts`.
        _CE.SECURITY_REFUSED: _C.GAVE_UP,
        _CE.BACK_OFF_ELAPSED: None,
        _CE.RETRIES_EXHAUSTED: None,
        _CE.DISABLE_ELAPSED: None,
    },
    _C.REGISTERED: {
        _CE.REGISTER_REQUESTED: _C.REGISTERING,
        _CE.UPDATE_FELL_DUE: _C.UPDATING,
        _CE.DEREGISTER_REQUESTED: _C.DEREGISTERING,
        _CE.DISABLE_REQUESTED: _C.DISABLING,
        _CE.ACCEPTED: None,
        _CE.NOT_FOUND: None,
        _CE.REFUSED: None,
        _CE.VERSION_REFUSED: None,
        _CE.SERVER_BUSY: None,
        _CE.UNANSWERED: None,
        _CE.SECURITY_REFUSED: None,
        _CE.BACK_OFF_ELAPSED: None,
        _CE.RETRIES_EXHAUSTED: None,
        _CE.DISABLE_ELAPSED: None,
    },
    _C.UPDATING: {
        _CE.REGISTER_REQUESTED: _C.REGISTERING,
        _CE.UPDATE_FELL_DUE: None,
        _CE.DEREGISTER_REQUESTED: _C.DEREGISTERING,
        _CE.DISABLE_REQUESTED: _C.DISABLING,
        _CE.ACCEPTED: _C.REGISTERED,
        # §6.2.2: the server forgot the device. Other refusals leave nothing to rely on either.
        _CE.NOT_FOUND: _C.REGISTERING,
        _CE.REFUSED: _C.REGISTERING,
        _CE.VERSION_REFUSED: _C.REGISTERING,
        # 5.03 with Max-Age: the server says for how long it is not to be asked.
        _CE.SERVER_BUSY: _C.BACKING_OFF,
        _CE.UNANSWERED: _C.BACKING_OFF,
        _CE.SECURITY_REFUSED: _C.GAVE_UP,
        _CE.BACK_OFF_ELAPSED: None,
        _CE.RETRIES_EXHAUSTED: None,
        _CE.DISABLE_ELAPSED: None,
    },
    _C.DEREGISTERING: {
        _CE.REGISTER_REQUESTED: _C.REGISTERING,
        _CE.UPDATE_FELL_DUE: None,
        _CE.DEREGISTER_REQUESTED: None,
        _CE.DISABLE_REQUESTED: _C.DISABLING,
        _CE.ACCEPTED: _C.UNREGISTERED,
        _CE.NOT_FOUND: _C.UNREGISTERED,
        _CE.REFUSED: _C.UNREGISTERED,
        _CE.VERSION_REFUSED: _C.UNREGISTERED,
        _CE.SERVER_BUSY: _C.UNREGISTERED,
        _CE.UNANSWERED: _C.UNREGISTERED,
        _CE.SECURITY_REFUSED: _C.UNREGISTERED,
        _CE.BACK_OFF_ELAPSED: None,
        _CE.RETRIES_EXHAUSTED: None,
        _CE.DISABLE_ELAPSED: None,
    },
    _C.BACKING_OFF: {
        _CE.REGISTER_REQUESTED: _C.REGISTERING,
        _CE.UPDATE_FELL_DUE: None,
        _CE.DEREGISTER_REQUESTED: _C.UNREGISTERED,
        _CE.DISABLE_REQUESTED: _C.DISABLED,
        _CE.ACCEPTED: None,
        _CE.NOT_FOUND: None,
        _CE.REFUSED: None,
        _CE.VERSION_REFUSED: None,
        _CE.SERVER_BUSY: None,
        _CE.UNANSWERED: None,
        _CE.SECURITY_REFUSED: None,
        _CE.BACK_OFF_ELAPSED: _C.REGISTERING,
        _CE.RETRIES_EXHAUSTED: _C.GAVE_UP,
        _CE.DISABLE_ELAPSED: None,
    },
    _C.GAVE_UP: {
        _CE.REGISTER_REQUESTED: _C.REGISTERING,
        _CE.UPDATE_FELL_DUE: None,
        _CE.DEREGISTER_REQUESTED: _C.UNREGISTERED,
        _CE.DISABLE_REQUESTED: _C.DISABLED,
        _CE.ACCEPTED: None,
        _CE.NOT_FOUND: None,
        _CE.REFUSED: None,
        _CE.VERSION_REFUSED: None,
        _CE.SERVER_BUSY: None,
        _CE.UNANSWERED: None,
        _CE.SECURITY_REFUSED: None,
        _CE.BACK_OFF_ELAPSED: None,
        _CE.RETRIES_EXHAUSTED: None,
        _CE.DISABLE_ELAPSED: None,
    },
    _C.DISABLING: {
        _CE.REGISTER_REQUESTED: _C.REGISTERING,
        _CE.UPDATE_FELL_DUE: None,
        _CE.DEREGISTER_REQUESTED: _C.DEREGISTERING,
        _CE.DISABLE_REQUESTED: None,
        _CE.ACCEPTED: _C.DISABLED,
        _CE.NOT_FOUND: _C.DISABLED,
        _CE.REFUSED: _C.DISABLED,
        _CE.VERSION_REFUSED: _C.DISABLED,
        _CE.SERVER_BUSY: _C.DISABLED,
        _CE.UNANSWERED: _C.DISABLED,
        _CE.SECURITY_REFUSED: _C.DISABLED,
        _CE.BACK_OFF_ELAPSED: None,
        _CE.RETRIES_EXHAUSTED: None,
        _CE.DISABLE_ELAPSED: None,
    },
    _C.DISABLED: {
        # The user of the device wants it: the server's wish ends.
        _CE.REGISTER_REQUESTED: _C.REGISTERING,
        _CE.UPDATE_FELL_DUE: None,
        _CE.DEREGISTER_REQUESTED: _C.UNREGISTERED,
        _CE.DISABLE_REQUESTED: None,
        _CE.ACCEPTED: None,
        _CE.NOT_FOUND: None,
        _CE.REFUSED: None,
        _CE.VERSION_REFUSED: None,
        _CE.SERVER_BUSY: None,
        _CE.UNANSWERED: None,
        _CE.SECURITY_REFUSED: None,
        _CE.BACK_OFF_ELAPSED: None,
        _CE.RETRIES_EXHAUSTED: None,
        _CE.DISABLE_ELAPSED: _C.REGISTERING,
    },
}


def state_diagram(transitions: Mapping[State, Mapping[Event, State | None]], initial: State) -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {initial}"]
    for state, row in transitions.items():
        lines += [
            f"    {state} --> {target}: {event}"
            for event, target in row.items()
            if target is not None
        ]
    return "\n".join(lines) + "\n"
