"""What an object's definition says, and whether values, paths and operations keep to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from lwm2m.errors import IllegalPath, InvalidValue, OperationNotAllowed
from lwm2m.objects.path import ObjectPath
from lwm2m.objects.values import NUMERIC, Value, ValueType, check_type


class ValueRange(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bounds of a number, or of the length in bytes of a string or opaque; `allowed` is a list."""

    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[float, ...] = ()

    def holds(self, number: float) -> bool:
        """Whether `number` is within."""
        if self.allowed:
            return number in self.allowed
        return (self.minimum is None or number >= self.minimum) and (
            self.maximum is None or number <= self.maximum
        )

    def __str__(self) -> str:
        if self.allowed:
            return "one of " + ", ".join(f"{number:g}" for number in self.allowed)
        low = "-∞" if self.minimum is None else f"{self.minimum:.15g}"
        high = "∞" if self.maximum is None else f"{self.maximum:.15g}"
        return f"{low} to {high}"


class ResourceModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """One resource of an object. `operations` has letters R, W, E; none: bootstrap only.

    `unit` is the registry's (not always a SenML unit, RFC 8798). An executable resource has type
    NONE. `range_note` is a range that its author wrote for people: it is shown and not enforced.
    """

    id: int
    name: str
    type: ValueType
    operations: str = ""
    multiple: bool = False
    mandatory: bool = False
    unit: str = ""
    range: ValueRange | None = None
    range_note: str = ""

    @property
    def is_readable(self) -> bool:
        """Whether a server may read it."""
        return "R" in self.operations

    @property
    def is_writable(self) -> bool:
        """Whether a server may write it."""
        return "W" in self.operations

    @property
    def is_executable(self) -> bool:
        """Whether a server may execute it."""
        return "E" in self.operations


class ObjectModel(msgspec.Struct, frozen=True):
    """One version of one object. `multiple` says whether it may have more than one instance."""

    id: int
    name: str
    version: str
    lwm2m_version: str
    multiple: bool
    mandatory: bool
    resources: dict[int, ResourceModel]


Models = Mapping[int, ObjectModel]


def resource_model(models: Models, path: ObjectPath) -> ResourceModel | None:
    """The definition of the resource at `path`; None when the object or resource is unknown."""
    model = models.get(path.object_id)
    if model is None or path.resource_id is None:
        return None
    return model.resources.get(path.resource_id)


def check_value(model: ResourceModel, value: Value) -> None:
    """Return when one value fits: type and range. Raises `InvalidValue` without the value."""
    check_type(model.type, value, model.name)
    if model.range is None:
        return
    if model.type in NUMERIC:
        assert isinstance(value, int | float)
        if not model.range.holds(value):
            raise InvalidValue(model.name, f"{value} is not {model.range}")
    elif isinstance(value, str | bytes):
        length = len(value.encode() if isinstance(value, str) else value)
        if not length and not model.operations:
            # What only bootstrap writes, such as keys, is empty where it does not apply
            # (LwM2M Core appendix E.1).
            return
        if not model.range.holds(length):
            raise InvalidValue(model.name, f"{length} bytes: the length must be {model.range}")


def check_path(models: Models, path: ObjectPath) -> None:
    """Return when the levels of `path` fit its definition; unknown objects and resources pass.

    Raises `IllegalPath`: an instance of a single-instance object other than 0, or a resource
    instance of a resource that has none.
    """
    model = models.get(path.object_id)
    if model is None:
        return
    if not model.multiple and path.instance_id not in (None, 0):
        raise IllegalPath(f"{path}: {model.name} has one instance, 0")
    resource = resource_model(models, path)
    if resource is not None and path.resource_instance_id is not None and not resource.multiple:
        raise IllegalPath(f"{path}: {resource.name} has no resource instances")


def check_operation(model: ResourceModel, operation: str) -> None:
    """Return when `operation` (R, W or E) is allowed. Raises `OperationNotAllowed` (4.05)."""
    if operation not in model.operations:
        verb = {"R": "read", "W": "written", "E": "executed"}[operation]
        raise OperationNotAllowed(f"{model.name} cannot be {verb}")


def check_write(
    models: Models, values: Iterable[tuple[ObjectPath, Value]], *, is_bootstrap: bool = False
) -> None:
    """Return when all of these values may be written: levels, operations, types and ranges.

    Values of unknown objects and resources pass. A bootstrap server may write what nobody else may
    (LwM2M Core §6.1.7.5), but nothing can write an executable. Raises `IllegalPath`,
    `OperationNotAllowed` or `InvalidValue`.
    """
    for path, value in values:
        check_path(models, path)
        model = resource_model(models, path)
        if model is None:
            continue
        if model.multiple and path.resource_instance_id is None:
            raise IllegalPath(f"{path}: {model.name} has resource instances")
        if not is_bootstrap or model.is_executable:
            check_operation(model, "W")
        check_value(model, value)


def check_create(
    models: Models, instance: ObjectPath, values: Iterable[tuple[ObjectPath, Value]]
) -> None:
    """Return when an object instance may be created with these values (LwM2M Core §6.3.8).

    Read-only resources may be given too: the instance needs them from somewhere. Raises as
    `check_write` does, and `InvalidValue` when a mandatory writable resource is missing.
    """
    given = list(values)
    check_path(models, instance)
    check_write(models, given, is_bootstrap=True)
    model = models.get(instance.object_id)
    if model is None:
        return
    present = [path.resource_id for path, _value in given if path.resource_id is not None]
    missing = missing_mandatory(model, present)
    if missing:
        names = ", ".join(model.resources[number].name for number in missing)
        raise InvalidValue(model.name, f"a new instance needs {names}")


def missing_mandatory(model: ObjectModel, given: Iterable[int]) -> list[int]:
    """Ids of mandatory writable resources that are not among `given`, for Create (4.00)."""
    present = set(given)
    return [
        resource.id
        for resource in model.resources.values()
        if resource.mandatory and resource.is_writable and resource.id not in present
    ]
