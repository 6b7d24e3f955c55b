"""The bodies of control's HTTP interface; `contracts.api` has the routes."""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.data_interface import Operation, Outcome, Value

CommandState = Literal[
    "queued",
    "sent",
    "delivered",
    "succeeded",
    "refused",
    "failed",
    "expired",
    "cancelled",
    "unknown",
]
FINAL_COMMAND_STATES: frozenset[CommandState] = frozenset(
    {"succeeded", "refused", "failed", "expired", "cancelled", "unknown"}
)


class CommandRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What an operator asks of a device. `expires_in_s` counts from the request.

    Paths are numbers (`/3311/0/5851`) or names of the object definitions (`Light Control/0/Dimmer`,
    or `Dimmer` where that is not ambiguous). `value` is that of the one resource at `path`, instead
    of `values`; its type is the definition's. `paths` are of the composite operations, `attributes`
    of write_attributes and, from LwM2M 1.2, of observe; `depth` of discover; `passive` of
    cancel_observation.
    """

    operation: Operation
    path: str = ""
    paths: list[str] | None = None
    value: str | int | float | bool | None = None
    values: list[Value] | None = None
    arguments: str | None = None
    attributes: dict[str, str] | None = None
    mode: Literal["replace", "update"] = "replace"
    format: int | None = None
    depth: int | None = None
    passive: bool = False
    expires_in_s: float = 60.0


class CommandRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command and how far it has come. Times are Unix microseconds.

    `detail` says why it goes no further for now, for a person. `path` is empty for what has
    `paths`. `group` is the group command that it is part of. With `cancel_asked_at_us` it goes out
    no more; what had gone out may still end otherwise than `cancelled`.
    """

    id: str
    endpoint: str
    operation: Operation
    path: str
    state: CommandState
    issued_at_us: int
    expires_at_us: int
    ended_at_us: int | None = None
    outcome: Outcome | None = None
    detail: str | None = None
    paths: list[str] | None = None
    issued_by: str = ""
    group: str | None = None
    cancel_asked_at_us: int | None = None


class CommandPage(msgspec.Struct, frozen=True, kw_only=True):
    """Commands, newest first; those of a group command by their numbers. `next_cursor` continues
    the same question; None at its end."""

    commands: list[CommandRecord]
    next_cursor: str | None = None


class CommandTarget(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Whom a group command is for; exactly one of these. `group` is `tenant/group`; `search` has
    names and values of `GET /v1/devices`, those of `attribute` as a list of `name=value`."""

    devices: list[str] | None = None
    group: str | None = None
    tenant: str | None = None
    search: dict[str, str | list[str]] | None = None


class GroupCommandRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One command to many devices. `expires_in_s` of `command` counts from each device's turn.

    `rate_per_s` devices have their turn each second (None: as the installation is configured);
    whoever had none `ends_in_s` after the request does not get the command.
    """

    target: CommandTarget
    command: CommandRequest
    rate_per_s: float | None = None
    ends_in_s: float | None = None


GroupCommandState = Literal["running", "ended"]


class GroupCommandRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a group command has come. `devices` are those that it found when it was accepted.

    `waiting` of them have not had their turn; `states` counts the others' commands. It has `ended`
    when each has an outcome.
    """

    id: str
    state: GroupCommandState
    operation: Operation
    path: str
    devices: int
    waiting: int
    states: dict[CommandState, int]
    rate_per_s: float
    issued_at_us: int
    ends_at_us: int
    target: CommandTarget
    issued_by: str = ""
    cancel_asked_at_us: int | None = None
    ended_at_us: int | None = None


class GroupCommandPage(msgspec.Struct, frozen=True, kw_only=True):
    """Group commands, newest first. `next_cursor` continues; None at the end."""

    group_commands: list[GroupCommandRecord]
    next_cursor: str | None = None
