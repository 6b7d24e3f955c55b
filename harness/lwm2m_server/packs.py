"""SenML CBOR packs of a command's values, written at one go for paths that come again and again.

What a fleet is written are a few resources of a few objects: where each lies in its pack, and what
may be there, is found out once. Whatever is out of the ordinary takes the long way over typed nodes
(`values`, `lwm2m.codecs`), which gives the same bytes, and all the errors.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from functools import lru_cache
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

# Places where values are written to, and resources of each; more are found out each time.
_BASES_KEPT: Final = 1_024
_RESOURCES_KEPT: Final = 256
_LINKS_KEPT: Final = 256
# Values of a resource that are remembered with their records: most are the same for a whole fleet,
# such as the broker's address. What is a device's own fills this once, and is written anew then.
_VALUES_KEPT: Final = 16
_RECORD_BYTES_KEPT: Final = 1_024

_ARRAY, _MAP, _TEXT, _BYTES, _UNSIGNED = 4, 5, 3, 2, 0
_FALSE, _TRUE = b"\xf4", b"\xf5"

Raw = str | int | float | bool


class _Unusual(Exception):
    """Not for the short way."""


class _Slot(NamedTuple):
    """One resource in the packs of one base: all of its record but the value.

    `known` are whole records of values that came before; None where they are secret.
    """

    head: bytes
    type_name: str
    model: ResourceModel
    encode: Callable[[Raw, ResourceModel], bytes]
    raw_type: type
    known: dict[Raw, bytes] | None

    def record(self, raw: Raw) -> bytes:
        """The record with this value. Raises `_Unusual` or `LwM2mError`."""
        known = self.known
        # 1 and True are equal, and not the same value.
        if known is None or type(raw) is not self.raw_type:
            return self.head + self.encode(raw, self.model)
        found = known.get(raw)
        if found is None:
            found = self.head + self.encode(raw, self.model)
            if len(known) < _VALUES_KEPT and len(found) <= _RECORD_BYTES_KEPT:
                known[raw] = found
        return found


class PackWriter:
    """Packs of values by one set of definitions, those of `reader`."""

    __slots__ = ("_reader", "_slots")

    def __init__(self, reader: ValueReader) -> None:
        self._reader = reader
        # By the instance or resource that is addressed, and that values must lie beneath.
        self._slots: dict[tuple[ObjectPath, ObjectPath, bool], dict[str, _Slot]] = {}

    def pack(
        self, addressed: ObjectPath, beneath: ObjectPath, values: Sequence[Value], *, is_new: bool
    ) -> bytes | None:
        """The pack that carries `values`, which lie beneath `beneath`, to `addressed`.

        `is_new`: they are of an instance that is created. None: take the long way.
        """
        slots = self._slots_of((addressed, beneath, is_new))
        parts = []
        try:
            for value in values:
                slot = slots.get(value.path)
                if slot is None:
                    slot = self._found(slots, addressed, beneath, value.path, is_new)
                if value.type != slot.type_name:
                    return None
                parts.append(slot.record(value.value))
        except (_Unusual, LwM2mError):
            return None
        if not parts:
            return None
        base_name = _head(_MAP, 3) + _base_name(addressed)
        return _head(_ARRAY, len(parts)) + base_name + _SECOND_MAP.join(parts)

    def _slots_of(self, key: tuple[ObjectPath, ObjectPath, bool]) -> dict[str, _Slot]:
        found = self._slots.get(key)
        if found is None:
            if len(self._slots) >= _BASES_KEPT:
                self._slots.clear()
            found = self._slots[key] = {}
        return found

    def _found(
        self,
        slots: dict[str, _Slot],
        addressed: ObjectPath,
        beneath: ObjectPath,
        text: str,
        is_new: bool,
    ) -> _Slot:
        """Raises `_Unusual` or an error of the definitions."""
        path, model = self._reader.place_of_value(text, new_instance=is_new)
        # Beneath an object values are of one instance or more, which must then have their ids.
        if beneath.depth < 2 and path.instance_id == NULL_ID:
            raise _Unusual
        if path.depth != 3 or model is None or model.multiple:
            raise _Unusual
        if path[: beneath.depth] != beneath[: beneath.depth] or not addressed.contains(path):
            raise _Unusual
        found = _ENCODERS.get(model.type)
        if found is None or path == addressed:
            raise _Unusual
        name = str(path).removeprefix(f"{addressed}/")
        head = cbor2.dumps(NAME) + cbor2.dumps(name) + cbor2.dumps(found[0])
        known: dict[Raw, bytes] | None = None if is_secret(text) else {}
        slot = _Slot(head, model.type.value, model, found[1], found[2], known)
        if len(slots) < _RESOURCES_KEPT:
            slots[text] = slot
        return slot


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


_SECOND_MAP: Final = _head(_MAP, 2)


@lru_cache(_BASES_KEPT)
def _base_name(addressed: ObjectPath) -> bytes:
    return cbor2.dumps(BASE_NAME) + cbor2.dumps(f"{addressed}/")


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


# The label that a value of a type has, what follows it, and its type in JSON. Floats take the long
# way.
_ENCODERS: Final[dict[ValueType, tuple[int | str, Callable[[Raw, ResourceModel], bytes], type]]] = {
    ValueType.STRING: (STRING_VALUE, _text, str),
    ValueType.CORE_LINK: (STRING_VALUE, _text, str),
    ValueType.OPAQUE: (DATA_VALUE, _opaque, str),
    ValueType.BOOLEAN: (BOOLEAN_VALUE, _boolean, bool),
    ValueType.INTEGER: (VALUE, _whole_number, int),
    ValueType.UNSIGNED: (VALUE, _whole_number, int),
    ValueType.TIME: (VALUE, _whole_number, int),
    ValueType.OBJECT_LINK: (OBJECT_LINK_VALUE, _object_link, str),
}
