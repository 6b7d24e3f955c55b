"""Ranges as people write them, and the bounds that they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m.objects import ValueRange, ValueType
from lwm2m.objects.ranges import parse_range, turned_round

T = ValueType


@pytest.mark.parametrize(
    ("text", "kind", "low", "high"),
    [
        ("0..255", T.INTEGER, 0, 255),
        ("0-255", T.INTEGER, 0, 255),
        ("0 - 255", T.UNSIGNED, 0, 255),
        ("1...15", T.INTEGER, 1, 15),
        ("1…15", T.INTEGER, 1, 15),
        ("0–100", T.INTEGER, 0, 100),
        ("[1:4]", T.INTEGER, 1, 4),
        ("0 to 10", T.INTEGER, 0, 10),
        ("-90..90", T.FLOAT, -90, 90),
        ("-90.5..-10", T.FLOAT, -90.5, -10),
        ("-1 - +1", T.FLOAT, -1, 1),
        ("0x00..0xFF", T.INTEGER, 0, 255),
        ("0..64 bytes", T.STRING, 0, 64),
        ("0-255 bytes", T.STRING, 0, 255),
        ("1..64 Bytes", T.OPAQUE, 1, 64),
        ("1..8 characters.", T.STRING, 1, 8),
        ("  0\n..\t7 ", T.TIME, 0, 7),
        ("8 bit", T.INTEGER, 0, 255),
        ("8-Bits", T.INTEGER, 0, 255),
        ("16-bit", T.UNSIGNED, 0, 65_535),
        ("2 bytes", T.INTEGER, 0, 65_535),
        ("64 bits", T.UNSIGNED, 0, 2**64 - 1),
    ],
)
def test_bounds(text: str, kind: ValueType, low: float, high: float) -> None:
    assert parse_range(kind, text) == ValueRange(low, high)


@pytest.mark.parametrize(
    ("text", "kind", "allowed"),
    [
        ("1,2,3", T.INTEGER, (1, 2, 3)),
        ("1, -2, 3.5", T.FLOAT, (1, -2, 3.5)),
        ("1;2;3", T.INTEGER, (1, 2, 3)),
        ("1|2", T.INTEGER, (1, 2)),
        ("16,32,48", T.OPAQUE, (16, 32, 48)),
        ("16-32-48 bytes", T.OPAQUE, (16, 32, 48)),
        ("10 or 26 Bytes", T.STRING, (10, 26)),
        ("12", T.STRING, (12,)),
        ("12 bytes", T.STRING, (12,)),
        ("8 bit", T.OPAQUE, (1,)),
    ],
)
def test_lists_and_lengths(text: str, kind: ValueType, allowed: tuple[float, ...]) -> None:
    assert parse_range(kind, text) == ValueRange(allowed=allowed)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", T.INTEGER),
        ("ON;OFF", T.FLOAT),
        ("255", T.INTEGER),
        ("255 characters", T.INTEGER),
        ("0 bytes", T.INTEGER),
        ("9 bytes", T.INTEGER),
        ("-30..-120", T.INTEGER),
        ("-1..5", T.STRING),
        ("1,-2", T.STRING),
        ("1,2 bits", T.OPAQUE),
        ("0..16 bits", T.OPAQUE),
        ("7 bit", T.OPAQUE),
        ("0..3, 99", T.INTEGER),
        ("0: off 1: on", T.INTEGER),
        ("0..1", T.BOOLEAN),
        ("0..1", T.OBJECT_LINK),
        ("0..1", T.NONE),
        ("0.." + "9" * 2_000, T.INTEGER),
        ("1.." + " " * 5_000 + "x", T.INTEGER),
    ],
)
def test_texts_that_are_no_range_have_none(text: str, kind: ValueType) -> None:
    assert parse_range(kind, text) is None


@given(st.sampled_from(T), st.text(alphabet="0123456789.-,;xor bytes[]:+…", max_size=40))
def test_any_text_has_a_range_or_none(kind: ValueType, text: str) -> None:
    found = parse_range(kind, text)
    assert found is None or found.allowed or found.minimum is not None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("100..0", "0..100"),
        ("90 to -90", "-90..90"),
        ("0..100", None),
        ("5..5", None),
        ("low to high", None),
        ("1" * 2_000, None),
    ],
)
def test_reversed_bounds_are_known_for_what_was_meant(text: str, meant: str | None) -> None:
    assert turned_round(text) == meant


@given(text=st.text("0123456789.-to []", max_size=40))
def test_what_was_meant_is_a_range(text: str) -> None:
    meant = turned_round(text)
    assert meant is None or parse_range(ValueType.FLOAT, meant) is not None
