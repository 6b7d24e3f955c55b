"""JSON texts from outside, bounded and without surprises (RFC 8259; RFC 7493 for the surprises).

Members that are there twice, NaN and infinities, lone surrogates and deep nesting are refused: two
readers of such a text could understand two different things. The parser is the standard library's,
because it alone shows members that come twice.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from lwm2m.errors import MalformedJson

DEPTH_MAX = 8

# Integers with more digits do not fit 64 bits: they are read as the doubles that they may be.
_DIGITS_MAX = 19


def load(payload: bytes, depth_max: int = DEPTH_MAX) -> Any:
    """The value of the text: dict, list, str, int, float, bool or None. Raises `MalformedJson`.

    Integers are exact as far as they fit 64 bits. Numbers too large for a double are refused.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise MalformedJson("not UTF-8") from None
    try:
        item = _decoder.decode(text)
    except RecursionError:
        raise MalformedJson(f"nested deeper than {depth_max}") from None
    except json.JSONDecodeError as error:
        # The text may hold secrets: only the place is told.
        raise MalformedJson(f"{error.msg} at character {error.pos}") from None
    _check(item, depth_max)
    return item


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJson("a member is there twice")
    return members


def _integer(digits: str) -> int | float:
    if len(digits) <= _DIGITS_MAX:
        return int(digits)
    if len(digits) > 400:
        raise MalformedJson("a number too large for 64 bits")
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else _finite(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if number - number != 0.0:
        raise MalformedJson("a number too large for 64 bits")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedJson(f"{name} is no JSON number")


_decoder = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_int=_integer,
    parse_float=_finite,
    parse_constant=_refuse_constant,
)


def _check(item: Any, depth_left: int) -> None:
    kind = type(item)
    if kind is str:
        _require_scalars(item)
    elif kind is dict or kind is list:
        if not depth_left:
            raise MalformedJson("nested too deep")
        if kind is dict:
            for name in item:
                _require_scalars(name)
        for part in item.values() if kind is dict else item:
            _check(part, depth_left - 1)


def _require_scalars(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise MalformedJson("half of a surrogate pair") from None
