"""SenML CBOR packs that are, but for a few texts and opaque values, the same bytes again and again.

What a platform writes to thousands of devices differs in names, topics and keys. A pack is held
against one that was read before, run of bytes by run of bytes, and only what lies between the runs
is decoded: a general decoder takes ten times as long to say the same. What does not match is None
here and read the general way; a test holds both against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from lwm2m.codecs.senml import BASE_NAME, NAME
from lwm2m.objects import ObjectPath, Value

# Longer packs, or ones of fewer records, gain nothing.
LEARNT_BYTES_MAX: Final = 8_192
LEARNT_RECORDS_MIN: Final = 3

_Settle = Callable[[Any], Value]
# RFC 8949 §3: the major types, in the upper three bits of an item's first byte.
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _SIMPLE = 0, 1, 2, 3, 4, 5, 7
_EMPTY_TEXT: Final = _TEXT << 5
# RFC 8949 §3: a length is in the five bits below, or so many bytes long after them.
_DIRECT_MAX, _IN_ONE_BYTE, _IN_TWO_BYTES = 23, 24, 25
_IN_BYTES: Final = {_IN_ONE_BYTE: 1, _IN_TWO_BYTES: 2, 26: 4, 27: 8}
_OF_NAMES: Final = frozenset({BASE_NAME, NAME})


class _Gap(NamedTuple):
    """What comes before a value that differs from pack to pack, and the value's path.

    `head` is the first byte of an empty one: of text, or of bytes.
    """

    run: bytes
    run_bytes: int
    head: int
    path: ObjectPath
    settle: _Settle | None


class PackTemplate:
    """One pack, with gaps. `values` are those of the pack that it was made from."""

    __slots__ = ("_gaps", "_tail", "values")

    def __init__(
        self, payload: bytes, values: Mapping[ObjectPath, Value], gaps: Sequence[_Gap]
    ) -> None:
        self._gaps = tuple(gaps)
        self._tail = payload
        # Opaque values may be keys: they are each pack's own and kept nowhere.
        own = {gap.path for gap in gaps}
        self.values = {path: b"" if path in own else value for path, value in values.items()}

    @property
    def gaps(self) -> frozenset[ObjectPath]:
        """The paths whose values may differ."""
        return frozenset([gap.path for gap in self._gaps])

    def read(self, payload: bytes) -> dict[ObjectPath, Value] | None:
        """The values of a pack that is this one but for what is in the gaps; None for another.

        Raises what a gap's `settle` raises.
        """
        found = self.values.copy()
        at = 0
        try:
            for run, run_bytes, first, path, settle in self._gaps:
                if not payload.startswith(run, at):
                    return None
                at += run_bytes
                length = payload[at] - first
                at += 1
                if length == _IN_ONE_BYTE:
                    length = payload[at]
                    at += 1
                elif length == _IN_TWO_BYTES:
                    length = payload[at] << 8 | payload[at + 1]
                    at += 2
                elif not 0 <= length <= _DIRECT_MAX:
                    return None
                end = at + length
                value: Any = payload[at:end]
                at = end
                if first == _EMPTY_TEXT:
                    value = value.decode()
                found[path] = value if settle is None else settle(value)
        except (IndexError, UnicodeDecodeError):
            return None
        tail = self._tail
        # What was cut off ends beyond the end.
        return found if payload.startswith(tail, at) and at + len(tail) == len(payload) else None


def make_template(
    payload: bytes,
    values: Mapping[ObjectPath, Value],
    settling: Mapping[int, _Settle],
    varying: Collection[ObjectPath],
) -> PackTemplate | None:
    """The template of a pack, with gaps for its opaque values and for the texts at `varying`.

    `values` are what it was read into, in its order; `settling` makes the values of some of its
    records. None when something else than text varies, or when it is written in a way that is not
    looked for.
    """
    spans = _value_spans(payload)
    if spans is None or len(spans) != len(values):
        return None
    gaps: list[_Gap] = []
    done = 0
    for index, (path, (begin, end)) in enumerate(zip(values, spans, strict=True)):
        major = payload[begin] >> 5
        if major == _BYTES or path in varying:
            if major not in (_BYTES, _TEXT):
                return None
            run = payload[done:begin]
            gaps.append(_Gap(run, len(run), major << 5, path, settling.get(index)))
            done = end
    return PackTemplate(payload[done:], values, gaps)


def _value_spans(payload: bytes) -> list[tuple[int, int]] | None:
    """Where the value of each record begins and ends; None for a pack with other than names and
    values, or with items that are neither simple nor of a known length."""
    try:
        major, count, at = _head(payload, 0)
        if major != _ARRAY:
            return None
        spans: list[tuple[int, int]] = []
        for _ in range(count):
            major, pairs, at = _head(payload, at)
            if major != _MAP:
                return None
            for _ in range(pairs):
                key_at, at = at, _end(payload, at)
                begin, at = at, _end(payload, at)
                if _small_number(payload, key_at) not in _OF_NAMES:
                    spans.append((begin, at))
        return spans if at == len(payload) else None
    except (IndexError, KeyError):
        return None


def _head(payload: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument, and where what follows begins. Raises `IndexError`, `KeyError`."""
    head = payload[at]
    argument, at = head & 31, at + 1
    if argument > _DIRECT_MAX:
        end = at + _IN_BYTES[argument]
        argument, at = int.from_bytes(payload[at:end], "big"), end
    return head >> 5, argument, at


def _end(payload: bytes, at: int) -> int:
    """Where a simple item ends. Raises `IndexError`, `KeyError`."""
    major, argument, behind = _head(payload, at)
    if major in (_BYTES, _TEXT):
        return behind + argument
    if major in (_UNSIGNED, _NEGATIVE, _SIMPLE):
        return behind
    raise KeyError(major)


def _small_number(payload: bytes, at: int) -> int | None:
    major, argument, _ = _head(payload, at)
    if major == _UNSIGNED:
        return argument
    return -1 - argument if major == _NEGATIVE else None
