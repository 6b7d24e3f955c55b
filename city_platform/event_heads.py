"""Events as far as the platform must read them: what a device's registration links to stays unread.

A fleet's registrations are told to everybody, and a device's object links are most of each. What is
not read here is not checked either: that is for whoever reads it.
"""

from __future__ import annotations

import msgspec

from contracts.data_interface import VERSION, Completes, EventKind, Outcome, Security
from contracts.errors import ContractError, UnsupportedVersion


class RegistrationHead(msgspec.Struct, frozen=True, gc=False):
    """Of a `contracts.data_interface.Registration`."""

    registration_id: str
    endpoint: str
    object_links: msgspec.Raw
    security: Security
    registered_at_us: int


class EventHead(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="event"):
    """Of a `contracts.data_interface.Event`."""

    server: str
    epoch: str
    seq: int
    kind: EventKind
    endpoint: str
    registration_id: str | None = None
    registration: RegistrationHead | None = None
    result: Outcome | None = None
    completed: Completes | None = None
    snapshot: bool = False
    v: int = VERSION


_heads = msgspec.json.Decoder(EventHead)


def decode_event_head(payload: bytes) -> EventHead:
    """As much of an event as has a field here. Raises `ContractError`."""
    try:
        head = _heads.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"not an event: {error}") from error
    if head.v > VERSION:
        raise UnsupportedVersion("this frame", head.v, VERSION)
    return head
