"""What control keeps: commands, group commands, and who holds which device. Times are Unix
microseconds."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from contracts.api import (
    FINAL_COMMAND_STATES,
    CommandRequest,
    CommandState,
    CommandTarget,
)
from contracts.data_interface import Outcome

# Who issues where nobody is told from anybody else: no access is configured.
ISSUED_BY = "control"


class HolderRow(NamedTuple):
    """Which server holds a device, in which epoch of its log."""

    endpoint: str
    server: str
    epoch: str
    registration_id: str
    registered_at_us: int = 0

    def is_later_than(self, other: HolderRow) -> bool:
        """Whether the device registered here after it did at another server."""
        return self.server != other.server and self.registered_at_us > other.registered_at_us


class CommandRow(msgspec.Struct, frozen=True, kw_only=True):
    """A command as it is kept.

    `sent_to` is the log (server, epoch) that may have seen the command: only there is its id known.
    `waits` is true for a member of a group command whose turn has not come.
    """

    id: str
    endpoint: str
    request: CommandRequest
    state: CommandState
    issued_at_us: int
    expires_at_us: int
    ended_at_us: int | None = None
    outcome: Outcome | None = None
    sent_to: tuple[str, str] | None = None
    issued_by: str = ISSUED_BY
    tenant: str = ""
    group_id: str | None = None
    cancel_asked_at_us: int | None = None
    waits: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the operator's question is answered."""
        return self.state in FINAL_COMMAND_STATES


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """A group command as it is kept. `tenants` are those of its devices."""

    id: str
    request: CommandRequest
    target: CommandTarget
    issued_by: str
    tenants: tuple[str, ...]
    issued_at_us: int
    ends_at_us: int
    rate_per_s: float
    devices: int = 0
    cancel_asked_at_us: int | None = None


class Member(NamedTuple):
    """One device of a group command."""

    endpoint: str
    tenant: str


class Progress(NamedTuple):
    """How many commands of a group are in which state; `waiting` have not had their turn."""

    waiting: int
    states: dict[CommandState, int]
    ended_at_us: int | None

    @property
    def has_ended(self) -> bool:
        """Whether every device has its outcome."""
        return not self.waiting and FINAL_COMMAND_STATES.issuperset(self.states)
