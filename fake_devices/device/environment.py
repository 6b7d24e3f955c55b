"""What all devices of a fleet share: settings, where they record, their chance, cached plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from contracts.journal import Record
from fake_devices.device.account import Stream
from fake_devices.device.downlink import Served
from fake_devices.device.settings import DeviceSettings
from fake_devices.device.telemetry import ReportedResource, plan_report
from fake_devices.devices import DeviceModel, Values
from lwm2m.objects import Models, ObjectPath
from lwm2m.registration import RetryPolicy

_FOR_EVER = 2**31
_VERSIONS = ("1.2", "1.1", "1.0")


class IncidentPlan(msgspec.Struct, frozen=True):
    """An incident in seconds after the device's first MQTT connection."""

    kind: str
    begins_after_s: float
    ends_after_s: float


class Environment:
    """Handed to every device.

    `record` takes what happened; `chance` gives numbers in [0, 1); `draw_boot_id` a new boot id.
    `served`, if any, is told of every request that a server made and what it did to the values.
    """

    __slots__ = (
        "_alarms",
        "_plans",
        "chance",
        "draw_boot_id",
        "record",
        "register_tails",
        "retries",
        "retries_with_bootstrap",
        "served",
        "server_plans",
        "settings",
        "versions",
    )

    def __init__(
        self,
        settings: DeviceSettings,
        record: Callable[[Record], None],
        chance: Callable[[], float],
        draw_boot_id: Callable[[], str],
        served: Callable[[Served, Values], None] | None = None,
    ) -> None:
        self.settings = settings
        self.retries = RetryPolicy(
            attempts_per_sequence=settings.register_retries + 1,
            retry_s=settings.register_retry_s,
            sequence_delay_s=settings.register_pause_s,
            sequences=settings.register_sequences or _FOR_EVER,
            jitter_ratio=settings.reconnect_jitter_ratio,
            update_before_s=settings.update_before_s,
        )
        # Of a device that bootstraps again when its registration has failed.
        self.retries_with_bootstrap = msgspec.structs.replace(
            self.retries, sequences=settings.register_sequences or 1
        )
        # The versions that a device offers, its own first.
        self.versions = _VERSIONS[_VERSIONS.index(settings.lwm2m_version) :]
        # What devices that were born alike have in /0 and /1, by `servers`.
        self.server_plans: dict[object, Any] = {}
        # What follows the endpoint name in a Register, by lifetime and LwM2M version.
        self.register_tails: dict[tuple[int, str], tuple[str, ...]] = {}
        self.record = record
        self.chance = chance
        self.draw_boot_id = draw_boot_id
        self.served = served
        self._plans: dict[tuple[str, tuple[ObjectPath, ...]], tuple[ReportedResource, ...]] = {}
        self._alarms: dict[tuple[str, tuple[ObjectPath, ...]], int] = {}

    def plan(
        self, model: DeviceModel, stream: Stream, models: Models
    ) -> tuple[ReportedResource, ...]:
        """What a state stream reports of a device of this model."""
        key = (model.name, stream.sources)
        found = self._plans.get(key)
        if found is None:
            found = self._plans[key] = plan_report(model.reported, stream.sources, models)
        return found

    def alarms(self, model: DeviceModel, stream: Stream) -> int:
        """The alarm rules that an alarm stream reports, as bits."""
        key = (model.name, stream.sources)
        found = self._alarms.get(key)
        if found is None:
            found = self._alarms[key] = sum(
                1 << number
                for number, rule in enumerate(model.alarm_rules)
                if not stream.sources
                or any(source.contains(rule.path) for source in stream.sources)
            )
        return found
