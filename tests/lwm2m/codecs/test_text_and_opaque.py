"""Single values as plain text and as octet stream."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import opaque, text
from lwm2m.errors import InvalidValue, LwM2mError, MalformedOpaque, MalformedText
from lwm2m.objects import ObjectLink, Value, ValueType

T = ValueType


@pytest.mark.parametrize(
    ("kind", "value", "encoded"),
    [
        (T.STRING, "Grüße", "Grüße".encode()),
        (T.CORE_LINK, "</3416>", b"</3416>"),
        (T.INTEGER, -42, b"-42"),
        (T.UNSIGNED, 42, b"42"),
        (T.TIME, 1367491215, b"1367491215"),
        (T.FLOAT, 1.5, b"1.5"),
        (T.FLOAT, 3.0, b"3.0"),
        (T.BOOLEAN, True, b"1"),
        (T.BOOLEAN, False, b"0"),
        (T.OPAQUE, b"\x01\x02\x03\x04\x05", b"AQIDBAU="),
        (T.OBJECT_LINK, ObjectLink(10245, 1), b"10245:1"),
    ],
)
def test_values_are_written_as_people_would(kind: ValueType, value: Value, encoded: bytes) -> None:
    assert text.encode_value(kind, value) == encoded
    assert text.decode_value(kind, encoded) == value


@pytest.mark.parametrize(
    ("kind", "payload", "value"),
    [
        (T.FLOAT, b"3", 3.0),
        (T.FLOAT, b"-.5e-3", -0.0005),
        (T.INTEGER, b"+7", 7),
        (T.OPAQUE, b"-_8", b"\xfb\xff"),
        (T.OPAQUE, b"", b""),
        (T.OBJECT_LINK, b"FFFF:FFFF", ObjectLink(65535, 65535)),
        (None, b"5", "5"),
    ],
)
def test_forms_that_clients_use_are_read(
    kind: ValueType | None, payload: bytes, value: Value
) -> None:
    assert text.decode_value(kind, payload) == value


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (T.INTEGER, b""),
        (T.INTEGER, b"1.0"),
        (T.INTEGER, b"1_0"),
        (T.INTEGER, b" 1"),
        (T.INTEGER, "١".encode()),
        (T.INTEGER, b"9" * 21),
        (T.FLOAT, b"nan"),
        (T.FLOAT, b"inf"),
        (T.FLOAT, b"0x1p3"),
        (T.FLOAT, b"."),
        (T.FLOAT, b"1" * 65),
        (T.BOOLEAN, b"true"),
        (T.OPAQUE, b"A"),
        (T.OPAQUE, b"!!!!"),
        (T.OBJECT_LINK, b"3/0"),
        (T.STRING, b"\xff"),
    ],
)
def test_texts_that_are_no_value_are_malformed(kind: ValueType, payload: bytes) -> None:
    with pytest.raises(MalformedText):
        text.decode_value(kind, payload)


@pytest.mark.parametrize(
    ("kind", "payload"), [(T.UNSIGNED, b"-1"), (T.INTEGER, b"9" * 20), (T.FLOAT, b"1e9999")]
)
def test_numbers_that_the_type_does_not_hold_are_no_values(kind: ValueType, payload: bytes) -> None:
    with pytest.raises(InvalidValue):
        text.decode_value(kind, payload)


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_floats_come_back_exactly(number: float) -> None:
    assert text.decode_value(T.FLOAT, text.encode_value(T.FLOAT, number)) == number


@given(st.sampled_from([None, *T]), st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_value_or_refused_by_our_own_error(
    kind: ValueType | None, payload: bytes
) -> None:
    for decode in (text.decode_value, opaque.decode_value):
        try:
            value = decode(kind, payload)
        except LwM2mError:
            continue
        if kind is not None:
            assert text.decode_value(kind, text.encode_value(kind, value)) == value


def test_octet_streams_are_for_opaque_resources_only() -> None:
    assert opaque.decode_value(T.OPAQUE, b"\x00") == opaque.encode_value(T.OPAQUE, b"\x00")
    with pytest.raises(MalformedOpaque):
        opaque.decode_value(T.INTEGER, b"\x00")
    with pytest.raises(InvalidValue):
        opaque.encode_value(T.INTEGER, 5)
    with pytest.raises(InvalidValue):
        opaque.encode_value(T.OPAQUE, "text")
