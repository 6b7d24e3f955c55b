"""A device's object instances and values: what differs from its model's template, and nothing else.

Two thousand lamps share one table of values; each keeps the few of its own and those that changed.
Which operations are allowed on them is `downlink`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar, overload

from fake_devices.devices import Changes
from lwm2m.objects import Models, ObjectPath, Value


class _Absent:
    """Marks a value of the template that this device does not have (any more)."""


_ABSENT: Final = _Absent()
# MQTT Broker and MQTT Publication: what a platform sets up on a device. All others are soldered in.
CREATABLE_OBJECTS: Final = (18830, 18831)
# Objects that bootstrap fills: Security, Access Control, OSCORE, COSE, MQTT Server.
_BOOTSTRAPPED_WHOLE: Final = frozenset({0, 2, 21, 23, 24})
_PATHS_SHARED_MAX: Final = 4_096
_Kind = TypeVar("_Kind")


class ModelTemplate:
    """What all devices of one model share: object instances, values, and the registry's models.

    `executable` are the resources that can be executed. Servers may create instances of `creatable`
    objects, with all resources that the registry knows, and delete those of `deletable` ones. Of
    other objects a device has the resources that it was born with, and `supported` ones, as
    (object id, resource id), that have no value at first. `object_lists` caches the encoded
    object list of a registration by its instances, `sources` the parsed link lists
    of publications.
    """

    __slots__ = (
        "creatable",
        "deletable",
        "executable",
        "instances",
        "lwm2m_version",
        "models",
        "object_lists",
        "objects",
        "paths",
        "sources",
        "supported",
        "values",
    )

    def __init__(
        self,
        instances: Iterable[ObjectPath],
        values: Changes,
        models: Models,
        executable: Iterable[ObjectPath] = (),
        *,
        creatable: Iterable[int] = CREATABLE_OBJECTS,
        deletable: Iterable[int] | None = None,
        supported: Iterable[tuple[int, int]] = (),
        lwm2m_version: str = "1.1",
    ) -> None:
        self.instances = tuple(sorted(instances))
        self.values = values
        self.models = models
        self.executable = frozenset(executable)
        self.creatable = frozenset(creatable)
        self.deletable = self.creatable if deletable is None else frozenset(deletable)
        self.objects = self.creatable | {path.object_id for path in self.instances}
        self.supported = frozenset(
            [*supported, *((path[0], path[2]) for path in (*values, *self.executable))]
        )
        self.lwm2m_version = lwm2m_version
        # The one copy of each path: tables of two thousand devices hold references to it.
        self.paths = {path: path for path in values}
        self.object_lists: dict[tuple[ObjectPath, ...], bytes] = {}
        self.sources: dict[str, tuple[ObjectPath, ...] | None] = {}

    def shared(self, path: ObjectPath) -> ObjectPath:
        """The shared copy of `path`, or `path` itself when servers make up ever new instances."""
        if len(self.paths) >= _PATHS_SHARED_MAX:
            return self.paths.get(path, path)
        return self.paths.setdefault(path, path)


class ObjectTree(Mapping[ObjectPath, Value]):
    """One device's instances and values, by resource or resource instance path."""

    __slots__ = ("_own", "instances", "template")

    def __init__(self, template: ModelTemplate, initial: Changes) -> None:
        self.template = template
        self.instances = template.instances
        self._own: dict[ObjectPath, Value | _Absent] = {
            template.shared(path): value
            for path, value in initial.items()
            if template.values.get(path) != value
        }
        for path in template.values.keys() - initial.keys():
            self._own[template.shared(path)] = _ABSENT

    def __getitem__(self, path: ObjectPath) -> Value:
        found = self._own.get(path)
        if found is None:
            return self.template.values[path]
        if isinstance(found, _Absent):
            raise KeyError(path)
        return found

    @overload
    def get(self, path: ObjectPath, /) -> Value | None: ...
    @overload
    def get(self, path: ObjectPath, /, default: Value | _Kind) -> Value | _Kind: ...
    def get(self, path: ObjectPath, /, default: object = None) -> object:
        """As `Mapping.get`, without an exception for each miss: models ask all the time."""
        found = self._own.get(path)
        if found is None:
            return self.template.values.get(path, default)
        return default if found is _ABSENT else found

    def __contains__(self, path: object) -> bool:
        found = self._own.get(path)  # type: ignore[call-overload]  # any object may be asked for
        return path in self.template.values if found is None else found is not _ABSENT

    def __iter__(self) -> Iterator[ObjectPath]:
        yield from (path for path in self.template.values if path not in self._own)
        yield from (path for path, value in self._own.items() if value is not _ABSENT)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def apply(self, changes: Changes) -> None:
        """Set values. A value that equals the template's is not kept twice."""
        own, template = self._own, self.template
        for path, value in changes.items():
            if path not in own and template.values.get(path) == value:
                continue
            own[path if path in own else template.shared(path)] = value

    def remove(self, paths: Iterable[ObjectPath]) -> None:
        """Forget values."""
        for path in paths:
            if path in self.template.values:
                self._own[self.template.shared(path)] = _ABSENT
            else:
                self._own.pop(path, None)

    def create_instance(self, instance: ObjectPath, values: Changes) -> None:
        """Add an object instance with its values."""
        self.instances = tuple(sorted({*self.instances, instance}))
        self.apply(values)

    def delete_instance(self, instance: ObjectPath) -> None:
        """Remove an object instance and its values."""
        self.remove(self.values_beneath(instance))
        self.instances = tuple(each for each in self.instances if each != instance)

    def supports(self, path: ObjectPath) -> bool:
        """Whether the device has the resource at or above `path`, with or without a value."""
        template = self.template
        if path.object_id in template.creatable or path.object_id in _BOOTSTRAPPED_WHOLE:
            return True
        if (path.object_id, path.resource_id) in template.supported or path in self:
            return True
        resource = path.resource
        return any(resource.contains(each) for each in self._own if each in self)

    def own_values(self, objects_below: int) -> tuple[tuple[ObjectPath, object], ...]:
        """What of the objects with lower ids differs from the template; equal for equal trees."""
        # A list first: a generator costs a device's start as much again.
        return tuple([item for item in self._own.items() if item[0][0] < objects_below])

    def instances_of(self, object_id: int) -> list[ObjectPath]:
        """The instances of an object, by instance id."""
        return [each for each in self.instances if each.object_id == object_id]

    def values_beneath(self, base: ObjectPath) -> list[ObjectPath]:
        """Paths of all values at or beneath `base`, in order."""
        # Missing levels never meet numbers here: a resource has a value or instances, not both.
        if base.resource_id is not None and base in self:
            return [base]
        depth = base.depth
        levels = base[:depth]
        return sorted(path for path in self if path[:depth] == levels)
