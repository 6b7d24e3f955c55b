"""JSON texts have one meaning or none: what two readers could understand differently is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import json_text
from lwm2m.errors import MalformedJson


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740993", 2**53 + 1),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775809", -(2.0**63)),
        ("1" + "0" * 300, 1e300),
        ("1e-999", 0.0),
        ("-0.0", -0.0),
        ('"\\ud83d\\ude00"', "😀"),
        ('{"ü":[null,true]}', {"ü": [None, True]}),
    ],
)
def test_what_is_said_is_understood(text: str, value: Any) -> None:
    found = json_text.load(text.encode())
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "Expecting value at character 0"),
        (b"\xff", "not UTF-8"),
        (b"\xef\xbb\xbf1", "Expecting value|BOM"),
        (b"1 2", "Extra data"),
        (b"01", "Extra data"),
        (b"[1,]", "Expecting value|Illegal trailing"),
        (b'{"a":1,"a":1}', "twice"),
        (b"NaN", "NaN is no"),
        (b"-Infinity", "-Infinity is no"),
        (b"1e400", "too large"),
        (b"9" * 400, "too large"),
        (b"9" * 5_000, "too large"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udfff":1}', "surrogate"),
        (b'"\x00"', "control character"),
        (b"[[[[1]]]]", "nested"),
        (b'{"a":{"a":{"a":{}}}}', "nested"),
        (b"[" * 50_000 + b"]" * 50_000, "nested"),
    ],
)
def test_what_has_two_meanings_or_none_is_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(MalformedJson, match=reason):
        json_text.load(payload, depth_max=3)


def test_an_error_does_not_repeat_the_text() -> None:
    with pytest.raises(MalformedJson) as caught:
        json_text.load(b'{"key":"hunter2" oops}')
    assert "hunter2" not in str(caught.value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text("abü"), values),
    max_leaves=5,
)


@pytest.mark.slow
@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_what_another_implementation_writes_is_read_back(value: Any) -> None:
    assert json_text.load(json.dumps(value).encode(), depth_max=32) == value
