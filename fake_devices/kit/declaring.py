"""Checks what a device's maker declares against the object definitions, and says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from contracts.telemetry import SENML_UNITS
from fake_devices.device import LwM2mVersion, device_models
from lwm2m.errors import LwM2mError
from lwm2m.objects import (
    Models,
    ObjectPath,
    ResourceModel,
    Value,
    ValueType,
    check_path,
    check_value,
    read_xml,
    resource_model,
)

Measure: TypeAlias = Callable[[], Value]
"""A function without arguments that measures a value."""
Bound: TypeAlias = Value | Measure | Mapping[int, Value | Measure]
"""A value, what measures one, or either of them by the number of the resource instance."""

_NOT_DECLARED: Final = {
    0: "servers' accounts come from `run` and from bootstrap",
    1: "servers' accounts come from `run` and from bootstrap",
    2: "the device keeps its servers' rights itself",
    5: "`Device(…, firmware=FirmwareSettings(…))` brings it",
    21: "bootstrap writes it",
    23: "bootstrap writes it",
    18830: "the platform creates it",
    18831: "the platform creates it",
}
_UNREPORTABLE: Final = (ValueType.OPAQUE, ValueType.OBJECT_LINK)


class IllegalDeclaration(ValueError):
    """What was declared is no LwM2M; the text says which path, why, and what to do."""


def models_of(version: LwM2mVersion, object_files: Iterable[str | Path]) -> Models:
    """The definitions that a device has: the built-in ones, and those of its maker's OMA XML.

    Raises `IllegalDeclaration` with the file, the line and the remedy of each error.
    """
    models = dict(device_models(version))
    for file in object_files:
        try:
            found = read_xml(Path(file).read_bytes(), str(file))
        except OSError as error:
            raise IllegalDeclaration(f"cannot read {file}: {error.strerror}") from error
        except LwM2mError as error:
            raise IllegalDeclaration(str(error)) from None
        models[found.id] = found
    return models


class Checks:
    """Paths and values against `models`; every method raises `IllegalDeclaration`."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def path(self, text: str, *depths: int) -> ObjectPath:
        """The path that `text` names: one of these depths, of a known object."""
        try:
            path = ObjectPath.parse(text)
            check_path(self.models, path)
        except LwM2mError as error:
            raise IllegalDeclaration(str(error)) from None
        if path.depth not in depths:
            forms = " or ".join(_FORMS[depth] for depth in depths)
            raise IllegalDeclaration(f"{path}: {forms} is needed here")
        if path.object_id in _NOT_DECLARED:
            raise IllegalDeclaration(
                f"{path}: object {path.object_id} is not declared: {_NOT_DECLARED[path.object_id]}"
            )
        if path.object_id not in self.models:
            raise IllegalDeclaration(
                f"{path}: no definition of object {path.object_id} is known; give its OMA XML in "
                "`object_files`"
            )
        return path

    def resource(self, path: ObjectPath) -> ResourceModel:
        """The definition of the resource at or above `path`."""
        found = resource_model(self.models, path)
        if found is None:
            name = self.models[path.object_id].name
            raise IllegalDeclaration(
                f"{path}: object {path.object_id} ({name}) has no resource {path.resource_id}"
            )
        return found

    def value(self, path: ObjectPath, value: Value) -> None:
        """Return when the value fits its resource."""
        model = self.resource(path)
        if model.is_executable:
            raise IllegalDeclaration(
                f"{path}: {model.name} is executed and has no value; use on_execute"
            )
        try:
            check_value(model, value)
        except LwM2mError as error:
            raise IllegalDeclaration(f"{path}: {error}") from None

    def form(self, path: ObjectPath) -> None:
        """Return when `path` can hold one value: its resource has instances or it has none."""
        model = self.resource(path)
        if model.multiple and path.resource_instance_id is None:
            raise IllegalDeclaration(
                f"{path}: {model.name} has instances; bind {path}/0, or {{0: …, 1: …}}"
            )

    def writable(self, path: ObjectPath) -> None:
        """Return when a server may write the resource."""
        model = self.resource(path)
        if not model.is_writable:
            raise IllegalDeclaration(f"{path}: {model.name} cannot be written by a server")

    def executable(self, path: ObjectPath) -> None:
        """Return when a server may execute the resource."""
        model = self.resource(path)
        if not model.is_executable:
            raise IllegalDeclaration(f"{path}: {model.name} cannot be executed")

    def reported(self, path: ObjectPath) -> None:
        """Return when the resource's value can go into a pack of readings."""
        model = self.resource(path)
        if model.type in _UNREPORTABLE:
            raise IllegalDeclaration(
                f"{path}: {model.name} is {model.type.value}; packs hold numbers, texts, booleans"
            )
        if model.unit not in SENML_UNITS:
            raise IllegalDeclaration(f"{path}: unit {model.unit!r} has no SenML unit")


_FORMS: Final = {
    2: "an object instance such as /3303/0",
    3: "a resource such as /3303/0/5700",
    4: "a resource instance such as /3/0/7/0",
}
