"""What all devices of a fleet share: settings, where they record, their chance, cached plans."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from contracts.journal import Record
from fake_devices.device.account import Stream
from fake_devices.device.settings import DeviceSettings
from fake_devices.device.telemetry import ReportedResource, plan_report
from fake_devices.devices import DeviceModel
from lwm2m.objects import Models, ObjectPath


class IncidentPlan(msgspec.Struct, frozen=True):
    """An incident in seconds after the device's first MQTT connection."""

    kind: str
    begins_after_s: float
    ends_after_s: float


class Environment:
    """Handed to every device.

    `record` takes what happened; `chance` gives numbers in [0, 1); `draw_boot_id` a new boot id.
    """

    __slots__ = ("_alarms", "_plans", "chance", "draw_boot_id", "record", "settings")

    def __init__(
        self,
        settings: DeviceSettings,
        record: Callable[[Record], None],
        chance: Callable[[], float],
        draw_boot_id: Callable[[], str],
    ) -> None:
        self.settings = settings
        self.record = record
        self.chance = chance
        self.draw_boot_id = draw_boot_id
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
