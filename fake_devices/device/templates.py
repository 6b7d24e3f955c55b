"""Makes the template that all devices of one model share, from the first of them."""

from __future__ import annotations

from fake_devices.device.machine import EXECUTABLE
from fake_devices.device.registrar import LIFETIME
from fake_devices.device.tree import ModelTemplate
from fake_devices.devices import DeviceIdentity, DeviceModel
from lwm2m.objects import Models, builtin_models, builtin_versions


def device_models() -> Models:
    """The object definitions that our devices implement: LwM2M 1.1, so object 1 in version 1.1."""
    return {**builtin_models(), 1: builtin_versions()[1, "1.1"]}


def make_template(
    model: DeviceModel, first: DeviceIdentity, city_s: float, lifetime_s: int, models: Models
) -> ModelTemplate:
    """What devices of `model` have in common, taken from `first` at city time `city_s`."""
    values = model.initial(first, city_s)
    values[LIFETIME] = lifetime_s
    return ModelTemplate(model.objects, values, models, EXECUTABLE)
