"""SenML CBOR packs of values, read at one go when packs of their shape come again and again.

A fleet is written the same few resources of the same few objects: where the names of such a pack
lie, and what may be there, is found out once. A pack that is nearly the bytes of one before is not
decoded at all (`pack_template`). Whatever is out of the ordinary takes the long way over resolved
records and typed nodes (`payload`), which gives the same values, and all the errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, Final, NamedTuple

from lwm2m.codecs import senml_cbor
from lwm2m.codecs.node import parse_value_path, require_levels
from lwm2m.codecs.pack_template import (
    LEARNT_BYTES_MAX,
    LEARNT_RECORDS_MIN,
    PackTemplate,
    make_template,
)
from lwm2m.codecs.senml import (
    BASE_NAME,
    BOOLEAN_VALUE,
    DATA_VALUE,
    NAME,
    OBJECT_LINK_VALUE,
    STRING_VALUE,
    VALUE,
    Label,
    is_legal_name,
)
from lwm2m.errors import LwM2mError
from lwm2m.objects import (
    Models,
    ObjectLink,
    ObjectPath,
    ResourceModel,
    Value,
    ValueType,
    check_value,
    resource_model,
)

# Shapes of packs, records of one, and length of a name: what is beyond takes the long way.
_SHAPES_KEPT: Final = 256
_RECORDS_MAX: Final = 64
_NAME_LENGTH_MAX: Final = 32
_LINKS_KEPT: Final = 256
_LINK_LENGTH_MAX: Final = len("65535:65535")
_INTEGER_MAX: Final = 2**63 - 1
# Templates of one target, targets, and how often one is made anew: a platform writes a few kinds.
_TEMPLATES_OF_BASE_MAX: Final = 4
_BASES_WITH_TEMPLATES_MAX: Final = 64
_LESSONS_MAX: Final = 16

_Settle = Callable[[Any], Value]
_name_of = itemgetter(NAME)
_field_of: Final[Callable[[dict[Label, Any], Label], Any]] = dict.get
_ALL_MAPS: Final = {dict}


class _Unusual(Exception):
    """Not for the short way."""


class _Shape(NamedTuple):
    """What packs with the same names have in common, record by record: fields of each, label and
    Python type of its value, and the path. `settling` are the records whose values are still to be
    looked at, or made into others."""

    sizes: tuple[int, ...]
    labels: tuple[Label, ...]
    kinds: tuple[type, ...]
    paths: tuple[ObjectPath, ...]
    settling: tuple[tuple[int, _Settle], ...]


class _Lessons:
    """What packs for one target taught: templates, by the names of the packs, and how many more are
    to be made."""

    __slots__ = ("left", "templates")

    def __init__(self) -> None:
        self.templates: dict[tuple[ObjectPath, ...], PackTemplate] = {}
        self.left = _LESSONS_MAX


class PackReader:
    """Packs of values by one set of definitions.

    `shared` gives the one copy of a path that many are to hold.
    """

    __slots__ = ("_lessons", "_models", "_shapes", "_shared")

    def __init__(
        self, models: Models, shared: Callable[[ObjectPath], ObjectPath] | None = None
    ) -> None:
        self._models = models
        self._shared = shared
        # By what a pack was sent for, its base name, and its names.
        self._shapes: dict[tuple[object, ...], _Shape] = {}
        # By what packs were sent for.
        self._lessons: dict[ObjectPath | None, _Lessons] = {}

    def __len__(self) -> int:
        """How many shapes are kept."""
        return len(self._shapes)

    def values(self, base: ObjectPath | None, payload: bytes) -> dict[ObjectPath, Value] | None:
        """The values in a pack that was sent for `base` (None: a composite), in its order.

        Each is of a known resource and has its type and range. None: take the long way; it may well
        give values.
        """
        lessons = self._lessons.get(base)
        try:
            if lessons is not None:
                for template in lessons.templates.values():
                    found = template.read(payload)
                    if found is not None:
                        return found
            records = senml_cbor.load(payload)
            shape = self._shape_of(base, records)
            found = _read(shape, records)
        except (_Unusual, LwM2mError):
            return None
        if len(found) >= LEARNT_RECORDS_MIN and len(payload) <= LEARNT_BYTES_MAX:
            self._learn(base, payload, shape, found)
        return found

    def _learn(
        self,
        base: ObjectPath | None,
        payload: bytes,
        shape: _Shape,
        found: dict[ObjectPath, Value],
    ) -> None:
        """Make a template of this pack, for ones that differ from it where it differs from those
        before."""
        lessons = self._lessons.get(base)
        if lessons is None:
            if len(self._lessons) >= _BASES_WITH_TEMPLATES_MAX:
                self._lessons.clear()
            lessons = self._lessons[base] = _Lessons()
        before = lessons.templates.get(shape.paths)
        is_new = before is None and len(lessons.templates) >= _TEMPLATES_OF_BASE_MAX
        if not lessons.left or is_new:
            return
        lessons.left -= 1
        varying: frozenset[ObjectPath] = frozenset()
        if before is not None:
            known = before.values
            varying = before.gaps.union([path for path in found if found[path] != known[path]])
        made = make_template(payload, found, dict(shape.settling), varying)
        if made is not None:
            lessons.templates[shape.paths] = made

    def _shape_of(self, base: ObjectPath | None, records: list[Any]) -> _Shape:
        """Raises `_Unusual` or `LwM2mError`."""
        if set(map(type, records)) != _ALL_MAPS:
            raise _Unusual
        base_name = records[0].get(BASE_NAME, "")
        try:
            names = tuple(map(_name_of, records))
            shape = self._shapes.get((base, base_name, names))
        except (KeyError, TypeError):
            # A record without name, or names that are no text.
            raise _Unusual from None
        return shape or self._find(base, base_name, names, has_base=BASE_NAME in records[0])

    def _find(
        self, base: ObjectPath | None, base_name: object, names: Sequence[object], *, has_base: bool
    ) -> _Shape:
        """Raises `_Unusual` or `LwM2mError`."""
        if type(base_name) is not str or len(names) > _RECORDS_MAX:
            raise _Unusual
        models = [self._place(base, base_name, name) for name in names]
        paths = tuple([path for path, _ in models])
        if len(set(paths)) < len(paths):
            raise _Unusual
        kinds = [_kind_of(model) for _, model in models]
        shape = _Shape(
            (2 + has_base, *[2] * (len(names) - 1)),
            tuple([label for label, _, _ in kinds]),
            tuple([kind for _, kind, _ in kinds]),
            paths,
            tuple([(index, each[2]) for index, each in enumerate(kinds) if each[2] is not None]),
        )
        if len(self._shapes) >= _SHAPES_KEPT:
            self._shapes.clear()
        self._shapes[base, base_name, tuple(names)] = shape
        return shape

    def _place(
        self, base: ObjectPath | None, base_name: str, name: object
    ) -> tuple[ObjectPath, ResourceModel]:
        if type(name) is not str or len(base_name) + len(name) > _NAME_LENGTH_MAX:
            raise _Unusual
        if not is_legal_name(base_name + name):
            raise _Unusual
        path = parse_value_path(base, base_name + name)
        model = resource_model(self._models, path)
        if model is None:
            raise _Unusual
        require_levels(model, path)
        return path if self._shared is None else self._shared(path), model


def _read(shape: _Shape, records: list[Any]) -> dict[ObjectPath, Value]:
    sizes, labels, kinds, paths, settling = shape
    if tuple(map(len, records)) != sizes:
        raise _Unusual
    values = list(map(_field_of, records, labels))
    if tuple(map(type, values)) != kinds:
        raise _Unusual
    for index, settle in settling:
        values[index] = settle(values[index])
    return dict(zip(paths, values, strict=True))


_Kind = tuple[Label, type, _Settle | None]


def _kind_of(model: ResourceModel) -> _Kind:
    """How values of a resource stand in a pack: label, Python type, and what is left to do."""
    found = _KINDS.get(model.type)
    if found is None:
        raise _Unusual
    label, kind, settle = found
    if kind is int:
        return label, kind, _whole_numbers_of(model)
    return label, kind, settle if model.range is None else partial(_checked, model)


def _whole_numbers_of(model: ResourceModel) -> _Settle:
    bounds = model.range
    if bounds is None:
        return partial(_between, 0, _INTEGER_MAX)
    if bounds.allowed:
        return partial(_checked, model)
    low = 0 if bounds.minimum is None else max(0, bounds.minimum)
    high = _INTEGER_MAX if bounds.maximum is None else min(_INTEGER_MAX, bounds.maximum)
    return partial(_between, low, high)


def _between(low: float, high: float, value: int) -> int:
    # Negative ones are rare, and not of every type.
    if not low <= value <= high:
        raise _Unusual
    return value


def _checked(model: ResourceModel, value: Value) -> Value:
    check_value(model, value)
    return value


def _finite(value: float) -> float:
    if value - value != 0.0:
        raise _Unusual
    return value


@lru_cache(_LINKS_KEPT)
def _short_link(text: str) -> ObjectLink:
    return ObjectLink.parse(text)


def _object_link(text: str) -> ObjectLink:
    if len(text) > _LINK_LENGTH_MAX:
        raise _Unusual
    return _short_link(text)


# The text of a pack has been decoded: whatever it is, it is text.
_KINDS: Final[dict[ValueType, _Kind]] = {
    ValueType.STRING: (STRING_VALUE, str, None),
    ValueType.CORE_LINK: (STRING_VALUE, str, None),
    ValueType.INTEGER: (VALUE, int, None),
    ValueType.UNSIGNED: (VALUE, int, None),
    ValueType.TIME: (VALUE, int, None),
    ValueType.FLOAT: (VALUE, float, _finite),
    ValueType.BOOLEAN: (BOOLEAN_VALUE, bool, None),
    ValueType.OPAQUE: (DATA_VALUE, bytes, None),
    ValueType.OBJECT_LINK: (OBJECT_LINK_VALUE, str, _object_link),
}
