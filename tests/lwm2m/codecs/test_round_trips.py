"""What is encoded is decoded again: every type, every level, every format that can carry it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import Node, content_formats, decode_payload, encode_payload
from lwm2m.objects import ObjectLink, ObjectPath, Value, ValueType, builtin_models

MODELS = builtin_models()
# The test object of LwM2M 1.1 has every type, single (110 to 180) and multiple (1110 to 1180).
TEST_OBJECT = 3442
T = ValueType

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES: dict[ValueType, st.SearchStrategy[Value]] = {
    T.STRING: TEXTS,
    T.CORE_LINK: TEXTS,
    T.INTEGER: st.integers(-(2**63), 2**63 - 1),
    T.UNSIGNED: st.integers(0, 2**64 - 1),
    T.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    T.BOOLEAN: st.booleans(),
    T.OPAQUE: st.binary(max_size=12),
    T.TIME: st.integers(-(2**63), 2**63 - 1),
    T.OBJECT_LINK: st.builds(ObjectLink, st.integers(0, 65535), st.integers(0, 65535)),
}
RESOURCES = [each for each in MODELS[TEST_OBJECT].resources.values() if each.type is not T.NONE]
SINGLE = {resource.type: resource.id for resource in RESOURCES if 100 < resource.id < 1000}
MANY_VALUES = [110, 112, 11542, 11543, 11544]
COMPOSITE = [110, 112, 320, 322, 11544]


@st.composite
def instances(draw: st.DrawFn, instance_id: int) -> list[Node]:
    """Values of some resources of an instance, in order; instances of the multiple ones."""
    nodes = []
    for resource in RESOURCES:
        if not draw(st.booleans()):
            continue
        path = ObjectPath(TEST_OBJECT, instance_id, resource.id)
        values = VALUES[resource.type]
        if resource.multiple:
            ids = draw(st.sets(st.integers(0, 65534), min_size=1, max_size=3))
            nodes += [Node(path.child(number), draw(values)) for number in sorted(ids)]
        else:
            nodes.append(Node(path, draw(values)))
    return nodes


def _same(found: list[Node], nodes: list[Node]) -> None:
    assert sorted(found) == sorted(nodes)
    types = {node.path: type(node.value) for node in found}
    assert types == {node.path: type(node.value) for node in nodes}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(SINGLE))
@pytest.mark.parametrize("content_format", [0, 42, 60, *MANY_VALUES])
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_resource_is_decoded_to_what_was_encoded(
    content_format: int, kind: ValueType, data: st.DataObject
) -> None:
    if content_format == content_formats.OCTET_STREAM and kind is not T.OPAQUE:
        return
    path = ObjectPath(TEST_OBJECT, 0, SINGLE[kind])
    nodes = [Node(path, data.draw(VALUES[kind]))]
    payload = encode_payload(content_format, path, nodes, MODELS)
    _same(decode_payload(content_format, path, payload, MODELS), nodes)


@pytest.mark.slow
@pytest.mark.parametrize("content_format", MANY_VALUES)
@given(instances(7))
@settings(max_examples=40, deadline=None)
def test_an_instance_is_decoded_to_what_was_encoded(content_format: int, nodes: list[Node]) -> None:
    base = ObjectPath(TEST_OBJECT, 7)
    payload = encode_payload(content_format, base, nodes, MODELS)
    _same(decode_payload(content_format, base, payload, MODELS), nodes)


@pytest.mark.slow
@pytest.mark.parametrize("content_format", MANY_VALUES)
@given(instances(0), instances(65534))
@settings(max_examples=30, deadline=None)
def test_an_object_is_decoded_to_what_was_encoded(
    content_format: int, first: list[Node], second: list[Node]
) -> None:
    base = ObjectPath(TEST_OBJECT)
    nodes = first + second
    payload = encode_payload(content_format, base, nodes, MODELS)
    _same(decode_payload(content_format, base, payload, MODELS), nodes)


@pytest.mark.slow
@pytest.mark.parametrize("content_format", COMPOSITE)
@given(instances(1))
@settings(max_examples=30, deadline=None)
def test_a_composite_is_decoded_to_what_was_encoded(content_format: int, nodes: list[Node]) -> None:
    nodes = [Node(ObjectPath(3, 0, 9), 80), *nodes, Node(ObjectPath(9999, 1, 2, 3), "unknown")]
    payload = encode_payload(content_format, None, nodes, MODELS)
    _same(decode_payload(content_format, None, payload, MODELS), nodes)


@pytest.mark.parametrize("content_format", [110, 112, 11544])
def test_integers_beyond_doubles_are_exact(content_format: int) -> None:
    for value in (2**53 + 1, -(2**53) - 1, 2**63 - 1):
        nodes = [Node(ObjectPath(TEST_OBJECT, 0, 120), value)]
        payload = encode_payload(content_format, nodes[0].path, nodes, MODELS)
        assert decode_payload(content_format, nodes[0].path, payload, MODELS) == nodes
