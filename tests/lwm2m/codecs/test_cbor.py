"""CBOR from outside is bounded, finite and free of tags; content format 60 keeps types."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import cbor
from lwm2m.errors import InvalidValue, LwM2mError, MalformedCbor
from lwm2m.objects import ObjectLink, Value, ValueType

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "fixtures/vectors/cbor/rfc8949_appendix_a.json").read_text()
)
T = ValueType


def _with(key: str) -> list[dict[str, Any]]:
    return [vector for vector in VECTORS if key in vector]


@pytest.mark.parametrize("vector", _with("value"), ids=lambda vector: vector["hex"][:24])
def test_appendix_a_decodes_to_its_values(vector: dict[str, Any]) -> None:
    found = cbor.load(bytes.fromhex(vector["hex"]))
    assert found == vector["value"]
    assert type(found) is type(vector["value"])
    assert math.copysign(1, found if isinstance(found, float) else 1) == math.copysign(
        1, vector["value"] if isinstance(vector["value"], float) else 1
    )


@pytest.mark.parametrize("vector", _with("bytes"), ids=lambda vector: vector["hex"])
def test_appendix_a_byte_strings_decode(vector: dict[str, Any]) -> None:
    assert cbor.load(bytes.fromhex(vector["hex"])).hex() == vector["bytes"]


@pytest.mark.parametrize("vector", _with("not_finite"), ids=lambda vector: vector["hex"])
def test_appendix_a_numbers_that_are_not_finite_are_no_values(vector: dict[str, Any]) -> None:
    with pytest.raises(LwM2mError):
        cbor.decode_value(T.FLOAT, bytes.fromhex(vector["hex"]))
    assert cbor.finite_double(cbor.load(bytes.fromhex(vector["hex"]))) is None


@pytest.mark.parametrize("vector", _with("refused"), ids=lambda vector: vector["hex"])
def test_appendix_a_tags_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(MalformedCbor, match="tag"):
        cbor.load(bytes.fromhex(vector["hex"]))


def test_a_map_with_integer_labels_decodes() -> None:
    assert cbor.load(bytes.fromhex("a201020304")) == {1: 2, 3: 4}


def test_decimal_fractions_are_exact() -> None:
    # RFC 8949 §3.4.4: 273.15.
    assert cbor.load(bytes.fromhex("c48221196ab3")) == Decimal("273.15")


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "00 00",
        "9affffffff",
        "5bffffffffffffffff",
        "a201020103",
        "81" * 9 + "00",
        "c4820180",
        "c48101",
        "c482c2410101",
        "d81c80",
        "d9d9f700",
        "61ff",
        "ff",
        "1c",
        "9f",
    ],
)
def test_what_is_not_one_plain_item_is_refused(payload: str) -> None:
    with pytest.raises(MalformedCbor):
        cbor.load(bytes.fromhex(payload))


def test_a_decimal_fraction_of_any_size_costs_nothing_and_is_no_number() -> None:
    for exponent in ("1a3b9aca00", "3a3b9aca00", "1901f4"):
        number = cbor.load(bytes.fromhex(f"c482{exponent}01"))
        assert cbor.finite_double(number) is None


@pytest.mark.parametrize(
    ("kind", "value", "encoded"),
    [
        (T.INTEGER, 1000, "1903e8"),
        (T.FLOAT, 1, "fb3ff0000000000000"),
        (T.BOOLEAN, True, "f5"),
        (T.STRING, "ü", "62c3bc"),
        (T.OPAQUE, b"\x01\x02", "420102"),
        (T.TIME, 1363896240, "c11a514b67b0"),  # RFC 8949, appendix A
        (T.OBJECT_LINK, ObjectLink(3, 0), "63333a30"),
    ],
)
def test_a_value_is_one_item_of_its_type(kind: ValueType, value: Value, encoded: str) -> None:
    assert cbor.encode_value(kind, value).hex() == encoded
    assert cbor.decode_value(kind, bytes.fromhex(encoded)) == value


def test_numbers_may_come_in_another_form_when_nothing_is_lost() -> None:
    assert cbor.decode_value(T.INTEGER, cbor2.dumps(5.0)) == 5
    assert cbor.decode_value(T.FLOAT, cbor2.dumps(5)) == 5.0
    assert cbor.decode_value(T.FLOAT, cbor2.dumps(Decimal("1.5"))) == 1.5
    assert cbor.decode_value(T.TIME, bytes.fromhex("c11a514b67b0")) == 1363896240
    with pytest.raises(InvalidValue, match="not whole"):
        cbor.decode_value(T.INTEGER, cbor2.dumps(5.5))


@pytest.mark.parametrize(
    ("item", "seconds"),
    [
        (cbor2.CBORTag(1, 1_363_896_240), 1_363_896_240),
        (cbor2.CBORTag(1, 1_363_896_240.0), 1_363_896_240),
        (cbor2.CBORTag(0, "2013-03-21T20:04:00Z"), 1_363_896_240),
        (cbor2.CBORTag(0, "1969-12-31T23:59:59-00:00"), -1),
    ],
)
def test_a_time_may_be_tagged(item: Any, seconds: int) -> None:
    assert cbor.decode_value(T.TIME, cbor2.dumps(item)) == seconds
    with pytest.raises(MalformedCbor, match="tag"):
        cbor.decode_value(T.INTEGER, cbor2.dumps(item))


@pytest.mark.parametrize(
    "item",
    [
        cbor2.CBORTag(1, "now"),
        cbor2.CBORTag(1, math.nan),
        cbor2.CBORTag(1, None),
        cbor2.CBORTag(0, "yesterday"),
        cbor2.CBORTag(0, "2013-03-21T20:04:00"),
        cbor2.CBORTag(0, "9999-12-31T23:59:59-24:00"),
        cbor2.CBORTag(0, 1_363_896_240),
        cbor2.CBORTag(100, 1),
    ],
)
def test_tags_of_what_is_no_time_are_refused(item: Any) -> None:
    with pytest.raises(MalformedCbor):
        cbor.decode_value(T.TIME, cbor2.dumps(item))


def test_a_time_of_part_of_a_second_is_no_time_value() -> None:
    payload = cbor2.dumps(cbor2.CBORTag(0, "2013-03-21T20:04:00.5Z"))
    assert cbor.load(payload, takes_times=True) == 1_363_896_240.5
    with pytest.raises(InvalidValue, match="not whole"):
        cbor.decode_value(T.TIME, payload)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (T.INTEGER, "5"),
        (T.INTEGER, True),
        (T.INTEGER, 2**64 - 1),
        (T.STRING, b"x"),
        (T.OPAQUE, "x"),
        (T.BOOLEAN, 1),
        (T.OBJECT_LINK, "3"),
        (T.STRING, None),
        (T.STRING, [1]),
        (None, {1: 2}),
    ],
)
def test_an_item_of_another_type_is_refused(kind: ValueType | None, item: Any) -> None:
    with pytest.raises(LwM2mError):
        cbor.decode_value(kind, cbor2.dumps(item))


@given(st.binary(max_size=64))
@settings(max_examples=300, deadline=None)
def test_any_bytes_load_or_are_refused_by_our_own_error(payload: bytes) -> None:
    for kind in (None, *T):
        try:
            cbor.decode_value(kind, payload)
        except LwM2mError:
            continue


ITEMS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.text() | st.binary(),
    lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(), items, max_size=3),
    max_leaves=8,
)


@given(ITEMS)
@settings(max_examples=100, deadline=None)
def test_what_another_encoder_writes_is_loaded(item: Any) -> None:
    assert cbor.load(cbor2.dumps(item), depth_max=20) == item
