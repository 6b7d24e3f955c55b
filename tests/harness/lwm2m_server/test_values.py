"""Values of the data interface to nodes and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.data_interface import Value, ValueType
from harness.lwm2m_server.values import ValueReader
from lwm2m.codecs import Node
from lwm2m.errors import LwM2mError
from lwm2m.objects import ObjectLink, ObjectPath
from tests.harness.lwm2m_server.world import MODELS

READER = ValueReader(MODELS)


@pytest.mark.parametrize(
    ("kind", "told", "typed"),
    [
        ("string", "grün", "grün"),
        ("integer", -5, -5),
        ("integer", str(2**62), 2**62),
        ("unsigned", str(2**63), 2**63),
        ("float", 1.5, 1.5),
        ("boolean", True, True),
        ("opaque", "AP8=", b"\x00\xff"),
        ("time", 1_767_225_600, 1_767_225_600),
        ("objlnk", "3:0", ObjectLink(3, 0)),
        ("objlnk", "65535:65535", ObjectLink(65535, 65535)),
    ],
)
def test_a_value_of_an_unknown_resource_is_what_it_says(
    kind: ValueType, told: Any, typed: Any
) -> None:
    (node,) = READER.nodes([Value("/9999/0/1", kind, told)])
    assert node == Node(ObjectPath(9999, 0, 1), typed)


def test_the_definition_decides_between_numbers() -> None:
    nodes = READER.nodes([Value("/3303/0/5700", "integer", 21), Value("/3416/0/1", "float", 40.0)])
    assert nodes == [Node(ObjectPath(3303, 0, 5700), 21.0), Node(ObjectPath(3416, 0, 1), 40)]
    assert isinstance(nodes[0].value, float)
    assert isinstance(nodes[1].value, int)


@pytest.mark.parametrize(
    "value",
    [
        Value("/9999/0", "integer", 1),
        Value("9999/0/1", "integer", 1),
        Value("/9999/0/1", "integer", True),
        Value("/9999/0/1", "integer", 1.5),
        Value("/9999/0/1", "boolean", 1),
        Value("/9999/0/1", "opaque", "not base64!"),
        Value("/9999/0/1", "objlnk", "3"),
        Value("/9999/0/1", "string", 5),
        Value("/9999/0/1", "float", "warm"),
        Value("/3416/0/1", "boolean", True),
        Value("/3416/0/1", "integer", 101),
        Value("/3/1/0", "string", "one instance only"),
    ],
)
def test_what_does_not_fit_is_refused(value: Value) -> None:
    with pytest.raises(LwM2mError):
        READER.nodes([value])


def test_what_json_cannot_hold_becomes_text() -> None:
    path = ObjectPath(9999, 0, 1)
    values = READER.values(
        [Node(path, 2**53 + 1), Node(path, 2**53), Node(path, float("nan")), Node(path, b"\x00")],
    )
    assert [value.value for value in values] == [str(2**53 + 1), 2**53, "nan", "AA=="]
    assert [value.type for value in values] == ["integer", "integer", "float", "opaque"]


@pytest.mark.slow
@given(
    st.one_of(
        st.text(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.booleans(),
        st.binary(),
        st.builds(ObjectLink, st.integers(0, 65_535), st.integers(0, 65_535)),
    )
)
def test_values_survive_the_way_out_and_back(typed: Any) -> None:
    node = Node(ObjectPath(9999, 0, 1), typed)
    (value,) = READER.values([node])
    again = msgspec.json.decode(msgspec.json.encode(value), type=Value)
    assert READER.nodes([again]) == [node]
    assert type(READER.nodes([again])[0].value) is type(typed)
