"""Whether a registration gets credentials: DESIGN's rules as a plain function."""

from __future__ import annotations

from typing import Literal

import msgspec

from city_platform.event_heads import EventHead
from contracts.data_interface import Event, ObjectLink
from contracts.names import is_endpoint_name

Reason = Literal[
    "not_a_registration",
    "illegal_endpoint",
    "no_registration",
    "nosec",
    "unknown_endpoint",
    "no_credentials",
    "confirmed",
    "no_bridge_certificate",
    "claims_another_device",
    "malformed",
]

BROKER_INSTANCE = "/18830/0"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a device when its registration is told."""

    # Version of the credentials file, None when there is none.
    credentials_version: str | None
    # The version that the device was last seen to have, None before.
    confirmed_version: str | None = None
    # Whether the endpoint was ever provisioned.
    is_known: bool = True
    # Whether the installation accepts registrations over NoSec; a report must say so.
    nosec_allowed: bool = False


class SendCredentials(msgspec.Struct, frozen=True):
    """Write this version to the device under this registration."""

    endpoint: str
    server: str
    registration_id: str
    version: str


class Ignore(msgspec.Struct, frozen=True):
    """Nothing is published, nothing is written. `wanted` is what could only not be sealed now."""

    reason: Reason
    wanted: SendCredentials | None = None


_links = msgspec.json.Decoder(list[ObjectLink])


def decide(event: Event | EventHead, facts: Facts) -> SendCredentials | Ignore:
    """What to do about an event.

    Only `registered` (a snapshot's entry is one) triggers. A device that says it has `/18830/0`
    and is known to have this version is left alone; one that lost either gets it again.
    """
    registration = event.registration
    if event.kind != "registered":
        return Ignore("not_a_registration")
    if not is_endpoint_name(event.endpoint):
        return Ignore("illegal_endpoint")
    if registration is None or registration.endpoint != event.endpoint:
        return Ignore("no_registration")
    if registration.security.mode == "nosec" and not facts.nosec_allowed:
        return Ignore("nosec")
    if not facts.is_known:
        return Ignore("unknown_endpoint")
    if facts.credentials_version is None:
        return Ignore("no_credentials")
    # Versions first: a new device has none, and its links need not be looked through.
    if facts.confirmed_version == facts.credentials_version and _has_broker(
        registration.object_links
    ):
        return Ignore("confirmed")
    return SendCredentials(
        event.endpoint, event.server, registration.registration_id, facts.credentials_version
    )


def _has_broker(links: list[ObjectLink] | msgspec.Raw) -> bool:
    """Links that cannot be read have none: the device gets its credentials once more."""
    try:
        found = links if isinstance(links, list) else _links.decode(links)
    except (msgspec.DecodeError, RecursionError):
        return False
    return any(link.path == BROKER_INSTANCE for link in found)
