"""TLV answers to bytes that others made, to what values there are, and to any bytes at all."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import Node, tlv
from lwm2m.errors import IllegalPath, InvalidValue, LwM2mError, MalformedTlv, TruncatedTlv
from lwm2m.objects import (
    NULL_ID,
    ObjectLink,
    ObjectModel,
    ObjectPath,
    ResourceModel,
    Value,
    ValueType,
    builtin_models,
)

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "fixtures/vectors/tlv/payloads.json").read_text()
)
PORTFOLIO = ObjectModel(
    16,
    "Portfolio",
    "1.0",
    "1.0",
    True,
    False,
    {0: ResourceModel(0, "Identity", ValueType.STRING, "RW", multiple=True)},
)
MODELS = {**builtin_models(), 16: PORTFOLIO}
NO_MODELS: dict[int, ObjectModel] = {}
parse = ObjectPath.parse


def _nodes(vector: dict[str, Any]) -> list[Node]:
    return [Node(parse(path), value) for path, value in vector["nodes"]]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors_decode_to_their_values(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["hex"])
    assert tlv.decode(parse(vector["base"]), payload, MODELS) == _nodes(vector)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_values_encode_to_the_vectors_bytes(vector: dict[str, Any]) -> None:
    assert tlv.encode(parse(vector["base"]), _nodes(vector), MODELS).hex() == vector["hex"]


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, "c005"),
        (7, "c705"),
        (8, "c80508"),
        (255, "c805ff"),
        (256, "d0050100"),
        (65535, "d005ffff"),
        (65536, "d805010000"),
    ],
)
def test_lengths_take_as_few_bytes_as_they_need(length: int, head: str) -> None:
    payload = tlv.record(tlv.RESOURCE, 5, bytes(length))
    assert payload[: len(head) // 2].hex() == head
    (found,) = tlv.records(payload)
    assert (found.kind, found.identifier, len(found.content)) == (tlv.RESOURCE, 5, length)


@pytest.mark.parametrize(
    ("identifier", "head"), [(255, "c0ff"), (256, "e00100"), (65534, "e0fffe")]
)
def test_ids_take_as_few_bytes_as_they_need(identifier: int, head: str) -> None:
    assert tlv.record(tlv.RESOURCE, identifier, b"").hex() == head


def test_a_record_past_24_bits_of_length_is_refused() -> None:
    with pytest.raises(InvalidValue, match="24-bit"):
        tlv.record(tlv.RESOURCE, 0, bytes(2**24))


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (127, "7f"),
        (-128, "80"),
        (128, "0080"),
        (-129, "ff7f"),
        (32768, "00008000"),
        (2**31, "0000000080000000"),
        (-(2**63), "8000000000000000"),
    ],
)
def test_integers_take_one_two_four_or_eight_bytes(number: int, encoded: str) -> None:
    assert tlv.encode_value(ValueType.INTEGER, number).hex() == encoded
    assert tlv.decode_value(ValueType.INTEGER, bytes.fromhex(encoded)) == number


def test_unsigned_numbers_use_the_sign_bit() -> None:
    assert tlv.encode_value(ValueType.UNSIGNED, 200) == b"\xc8"
    assert tlv.encode_value(ValueType.UNSIGNED, 2**64 - 1) == b"\xff" * 8
    assert tlv.decode_value(ValueType.UNSIGNED, b"\xc8") == 200


def test_floats_take_four_bytes_where_nothing_is_lost() -> None:
    assert tlv.encode_value(ValueType.FLOAT, 1.5) == struct.pack(">f", 1.5)
    assert tlv.encode_value(ValueType.FLOAT, 0.1) == struct.pack(">d", 0.1)
    assert tlv.encode_value(ValueType.FLOAT, 1e300) == struct.pack(">d", 1e300)
    assert tlv.encode_value(ValueType.FLOAT, 3) == struct.pack(">f", 3.0)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (ValueType.INTEGER, b""),
        (ValueType.INTEGER, b"\x00\x00\x01"),
        (ValueType.TIME, bytes(5)),
        (ValueType.FLOAT, b"\x00\x00"),
        (ValueType.BOOLEAN, b"\x02"),
        (ValueType.BOOLEAN, b"\x00\x01"),
        (ValueType.OBJECT_LINK, bytes(3)),
        (ValueType.STRING, b"\xff"),
        (ValueType.NONE, b""),
    ],
)
def test_contents_that_are_no_value_are_malformed(kind: ValueType, content: bytes) -> None:
    with pytest.raises(MalformedTlv):
        tlv.decode_value(kind, content)


def test_numbers_that_are_not_finite_are_no_values() -> None:
    with pytest.raises(InvalidValue, match="finite"):
        tlv.decode_value(ValueType.FLOAT, struct.pack(">d", float("nan")))


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_truncated_record_says_where_and_how_much(cut: int) -> None:
    payload = bytes.fromhex("c10265") + bytes.fromhex("d0050004aabbccdd")[:cut]
    with pytest.raises(TruncatedTlv) as caught:
        list(tlv.records(payload))
    assert (caught.value.offset, caught.value.available) == (3, cut)
    assert caught.value.needed > cut


def test_an_error_inside_a_wrapper_tells_its_place_in_the_whole_payload() -> None:
    with pytest.raises(TruncatedTlv) as caught:
        tlv.decode(parse("/3"), bytes.fromhex("0300c20964"), MODELS)
    assert (caught.value.offset, caught.value.needed, caught.value.available) == (2, 4, 3)


def test_an_object_payload_wraps_every_instance() -> None:
    nodes = [Node(parse("/18831/0/3"), 1), Node(parse("/18831/7/3"), 0)]
    payload = tlv.encode(parse("/18831"), nodes, MODELS)
    assert payload.hex() == "0300c10301" + "0307c10300"
    assert tlv.decode(parse("/18831"), payload, MODELS) == nodes


def test_an_instance_without_id_is_created_without_wrapper() -> None:
    nodes = [Node(ObjectPath(18831, NULL_ID, 3), 1)]
    payload = tlv.encode(parse("/18831"), nodes, MODELS)
    assert payload.hex() == "c10301"
    assert tlv.decode(parse("/18831"), payload, MODELS) == nodes


def test_resources_of_a_single_instance_object_belong_to_instance_0() -> None:
    assert tlv.decode(parse("/3"), bytes.fromhex("c10964"), MODELS) == [Node(parse("/3/0/9"), 100)]


def test_the_wrapper_of_the_instance_that_was_asked_for_is_taken_off() -> None:
    payload = bytes.fromhex("0300c10964")
    assert tlv.decode(parse("/3/0"), payload, MODELS) == [Node(parse("/3/0/9"), 100)]
    with pytest.raises(MalformedTlv):
        tlv.decode(parse("/3/0"), bytes.fromhex("0301c10964"), MODELS)


def test_a_resource_payload_has_that_resource_only() -> None:
    assert tlv.decode(parse("/3/0/9"), bytes.fromhex("c10964"), MODELS) == [
        Node(parse("/3/0/9"), 100)
    ]
    with pytest.raises(MalformedTlv, match="is not /3/0/9"):
        tlv.decode(parse("/3/0/9"), bytes.fromhex("c10a64"), MODELS)


def test_resource_instances_may_stand_alone_where_their_resource_was_asked_for() -> None:
    bare, wrapped = bytes.fromhex("410105410207"), bytes.fromhex("8606410105410207")
    for payload in (bare, wrapped):
        assert tlv.decode(parse("/3/0/6"), payload, MODELS) == [
            Node(parse("/3/0/6/1"), 5),
            Node(parse("/3/0/6/2"), 7),
        ]


def test_a_resource_instance_payload_has_that_instance_only() -> None:
    path = parse("/3/0/6/1")
    # Eclipse Leshan 2.0.0-M15 takes and writes this form alone; both are read.
    payload = tlv.encode(path, [Node(path, 5)], MODELS)
    assert payload.hex() == "410105"
    for form in (payload, bytes.fromhex("8306410105")):
        assert tlv.decode(path, form, MODELS) == [Node(path, 5)]
    with pytest.raises(IllegalPath):
        tlv.encode(path, [Node(parse("/3/0/6/2"), 5)], MODELS)
    with pytest.raises(MalformedTlv, match="not beneath"):
        tlv.decode(path, bytes.fromhex("8306410205"), MODELS)


@pytest.mark.parametrize(
    ("base", "payload", "reason"),
    [
        ("/3/0", "c106 01", "has instances"),
        ("/3/0", "8309 410064", "has no instances"),
        ("/3/0", "410064", "multiple resource is needed"),
        ("/3/0", "8306 c10001", "resource instance is needed"),
        ("/3", "410064", "object instance is needed"),
        ("/3", "0300c10964c10964", "object instance is needed"),
    ],
)
def test_records_of_another_kind_than_the_path_needs_are_malformed(
    base: str, payload: str, reason: str
) -> None:
    with pytest.raises(MalformedTlv, match=reason):
        tlv.decode(parse(base), bytes.fromhex(payload), MODELS)


@pytest.mark.parametrize(
    ("base", "payload"),
    [
        ("/3/0", "c10964c1090a"),
        ("/3/0", "83064100018306410105"),
        ("/3/0", "8606410001410002"),
        ("/9999/0", "c101018301410001"),
        ("/2", "00050005"),
        ("/3/0/6", "410001410005"),
    ],
)
def test_an_id_that_comes_twice_is_malformed(base: str, payload: str) -> None:
    with pytest.raises(MalformedTlv):
        tlv.decode(ObjectPath.parse(base), bytes.fromhex(payload), MODELS)


def test_ids_may_come_in_any_order() -> None:
    found = tlv.decode(ObjectPath(3, 0), bytes.fromhex("c10a0fc10964"), MODELS)
    assert [node.path.resource_id for node in found] == [10, 9]


def test_unknown_resources_are_bytes() -> None:
    payload = bytes.fromhex("e1fffe07")
    assert tlv.decode(parse("/9999/0"), payload, MODELS) == [Node(parse("/9999/0/65534"), b"\x07")]


@pytest.mark.parametrize(
    ("base", "nodes"),
    [
        ("/3/0", [("/4/0/0", 1)]),
        ("/3/0", [("/3/0", 1)]),
        ("/3/0", [("/3/0/6", 1)]),
        ("/3/0", [("/3/0/9", 1), ("/3/0/9", 2)]),
        ("/9999/0", [("/9999/0/1", 1), ("/9999/0/1/0", 2)]),
    ],
)
def test_nodes_that_do_not_fit_the_base_or_their_definition_are_not_encoded(
    base: str, nodes: list[tuple[str, Value]]
) -> None:
    with pytest.raises(IllegalPath):
        tlv.encode(parse(base), [Node(parse(path), value) for path, value in nodes], MODELS)


def test_a_value_of_the_wrong_type_is_not_encoded() -> None:
    with pytest.raises(InvalidValue):
        tlv.encode(parse("/3/0"), [Node(parse("/3/0/9"), "100")], MODELS)


VALUES: dict[ValueType, st.SearchStrategy[Value]] = {
    ValueType.STRING: st.text(st.characters(exclude_categories=["Cs"])),
    ValueType.INTEGER: st.integers(-(2**63), 2**63 - 1),
    ValueType.UNSIGNED: st.integers(0, 2**64 - 1),
    ValueType.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    ValueType.BOOLEAN: st.booleans(),
    ValueType.OPAQUE: st.binary(max_size=300),
    ValueType.TIME: st.integers(-(2**63), 2**63 - 1),
    ValueType.OBJECT_LINK: st.builds(ObjectLink, st.integers(0, 65535), st.integers(0, 65535)),
    ValueType.CORE_LINK: st.text(st.characters(exclude_categories=["Cs"])),
}


@st.composite
def instances(draw: st.DrawFn) -> tuple[dict[int, ObjectModel], list[Node]]:
    """An object with resources of any type, and values for some instances of it."""
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=6))
    resources = {
        number: ResourceModel(number, f"r{number}", kind, multiple=draw(st.booleans()))
        for number, kind in enumerate(kinds, draw(st.integers(0, 65000)))
    }
    nodes: list[Node] = []
    for instance in draw(st.lists(st.integers(0, 65534), unique=True, max_size=3)):
        for resource in resources.values():
            path = ObjectPath(1000, instance, resource.id)
            if resource.multiple:
                ids = draw(st.lists(st.integers(0, 65534), unique=True, max_size=3))
                nodes += [Node(path.child(i), draw(VALUES[resource.type])) for i in ids]
            else:
                nodes.append(Node(path, draw(VALUES[resource.type])))
    return {1000: ObjectModel(1000, "Drawn", "1.0", "1.0", True, False, resources)}, nodes


@given(instances())
@settings(max_examples=60, deadline=None)
def test_what_is_encoded_is_decoded_again(
    drawn: tuple[dict[int, ObjectModel], list[Node]],
) -> None:
    models, nodes = drawn
    base = ObjectPath(1000)
    assert tlv.decode(base, tlv.encode(base, nodes, models), models) == nodes


@given(st.sampled_from(["/3", "/3/0", "/3/0/6", "/3/0/6/1", "/18831", "/9999/1"]), st.binary())
@settings(max_examples=200, deadline=None)
def test_any_bytes_decode_or_are_refused_by_our_own_error(base: str, payload: bytes) -> None:
    for models in (MODELS, NO_MODELS):
        try:
            nodes = tlv.decode(parse(base), payload, models)
        except LwM2mError:
            continue
        assert all(parse(base).contains(node.path) for node in nodes)
