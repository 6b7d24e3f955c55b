"""Where the connection to the LwM2M server stands, and what may happen to it, as a table."""

from __future__ import annotations

from enum import Enum

from contracts.errors import ContractError


class PeerError(ContractError):
    """The LwM2M server broke the data interface; the connection must be given up."""


class Link(Enum):
    """Where the connection to the server stands."""

    OFFLINE = "offline"
    OPENING = "opening"
    SNAPSHOT = "snapshot"
    LIVE = "live"

    # Looked up in tables for every frame: Enum's own hash is computed in Python.
    __hash__ = object.__hash__


class Happening(Enum):
    """What can happen to the connection."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    HELLO_KNOWN = "hello_known"
    HELLO_NEW = "hello_new"
    SNAPSHOT_PART = "snapshot_part"
    SNAPSHOT_ENDED = "snapshot_ended"
    EVENT = "event"

    # Looked up in tables for every frame: Enum's own hash is computed in Python.
    __hash__ = object.__hash__


TRANSITIONS: dict[Link, dict[Happening, Link]] = {
    Link.OFFLINE: {Happening.CONNECTED: Link.OPENING, Happening.DISCONNECTED: Link.OFFLINE},
    Link.OPENING: {
        # The server knows where this bridge was: events follow, or a snapshot after a gap.
        Happening.HELLO_KNOWN: Link.LIVE,
        Happening.HELLO_NEW: Link.SNAPSHOT,
        Happening.DISCONNECTED: Link.OFFLINE,
    },
    Link.SNAPSHOT: {
        Happening.SNAPSHOT_PART: Link.SNAPSHOT,
        Happening.SNAPSHOT_ENDED: Link.LIVE,
        Happening.DISCONNECTED: Link.OFFLINE,
    },
    Link.LIVE: {
        Happening.SNAPSHOT_PART: Link.SNAPSHOT,
        Happening.SNAPSHOT_ENDED: Link.LIVE,
        Happening.EVENT: Link.LIVE,
        Happening.DISCONNECTED: Link.OFFLINE,
    },
}


def follow(link: Link, happening: Happening) -> Link:
    """The state after `happening`. Raises `PeerError` for what the table does not have."""
    following = TRANSITIONS[link].get(happening)
    if following is None:
        raise PeerError(f"{happening.value} is not expected while {link.value}")
    return following
