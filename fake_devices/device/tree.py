"""A device's object instances and values, in a row whose columns its model's template names.

Two thousand lamps share one table of paths and the values in which they do not differ. Which
operations are allowed on them is `downlink`'s business.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar, overload

from fake_devices.devices import Changes
from lwm2m.codecs import PackReader
from lwm2m.objects import Models, ObjectPath, Value, missing_mandatory


class _Absent:
    """Marks a value of the template that this device does not have (any more)."""


_ABSENT: Final = _Absent()
# MQTT Broker and MQTT Publication: what a platform sets up on a device. All others are soldered in.
CREATABLE_OBJECTS: Final = (18830, 18831)
# Objects that bootstrap fills: Security, Access Control, OSCORE, COSE, MQTT Server.
_BOOTSTRAPPED_WHOLE: Final = frozenset({0, 2, 21, 23, 24})
_PATHS_SHARED_MAX: Final = 4_096
_BASES_KEPT: Final = 512
_SHAPES_KEPT: Final = 256
_SHAPE_PATHS_MAX: Final = 64
_Kind = TypeVar("_Kind")


class Shape(NamedTuple):
    """What the paths of new instances' values say: the instances, in the order in which they come,
    and whether one of them lacks a mandatory resource."""

    instances: tuple[ObjectPath, ...]
    is_incomplete: bool


class ModelTemplate:
    """What all devices of one model share: object instances, values, and the registry's models.

    `executable` are the resources that can be executed. Servers may create instances of `creatable`
    objects, with all resources that the registry knows, and delete those of `deletable` ones. Of
    other objects a device has the resources that it was born with, and `supported` ones, as
    (object id, resource id), that have no value at first. `object_lists` caches the encoded
    object list of a registration by its instances. `packs` reads what servers write by these
    definitions.

    `columns` says where in a device's row the value of each path in `values` is; `row` are those
    values. `created_later` are the creatable objects that no device is born with.
    """

    __slots__ = (
        "_beneath",
        "_grown",
        "_shapes",
        "columns",
        "creatable",
        "created_later",
        "deletable",
        "executable",
        "instances",
        "lwm2m_version",
        "models",
        "no_row",
        "object_lists",
        "objects",
        "packs",
        "paths",
        "row",
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
        born = {path.object_id for path in (*self.instances, *values)}
        self.created_later = self.creatable - born
        self.deletable = self.creatable if deletable is None else frozenset(deletable)
        self.objects = self.creatable | {path.object_id for path in self.instances}
        self.supported = frozenset(
            [*supported, *((path[0], path[2]) for path in (*values, *self.executable))]
        )
        self.lwm2m_version = lwm2m_version
        self.columns = {path: column for column, path in enumerate(values)}
        self.row = tuple(values.values())
        # That of a device whose values nobody has looked at.
        self.no_row: list[Value | _Absent] = []
        # The one copy of each path beside them: two thousand devices hold references to it.
        self.paths: dict[ObjectPath, ObjectPath] = {}
        self._beneath: dict[ObjectPath, tuple[tuple[ObjectPath, int], ...]] = {}
        self._grown: dict[tuple[tuple[ObjectPath, ...], ...], tuple[ObjectPath, ...]] = {}
        self._shapes: dict[tuple[ObjectPath, ...], Shape] = {}
        self.packs = PackReader(models, self.shared)
        self.object_lists: dict[tuple[ObjectPath, ...], bytes] = {}

    def shared(self, path: ObjectPath) -> ObjectPath:
        """The shared copy of `path`, or `path` itself when servers make up ever new instances."""
        if len(self.paths) >= _PATHS_SHARED_MAX:
            return self.paths.get(path, path)
        return self.paths.setdefault(path, path)

    def sharing(self) -> Callable[[ObjectPath, ObjectPath], ObjectPath]:
        """`shared` for many paths: to be called with each of them twice."""
        return self.paths.get if len(self.paths) >= _PATHS_SHARED_MAX else self.paths.setdefault

    def with_instances(
        self, instances: tuple[ObjectPath, ...], new: tuple[ObjectPath, ...]
    ) -> tuple[ObjectPath, ...]:
        """`instances` and `new` in order; one copy for all devices that are set up alike."""
        found = self._grown.get((instances, new))
        if found is None:
            found = tuple(sorted({*instances, *new}))
            if len(self._grown) < _SHAPES_KEPT:
                self._grown[instances, new] = found
        return found

    def shape_of(self, object_id: int, paths: tuple[ObjectPath, ...]) -> Shape:
        """What `paths`, of the values of new instances of an object, say of them."""
        found = self._shapes.get(paths)
        if found is None:
            found = self._read_shape(object_id, paths)
            # A platform creates the same few kinds of instances on every device.
            if len(paths) <= _SHAPE_PATHS_MAX and len(self._shapes) < _SHAPES_KEPT:
                self._shapes[paths] = found
        return found

    def _read_shape(self, object_id: int, paths: Iterable[ObjectPath]) -> Shape:
        given: dict[ObjectPath, list[int]] = {}
        for path in paths:
            of_instance = given.setdefault(self.shared(path.instance), [])
            if path.resource_id is not None:
                of_instance.append(path.resource_id)
        model = self.models[object_id]
        # Without values nothing is given of the one instance that is to be.
        is_incomplete = any(missing_mandatory(model, each) for each in given.values() or [[]])
        return Shape(tuple(given), is_incomplete)

    def columns_beneath(self, base: ObjectPath) -> tuple[tuple[ObjectPath, int], ...]:
        """The paths of `values` at or beneath `base`, in order, with their columns."""
        found = self._beneath.get(base)
        if found is None:
            depth = base.depth
            levels = base[:depth]
            # A model has few columns; servers ask for the same few of them again and again.
            found = tuple(
                sorted(item for item in self.columns.items() if item[0][:depth] == levels)
            )
            if len(self._beneath) < _BASES_KEPT:
                self._beneath[base] = found
        return found


class ObjectTree(Mapping[ObjectPath, Value]):
    """One device's instances and values, by resource or resource instance path."""

    __slots__ = ("_draw", "_more", "_row", "instances", "template")

    def __init__(self, template: ModelTemplate, initial: Changes) -> None:
        self.template = template
        self.instances = template.instances
        self._row: list[Value | _Absent] = [_ABSENT] * len(template.row)
        # What the template has no column for.
        self._more: dict[ObjectPath, Value] | None = None
        # What makes the first values, until somebody looks at one of them.
        self._draw: Callable[[], Changes] | None = None
        self.apply(initial)

    @classmethod
    def unseen(
        cls,
        template: ModelTemplate,
        instances: tuple[ObjectPath, ...],
        draw: Callable[[], Changes],
    ) -> ObjectTree:
        """A tree with these instances, whose first values `draw` makes when they are looked at.

        A device that is set up, and asked nothing, never makes them: objects that are created
        later can be filled and read without a look at the others.
        """
        found = cls.__new__(cls)
        found.template = template
        found.instances = instances
        # Nobody reads or writes it before `_look` has made one of its own.
        found._row = template.no_row
        found._more = None
        found._draw = draw
        return found

    def __getitem__(self, path: ObjectPath) -> Value:
        column = self.template.columns.get(path)
        if self._draw is not None:
            self._look(path)
        if column is None:
            if self._more is None:
                raise KeyError(path)
            return self._more[path]
        found = self._row[column]
        if isinstance(found, _Absent):
            raise KeyError(path)
        return found

    @overload
    def get(self, path: ObjectPath, /) -> Value | None: ...
    @overload
    def get(self, path: ObjectPath, /, default: Value | _Kind) -> Value | _Kind: ...
    def get(self, path: ObjectPath, /, default: object = None) -> object:
        """As `Mapping.get`, without an exception for each miss: models ask all the time."""
        template = self.template
        column = template.columns.get(path)
        if self._draw is not None and path[0] not in template.created_later:
            self._look()
        if column is None:
            return default if self._more is None else self._more.get(path, default)
        found = self._row[column]
        return default if found is _ABSENT else found

    def get_each(self, paths: Sequence[ObjectPath]) -> list[Value | None]:
        """The values at these paths of one object, None where there is none."""
        if paths[0][0] not in self.template.created_later:
            return [self.get(path) for path in paths]
        return [None] * len(paths) if self._more is None else list(map(self._more.get, paths))

    def __contains__(self, path: object) -> bool:
        column = self.template.columns.get(path)  # type: ignore[call-overload]  # any object may be asked for
        if self._draw is not None and (column is not None or isinstance(path, ObjectPath)):
            self._look(path if isinstance(path, ObjectPath) else None)
        if column is None:
            return self._more is not None and path in self._more
        return self._row[column] is not _ABSENT

    def __iter__(self) -> Iterator[ObjectPath]:
        self._look()
        row = self._row
        for path, column in self.template.columns.items():
            if row[column] is not _ABSENT:
                yield path
        if self._more is not None:
            yield from self._more

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def apply(self, changes: Changes) -> None:
        """Set values. One that is as in the template is not kept twice."""
        template = self.template
        if self._draw is not None:
            for path in changes:
                self._look(path)
        row = self._row
        columns, shared = template.columns, template.row
        for path, value in changes.items():
            column = columns.get(path)
            if column is not None:
                same = shared[column]
                # 1 and True are equal, and not the same value.
                row[column] = same if same == value and type(same) is type(value) else value
            elif self._more is None:
                self._more = {template.shared(path): value}
            else:
                self._more[path if path in self._more else template.shared(path)] = value

    def remove(self, paths: Iterable[ObjectPath]) -> None:
        """Forget values."""
        for path in paths:
            column = self.template.columns.get(path)
            if self._draw is not None:
                self._look(path)
            if column is not None:
                self._row[column] = _ABSENT
            elif self._more is not None:
                self._more.pop(path, None)

    def create_instance(self, instance: ObjectPath, values: Changes) -> None:
        """Add an object instance with its values."""
        self.create_instances((instance,), values)

    def create_instances(self, new: tuple[ObjectPath, ...], values: Changes) -> None:
        """Add instances of one object with their values."""
        template = self.template
        self.instances = template.with_instances(self.instances, new)
        if not values or new[0][0] not in template.created_later:
            self.apply(values)
            return
        # Nothing of such an object is in the template, and nobody is born with any.
        own = dict(zip(map(template.sharing(), values, values), values.values(), strict=True))
        if self._more is None:
            self._more = own
        else:
            self._more.update(own)

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
        # Paths in the template's columns are supported; what came later may be.
        resource = path.resource
        self._look(path)
        return any(resource.contains(each) for each in self._more or ())

    def own_values(self, *object_ids: int) -> tuple[tuple[ObjectPath, object], ...]:
        """What of these objects differs from the template; equal for equal trees."""
        self._look()
        template, row = self.template, self._row
        found: list[tuple[ObjectPath, object]] = [
            (path, row[column])
            for object_id in object_ids
            for path, column in template.columns_beneath(ObjectPath(object_id))
            if row[column] is not template.row[column]
        ]
        if self._more is not None:
            found += [item for item in self._more.items() if item[0][0] in object_ids]
        return tuple(found)

    def instances_of(self, object_id: int) -> list[ObjectPath]:
        """The instances of an object, by instance id."""
        instances = self.instances
        # They are in order: a path of one level is before all that lie beneath it.
        first = bisect_left(instances, (object_id,))
        return list(instances[first : bisect_left(instances, (object_id + 1,), first)])

    def values_beneath(self, base: ObjectPath) -> list[ObjectPath]:
        """Paths of all values at or beneath `base`, in order."""
        self._look(base)
        row = self._row
        found = [
            path
            for path, column in self.template.columns_beneath(base)
            if row[column] is not _ABSENT
        ]
        if self._more is not None:
            depth = base.depth
            levels = base[:depth]
            # Missing levels never meet numbers here: a resource has a value or instances, not both.
            more = [path for path in self._more if path[:depth] == levels]
            if more:
                return sorted([*found, *more])
        return found

    def _look(self, path: ObjectPath | None = None) -> None:
        """Make the first values before anything at or beneath `path` (None: at all) is looked at
        or changed; those of objects that are created later are not among them."""
        draw = self._draw
        if draw is None or (path is not None and path[0] in self.template.created_later):
            return
        self._draw = None
        self._row = [_ABSENT] * len(self.template.row)
        self.apply(draw())
