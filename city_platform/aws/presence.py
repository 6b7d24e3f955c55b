"""Presence of devices on Lambda: what they say of their connections, and what AWS IoT Core says,
followed as the ingestion component does, with an item a device in the telemetry table.

Rules hand over at least once and in no order, and two calls may have one device at hand at a time:
an item is written only over the one that was read.
"""

from __future__ import annotations

from typing import Any, Final

from city_platform.aws.envelopes import Published
from city_platform.aws.installation import Installation, tenant_of
from city_platform.presence import Told, follow, read_told
from city_platform.stores.aws.errors import AwsUnavailable
from city_platform.stores.aws.tables import Item
from city_platform.stores.aws.telemetry_items import presence_from, presence_item, presence_key
from contracts.errors import ContractError

# How often another call may have been faster with the same device.
TRIES_MAX: Final = 10


async def follow_presence(published: Published, installation: Installation) -> dict[str, Any]:
    """Take one message of a presence or lifecycle topic; told again it changes nothing.

    Raises `AwsUnavailable` where it could not be kept: Lambda then calls again.
    """
    try:
        told = read_told(installation.topics, published.topic, published.payload)
    except ContractError:
        return {"ignored": "malformed"}
    if told is None:
        return {"ignored": "another_topic"}
    # AWS IoT Core tells of the platform's own services too.
    thing = await installation.thing(told.endpoint)
    if thing is None:
        return {"ignored": "unknown_device"}
    return await _keep(told, tenant_of(thing), published.received_ms * 1_000, installation)


async def _keep(
    told: Told, tenant: str, received_us: int, installation: Installation
) -> dict[str, Any]:
    found: Item | None = await installation.telemetry.get(*presence_key(told.endpoint))
    for _ in range(TRIES_MAX):
        known, revision = presence_from(found or {})
        now = follow(known, told, received_us)
        if now is known:
            return {"ignored": "old_connection"}
        item = presence_item(told.endpoint, tenant, now, revision + 1)
        # None: nobody else has written in between; else it is what they have written.
        found = await installation.telemetry.put_if(
            item,
            "revision = :known" if revision else "attribute_not_exists(pk)",
            {":known": revision} if revision else {},
        )
        if found is None:
            return {"followed": told.endpoint, "state": now.state.value}
    raise AwsUnavailable(f"others wrote the presence of {told.endpoint} {TRIES_MAX} times before")
