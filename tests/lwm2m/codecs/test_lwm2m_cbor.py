"""LwM2M CBOR: maps whose keys together are the path."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import Node, lwm2m_cbor
from lwm2m.errors import IllegalPath, InvalidValue, LwM2mError, MalformedLwm2mCbor
from lwm2m.objects import NULL_ID, ObjectLink, ObjectPath, builtin_models
from tests.lwm2m.codecs.vectors import base_of, nodes_of, read_vectors

MODELS = builtin_models()
PAYLOADS = read_vectors("lwm2m_cbor/payloads.json")
parse = ObjectPath.parse


@pytest.mark.parametrize("vector", PAYLOADS, ids=lambda vector: vector["name"])
def test_payloads_are_read(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["hex"])
    found = lwm2m_cbor.decode(base_of(vector["base"]), payload, MODELS)
    assert found == nodes_of(vector["nodes"])


@pytest.mark.parametrize(
    "vector", [v for v in PAYLOADS if v.get("is_ours")], ids=lambda vector: vector["name"]
)
def test_payloads_are_written_in_the_shortest_form(vector: dict[str, Any]) -> None:
    payload = lwm2m_cbor.encode(base_of(vector["base"]), nodes_of(vector["nodes"]), MODELS)
    assert payload.hex() == vector["hex"]


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ([], "a map of object ids is needed"),
        (1, "a map of object ids is needed"),
        ({3: 1}, "/3 is not a value"),
        ({3: {0: 1}}, "/3/0 is not a value"),
        ({3: {0: {6: {0: {1: 1}}}}}, "more than four levels"),
        ({(3, 0, 6, 0, 1): 1}, "more than four levels"),
        ({(3, 0): {(6, 0, 1): 1}}, "more than four levels"),
        ({(): 1}, "a key without ids"),
        ({-1: 1}, "is not an id"),
        ({65536: 1}, "is not an id"),
        ({65535: {0: {0: 1}}}, "65535"),
        ({3: {65535: {9: 1}}}, "65535"),
        ({(3, 0, 65535): 1}, "65535"),
        ({3.0: 1}, "is not an id"),
        ({True: 1}, "is not an id"),
        ({(3, "0"): 1}, "is not an id"),
        ({"lamp-7": {3: {0: {9: 1}}}}, "behind a gateway"),
        ({("lamp-7", 3, 0, 9): 1}, "behind a gateway"),
        ({(3, 0, 9): 1, 3: {0: {9: 2}}}, "/3/0/9 is there twice"),
        ({(3, 0, 9): None}, "/3/0/9 has no value"),
        ({(3, 0, 9): [1]}, "is no value of a resource"),
        ({(3, 0, 9): cbor2.undefined}, "is no value of a resource"),
        ({(3, 0, 6): 1}, "has resource instances"),
        ({(3, 0, 9, 0): 1}, "has no resource instances"),
        ({(4, 0, 0): 1}, "/4/0/0 is not a value beneath /3/0"),
    ],
)
def test_payloads_that_break_the_rules_are_refused(tree: Any, reason: str) -> None:
    with pytest.raises(MalformedLwm2mCbor, match=reason):
        lwm2m_cbor.decode(parse("/3/0"), cbor2.dumps(tree), MODELS)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "a1",
        "a10003ff",
        "bf",
        "a103f7ff",
        "a1030000",
        "a2030103" + "01",
        "a1" * 30 + "00",
        "bb" + "ff" * 8,
    ],
)
def test_what_is_no_cbor_is_refused(payload: str) -> None:
    with pytest.raises(MalformedLwm2mCbor):
        lwm2m_cbor.decode(parse("/3/0"), bytes.fromhex(payload), MODELS)


def test_values_have_the_type_of_their_resource() -> None:
    with pytest.raises(InvalidValue, match="Battery Level"):
        lwm2m_cbor.decode(parse("/3/0"), cbor2.dumps({(3, 0, 9): "full"}), MODELS)
    found = lwm2m_cbor.decode(parse("/3303/0"), cbor2.dumps({(3303, 0, 5700): 21}), MODELS)
    assert type(found[0].value) is float


def test_values_of_unknown_resources_have_the_type_of_cbor() -> None:
    tree = {(9999, 0): {0: 1, 1: 1.5, 2: "a", 3: b"b", 4: True}}
    found = lwm2m_cbor.decode(ObjectPath(9999), cbor2.dumps(tree), MODELS)
    assert [node.value for node in found] == [1, 1.5, "a", b"b", True]


def test_times_may_be_tagged() -> None:
    path = parse("/3442/0/160")
    for item in (
        cbor2.CBORTag(0, "2013-05-02T10:40:15Z"),
        cbor2.CBORTag(0, "2013-05-02T12:40:15+02:00"),
        cbor2.CBORTag(1, 1_367_491_215.0),
        1_367_491_215,
    ):
        payload = cbor2.dumps({(3442, 0, 160): item})
        assert lwm2m_cbor.decode(path, payload, MODELS) == [Node(path, 1_367_491_215)]


def test_a_create_without_instance_has_the_null_id() -> None:
    node = Node(ObjectPath(3303, NULL_ID, 5700), 1.0)
    payload = lwm2m_cbor.encode(ObjectPath(3303), [node], MODELS)
    assert cbor2.loads(payload) == {(3303, NULL_ID, 5700): 1.0}
    assert lwm2m_cbor.decode(ObjectPath(3303), payload, MODELS) == [node]


def test_a_payload_has_a_bounded_number_of_values() -> None:
    tree = {(9999, 0): dict.fromkeys(range(4097), 0)}
    with pytest.raises(MalformedLwm2mCbor, match="more than 4096 values"):
        lwm2m_cbor.decode(ObjectPath(9999), cbor2.dumps(tree), MODELS)


@pytest.mark.parametrize(
    "paths",
    [
        ["/3/0/6"],
        ["/3/0/9/0"],
        ["/3/0"],
        ["/3/0/9", "/3/0/9"],
        ["/9999/0/1", "/9999/0/1/0"],
        ["/9999/0/1/0", "/9999/0/1"],
    ],
)
def test_paths_that_exclude_each_other_are_not_encoded(paths: list[str]) -> None:
    with pytest.raises(IllegalPath):
        lwm2m_cbor.encode(None, [Node(parse(path), 1) for path in paths], MODELS)


def test_object_links_are_text() -> None:
    node = Node(parse("/3442/0/170"), ObjectLink(65535, 65535))
    payload = lwm2m_cbor.encode(node.path, [node], MODELS)
    assert cbor2.loads(payload) == {(3442, 0, 170): "65535:65535"}
    assert lwm2m_cbor.decode(node.path, payload, MODELS) == [node]


KEYS = st.integers(0, 12) | st.tuples(st.integers(0, 9), st.integers(0, 9)) | st.just("p")
LEAVES = st.none() | st.integers(-5, 5) | st.text(max_size=3) | st.binary(max_size=3) | st.floats()
TREES = st.recursive(LEAVES, lambda trees: st.dictionaries(KEYS, trees, max_size=3), max_leaves=6)


@pytest.mark.slow
@given(TREES.map(cbor2.dumps) | st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_bytes_decode_or_are_refused(payload: bytes) -> None:
    for base in (None, parse("/3/0"), ObjectPath(3)):
        try:
            nodes = lwm2m_cbor.decode(base, payload, MODELS)
        except LwM2mError:
            continue
        assert all(base is None or base.contains(node.path) for node in nodes)
