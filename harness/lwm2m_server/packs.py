"""SenML CBOR packs of a command's values, written at one go for paths that come again and again.

What a fleet is written are a few resources of a few objects: where each lies in its pack, and what
may be there, is found out once. Whatever is out of the ordinary takes the long way over typed nodes
(`values`, `lwm2m.codecs`), which gives the same bytes, and all the errors.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

import cbor2

from contracts.data_interface import Value
from harness.lwm2m_server.secret_resources import is_secret
from harness.lwm2m_server.values import ValueReader
from lwm2m.codecs.senml_cbor import (
    BASE_NAME,
    BOOLEAN_VALUE,
    DATA_VALUE,
    NAME,
    OBJECT_LINK_VALUE,
    STRING_VALUE,
    VALUE,
)
from lwm2m.errors import LwM2mError
from lwm2m.objects import NULL_ID, ObjectLink, ObjectPath, ResourceModel, ValueType

# Places that values are written to, lists of paths of so many values at each, and values of one; of
# others, what follows is found out each time.
_PLACES_KEPT: Final = 1_024
_SHAPES_KEPT: Final = 4
_VALUES_KEPT: Final = 64
_LINKS_KEPT: Final = 256
_HEADS_KEPT: Final = 4_096
_RECORD_BYTES_KEPT: Final = 1_024

_ARRAY, _MAP, _TEXT, _BYTES, _UNSIGNED = 4, 5, 3, 2, 0
_FALSE, _TRUE = b"\xf4", b"\xf5"

Raw = str | int | float | bool


class _Unusual(Exception):
    """Not for the short way."""


class _Slot(NamedTuple):
    """One value of a shape: its record up to the value, with the heads that stand before it."""

    before: bytes
    text: str
    type_name: str
    model: ResourceModel
    encode: Callable[[Raw, ResourceModel], bytes]
    is_secret: bool


class _Shape:
    """The packs of values at the same paths.

    A value counts as the whole fleet's, such as the broker's address, until another comes in its
    place: only what differs is encoded anew. What is secret, or long, is never kept.
    """

    __slots__ = ("_common", "_end", "_known", "_pick", "_plain", "_records", "_slots", "_varying")

    def __init__(self, slots: Sequence[_Slot], values: Sequence[Value]) -> None:
        """Raises `_Unusual` or `LwM2mError` for values that do not fit."""
        self._slots = slots
        self._known: list[Value | None] = []
        self._records: list[bytes] = []
        for slot, value in zip(slots, values, strict=True):
            if value.type != slot.type_name:
                raise _Unusual
            record = slot.before + slot.encode(value.value, slot.model)
            is_kept = not slot.is_secret and len(record) <= _RECORD_BYTES_KEPT
            self._known.append(value if is_kept else None)
            self._records.append(record if is_kept else b"")
        self._join()

    def is_of(self, values: Sequence[Value]) -> bool:
        """Whether these values are at its paths, and said to be of its types."""
        return all(
            value.path == slot.text and value.type == slot.type_name
            for slot, value in zip(self._slots, values, strict=True)
        )

    def pack(self, values: Sequence[Value]) -> bytes | None:
        """The pack of so many values; None when they do not go by it as it is. Raises `_Unusual` or
        `LwM2mError`."""
        if self._pick is not None and self._pick(values) != self._common:
            return None
        # 1 and True are equal, and not the same value.
        for at, raw in self._plain:
            if values[at].value is not raw:
                return None
        parts: list[bytes] = []
        for before, at, slot in self._varying:
            value = values[at]
            if value.path != slot.text or value.type != slot.type_name:
                return None
            parts += (before, slot.encode(value.value, slot.model))
        parts.append(self._end)
        return b"".join(parts)

    def tell_apart(self, values: Sequence[Value]) -> None:
        """What differs here, in values that it `is_of`, differs from now on."""
        for at, (value, known) in enumerate(zip(values, self._known, strict=True)):
            if known is None or value != known or not _is_the_same(value.value, known.value):
                self._known[at] = None
        self._join()

    def _join(self) -> None:
        """Put together what is common."""
        self._varying: list[tuple[bytes, int, _Slot]] = []
        piece = b""
        for at, (slot, known) in enumerate(zip(self._slots, self._known, strict=True)):
            if known is not None:
                piece += self._records[at]
                continue
            self._records[at] = b""
            self._varying.append((piece + slot.before, at, slot))
            piece = b""
        self._end = piece
        common = {at: known for at, known in enumerate(self._known) if known is not None}
        self._pick: Callable[[Sequence[Value]], object] | None = None
        self._common: object = None
        if common:
            self._pick = itemgetter(*common)
            self._common = self._pick(self._known)
        self._plain = [(at, one.value) for at, one in common.items() if type(one.value) is not str]


class PackWriter:
    """Packs of values by one set of definitions, those of `reader`."""

    __slots__ = ("_reader", "_shapes")

    def __init__(self, reader: ValueReader) -> None:
        self._reader = reader
        # By the instance or resource that is addressed, what values must lie beneath, whether they
        # are new, and how many: those that were met.
        self._shapes: dict[tuple[ObjectPath, ObjectPath, bool, int], list[_Shape]] = {}

    def pack(
        self, addressed: ObjectPath, beneath: ObjectPath, values: Sequence[Value], *, is_new: bool
    ) -> bytes | None:
        """The pack that carries `values`, which lie beneath `beneath`, to `addressed`.

        `is_new`: they are of an instance that is created. None: take the long way.
        """
        shapes = self._shapes.get((addressed, beneath, is_new, len(values)), ())
        try:
            for shape in shapes:
                packed = shape.pack(values)
                if packed is not None:
                    return packed
            for shape in shapes:
                if shape.is_of(values):
                    shape.tell_apart(values)
                    return shape.pack(values)
            return self._learn(addressed, beneath, values, is_new).pack(values)
        except (_Unusual, LwM2mError):
            return None

    def _learn(
        self, addressed: ObjectPath, beneath: ObjectPath, values: Sequence[Value], is_new: bool
    ) -> _Shape:
        """Raises `_Unusual` or `LwM2mError` for values that are not for the short way."""
        shape = _Shape(self._slots_of(addressed, beneath, values, is_new), values)
        if len(values) > _VALUES_KEPT:
            return shape
        key = (addressed, beneath, is_new, len(values))
        if key not in self._shapes and len(self._shapes) >= _PLACES_KEPT:
            self._shapes.clear()
        shapes = self._shapes.setdefault(key, [])
        if len(shapes) >= _SHAPES_KEPT:
            del shapes[0]
        shapes.append(shape)
        return shape

    def _slots_of(
        self, addressed: ObjectPath, beneath: ObjectPath, values: Sequence[Value], is_new: bool
    ) -> list[_Slot]:
        """Raises `_Unusual` or an error of the definitions."""
        if not values:
            raise _Unusual
        slots: list[_Slot] = []
        for value in values:
            path, model = self._reader.place_of_value(value.path, new_instance=is_new)
            # Beneath an object values are of one instance or more, which must then have their ids.
            if beneath.depth < 2 and path.instance_id == NULL_ID:
                raise _Unusual
            if path.depth != 3 or model is None or model.multiple:
                raise _Unusual
            if path[: beneath.depth] != beneath[: beneath.depth] or not addressed.contains(path):
                raise _Unusual
            slots.append(_slot(addressed, path, model, value.path, len(slots), len(values)))
        return slots


def _slot(
    addressed: ObjectPath, path: ObjectPath, model: ResourceModel, text: str, at: int, count: int
) -> _Slot:
    """The value at `path`, of which `text` is the name, as number `at` of `count`. Raises
    `_Unusual`."""
    found = _ENCODERS.get(model.type)
    is_whole = path == addressed
    if found is None or (is_whole and count > 1):
        raise _Unusual
    heads = _head(_MAP, 2)
    if at == 0:
        # RFC 8428 §4.5.1: the base name stands before all names; of one value it is all of it.
        base = str(addressed) if is_whole else f"{addressed}/"
        heads = _head(_ARRAY, count) + _head(_MAP, 2 if is_whole else 3) + _base_name(base)
    name = (
        b"" if is_whole else cbor2.dumps(NAME) + cbor2.dumps(str(path)[len(str(addressed)) + 1 :])
    )
    before = heads + name + cbor2.dumps(found[0])
    return _Slot(before, text, model.type.value, model, found[1], is_secret(text))


def _is_the_same(raw: Raw, known: Raw) -> bool:
    """Of what is equal: 1 and True are, and not the same value."""
    return type(raw) is str or raw is known


@lru_cache(_HEADS_KEPT)
def _head(major: int, number: int) -> bytes:
    """The head of a CBOR item (RFC 8949 §3.1), as short as it can be."""
    kind = major << 5
    if number < 24:
        return bytes((kind | number,))
    if number < 0x100:
        return bytes((kind | 24, number))
    if number < 0x10000:
        return bytes((kind | 25, number >> 8, number & 0xFF))
    return bytes((kind | 26,)) + number.to_bytes(4)


def _base_name(base: str) -> bytes:
    return cbor2.dumps(BASE_NAME) + cbor2.dumps(base)


def _require_length(model: ResourceModel, length: int) -> None:
    if model.range is not None and not model.range.holds(length):
        raise _Unusual


def _text(raw: Raw, model: ResourceModel) -> bytes:
    if not isinstance(raw, str) or not raw.isascii():
        raise _Unusual
    _require_length(model, len(raw))
    return _head(_TEXT, len(raw)) + raw.encode()


def _opaque(raw: Raw, model: ResourceModel) -> bytes:
    if not isinstance(raw, str):
        raise _Unusual
    try:
        data = binascii.a2b_base64(raw, strict_mode=True)
    except ValueError:
        raise _Unusual from None
    _require_length(model, len(data))
    return _head(_BYTES, len(data)) + data


def _boolean(raw: Raw, model: ResourceModel) -> bytes:
    if type(raw) is not bool:
        raise _Unusual
    return _TRUE if raw else _FALSE


def _whole_number(raw: Raw, model: ResourceModel) -> bytes:
    if type(raw) is not int or not 0 <= raw < 1 << 31:
        raise _Unusual
    if model.range is not None and not model.range.holds(raw):
        raise _Unusual
    return _head(_UNSIGNED, raw)


def _object_link(raw: Raw, model: ResourceModel) -> bytes:
    if not isinstance(raw, str) or model.range is not None:
        raise _Unusual
    return _encoded_link(raw)


@lru_cache(_LINKS_KEPT)
def _encoded_link(raw: str) -> bytes:
    return cbor2.dumps(str(ObjectLink.parse(raw)))


# The label that a value of a type has, and what follows it. Floats take the long way.
_ENCODERS: Final[dict[ValueType, tuple[int | str, Callable[[Raw, ResourceModel], bytes]]]] = {
    ValueType.STRING: (STRING_VALUE, _text),
    ValueType.CORE_LINK: (STRING_VALUE, _text),
    ValueType.OPAQUE: (DATA_VALUE, _opaque),
    ValueType.BOOLEAN: (BOOLEAN_VALUE, _boolean),
    ValueType.INTEGER: (VALUE, _whole_number),
    ValueType.UNSIGNED: (VALUE, _whole_number),
    ValueType.TIME: (VALUE, _whole_number),
    ValueType.OBJECT_LINK: (OBJECT_LINK_VALUE, _object_link),
}
