"""The map's document: a fleet as columns, so that 10,000 devices are some hundred KB. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

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


class _Names:
    """Names by number, in the order in which they came."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))


def map_document(
    devices: Sequence[FoundDevice],
    state: LiveState,
    sight: Sight,
    paths: Sequence[str],
    fleet_revision: int = 0,
) -> dict[str, Any]:
    """Positions, models and latest states of devices. See docs/operations/dashboard.md.

    Streets and sites are there so that pages can draw them: lines along the devices of a street,
    outlines around those of a site.
    """
    models, tenants, sites, streets = _Names(), _Names(), _Names(), _Names()
    known = [state.get(one.endpoint) for one in devices]
    may_see = [sight.sees_telemetry(one.tenant) for one in devices]
    return {
        "epoch": state.epoch,
        "revision": state.revision,
        "fleet": fleet_revision,
        "count": len(devices),
        "endpoint": [one.endpoint for one in devices],
        # A ten-millionth of a degree is a centimetre.
        "longitude": [round(one.longitude, 7) for one in devices],
        "latitude": [round(one.latitude, 7) for one in devices],
        "model": [models.number(one.model) for one in devices],
        "tenant": [tenants.number(one.tenant) for one in devices],
        "site": [sites.number(one.site) for one in devices],
        "street": [streets.number(one.street) for one in devices],
        "presence": [0 if one is None else PRESENCES.index(one.presence) for one in known],
        "alarm": [
            _alarm(one) if may else ALARM_HIDDEN for one, may in zip(known, may_see, strict=True)
        ],
        "at_us": [None if one is None else one.at_us for one in known],
        "values": {
            path: [
                _value(one, path) if may else None for one, may in zip(known, may_see, strict=True)
            ]
            for path in paths
        },
        "models": list(models.numbers),
        "tenants": list(tenants.numbers),
        "sites": list(sites.numbers),
        "streets": list(streets.numbers),
    }


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


def _alarm(known: DeviceState | None) -> int:
    return 0 if known is None else ALARM_LEVELS.index(known.alarm)


def _value(known: DeviceState | None, path: str) -> Scalar | None:
    if known is None or path not in known.values:
        return None
    return known.values[path].value
