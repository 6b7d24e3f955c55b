"""The table of units, and packs as they are on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from city_platform.ingestion.spool import Message
from city_platform.ingestion.transform import AlarmPack, StatePack, Transformer
from city_platform.stores.telemetry_records import outward_rows
from contracts.telemetry import SENML_UNIT_OFFSETS, SENML_UNITS, base_name
from contracts.topics import Topics
from lwm2m.codecs.senml_cbor import resolve
from lwm2m.objects import builtin_models
from tests.contracts.golden import golden

GOLDEN = golden("telemetry")

# The SenML Units registry: RFC 8428 §12.1 and what was added to the primary list later
# (RFC 8798 §3 is the secondary list, which `u` must not carry).
PRIMARY_UNITS = set(
    """
    m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s
    m/s2 m3/s l/s W/m2 cd/m2 bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min
    beat/min beats S/m B VA VAs var vars J/m kg/m3 deg NTU
    """.split()  # noqa: SIM905 - a list of sixty literals is harder to compare with the registry
)


def test_every_unit_of_our_object_models_has_its_senml_unit() -> None:
    used = {
        resource.unit or ""
        for model in builtin_models().values()
        for resource in model.resources.values()
    }
    assert used - set(SENML_UNITS) == set()


@pytest.mark.parametrize("unit", SENML_UNITS)
def test_only_units_of_the_primary_list_go_into_packs(unit: str) -> None:
    senml, factor = SENML_UNITS[unit]
    assert senml is None or senml in PRIMARY_UNITS
    assert factor > 0
    if unit in PRIMARY_UNITS:
        assert (senml, factor) == (unit, 1.0)


# Value in the LwM2M unit, the same in SenML's, by the definition of the units.
CONVERSIONS = [
    ("/100", 80, 0.8),
    ("Wh", 1, 3_600),
    ("kWh", 1, 3_600_000),
    ("Ws", 5, 5),
    ("varh", 2, 7_200),
    ("h", 1.5, 5_400),
    ("ms", 250, 0.25),
    ("cm", 42, 0.42),
    ("ppm", 400, 0.0004),
    ("ug/m3", 15, 15e-9),
    ("dBm", 0, -30),
    ("dBm", 30, 0),
]


@pytest.mark.parametrize(("unit", "value", "expected"), CONVERSIONS)
def test_a_value_means_the_same_in_both_units(unit: str, value: float, expected: float) -> None:
    _, factor = SENML_UNITS[unit]
    assert value * factor + SENML_UNIT_OFFSETS.get(unit, 0.0) == pytest.approx(expected)


def test_offsets_are_of_units_in_the_table() -> None:
    assert set(SENML_UNIT_OFFSETS) <= set(SENML_UNITS)


def transformed(example: dict[str, Any]) -> StatePack | AlarmPack:
    transformer = Transformer(Topics())
    message = Message(0, 0, example["topic"], bytes.fromhex(example["cbor"]))
    return transformer.transform(message, transformer.source(message.topic), "")


def test_the_golden_state_pack_is_read_by_the_platform() -> None:
    example = GOLDEN["state"]
    pack = transformed(example)
    assert isinstance(pack, StatePack)
    assert [list(row) for row in outward_rows(pack.readings)] == example["readings"]
    assert [reading.unit for reading in pack.readings] == example["units"]
    first = resolve(bytes.fromhex(example["cbor"]), None)[0]
    assert dict(first.extras) == {"boot": example["boot"], "seq": example["sequence"]}
    assert first.name.startswith(base_name("lamp-1"))


def test_the_golden_alarm_pack_is_read_by_the_platform() -> None:
    pack = transformed(GOLDEN["alarm"])
    assert isinstance(pack, AlarmPack)
    assert [list(found.alarm) for found in pack.alarms] == GOLDEN["alarm"]["alarms"]
