"""Packs put together from pieces are the bytes that a general CBOR encoder makes."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.telemetry import KEY_BOOT, KEY_SEQUENCE, base_name
from fake_devices.device import device_models
from fake_devices.device.telemetry import encode_state_pack, plan_report
from fake_devices.devices import MODELS
from lwm2m.objects import ObjectPath

REPORTED = MODELS["street_lamp"].reported
PLAN = plan_report(REPORTED, (), device_models())
TIME_US = 1_795_208_400_123_456
values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**64 - 1), st.integers(0, 70_000), st.floats(), st.text()
)


@given(
    st.dictionaries(st.sampled_from(REPORTED), values, min_size=1),
    st.integers(0, 2**40),
    st.text(max_size=300),
)
def test_a_pack_is_what_a_general_encoder_makes_of_its_records(found, sequence, boot):
    payload, journal = encode_state_pack("lamp-7", PLAN, found, sequence, boot, TIME_US)
    records = []
    for resource in PLAN:
        if resource.path in found:
            value = journal[len(records)][2]
            label = 4 if isinstance(value, bool) else 3 if isinstance(value, str) else 2
            unit = {} if resource.unit is None else {1: resource.unit}
            records.append({0: resource.name, label: value} | unit)
    base = {-2: base_name("lamp-7"), -3: TIME_US / 1e6}
    records[0] = base | records[0] | {KEY_SEQUENCE: sequence, KEY_BOOT: boot}
    assert payload == cbor2.dumps(records)


def test_a_pack_may_have_more_records_than_one_byte_counts():
    paths = [ObjectPath(3303, number, 5700) for number in range(30)]
    plan = plan_report(paths, (), device_models())
    payload, journal = encode_state_pack(
        "x" * 300, plan, dict.fromkeys(paths, 1.5), 1, "b", TIME_US
    )
    assert len(cbor2.loads(payload)) == len(journal) == 30


def test_without_values_there_is_no_pack():
    assert encode_state_pack("lamp-7", PLAN, {}, 1, "boot", TIME_US) == (b"", [])


def test_what_is_no_reading_is_not_reported():
    with pytest.raises(TypeError, match="bytes cannot be reported"):
        encode_state_pack("lamp-7", PLAN, {REPORTED[0]: b"x"}, 1, "boot", TIME_US)
