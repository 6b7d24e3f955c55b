"""A pack of a known shape is read as the general way reads it, or left to that."""

from __future__ import annotations

import struct
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.ingestion.common_packs import common_readings
from city_platform.ingestion.pack_shapes import SHAPES_OF_A_LENGTH_MAX, PackShapes
from city_platform.stores.telemetry_records import ReadingRecord
from lwm2m.codecs.senml_cbor import load
from lwm2m.errors import MalformedSenml
from tests.city_platform.ingestion.packs import NOW_S, state

PATHS = ("3416/0/3", "3416/0/46", "3301/0/5700")
KNOWN = {path: f"/{path}" for path in PATHS}

number = st.one_of(
    st.floats(width=64), st.integers(-(2**64), 2**64 - 1), st.integers(-30, 30), st.booleans()
)
offset = st.none() | st.floats(-20, 20) | st.sampled_from([0.0, 1e-7, -NOW_S, 1e300])


@st.composite
def record(draw: st.DrawFn, path: str) -> dict[Any, Any]:
    value, time = draw(number), draw(offset)
    made: dict[Any, Any] = {0: path, (4 if isinstance(value, bool) else 2): value}
    if draw(st.booleans()):
        made[1] = "lm"
    if time is not None:
        made[6] = time
    return made


@st.composite
def pack(draw: st.DrawFn) -> bytes:
    head: dict[Any, Any] = {
        -2: draw(st.sampled_from(["lamp-1/", "lamp-2/", "lamp-12/"])),
        -3: draw(st.sampled_from([NOW_S, NOW_S + 0.123456, 5.0, 2.0**34, float("nan")])),
    }
    if draw(st.booleans()):
        head["seq"] = draw(st.integers(-3, 300))
    if draw(st.booleans()):
        head["boot"] = draw(st.sampled_from(["b1", "b2", "é"]))
    paths = PATHS[: draw(st.integers(1, 3))]
    first, *others = [draw(record(path)) for path in paths]
    whole = first | head if draw(st.booleans()) else head | first
    return cbor2.dumps([whole, *others])


def general(payload: bytes, endpoint: str) -> list[ReadingRecord] | None:
    try:
        return common_readings(load(payload), endpoint, "t", KNOWN)
    except MalformedSenml:
        return None


@given(st.lists(pack(), min_size=2, max_size=12), st.sampled_from(["lamp-1", "lamp-2", "lamp-12"]))
@settings(max_examples=150, deadline=None)
def test_what_a_shape_reads_is_what_the_general_way_reads(
    payloads: list[bytes], endpoint: str
) -> None:
    shapes = PackShapes()
    for payload in payloads:
        expected = general(payload, endpoint)
        found = shapes.readings(payload, endpoint, "t")
        # Types too: 1, 1.0 and True are equal.
        assert found is None or repr(found) == repr(expected)
        if expected is not None:
            shapes.learn(payload, endpoint, expected)


@given(pack(), st.integers(0, 200), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_pack_with_a_byte_changed_is_read_alike_or_left(payload: bytes, at: int, to: int) -> None:
    shapes = PackShapes()
    readings = general(payload, "lamp-1")
    if readings is None:
        return
    shapes.learn(payload, "lamp-1", readings)
    other = bytearray(payload)
    other[at % len(other)] = to
    found = shapes.readings(bytes(other), "lamp-1", "t")
    assert found is None or repr(found) == repr(general(bytes(other), "lamp-1"))


def taught(endpoint: str = "lamp-1", sequence: int = 100) -> PackShapes:
    shapes, payload = PackShapes(), state(endpoint, sequence)
    readings = general(payload, endpoint)
    assert readings is not None
    shapes.learn(payload, endpoint, readings)
    return shapes


def test_devices_whose_names_are_equally_long_share_a_shape() -> None:
    found = taught().readings(state("lamp-2", 200), "lamp-2", "quay")
    assert found is not None
    assert [(one.endpoint, one.path, one.tenant) for one in found] == [
        ("lamp-2", "/3416/0/3", "quay"),
        ("lamp-2", "/3416/0/46", "quay"),
    ]


def test_a_pack_that_names_another_device_is_left_to_the_general_way() -> None:
    assert taught().readings(state("lamp-2", 200), "lamp-1", "t") is None


def test_pack_numbers_of_one_byte_have_two_shapes_and_no_more() -> None:
    shapes = PackShapes()
    learnt = 0
    for sequence in range(24):
        payload = state("lamp-1", sequence)
        if shapes.readings(payload, "lamp-1", "t") is None:
            learnt += 1
            shapes.learn(payload, "lamp-1", general(payload, "lamp-1") or [])
    assert learnt == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_left_to_the_general_way(value: float) -> None:
    payload = state("lamp-1", 200)
    changed = payload.replace(struct.pack(">d", 33.25), struct.pack(">d", value))
    assert changed != payload
    assert taught().readings(changed, "lamp-1", "t") is None


def test_no_more_shapes_of_a_length_are_kept_than_may_be() -> None:
    shapes = PackShapes()
    payloads = [
        state("lamp-1", 100, {f"3416/{number}/3": 0.5})
        for number in range(SHAPES_OF_A_LENGTH_MAX + 1)
    ]
    for payload in payloads:
        path = load(payload)[0][0]
        readings = common_readings(load(payload), "lamp-1", "t", {path: f"/{path}"})
        assert readings is not None
        shapes.learn(payload, "lamp-1", readings)
    assert shapes.readings(payloads[0], "lamp-1", "t") is None
    assert shapes.readings(payloads[1], "lamp-1", "t") is not None
