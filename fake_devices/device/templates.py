"""Makes the template that all devices of one model share, from the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from fake_devices.device.downlink_write import INSTANCES_PER_OBJECT_MAX
from fake_devices.device.firmware import (
    FIRMWARE,
    FIRMWARE_OBJECT,
    firmware_executables,
    firmware_values,
)
from fake_devices.device.lot import born_tree
from fake_devices.device.machine import REBOOT
from fake_devices.device.management import SERVER_EXECUTABLES
from fake_devices.device.registrar import LIFETIME
from fake_devices.device.servers import DEFAULT_ACCOUNT, ServerAccount
from fake_devices.device.settings import LwM2mVersion
from fake_devices.device.tree import ModelTemplate
from fake_devices.devices import DeviceIdentity, DeviceModel
from lwm2m.firmware import FirmwareSettings
from lwm2m.objects import Models, ObjectPath, builtin_models, builtin_versions

_SERVER_OBJECT: Final = 1
# The version of the Server object by LwM2M version (facts of OMA's version tables).
_SERVER_VERSIONS: Final = {"1.0": "1.0", "1.1": "1.1", "1.2": "1.2"}


def device_models(lwm2m_version: LwM2mVersion = "1.1") -> Models:
    """The object definitions that our devices implement: the newest of each object, and of the
    Server object the one of this LwM2M version."""
    versions = builtin_versions()
    # Version 1.0 of the Server object lacks only resources of 1.1's.
    server = versions.get((_SERVER_OBJECT, _SERVER_VERSIONS[lwm2m_version]))
    return {**builtin_models(), _SERVER_OBJECT: server or versions[_SERVER_OBJECT, "1.1"]}


def make_template(
    model: DeviceModel,
    first: DeviceIdentity,
    city_s: float,
    lifetime_s: int,
    models: Models,
    *,
    accounts: Sequence[ServerAccount] = (DEFAULT_ACCOUNT,),
    lwm2m_version: LwM2mVersion = "1.1",
    firmware: FirmwareSettings | None = None,
    executable: Iterable[ObjectPath] = (),
) -> ModelTemplate:
    """What devices of `model` have in common, taken from `first` at city time `city_s`.

    `accounts` is what their factory writes; a device whose own differ keeps what differs.
    `executable` are resources of the model's own that can be executed.
    """
    values = model.initial(first, city_s)
    values[LIFETIME] = lifetime_s
    instances = set(model.objects)
    executables = {REBOOT, *_server_executables(models), *executable}
    if firmware is not None:
        values |= firmware_values(firmware)
        instances.add(FIRMWARE)
        executables.update(firmware_executables(firmware))
    supported = [(_SERVER_OBJECT, number) for number in models[_SERVER_OBJECT].resources]
    if firmware is not None:
        supported += [(FIRMWARE_OBJECT, n) for n in models[FIRMWARE_OBJECT].resources]
    # Born once without a template, for what the factory makes of the model's values.
    tree = born_tree(ModelTemplate(instances, {}, models), values, accounts)
    return ModelTemplate(
        tree.instances,
        dict(tree),
        models,
        executables,
        supported=supported,
        lwm2m_version=lwm2m_version,
    )


def _server_executables(models: Models) -> Iterator[ObjectPath]:
    # Bootstrap may number the instances as it likes.
    for instance_id in range(INSTANCES_PER_OBJECT_MAX):
        for number in SERVER_EXECUTABLES:
            if number in models[_SERVER_OBJECT].resources:
                yield ObjectPath(_SERVER_OBJECT, instance_id, number)
