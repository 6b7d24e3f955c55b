"""The states of a firmware update (object 5) as a table, and their numbers on the wire.

Every cell is written out: a step, or None where the event is refused (4.05) or changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias


class FirmwareState(enum.StrEnum):
    """/5/0/3, in words."""

    IDLE = "idle"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    UPDATING = "updating"


STATE_NUMBERS: Final = {state: number for number, state in enumerate(FirmwareState)}


class FirmwareResult(enum.IntEnum):
    """/5/0/5. The last two exist from version 1.1 of the object on."""

    INITIAL = 0
    SUCCESS = 1
    NOT_ENOUGH_FLASH = 2
    OUT_OF_RAM = 3
    CONNECTION_LOST = 4
    INTEGRITY_FAILED = 5
    UNSUPPORTED_PACKAGE = 6
    INVALID_URI = 7
    UPDATE_FAILED = 8
    UNSUPPORTED_PROTOCOL = 9
    CANCELLED = 10
    DEFERRED = 11


class FirmwareEvent(enum.StrEnum):
    """What can happen to a firmware update."""

    DOWNLOAD_BEGAN = "download_began"
    PACKAGE_TAKEN = "package_taken"
    DOWNLOAD_FAILED = "download_failed"
    RESET = "reset"
    CANCELLED = "cancelled"
    UPDATE_REQUESTED = "update_requested"
    UPDATE_DEFERRED = "update_deferred"
    UPDATE_SUCCEEDED = "update_succeeded"
    UPDATE_FAILED = "update_failed"
    PACKAGE_LOST = "package_lost"


class FirmwareStep(NamedTuple):
    """The state to go to and the result to show; None: the event brings its own, 2 to 9."""

    state: FirmwareState
    result: FirmwareResult | None


FirmwareTransitions: TypeAlias = Mapping[FirmwareState, Mapping[FirmwareEvent, FirmwareStep | None]]

_S, _E, _R = FirmwareState, FirmwareEvent, FirmwareResult

FIRMWARE_TRANSITIONS: Final[FirmwareTransitions] = {
    _S.IDLE: {
        _E.DOWNLOAD_BEGAN: FirmwareStep(_S.DOWNLOADING, _R.INITIAL),
        _E.PACKAGE_TAKEN: None,
        _E.DOWNLOAD_FAILED: None,
        # An empty URI or a NUL package also takes the last result away.
        _E.RESET: FirmwareStep(_S.IDLE, _R.INITIAL),
        _E.CANCELLED: None,
        _E.UPDATE_REQUESTED: None,
        _E.UPDATE_DEFERRED: None,
        _E.UPDATE_SUCCEEDED: None,
        _E.UPDATE_FAILED: None,
        _E.PACKAGE_LOST: None,
    },
    _S.DOWNLOADING: {
        _E.DOWNLOAD_BEGAN: None,
        _E.PACKAGE_TAKEN: FirmwareStep(_S.DOWNLOADED, _R.INITIAL),
        _E.DOWNLOAD_FAILED: FirmwareStep(_S.IDLE, None),
        _E.RESET: FirmwareStep(_S.IDLE, _R.INITIAL),
        _E.CANCELLED: FirmwareStep(_S.IDLE, _R.CANCELLED),
        _E.UPDATE_REQUESTED: None,
        _E.UPDATE_DEFERRED: None,
        _E.UPDATE_SUCCEEDED: None,
        _E.UPDATE_FAILED: None,
        _E.PACKAGE_LOST: None,
    },
    _S.DOWNLOADED: {
        _E.DOWNLOAD_BEGAN: None,
        _E.PACKAGE_TAKEN: None,
        _E.DOWNLOAD_FAILED: None,
        _E.RESET: FirmwareStep(_S.IDLE, _R.INITIAL),
        _E.CANCELLED: FirmwareStep(_S.IDLE, _R.CANCELLED),
        _E.UPDATE_REQUESTED: FirmwareStep(_S.UPDATING, _R.INITIAL),
        _E.UPDATE_DEFERRED: FirmwareStep(_S.DOWNLOADED, _R.DEFERRED),
        _E.UPDATE_SUCCEEDED: None,
        _E.UPDATE_FAILED: None,
        _E.PACKAGE_LOST: None,
    },
    _S.UPDATING: {
        _E.DOWNLOAD_BEGAN: None,
        _E.PACKAGE_TAKEN: None,
        _E.DOWNLOAD_FAILED: None,
        # Once begun, an update is not taken back.
        _E.RESET: None,
        _E.CANCELLED: None,
        _E.UPDATE_REQUESTED: None,
        _E.UPDATE_DEFERRED: None,
        _E.UPDATE_SUCCEEDED: FirmwareStep(_S.IDLE, _R.SUCCESS),
        _E.UPDATE_FAILED: FirmwareStep(_S.DOWNLOADED, _R.UPDATE_FAILED),
        _E.PACKAGE_LOST: FirmwareStep(_S.IDLE, _R.UPDATE_FAILED),
    },
}


def firmware_diagram() -> str:
    """The table as a Mermaid state diagram, with the results, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {FirmwareState.IDLE}"]
    for state, row in FIRMWARE_TRANSITIONS.items():
        for event, step in row.items():
            if step is not None:
                result = "2 to 9" if step.result is None else str(int(step.result))
                lines.append(f"    {state} --> {step.state}: {event} (result {result})")
    return "\n".join(lines) + "\n"
