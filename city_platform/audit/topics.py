"""From a message on a command topic, or a command's end, to the entry that is kept of it."""

from __future__ import annotations

import contextlib
import hashlib

import msgspec

from city_platform.audit.entries import AuditEntry, AuditOutcome, shortened
from city_platform.endpoint_topics import EndpointTopic
from contracts.data_interface import (
    Cancel,
    Command,
    Outcome,
    decode_bridge_frame,
    decode_command,
    decode_event,
)
from contracts.errors import ContractError
from contracts.topics import Topics

NAME_LENGTH_MAX = 256
SOURCE = "topic"

_STAGES: dict[str, AuditOutcome] = {
    "expired": "expired",
    "timeout": "unknown",
    "unknown": "unknown",
}


class CommandTopics:
    """An installation's command topics, read by the thousand."""

    def __init__(self, topics: Topics) -> None:
        self._topics = (EndpointTopic(topics.held_command), EndpointTopic(topics.command))

    def device_of(self, topic: str) -> str:
        """Whose topic it is; empty when it is none of them."""
        for one in self._topics:
            if (endpoint := one.read(topic)) is not None:
                return shortened(endpoint, NAME_LENGTH_MAX)
        return ""


def published_entry(topics: CommandTopics, topic: str, payload: bytes, at_us: int) -> AuditEntry:
    """The entry of what was published to a command topic, whatever it is.

    A command that is driven again is one entry; another command under an id that was used before
    is a new one. What cannot be read is kept by its hash.
    """
    device = topics.device_of(topic)
    try:
        command = _decode(payload)
    except ContractError as error:
        return AuditEntry(
            id=f"published:{hashlib.sha256(topic.encode() + bytes(1) + payload).hexdigest()}",
            at_us=at_us, operation="unreadable_command", outcome="published", source=SOURCE,
            device=device, detail=shortened(f"{len(payload)} bytes on {topic[:200]}: {error}"),
        )  # fmt: skip
    if isinstance(command, Cancel):
        digest = hashlib.sha256(f"cancel\0{device}\0{command.id}".encode()).hexdigest()
        return AuditEntry(
            id=f"published:{digest}", at_us=at_us, operation="command.cancel", outcome="published",
            source=SOURCE, device=device, reference=shortened(command.id, NAME_LENGTH_MAX),
        )  # fmt: skip
    return AuditEntry(
        id=f"published:{_digest(command, device)}",
        at_us=at_us,
        operation=f"command.{command.operation}",
        outcome="published",
        source=SOURCE,
        who=shortened(command.issued_by or "", NAME_LENGTH_MAX),
        device=device,
        reference=shortened(command.id, NAME_LENGTH_MAX),
        detail=_detail(command, device),
    )


def ended_entry(topic: str, payload: bytes, at_us: int) -> AuditEntry | None:
    """The entry of a command's end; None for an event that is none. Raises `ContractError`."""
    event = decode_event(payload)
    outcome = event.result
    if outcome is None:
        return None
    digest = hashlib.sha256(f"{event.server}\0{event.epoch}\0{outcome.id}".encode()).hexdigest()
    return AuditEntry(
        id=f"ended:{digest}",
        at_us=at_us,
        operation=f"command.{outcome.operation}",
        outcome=outcome_of(outcome),
        source=SOURCE,
        device=shortened(event.endpoint, NAME_LENGTH_MAX),
        reference=shortened(outcome.id, NAME_LENGTH_MAX),
        detail=shortened(_end_detail(outcome)),
    )


def outcome_of(outcome: Outcome) -> AuditOutcome:
    """What a device's or server's answer is in the log."""
    if outcome.succeeded:
        return "succeeded"
    if outcome.is_unreadable:
        return "unknown"
    if outcome.error is not None and outcome.code is None:
        return _STAGES.get(outcome.error.stage, "refused")
    return "refused" if outcome.code is not None else "unknown"


def _decode(payload: bytes) -> Command | Cancel:
    """A command, or that one is taken back. Raises `ContractError` as for a command."""
    try:
        return decode_command(payload)
    except ContractError:
        with contextlib.suppress(ContractError):
            if isinstance(frame := decode_bridge_frame(payload), Cancel):
                return frame
        raise


def _end_detail(outcome: Outcome) -> str:
    # Neither values nor what a device wrote back: they may be anybody's data.
    parts = [outcome.path or "", outcome.code or "", outcome.error.stage if outcome.error else ""]
    return " ".join(part for part in parts if part)


def _digest(command: Command, device: str) -> str:
    # The holder changes when a command is driven again to where its device went.
    same = msgspec.structs.replace(command, holder=None)
    return hashlib.sha256(device.encode() + bytes(1) + msgspec.json.encode(same)).hexdigest()


def _detail(command: Command, device: str) -> str:
    # What was written stays out: a value may be a secret. That it was written, and where, is kept.
    places = command.path or " ".join(command.paths or [])
    claimed = "" if command.endpoint == device else f" (the command names {command.endpoint[:128]})"
    return shortened(f"{places}{claimed}")
