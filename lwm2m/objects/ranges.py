"""The ranges of OMA definitions, which are written for people, as bounds that can be checked."""

from __future__ import annotations

import re

from lwm2m.objects.model import ValueRange
from lwm2m.objects.values import NUMERIC, ValueType

_NUMBER = r"[+-]?(?:0[xX][0-9a-fA-F]{1,16}|\d{1,20}(?:\.\d{1,20})?)"
_UNIT = r"\s*(bytes?|octets?|characters?|chars?|bits?)?\s*\.?"
# `0..255`, `0-255 bytes`, `-90 to 90`, `[1:4]`, `1…4`.
_BOUNDS = re.compile(
    rf"\[?\s*({_NUMBER})\s*(?:\.\.\.?|…|–|-|:|to)\s*({_NUMBER})\s*\]?{_UNIT}", re.IGNORECASE
)
# `16,32,48`, `10 or 26 Bytes`, `16-32-48 bytes`.
_LIST = re.compile(
    rf"({_NUMBER}(?:\s*(?:,|;|\||\bor\b)\s*{_NUMBER})+|\d+(?:-\d+){{2,}}){_UNIT}", re.IGNORECASE
)
# `12 bytes`, `8-Bits`.
_SIZE = re.compile(rf"(\d{{1,9}})\s*-?{_UNIT}", re.IGNORECASE)
_ANY_NUMBER = re.compile(_NUMBER)
_PLAIN_NUMBER = re.compile(r"\d+")

_LENGTHS = frozenset({ValueType.STRING, ValueType.OPAQUE, ValueType.CORE_LINK})
_TEXT_LENGTH_MAX = 1_000


def parse_range(kind: ValueType, text: str) -> ValueRange | None:
    """The bounds that `text` states for a resource of type `kind`; None when none can be told.

    Of strings and opaques it is the length in bytes. One number is a size: in bytes or bits where
    the text says so, else the exact length of a string or opaque; a lone number says nothing of
    numbers.
    """
    # One space at most: the patterns take time by the power of them.
    text = " ".join(text.split())
    if len(text) > _TEXT_LENGTH_MAX or not (kind in NUMERIC or kind in _LENGTHS):
        return None
    bounds = _BOUNDS.fullmatch(text)
    if bounds is not None:
        return _bounds(kind, *bounds.groups())
    listed = _LIST.fullmatch(text)
    if listed is not None:
        return _list(kind, *listed.groups())
    size = _SIZE.fullmatch(text)
    return None if size is None else _size(kind, *size.groups())


def turned_round(text: str) -> str | None:
    """The bounds that a text such as `100..0` was meant to state, `0..100`; None for others."""
    text = " ".join(text.split())
    bounds = _BOUNDS.fullmatch(text) if len(text) <= _TEXT_LENGTH_MAX else None
    if bounds is None or _number(bounds[1]) <= _number(bounds[2]):
        return None
    return f"{bounds[2]}..{bounds[1]}"


def _bounds(kind: ValueType, low: str, high: str, unit: str | None) -> ValueRange | None:
    minimum, maximum = _number(low), _number(high)
    if minimum > maximum or (kind in _LENGTHS and minimum < 0) or _is_bits(unit):
        return None
    return ValueRange(minimum, maximum)


def _list(kind: ValueType, numbers: str, unit: str | None) -> ValueRange | None:
    # In `16-32-48` the dashes separate, in `1, -2` they belong to the numbers.
    is_dashed = not re.search(r"[,;|]|or", numbers, re.IGNORECASE)
    found = (_PLAIN_NUMBER if is_dashed else _ANY_NUMBER).findall(numbers)
    allowed = tuple(_number(each) for each in found)
    if (kind in _LENGTHS and min(allowed) < 0) or _is_bits(unit):
        return None
    return ValueRange(allowed=allowed)


def _size(kind: ValueType, number: str, unit: str | None) -> ValueRange | None:
    size = int(number)
    if kind in _LENGTHS:
        if _is_bits(unit):
            return None if size % 8 else ValueRange(allowed=(size // 8,))
        return ValueRange(allowed=(size,))
    bits = size if _is_bits(unit) else size * 8
    if unit is None or unit.lower().startswith("char") or not 0 < bits <= 64:
        return None
    return ValueRange(0, 2**bits - 1)


def _is_bits(unit: str | None) -> bool:
    return unit is not None and unit.lower().startswith("bit")


def _number(text: str) -> float:
    if "x" in text.lower():
        return int(text, 16)
    return float(text) if "." in text else int(text)
