"""One message becomes readings, alarms, or a refusal with its reason."""

from __future__ import annotations

import base64
import math
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.ingestion.spool import Message
from city_platform.ingestion.transform import AlarmPack, Refused, StatePack, Transformer
from contracts.telemetry import Alarm
from contracts.topics import Topics
from tests.city_platform.ingestion.packs import (
    BASE_NAME,
    BASE_TIME,
    BOOLEAN,
    NAME,
    NOW_S,
    TIME,
    UNIT,
    VALUE,
    alarm,
    alarm_topic,
    state,
    state_topic,
)

RECEIVED_US = 1_767_225_999_000_000


def transform(
    payload: bytes, topic: str = state_topic(), transformer: Transformer | None = None
) -> StatePack | AlarmPack:
    transformer = transformer or Transformer(Topics())
    source = transformer.source(topic)
    return transformer.transform(Message(0, RECEIVED_US, topic, payload), source, "harbour")


def readings(payload: bytes) -> list[tuple[Any, ...]]:
    pack = transform(payload)
    assert isinstance(pack, StatePack)
    return [tuple(reading) for reading in pack.readings]


def refusal(payload: bytes, topic: str = state_topic()) -> Refused:
    with pytest.raises(Refused) as caught:
        transform(payload, topic)
    return caught.value


# The two-record example of RFC 8428 §5.1.4 with its units, in CBOR labels, on our names.
RFC_PACK = cbor2.dumps(
    [
        {BASE_NAME: "lamp-1/", BASE_TIME: 1.276020076e9, NAME: "3/0/1", UNIT: "V", VALUE: 120.1},
        {NAME: "3/0/2", TIME: -5, UNIT: "A", VALUE: 1.2},
    ]
)


def test_records_are_resolved_and_get_the_tenant() -> None:
    assert readings(RFC_PACK) == [
        ("lamp-1", "/3/0/1", 1_276_020_076_000_000, 120.1, "number", "V", "device", "harbour"),
        ("lamp-1", "/3/0/2", 1_276_020_071_000_000, 1.2, "number", "A", "device", "harbour"),
    ]


def test_every_kind_of_value_keeps_its_kind() -> None:
    given_values = {
        "1/0/0": 2**63,
        "1/0/1": 7,
        "1/0/2": -2.5,
        "1/0/3": True,
        "1/0/4": "on",
        "1/0/5": b"\x00\xff",
    }
    found = readings(state(values=given_values))
    assert [(reading[3], reading[4]) for reading in found] == [
        (str(2**63), "big_integer"),
        (7, "number"),
        (-2.5, "number"),
        (1, "boolean"),
        ("on", "text"),
        (base64.b64encode(b"\x00\xff").decode(), "opaque"),
    ]


@pytest.mark.parametrize("microseconds", [0, 1, 123_456, 999_999])
def test_device_time_keeps_its_microseconds(microseconds: int) -> None:
    time_us = 1_780_000_000_000_000 + microseconds
    pack = cbor2.dumps([{BASE_NAME: "lamp-1/", NAME: "3/0/1", VALUE: 1, TIME: time_us / 1e6}])
    assert readings(pack)[0][2] == time_us


@pytest.mark.parametrize("name", ["lamp-1/3416/0/3", "/3416/0/3", "3416/0/3", "/lamp-1/3416/0/3"])
def test_names_with_and_without_the_endpoint_are_the_device_of_the_topic(name: str) -> None:
    pack = cbor2.dumps([{NAME: name, VALUE: 1, TIME: NOW_S}])
    assert readings(pack)[0][:2] == ("lamp-1", "/3416/0/3")


@pytest.mark.parametrize("base", ["lamp-2/", "urn:dev:os:lamp-1/", "lamp-1/lamp-2/", "lamp-10/"])
def test_a_pack_that_claims_another_device_is_refused_whole(base: str) -> None:
    found = refusal(cbor2.dumps([{BASE_NAME: base, NAME: "3416/0/3", VALUE: 1, TIME: NOW_S}]))
    assert (found.reason, found.endpoint) == ("claims_another_device", "lamp-1")
    assert found.claimed == base[:-1]


def test_one_record_of_another_device_refuses_the_whole_pack() -> None:
    records = cbor2.loads(state())
    records.append({BASE_NAME: "lamp-2/", NAME: "3416/0/3", VALUE: 1})
    assert refusal(cbor2.dumps(records)).claimed == "lamp-2"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"not cbor at all",
        cbor2.dumps({"n": 1}),
        cbor2.dumps([1]),
        cbor2.dumps([{NAME: "3/0/1", TIME: NOW_S}]),
        cbor2.dumps([{NAME: "3/0/1", VALUE: math.nan, TIME: NOW_S}]),
        cbor2.dumps([{NAME: "3/0/1", VALUE: 1, "must_": 1, TIME: NOW_S}]),
        cbor2.dumps([{NAME: "temperature", VALUE: 1, TIME: NOW_S}]),
        cbor2.dumps([{NAME: "3/0", VALUE: 1, TIME: NOW_S}]),
        cbor2.dumps([{NAME: "3/0/1", VALUE: 1, BOOLEAN: True, TIME: NOW_S}]),
        cbor2.dumps([{NAME: "3/0/1", 5: 1, TIME: NOW_S}]),
        cbor2.dumps([{NAME: "3/0/1", VALUE: -(2**64), TIME: NOW_S}]),
        cbor2.dumps([{NAME: "3/0/1", VALUE: 1, TIME: -(2**60)}]),
    ],
)
def test_what_is_no_pack_is_malformed(payload: bytes) -> None:
    assert refusal(payload).reason == "malformed"


@pytest.mark.parametrize(
    "topic",
    ["devices/lamp-1/other", "devices/state", "devices/a b/state", "devices/svc:control/state", ""],
)
def test_a_topic_that_is_nobodys_is_illegal(topic: str) -> None:
    with pytest.raises(Refused) as caught:
        Transformer(Topics()).source(topic)
    assert caught.value.reason == "illegal_topic"


def test_records_without_absolute_time_get_the_time_received_and_a_digest() -> None:
    pack = transform(cbor2.dumps([{NAME: "3/0/1", VALUE: 1}, {NAME: "3/0/2", VALUE: 2, TIME: -5}]))
    assert isinstance(pack, StatePack)
    assert [(reading.time_us, reading.time_source) for reading in pack.readings] == [
        (RECEIVED_US, "received"),
        (RECEIVED_US - 5_000_000, "received"),
    ]
    assert pack.digest is not None


def test_an_alarm_keeps_all_that_it_says() -> None:
    pack = transform(alarm(value=71.5, threshold=70), alarm_topic())
    assert isinstance(pack, AlarmPack)
    (found,) = pack.alarms
    time_us = int((NOW_S + 1) * 1e6)
    assert found.alarm == Alarm(
        "lamp-1", "/3416/0/5", time_us, "lamp_failure", True, "major", 1, 71.5, 70.0
    )
    assert (found.boot, found.tenant) == ("b1", "harbour")


@pytest.mark.parametrize(
    "changes",
    [
        {"raised": None, VALUE: 1},
        {"alarm": None},
        {"alarm": ""},
        {"alarm": 7},
        {"severity": "dreadful"},
        {"severity": None},
        {"aseq": None},
        {"aseq": -1},
        {"aseq": True},
        {"aseq": 2**60},
        {"value": "hot"},
        {"value": math.inf},
        {"threshold": True},
        {"boot": 5},
    ],
)
def test_an_alarm_that_lacks_something_is_malformed(changes: dict[Any, Any]) -> None:
    extra = {key: value for key, value in changes.items() if isinstance(key, int)}
    named = {key: value for key, value in changes.items() if isinstance(key, str)}
    records = cbor2.loads(alarm(**named))
    records[0].update(extra)
    found = refusal(cbor2.dumps(records), alarm_topic())
    assert (found.reason, found.endpoint) == ("malformed", "lamp-1")


def test_caches_do_not_change_what_comes_out() -> None:
    transformer = Transformer(Topics())
    for _ in range(3):
        pack = transform(state(), transformer=transformer)
        assert isinstance(pack, StatePack)
        assert [reading.path for reading in pack.readings] == ["/3416/0/3", "/3416/0/46"]
        with pytest.raises(Refused):
            transform(state("lamp-2"), transformer=transformer)


_LABELS = st.one_of(
    st.integers(-6, 9), st.sampled_from(["alarm", "severity", "aseq", "boot", "x_"])
)
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=10),
    st.text(max_size=10),
    st.sampled_from(["3416/0/3", "lamp-1/", "major"]),
    st.lists(st.integers(), max_size=3),
    st.decimals(),
)


@settings(max_examples=150)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.lists(st.dictionaries(_LABELS, _VALUES, max_size=6), max_size=4).map(cbor2.dumps),
    ),
    st.sampled_from([state_topic(), alarm_topic()]),
)
def test_arbitrary_payloads_are_packs_or_refused(payload: bytes, topic: str) -> None:
    try:
        pack = transform(payload, topic)
    except Refused as refused:
        pack = None
        reason = refused.reason
    if pack is None:
        assert reason in ("malformed", "claims_another_device")
    elif isinstance(pack, StatePack):
        assert all(-(2**63) <= reading.time_us < 2**63 for reading in pack.readings)
        assert all(reading.value == reading.value for reading in pack.readings)
