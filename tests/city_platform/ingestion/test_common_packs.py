"""The quick way to read a pack finds what the general way finds, or leaves it to that."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from city_platform.ingestion.common_packs import common_readings
from city_platform.ingestion.spool import Message
from city_platform.ingestion.transform import Refused, Source, StatePack, Transformer
from contracts.topics import Topics
from lwm2m.codecs.senml_cbor import load
from tests.city_platform.ingestion.packs import state

PATHS = ("3416/0/3", "3416/0/46", "3301/0/5700")
NOW_S = 1_767_225_600.0

value = st.one_of(
    st.tuples(st.just(2), st.floats() | st.integers(-(2**64), 2**64 - 1) | st.booleans()),
    st.tuples(st.just(4), st.booleans() | st.just(1)),
    st.tuples(st.just(3), st.text(max_size=3)),
)
time = st.floats(-20, 20) | st.sampled_from([0, 0.0, 5, -NOW_S, 1e300, float("nan")])


@st.composite
def record(draw: st.DrawFn, *, is_first: bool) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    if is_first:
        made[-2] = draw(st.sampled_from(["lamp-1/", "lamp-2/", "lamp-1/x/"]))
        made[-3] = draw(
            st.sampled_from([NOW_S, NOW_S + 0.123456, 5.0, 2**28 - 1.0, 1_767_225_600, 2.0**34])
        )
        if draw(st.booleans()):
            made["seq"] = draw(st.integers(0, 9) | st.just(1.5))
        if draw(st.booleans()):
            made["boot"] = draw(st.just("b1") | st.just(None))
    made[0] = draw(st.sampled_from([*PATHS, "5/5/5", "x"]))
    label, given_value = draw(value)
    made[label] = given_value
    if draw(st.booleans()):
        made[1] = draw(st.just("lm") | st.just(None))
    if draw(st.booleans()):
        made[6] = draw(time)
    if draw(st.integers(0, 9)) == 0:
        made.update(draw(st.sampled_from([{-1: "V"}, {-5: 1.0}, {"x_": 1}, {7: 1.0}, {5: 1}])))
    return made


pack = st.builds(
    lambda first, others: [first, *others],
    record(is_first=True),
    st.lists(record(is_first=False), max_size=3),
)


@given(pack)
@example([{-2: "lamp-1/", -3: NOW_S, 0: PATHS[0], 2: 1.0, 6: 1e-7}])
@settings(max_examples=500, deadline=None)
def test_a_pack_that_is_read_quickly_is_read_alike(records: list[dict[Any, Any]]) -> None:
    payload = cbor2.dumps(records)
    message = Message(0, 1, "devices/lamp-1/state", payload)
    quick = common_readings(load(payload), "lamp-1", "t", {path: f"/{path}" for path in PATHS})
    if quick is None:
        return
    # A new transformer has seen no name yet, and therefore goes the general way.
    slow = Transformer(Topics()).transform(message, Source("lamp-1", "state"), "t")
    assert slow == StatePack(quick, None)


def test_a_pack_as_devices_send_it_is_read_quickly() -> None:
    payload = state("lamp-1", 7, {"3416/0/3": 0.5, "3416/0/46": 33})
    assert common_readings(load(payload), "lamp-1", "t", {path: f"/{path}" for path in PATHS})


@pytest.mark.parametrize("endpoint", ["_lamp", "-lamp", ":lamp"])
def test_a_name_that_senml_does_not_allow_is_refused_though_its_paths_were_seen(
    endpoint: str,
) -> None:
    transformer = Transformer(Topics())
    seen = Message(0, 1, "devices/lamp-1/state", state("lamp-1"))
    transformer.transform(seen, Source("lamp-1", "state"), "t")
    message = Message(1, 1, f"devices/{endpoint}/state", state(endpoint))
    with pytest.raises(Refused):
        transformer.transform(message, Source(endpoint, "state"), "t")
