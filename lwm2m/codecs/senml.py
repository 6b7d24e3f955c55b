"""SenML packs, whatever they are written in: records, base fields, resolution (RFC 8428 §4).

`senml_cbor` and `senml_json` bring bytes to records and back. A record is a map whose labels are
the integers of RFC 8428 §6, or text for extensions. Numbers are finite: RFC 8428 does not settle
NaN and infinities, JSON has none, and no reading needs one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec

from lwm2m.codecs import cbor
from lwm2m.errors import InvalidValue, MalformedSenml
from lwm2m.objects import ObjectLink, Value

BASE_VERSION: Final = -1
BASE_NAME: Final = -2
BASE_TIME: Final = -3
BASE_UNIT: Final = -4
BASE_VALUE: Final = -5
BASE_SUM: Final = -6
NAME: Final = 0
UNIT: Final = 1
VALUE: Final = 2
STRING_VALUE: Final = 3
BOOLEAN_VALUE: Final = 4
SUM: Final = 5
TIME: Final = 6
UPDATE_TIME: Final = 7
DATA_VALUE: Final = 8
# LwM2M Core §7.4.4: an object link has a label of its own, which is text also in CBOR.
OBJECT_LINK_VALUE: Final = "vlo"

Label: TypeAlias = int | str
Fields: TypeAlias = Mapping[Label, Any]
Records: TypeAlias = list[dict[Label, Any]]

VERSION_MAX = 10
# RFC 8428 §4.5.3: times below are seconds from now (negative: past), others Unix time.
RELATIVE_TIME_BOUND = 2**28
# Beyond, a double no longer tells microseconds apart.
TIME_MAX = 2**53 / 1_000_000

_NAME_STRICT = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*", re.ASCII)
_NAME_LENIENT = re.compile(r"/?[A-Za-z0-9][A-Za-z0-9\-:./_]*", re.ASCII)
# What a Read-Composite asks for may be the root.
_NAME_OF_PATH = re.compile(r"/|/?[A-Za-z0-9][A-Za-z0-9\-:./_]*", re.ASCII)

# float stands for every number.
_TYPES: dict[Label, type] = {
    BASE_NAME: str,
    BASE_TIME: float,
    BASE_UNIT: str,
    BASE_VALUE: float,
    BASE_SUM: float,
    NAME: str,
    UNIT: str,
    VALUE: float,
    STRING_VALUE: str,
    BOOLEAN_VALUE: bool,
    SUM: float,
    TIME: float,
    UPDATE_TIME: float,
    DATA_VALUE: bytes,
    OBJECT_LINK_VALUE: str,
}
_BASE_FIELDS = frozenset({BASE_NAME, BASE_TIME, BASE_UNIT, BASE_VALUE, BASE_SUM})
_VALUES: frozenset[Label] = frozenset(
    {VALUE, STRING_VALUE, BOOLEAN_VALUE, DATA_VALUE, OBJECT_LINK_VALUE}
)
_NO_EXTRAS: Mapping[str, Any] = MappingProxyType({})


class SenmlLimits(msgspec.Struct, frozen=True):
    """What is taken from outside before it is refused."""

    # Largest pack in bytes. Default: the largest MQTT message of AWS IoT Core.
    payload_bytes_max: int = 131_072
    # Most records in a pack. Default: our choice, a reading a second for an hour and some.
    records_max: int = 4_096
    # Deepest nesting, counted from the pack; only extension fields can nest past 2.
    depth_max: int = 8
    # RFC 8428 §4.5.1 forbids names that begin with a slash; LwM2M writes them.
    leading_slash_is_allowed: bool = True


DEFAULT_LIMITS = SenmlLimits()


class ResolvedRecord(msgspec.Struct, frozen=True, gc=False):
    """A record without base fields (RFC 8428 §4.6), in SenML units.

    `time` is Unix seconds; None when the pack gives no absolute time and nobody said what is now.
    `value` is None when the record has only a sum; when it has not even that, it is what a Patch
    Record removes. `extras` are the text labels that this code does not know, of this record and of
    those before it that held base fields only.
    """

    name: str
    unit: str | None
    value: Value | None
    time: float | None
    extras: Mapping[str, Any] = _NO_EXTRAS
    sum: float | None = None
    update_time: float | None = None

    @property
    def time_us(self) -> int | None:
        """The time in Unix microseconds, exactly as the sender rounded it."""
        return None if self.time is None else round(self.time * 1_000_000)


def require_size(payload: bytes, limits: SenmlLimits) -> None:
    """Return when the pack is not too large to be looked at. Raises `MalformedSenml`."""
    if len(payload) > limits.payload_bytes_max:
        raise MalformedSenml(f"{len(payload)} bytes, more than {limits.payload_bytes_max}")


def require_records(pack: object, limits: SenmlLimits) -> list[Any]:
    """The records of a pack, not looked at yet. Raises `MalformedSenml`."""
    if type(pack) is not list:
        raise MalformedSenml("a pack is an array")
    if len(pack) > limits.records_max:
        raise MalformedSenml(f"{len(pack)} records, more than {limits.records_max}")
    return pack


def checked(records: Records) -> Records:
    """The same records, each field checked; decimal fractions are doubles from now on.

    Raises `MalformedSenml` with the record's index.
    """
    for index, fields in enumerate(records):
        _check_fields(fields, index)
    return records


def resolved(records: Records, now: float | None, limits: SenmlLimits) -> list[ResolvedRecord]:
    """The records with the base fields applied (RFC 8428 §4.6), in the pack's order.

    `now` (Unix seconds) makes relative times absolute; None leaves them None. Values are numbers,
    str, bool, bytes or `ObjectLink`. Raises `MalformedSenml` with the record's index.
    """
    base = _Base(now, _NAME_LENIENT if limits.leading_slash_is_allowed else _NAME_STRICT)
    found = []
    for index, fields in enumerate(records):
        extras = _check_fields(fields, index)
        record = base.resolve(fields, extras, index)
        if record is not None:
            found.append(record)
    return found


def resolved_changes(records: Records) -> list[ResolvedRecord]:
    """The records of a Patch Pack (RFC 8790 §3.2): `v` may be null, and removes what it names.

    Raises `MalformedSenml` with the record's index.
    """
    base = _Base(None, _NAME_LENIENT)
    found = []
    for index, fields in enumerate(records):
        if type(fields) is dict and fields.get(VALUE, 0) is None:
            del fields[VALUE]
            _check_fields(fields, index)
            found.append(base.removal(fields, index))
            continue
        record = base.resolve(fields, _check_fields(fields, index), index)
        if record is not None:
            found.append(record)
    return found


def resolved_names(records: Records) -> list[str]:
    """The names in a Fetch Pack (RFC 8790 §3.1), which are paths; `/` is the root.

    Fields that are no names are checked and ignored: times and units, which could narrow the
    choice, have no meaning for LwM2M, and values have none at all. A record with a base name alone
    names something unless that ends in a slash and more follows. Raises `MalformedSenml` with the
    record's index, or when nothing is named.
    """
    base = ""
    names = []
    for index, fields in enumerate(records):
        _check_fields(fields, index)
        if NAME not in fields and BASE_NAME not in fields:
            raise MalformedSenml("no name", index)
        base = fields.get(BASE_NAME, base)
        is_base_only = NAME not in fields and base.endswith("/") and index + 1 < len(records)
        if not is_base_only:
            names.append(_legal(base + fields.get(NAME, ""), _NAME_OF_PATH, index))
    if not names:
        raise MalformedSenml("nothing is named")
    return names


def is_legal_name(name: str) -> bool:
    """Whether base name and name together may be `name`, where a leading slash is allowed."""
    return _NAME_LENIENT.fullmatch(name) is not None


# --- fields


def _check_fields(fields: Any, index: int) -> dict[str, Any] | None:
    """Check labels and types in place, and return the extensions; None when there are none."""
    if type(fields) is not dict:
        raise MalformedSenml("a record is a map", index)
    extras: dict[str, Any] | None = None
    type_of = _TYPES.get
    for label, item in fields.items():
        expected = type_of(label)
        if expected is float:
            if type(item) is not float or item - item != 0.0:
                fields[label] = _number(item, label, index)
        elif expected is None:
            extras = _take_extension(extras, label, item, index)
        elif type(item) is not expected:
            raise MalformedSenml(f"label {label} has a {type(item).__name__}", index)
    return extras


def _take_extension(
    extras: dict[str, Any] | None, label: Any, item: Any, index: int
) -> dict[str, Any] | None:
    if type(label) is str:
        extras = {} if extras is None else extras
        extras[label] = _extension(label, item, index)
    elif label == BASE_VERSION:
        _check_version(item, index)
    elif type(label) is not int:
        raise MalformedSenml("labels are integers and text", index)
    return extras


def _number(item: Any, label: Label, index: int) -> float:
    number = cbor.finite_double(item)
    if number is None:
        raise MalformedSenml(f"label {label} needs a finite number", index)
    return number


def _extension(label: str, item: Any, index: int) -> Any:
    if label.endswith("_"):
        # RFC 8428 §4.4: whoever does not know such a field must not process the pack.
        raise MalformedSenml(f"field {label[:40]!r} must be understood and is not", index)
    return _plain(item, index)


def _plain(item: Any, index: int) -> Any:
    """An extension's value in the types that JSON has, and bytes; anything else is refused."""
    kind = type(item)
    if kind is str or kind is bool or kind is bytes or item is None:
        return item
    if kind is list:
        return [_plain(part, index) for part in item]
    if kind is dict and all(type(label) in (str, int) for label in item):
        return {label: _plain(part, index) for label, part in item.items()}
    number = cbor.finite_double(item)
    if number is None:
        raise MalformedSenml(
            f"an extension field holds a {kind.__name__} or no finite number", index
        )
    return number


def _check_version(item: Any, index: int) -> None:
    if type(item) is not int or not 0 < item <= VERSION_MAX:
        raise MalformedSenml(f"SenML version {item!r:.20} is not known", index)


# --- resolution


class _Base:
    """The base fields in force, from record to record."""

    __slots__ = (
        "_extras",
        "_name",
        "_name_pattern",
        "_now",
        "_plain_time",
        "_sum",
        "_time",
        "_unit",
        "_value",
    )

    def __init__(self, now: float | None, name_pattern: re.Pattern[str]) -> None:
        self._now = now
        self._name_pattern = name_pattern
        self._name = ""
        self._unit: str | None = None
        self._time: float = 0
        # What a record without a time of its own has.
        self._plain_time = None if now is None else round(now, 6)
        self._value: float | None = None
        self._sum: float | None = None
        self._extras: dict[str, Any] | None = None

    def resolve(
        self, fields: dict[Label, Any], extras: dict[str, Any] | None, index: int
    ) -> ResolvedRecord | None:
        if not _BASE_FIELDS.isdisjoint(fields):
            self._take_base(fields, index)
        if self._extras is not None:
            extras = self._extras | (extras or {})
            self._extras = None
        value = self._value_of(fields, index)
        get = fields.get
        if value is None and SUM not in fields and (NAME not in fields or self._sum is None):
            self._extras = extras
            _require_base_fields_only(fields, index)
            return None
        offset = get(TIME)
        # The sum of two doubles may miss the microsecond that both mean by a hair: hence `round`.
        return ResolvedRecord(
            _legal(self._name + get(NAME, ""), self._name_pattern, index),
            get(UNIT, self._unit),
            value,
            self._absolute(round(self._time + offset, 6), index) if offset else self._plain_time,
            extras or _NO_EXTRAS,
            self._sum_of(get(SUM), index),
            get(UPDATE_TIME),
        )

    def removal(self, fields: dict[Label, Any], index: int) -> ResolvedRecord:
        """What a record whose value was null removes."""
        if not _VALUES.isdisjoint(fields):
            raise MalformedSenml("more than one value", index)
        if not _BASE_FIELDS.isdisjoint(fields):
            self._take_base(fields, index)
        name = _legal(self._name + fields.get(NAME, ""), self._name_pattern, index)
        return ResolvedRecord(name, None, None, None)

    def _take_base(self, fields: dict[Label, Any], index: int) -> None:
        get = fields.get
        self._name = get(BASE_NAME, self._name)
        self._unit = get(BASE_UNIT, self._unit)
        self._time = get(BASE_TIME, self._time)
        self._plain_time = self._absolute(self._time, index)
        self._value = get(BASE_VALUE, self._value)
        self._sum = get(BASE_SUM, self._sum)

    def _value_of(self, fields: dict[Label, Any], index: int) -> Value | None:
        given = _VALUES.intersection(fields)
        if len(given) > 1:
            raise MalformedSenml("more than one value", index)
        if not given:
            # §4.5.4: a missing value is zero where a base value is in force.
            return self._value if NAME in fields else None
        (label,) = given
        value: Value = fields[label]
        if label == VALUE and self._value is not None:
            return _total(fields[label], self._value, index)
        return _object_link(fields[label], index) if label == OBJECT_LINK_VALUE else value

    def _sum_of(self, given: float | None, index: int) -> float | None:
        if given is None or self._sum is None:
            return self._sum if given is None else given
        return _total(given, self._sum, index)

    def _absolute(self, time: float, index: int) -> float | None:
        if not -TIME_MAX <= time <= TIME_MAX:
            raise MalformedSenml("a time more than 285 years from 1970", index)
        if time < RELATIVE_TIME_BOUND:
            return None if self._now is None else round(self._now + time, 6)
        return time


def _legal(name: str, pattern: re.Pattern[str], index: int) -> str:
    if pattern.fullmatch(name) is None:
        raise MalformedSenml(f"illegal name {name[:80]!r}", index)
    return name


def _require_base_fields_only(fields: dict[Label, Any], index: int) -> None:
    for label in fields:
        if type(label) is int and label >= 0:
            raise MalformedSenml("no value and no sum", index)


def _total(value: float, base: float, index: int) -> float:
    total = value + base
    if total - total != 0:
        raise MalformedSenml("a base and what it is added to have no finite sum", index)
    return total


def _object_link(text: str, index: int) -> ObjectLink:
    try:
        return ObjectLink.parse(text)
    except InvalidValue as error:
        raise MalformedSenml(str(error), index) from None
