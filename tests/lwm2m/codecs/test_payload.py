"""One entrance for all content formats, with the types of the object definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import SUPPORTED, Node, content_formats, decode_payload, encode_payload
from lwm2m.errors import (
    IllegalPath,
    InvalidValue,
    LwM2mError,
    MalformedSenml,
    UnsupportedContentFormat,
)
from lwm2m.objects import NULL_ID, ObjectLink, ObjectPath, Value, builtin_models

MODELS = builtin_models()
parse = ObjectPath.parse
(DEVICE,) = json.loads(
    (Path(__file__).parents[3] / "fixtures/vectors/senml/lwm2m_device.json").read_text()
)


def _nodes(*values: tuple[str, Value]) -> list[Node]:
    return [Node(parse(path), value) for path, value in values]


def test_the_device_object_in_senml_is_what_another_implementation_writes() -> None:
    nodes = _nodes(*[(path, value) for path, value in DEVICE["nodes"]])
    base, payload = parse(DEVICE["base"]), bytes.fromhex(DEVICE["hex"])
    assert decode_payload(content_formats.SENML_CBOR, base, payload, MODELS) == nodes
    assert encode_payload(content_formats.SENML_CBOR, base, nodes, MODELS) == payload


PUBLICATION = _nodes(
    ("/18831/0/0", "</3416>"),
    ("/18831/0/1", ObjectLink(18830, 0)),
    ("/18831/0/2", "devices/lamp-1/state"),
    ("/18831/0/3", 1),
    ("/18831/0/4", False),
)


STRUCTURED = sorted(SUPPORTED - content_formats.SINGLE_VALUE)


@pytest.mark.parametrize("content_format", STRUCTURED)
@pytest.mark.parametrize("base", ["/18831", "/18831/0"])
def test_an_instance_is_the_same_in_every_structured_format(base: str, content_format: int) -> None:
    payload = encode_payload(content_format, parse(base), PUBLICATION, MODELS)
    assert decode_payload(content_format, parse(base), payload, MODELS) == PUBLICATION


@pytest.mark.parametrize("content_format", sorted(SUPPORTED))
def test_one_value_is_the_same_in_every_format(content_format: int) -> None:
    path, value = parse("/5/0/0"), b"\x00firmware"
    payload = encode_payload(content_format, path, [Node(path, value)], MODELS)
    assert decode_payload(content_format, path, payload, MODELS) == [Node(path, value)]


@pytest.mark.parametrize(
    ("legacy", "payload", "path", "value"),
    [
        (1541, b"300", "/1/0/1", 300),
        (1542, b"\xc2\x01\x01\x2c", "/1/0/1", 300),
        (1543, b'{"bn":"/1/0/","e":[{"n":"1","v":300}]}', "/1/0/1", 300),
        (1544, b"\x01", "/5/0/0", b"\x01"),
    ],
)
def test_numbers_from_before_lwm2m_1_0_are_read(
    legacy: int, payload: bytes, path: str, value: Value
) -> None:
    assert decode_payload(legacy, parse(path), payload, MODELS) == _nodes((path, value))


@pytest.mark.parametrize("content_format", [None, 40, 281, 320, 322, 9999, -1])
def test_formats_without_codec_are_refused(content_format: int | None) -> None:
    with pytest.raises(UnsupportedContentFormat):
        decode_payload(content_format, parse("/3/0/9"), b"", MODELS)
    with pytest.raises(UnsupportedContentFormat):
        encode_payload(content_format, parse("/3/0/9"), [], MODELS)


@pytest.mark.parametrize("content_format", sorted(content_formats.SINGLE_VALUE))
@pytest.mark.parametrize("base", ["/3", "/3/0", "/3/0/6"])
def test_single_value_formats_are_for_single_values(base: str, content_format: int) -> None:
    with pytest.raises(IllegalPath):
        decode_payload(content_format, parse(base), b"1", MODELS)
    with pytest.raises(IllegalPath):
        encode_payload(content_format, parse(base), _nodes((base, 1)), MODELS)


def test_a_resource_instance_is_a_single_value() -> None:
    assert decode_payload(0, parse("/3/0/6/1"), b"5", MODELS) == _nodes(("/3/0/6/1", 5))


def test_types_are_those_of_the_definition() -> None:
    assert decode_payload(0, parse("/3303/0/5700"), b"21", MODELS)[0].value == 21.0
    payload = encode_payload(112, parse("/3303/0"), _nodes(("/3303/0/5700", 21)), MODELS)
    (node,) = decode_payload(112, parse("/3303/0"), payload, MODELS)
    assert type(node.value) is float
    with pytest.raises(InvalidValue):
        encode_payload(112, parse("/3/0"), _nodes(("/3/0/9", "full")), MODELS)


def _senml(*records: dict[int | str, Any]) -> bytes:
    return cbor2.dumps(list(records))


def test_senml_names_may_lack_their_leading_slash() -> None:
    payload = _senml({-2: "3/0/", 0: "9", 2: 100})
    assert decode_payload(112, parse("/3/0"), payload, MODELS) == _nodes(("/3/0/9", 100))


def test_a_single_resource_in_senml_needs_no_name_beside_the_base_name() -> None:
    path = parse("/3/0/9")
    payload = encode_payload(112, path, [Node(path, 100)], MODELS)
    assert payload == _senml({-2: "/3/0/9", 2: 100})
    assert decode_payload(112, path, payload, MODELS) == [Node(path, 100)]


def test_an_integer_may_come_as_a_whole_float_and_not_as_another() -> None:
    assert decode_payload(112, parse("/3/0"), _senml({0: "/3/0/9", 2: 5.0}), MODELS)[0].value == 5
    with pytest.raises(InvalidValue, match="not whole"):
        decode_payload(112, parse("/3/0"), _senml({0: "/3/0/9", 2: 5.5}), MODELS)


@pytest.mark.parametrize(
    "record",
    [
        {0: "/4/0/0", 2: 1},
        {0: "/3/0", 2: 1},
        {0: "/3/0/9", 5: 1},
        {0: "a/b", 2: 1},
        {0: "/3/0/6", 2: 1},
        {0: "/3/0/9/1", 2: 1},
        {0: "/3/0/65535", 2: 1},
    ],
)
def test_senml_records_that_are_no_value_beneath_the_base_are_refused(
    record: dict[int | str, Any],
) -> None:
    with pytest.raises(MalformedSenml):
        decode_payload(112, parse("/3/0"), _senml(record), MODELS)


@pytest.mark.parametrize("content_format", STRUCTURED)
def test_a_create_may_leave_the_instance_open(content_format: int) -> None:
    base, nodes = ObjectPath(3303), [Node(ObjectPath(3303, NULL_ID, 5700), 1.0)]
    payload = encode_payload(content_format, base, nodes, MODELS)
    assert decode_payload(content_format, base, payload, MODELS) == nodes


@pytest.mark.parametrize("content_format", STRUCTURED)
def test_a_single_value_for_a_multiple_resource_is_not_encoded(content_format: int) -> None:
    with pytest.raises(IllegalPath):
        encode_payload(content_format, parse("/3/0"), _nodes(("/3/0/6", 1)), MODELS)


def test_an_executable_has_no_value_in_any_format() -> None:
    for content_format in sorted(SUPPORTED):
        with pytest.raises(LwM2mError):
            encode_payload(content_format, parse("/3/0/4"), _nodes(("/3/0/4", 1)), MODELS)


@pytest.mark.parametrize("content_format", STRUCTURED)
def test_what_is_no_value_is_not_encoded(content_format: int) -> None:
    nodes: list[Any] = [(parse("/9999/0/1"), None)]
    with pytest.raises(InvalidValue, match="NoneType is not a value type"):
        encode_payload(content_format, parse("/9999/0"), [Node(*nodes[0])], MODELS)


def test_a_composite_spans_objects_and_is_senml() -> None:
    nodes = _nodes(("/3/0/9", 100), ("/3416/0/1", 50), ("/3/0/6/1", 5))
    payload = encode_payload(112, None, nodes, MODELS)
    assert decode_payload(112, None, payload, MODELS) == nodes
    with pytest.raises(UnsupportedContentFormat):
        encode_payload(content_formats.TLV, None, nodes, MODELS)
    with pytest.raises(UnsupportedContentFormat):
        decode_payload(content_formats.TLV, None, b"", MODELS)


def test_an_instance_without_values_is_an_empty_pack() -> None:
    assert encode_payload(112, parse("/3/0"), [], MODELS) == b"\x80"
    assert decode_payload(112, parse("/3/0"), b"\x80", MODELS) == []


@given(
    st.sampled_from(sorted(SUPPORTED)),
    st.sampled_from(["/3", "/3/0", "/3/0/6", "/3/0/6/1", "/3/0/9", "/3/0/22/0", "/9999/0/1"]),
    st.binary(max_size=60),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_decode_or_are_refused_by_our_own_error(
    content_format: int, base: str, payload: bytes
) -> None:
    try:
        nodes = decode_payload(content_format, parse(base), payload, MODELS)
    except LwM2mError:
        return
    assert all(parse(base).contains(node.path) for node in nodes)
