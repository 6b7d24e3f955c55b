"""The map's document: a fleet as columns, so that 10,000 devices are some hundred KB. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from city_platform.dashboard.live_state import (
    ALARM_LEVELS,
    PRESENCES,
    DeviceState,
    LiveState,
    Scalar,
    Sight,
)
from contracts.api import FoundDevice

# What may not be seen; behind the last level.
ALARM_HIDDEN: Final = len(ALARM_LEVELS)
_ALARM_NUMBERS: Final = {level: number for number, level in enumerate(ALARM_LEVELS)}
_PRESENCE_NUMBERS: Final = {presence: number for number, presence in enumerate(PRESENCES)}


def map_body(
    devices: Sequence[FoundDevice], states: Mapping[str, object], fleet_revision: int
) -> bytes:
    """The map's document: positions, models and `state_columns` of devices. See
    docs/operations/dashboard.md. It can be made in a thread."""
    document = {"fleet": fleet_revision, **states, **device_columns(devices)}
    # Column by column: who encodes lets nobody else of the process come between.
    return msgspec.json.encode(
        {name: msgspec.Raw(msgspec.json.encode(each)) for name, each in document.items()}
    )


def device_columns(devices: Sequence[FoundDevice]) -> dict[str, Any]:
    """What of the document is known of devices without their states: most of it.

    Streets and sites are there so that pages can draw them: lines along the devices of a street,
    outlines around those of a site.
    """
    found: dict[str, Any] = {
        "count": len(devices),
        "endpoint": [one.endpoint for one in devices],
        # A ten-millionth of a degree is a centimetre.
        "longitude": [round(one.longitude * 1e7) / 1e7 for one in devices],
        "latitude": [round(one.latitude * 1e7) / 1e7 for one in devices],
    }
    for name, names, texts in (
        ("model", "models", [one.model for one in devices]),
        ("tenant", "tenants", [one.tenant for one in devices]),
        ("site", "sites", [one.site for one in devices]),
        ("street", "streets", [one.street for one in devices]),
    ):
        numbers = _numbers(texts)
        found[name] = [numbers[text] for text in texts]
        found[names] = list(numbers)
    return found


def state_columns(
    devices: Sequence[FoundDevice], state: LiveState, sight: Sight, paths: Sequence[str]
) -> dict[str, Any]:
    """The states of devices as they are at one revision: made at once, on the event loop."""
    known = [state.get(one.endpoint) for one in devices]
    may_see = _may_see(devices, sight)
    return {
        "epoch": state.epoch,
        "revision": state.revision,
        "presence": [0 if one is None else _PRESENCE_NUMBERS[one.presence] for one in known],
        "alarm": [
            (0 if one is None else _ALARM_NUMBERS[one.alarm]) if may else ALARM_HIDDEN
            for one, may in zip(known, may_see, strict=True)
        ],
        "at_us": [None if one is None else one.at_us for one in known],
        "values": {
            path: [
                _value(one, path) if may else None for one, may in zip(known, may_see, strict=True)
            ]
            for path in paths
        },
    }


def _numbers(texts: Iterable[str]) -> dict[str, int]:
    """Texts by number, in the order in which they came."""
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}


def _may_see(devices: Sequence[FoundDevice], sight: Sight) -> list[bool]:
    tenants = [one.tenant for one in devices]
    # There are few tenants and many devices.
    seen = {tenant: sight.sees_telemetry(tenant) for tenant in dict.fromkeys(tenants)}
    return [seen[tenant] for tenant in tenants]


def with_state(device: FoundDevice, state: LiveState, sight: Sight) -> dict[str, Any]:
    """A device that was found, as plain values, with its latest state."""
    known = state.get(device.endpoint)
    plain: dict[str, Any] = {
        "endpoint": device.endpoint, "tenant": device.tenant, "site": device.site,
        "group": device.group, "model": device.model, "serial": device.serial,
        "street": device.street, "latitude": device.latitude, "longitude": device.longitude,
        "installed_on": device.installed_on, "attributes": device.attributes,
        "firmware": device.firmware, "feeder": device.feeder, "distance_m": device.distance_m,
    }  # fmt: skip
    return plain | state_document(known, sight.sees_telemetry(device.tenant))


def state_document(known: DeviceState | None, may_see_telemetry: bool) -> dict[str, Any]:
    """Presence, alarm and last sign of life; an alarm that may not be seen is None."""
    if known is None:
        return {
            "presence": "unknown", "alarm": "none" if may_see_telemetry else None, "at_us": None
        }  # fmt: skip
    return {
        "presence": known.presence,
        "alarm": known.alarm if may_see_telemetry else None,
        "at_us": known.at_us,
    }


def _value(known: DeviceState | None, path: str) -> Scalar | None:
    latest = None if known is None else known.values.get(path)
    return None if latest is None else latest.value
