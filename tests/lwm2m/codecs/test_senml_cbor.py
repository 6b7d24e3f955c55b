"""SenML packs answer to RFC 8428, to another CBOR encoder, and to any bytes at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import SenmlLimits, senml_cbor
from lwm2m.codecs.senml_cbor import encode_readings, prepare, resolve
from lwm2m.errors import InvalidValue, MalformedSenml
from lwm2m.objects import ObjectLink, Value

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "fixtures/vectors/senml/rfc8428.json").read_text()
)
# RFC 8428 §6, table 4.
LABELS = {
    "bver": -1,
    "bn": -2,
    "bt": -3,
    "bu": -4,
    "bv": -5,
    "bs": -6,
    "n": 0,
    "u": 1,
    "v": 2,
    "vs": 3,
    "vb": 4,
    "s": 5,
    "t": 6,
    "ut": 7,
    "vd": 8,
}
NOW = 1_700_000_000.25


def pack(*records: Mapping[str, Any]) -> bytes:
    """A pack in CBOR of records in JSON labels, by an encoder that is not ours."""
    return cbor2.dumps([{LABELS.get(k, k): v for k, v in record.items()} for record in records])


def _octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _plain(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: _octets(value) if key == "vd" else value for key, value in record.items()}
        for record in records
    ]


def _expected(record: dict[str, Any]) -> tuple[Any, ...]:
    value = next(record[key] for key in ("v", "vs", "vb", "vd") if key in record)
    return (
        record["n"],
        record.get("u"),
        _octets(value) if "vd" in record else value,
        record.get("t"),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_packs_of_the_rfc_resolve(vector: dict[str, Any]) -> None:
    found = resolve(pack(*_plain(vector["pack"])), None)
    assert [(r.name, r.unit, r.value, r.time) for r in found] == [
        _expected(record) for record in vector["resolved"]
    ]


def test_the_dump_of_the_rfc_resolves_to_exact_milliseconds() -> None:
    (vector,) = [vector for vector in VECTORS if "hex" in vector]
    found = resolve(bytes.fromhex(vector["hex"]), None)
    assert [(r.name, r.unit, r.value, r.time) for r in found] == [
        _expected(record) for record in vector["resolved"]
    ]
    assert found[1].time_us == 1_276_020_071_001_000


def test_the_dump_of_the_rfc_decodes_to_its_labels() -> None:
    (vector,) = [vector for vector in VECTORS if "hex" in vector]
    first, second, *_ = senml_cbor.decode(bytes.fromhex(vector["hex"]))
    assert first == {
        senml_cbor.BASE_NAME: "urn:dev:ow:10e2073a0108006:",
        senml_cbor.BASE_TIME: 1276020076.001,
        senml_cbor.BASE_UNIT: "A",
        senml_cbor.BASE_VERSION: 5,
        senml_cbor.NAME: "voltage",
        senml_cbor.UNIT: "V",
        senml_cbor.VALUE: 120.1,
    }
    assert second == {senml_cbor.NAME: "current", senml_cbor.TIME: -5, senml_cbor.VALUE: 1.2}


def test_an_empty_pack_has_no_records() -> None:
    assert resolve(b"\x80", None) == []
    assert senml_cbor.encode([]) == b"\x80"


# --- times


def test_a_pack_without_time_has_none_until_somebody_says_what_is_now() -> None:
    payload = pack({"n": "a", "v": 1})
    assert resolve(payload, None)[0].time is None
    assert resolve(payload, NOW)[0].time == NOW


@pytest.mark.parametrize("offset", [-5, 0, 60, 2**28 - 1])
def test_times_below_2_to_the_28_are_relative(offset: int) -> None:
    payload = pack({"n": "a", "v": 1, "t": offset})
    assert resolve(payload, NOW)[0].time == NOW + offset
    assert resolve(payload, None)[0].time is None


def test_times_from_2_to_the_28_on_are_absolute() -> None:
    assert resolve(pack({"n": "a", "v": 1, "t": 2**28}), NOW)[0].time == 2**28


def test_the_sum_of_base_time_and_time_decides_which_it_is() -> None:
    payload = pack({"bt": 2**28 - 1, "n": "a", "v": 1, "t": 1}, {"n": "b", "v": 1})
    first, second = resolve(payload, NOW)
    assert first.time == 2**28
    assert second.time == NOW + 2**28 - 1


@pytest.mark.slow
@given(st.integers(2**28 * 1_000_000, 4_102_444_800_000_000), st.integers(-(10**10), 10**10))
@settings(max_examples=300, deadline=None)
def test_microseconds_survive_as_double_and_as_decimal_fraction(at: int, offset: int) -> None:
    base, delta = at / 1_000_000, offset / 1_000_000
    exact = Decimal(at).scaleb(-6)
    if at + offset < 2**28 * 1_000_000:
        return
    for written in (base, exact):
        found = resolve(pack({"bt": written, "n": "a", "v": 1, "t": delta}), None)
        assert found[0].time_us == at + offset
        assert resolve(pack({"n": "a", "v": 1, "t": written}), None)[0].time_us == at


@pytest.mark.parametrize("time", [1e17, -1e17, 1e300, -1e300, 2**63])
def test_times_that_no_clock_shows_are_refused(time: float) -> None:
    with pytest.raises(MalformedSenml, match="time"):
        resolve(pack({"bt": time, "n": "a", "v": 1, "t": time}), NOW)


# --- values, units, sums, names


def test_base_fields_stay_in_force_until_replaced() -> None:
    payload = pack(
        {"bn": "a/", "bu": "V", "bv": 10, "n": "x", "v": 1},
        {"n": "y", "u": "A", "v": 2},
        {"bn": "b/", "n": "z", "v": 3},
        {"bv": 0, "bu": "W", "n": "w", "v": 4},
    )
    assert [(r.name, r.unit, r.value) for r in resolve(payload, None)] == [
        ("a/x", "V", 11),
        ("a/y", "A", 12),
        ("b/z", "V", 13),
        ("b/w", "W", 4),
    ]


def test_a_base_value_alone_is_the_value_and_leaves_texts_as_they_are() -> None:
    payload = pack({"bv": 5, "n": "a"}, {"n": "b", "vs": "text"})
    assert [r.value for r in resolve(payload, None)] == [5, "text"]


def test_a_record_may_have_a_sum_and_no_value() -> None:
    payload = pack({"n": "a", "s": 10}, {"bs": 100, "n": "a", "s": 11}, {"n": "a", "v": 1})
    assert [(r.value, r.sum) for r in resolve(payload, None)] == [
        (None, 10),
        (None, 111),
        (1, 100),
    ]


def test_update_times_are_kept() -> None:
    assert resolve(pack({"n": "a", "v": 1, "ut": 60}), None)[0].update_time == 60


@pytest.mark.parametrize("number", [1, 1.5, Decimal("1.5"), -(2**64), 2**64 - 1])
def test_numbers_may_be_integers_doubles_or_decimal_fractions(number: Any) -> None:
    (found,) = resolve(pack({"n": "a", "v": number}), None)
    assert found.value == number
    assert isinstance(found.value, float | int)


def test_object_links_have_a_label_of_their_own() -> None:
    assert resolve(pack({"n": "a", "vlo": "3:0"}), None)[0].value == ObjectLink(3, 0)
    with pytest.raises(MalformedSenml, match="record 0"):
        resolve(pack({"n": "a", "vlo": "3"}), None)


def test_names_may_begin_with_a_slash_unless_forbidden() -> None:
    payload = pack({"bn": "/3/0/", "n": "9", "v": 100})
    assert resolve(payload, None)[0].name == "/3/0/9"
    with pytest.raises(MalformedSenml, match="illegal name"):
        resolve(payload, None, SenmlLimits(leading_slash_is_allowed=False))


@pytest.mark.parametrize("name", ["", "/", "-a", "a b", "ä", "//3", "a\n", ".a"])
def test_names_that_the_rfc_does_not_allow_are_refused(name: str) -> None:
    with pytest.raises(MalformedSenml, match="illegal name"):
        resolve(pack({"n": name, "v": 1}), None)


# --- extensions


def test_unknown_text_labels_are_handed_on_with_their_record() -> None:
    payload = pack({"bn": "lamp/", "seq": 7, "boot": "b", "n": "a", "v": 1}, {"n": "b", "v": 2})
    first, second = resolve(payload, None)
    assert dict(first.extras) == {"seq": 7, "boot": "b"}
    assert dict(second.extras) == {}


def test_extensions_of_a_record_with_base_fields_only_go_to_the_next() -> None:
    payload = pack({"bn": "lamp/", "seq": 7}, {"n": "a", "v": 1, "x": [1, {"y": None}]})
    (found,) = resolve(payload, None)
    assert dict(found.extras) == {"seq": 7, "x": [1, {"y": None}]}


def test_unknown_integer_labels_are_ignored() -> None:
    assert resolve(cbor2.dumps([{0: "a", 2: 1, 99: "x", -99: 1}]), None)[0].value == 1


def test_a_label_that_must_be_understood_and_is_not_refuses_the_pack() -> None:
    with pytest.raises(MalformedSenml, match="record 1: field 'must_'"):
        resolve(pack({"n": "a", "v": 1}, {"n": "b", "v": 1, "must_": 1}), None)


# --- what is refused

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"n": "a", "v": 1, "vs": "x"}, "more than one value"),
        ({"n": "a", "v": 1, "vlo": "1:1"}, "more than one value"),
        ({"n": "a"}, "no value"),
        ({"bn": "a", "t": 1}, "no value"),
        ({"bn": "a", "u": "V"}, "no value"),
        ({"n": "a", "v": NAN}, "finite"),
        ({"n": "a", "v": INFINITY}, "finite"),
        ({"n": "a", "v": Decimal("1e999")}, "finite"),
        ({"n": "a", "v": Decimal("NaN")}, "finite"),
        ({"n": "a", "v": True}, "finite"),
        ({"n": "a", "v": "1"}, "finite"),
        ({"n": "a", "v": None}, "finite"),
        ({"n": "a", "v": 1e308, "bv": 1e308}, "finite sum"),
        ({"n": "a", "s": 1e308, "bs": 1e308}, "finite sum"),
        ({"n": "a", "v": 2**64}, "tag 2"),
        ({"n": "a", "vb": 1}, "label 4"),
        ({"n": "a", "vs": b"x"}, "label 3"),
        ({"n": "a", "vd": "x"}, "label 8"),
        ({"n": 1, "v": 1}, "label 0"),
        ({"bver": 11, "n": "a", "v": 1}, "version"),
        ({"bver": 10.0, "n": "a", "v": 1}, "version"),
        ({"bver": True, "n": "a", "v": 1}, "version"),
        ({"n": "a", "v": 1, "x": NAN}, "extension"),
        ({"n": "a", "v": 1, "x": cbor2.undefined}, "extension"),
        ({1.5: 1, "n": "a", "v": 1}, "labels"),
    ],
)
def test_records_that_break_the_rules_are_refused(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedSenml, match=reason):
        resolve(pack(record), None)


@pytest.mark.parametrize("payload", ["", "a0", "00", "8100", "81", "81a2000000", "8080", "9f"])
def test_what_is_no_pack_is_refused(payload: str) -> None:
    with pytest.raises(MalformedSenml):
        senml_cbor.decode(bytes.fromhex(payload))


def test_the_error_names_the_record() -> None:
    with pytest.raises(MalformedSenml) as caught:
        resolve(pack({"n": "a", "v": 1}, {"n": "b"}), None)
    assert caught.value.record == 1


def test_packs_are_bounded() -> None:
    limits = SenmlLimits(payload_bytes_max=64, records_max=2, depth_max=4)
    with pytest.raises(MalformedSenml, match="3 records"):
        resolve(pack(*[{"n": "a", "v": 1}] * 3), None, limits)
    with pytest.raises(MalformedSenml, match="bytes"):
        resolve(pack({"n": "a", "vs": "x" * 64}), None, limits)
    with pytest.raises(MalformedSenml, match="depth"):
        resolve(pack({"n": "a", "v": 1, "x": [[[[[]]]]]}), None, limits)


# --- encoding

VALUES = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.builds(ObjectLink, st.integers(0, 65535), st.integers(0, 65535))
)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9/:._-]{0,10}", fullmatch=True)
READINGS = st.lists(
    st.tuples(NAMES, st.sampled_from([None, "V", "%RH"]), VALUES, st.none() | st.integers(-99, 99)),
    min_size=1,
    max_size=40,
)


@pytest.mark.slow
@given(READINGS)
@settings(max_examples=100, deadline=None)
def test_readings_are_resolved_to_what_was_encoded(
    readings: list[tuple[str, str | None, Value, int | None]],
) -> None:
    base: dict[int | str, Any] = {
        senml_cbor.BASE_NAME: "lamp:1/",
        senml_cbor.BASE_TIME: 1.7e9,
        "seq": 3,
    }
    payload = encode_readings(
        base, [(prepare(name, unit), value, time) for name, unit, value, time in readings]
    )
    assert [(r.name, r.unit, r.value, type(r.value), r.time) for r in resolve(payload, None)] == [
        (f"lamp:1/{name}", unit, value, type(value), 1.7e9 + (time or 0))
        for name, unit, value, time in readings
    ]
    assert cbor2.loads(payload)[0]["seq"] == 3


def test_what_has_no_cbor_form_is_not_encoded() -> None:
    with pytest.raises(InvalidValue):
        senml_cbor.encode([{senml_cbor.NAME: object()}])


def test_prepared_readings_are_the_bytes_of_the_plain_encoder() -> None:
    base: dict[int | str, Any] = {senml_cbor.BASE_NAME: "lamp/", senml_cbor.BASE_TIME: 1.7e9}
    readings = [(prepare("3416/0/3", "/"), 0.5, None), (prepare("3416/0/5"), True, -1.5)]
    assert encode_readings(base, readings) == senml_cbor.encode(
        [base | {0: "3416/0/3", 1: "/", 2: 0.5}, {0: "3416/0/5", 4: True, 6: -1.5}]
    )


@pytest.mark.parametrize("number", [NAN, INFINITY, -INFINITY])
def test_numbers_that_are_not_finite_are_not_encoded(number: float) -> None:
    with pytest.raises(InvalidValue):
        encode_readings({}, [(prepare("a"), number, None)])
    with pytest.raises(InvalidValue):
        encode_readings({}, [(prepare("a"), 1.0, number)])


@given(st.binary(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_bytes_resolve_or_are_refused(payload: bytes) -> None:
    try:
        records = resolve(payload, NOW)
    except MalformedSenml:
        return
    assert all(isinstance(record.time_us, int) for record in records)


ITEMS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.decimals(),
    lambda items: st.lists(items, max_size=2) | st.dictionaries(st.text(max_size=3), items),
    max_leaves=4,
)
RECORDS = st.dictionaries(
    st.integers(-7, 10) | st.sampled_from(["vlo", "seq", "x_"]) | st.floats(), ITEMS, max_size=6
)


@pytest.mark.slow
@given(st.lists(RECORDS | ITEMS, max_size=4))
@settings(max_examples=300, deadline=None)
def test_packs_of_any_items_resolve_or_are_refused(records: list[Any]) -> None:
    try:
        found = resolve(cbor2.dumps(records), NOW)
    except MalformedSenml:
        return
    assert len(found) <= len(records)
