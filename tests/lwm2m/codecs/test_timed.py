"""Values with their times: notifications with history, and Send."""

from __future__ import annotations

import json

import pytest

from lwm2m.codecs import Node, TimedNode, decode_payload, decode_timed, encode_payload, encode_timed
from lwm2m.errors import IllegalPath, InvalidValue, MalformedSenml, UnsupportedContentFormat
from lwm2m.objects import ObjectPath, builtin_models

MODELS = builtin_models()
parse = ObjectPath.parse
NOW = 1_700_000_000.25
PATH = parse("/3303/0/5700")
HISTORY = [TimedNode(PATH, 20.0, NOW - 60), TimedNode(PATH, 21.5, NOW)]


@pytest.mark.parametrize("content_format", [110, 112, 11543])
@pytest.mark.parametrize("base", ["/3303", "/3303/0", "/3303/0/5700"])
def test_a_history_is_the_same_in_every_format_that_has_times(
    base: str, content_format: int
) -> None:
    payload = encode_timed(content_format, parse(base), HISTORY, MODELS)
    assert decode_timed(content_format, parse(base), payload, MODELS) == HISTORY
    assert decode_payload(content_format, parse(base), payload, MODELS) == [
        Node(path, value) for path, value, _unix_s in HISTORY
    ]


@pytest.mark.parametrize("content_format", [110, 112])
def test_a_send_spans_objects(content_format: int) -> None:
    nodes = [TimedNode(parse("/3/0/9"), 80, NOW), TimedNode(PATH, 20.0, NOW)]
    payload = encode_timed(content_format, None, nodes, MODELS)
    assert decode_timed(content_format, None, payload, MODELS) == nodes


def test_one_time_for_all_is_the_base_time() -> None:
    nodes = [TimedNode(parse("/3/0/9"), 80, NOW), TimedNode(PATH, 20.0, NOW)]
    assert json.loads(encode_timed(110, None, nodes, MODELS)) == [
        {"bn": "/", "bt": NOW, "n": "3/0/9", "v": 80},
        {"n": "3303/0/5700", "v": 20.0},
    ]


def test_values_without_time_may_be_among_others() -> None:
    nodes = [TimedNode(PATH, 20.0, None), TimedNode(PATH, 21.0, NOW)]
    payload = encode_timed(112, PATH, nodes, MODELS)
    assert decode_timed(112, PATH, payload, MODELS) == nodes


@pytest.mark.parametrize("content_format", [110, 112, 11542, 11543, 11544])
def test_without_times_it_is_the_plain_payload(content_format: int) -> None:
    nodes = [TimedNode(PATH, 20.0, None)]
    payload = encode_timed(content_format, PATH, nodes, MODELS)
    assert payload == encode_payload(content_format, PATH, [Node(PATH, 20.0)], MODELS)
    assert decode_timed(content_format, PATH, payload, MODELS) == nodes


@pytest.mark.parametrize("content_format", [0, 60, 11542, 11544])
def test_formats_without_times_leave_them_out(content_format: int) -> None:
    payload = encode_timed(content_format, PATH, HISTORY[1:], MODELS)
    assert decode_timed(content_format, PATH, payload, MODELS) == [TimedNode(PATH, 21.5, None)]
    with pytest.raises(IllegalPath):
        encode_timed(content_format, PATH, HISTORY, MODELS)


@pytest.mark.parametrize("time", [0.0, 1e6, 2**28 - 1, -NOW, 1e12, float("nan"), float("inf")])
def test_times_that_senml_would_read_otherwise_are_not_encoded(time: float) -> None:
    with pytest.raises(InvalidValue, match="absolute"):
        encode_timed(112, PATH, [TimedNode(PATH, 1.0, time)], MODELS)


def test_relative_times_need_a_now() -> None:
    payload = b'[{"bn":"/3303/0/5700","v":20,"t":-5},{"v":21},{"v":22,"t":1700000000}]'
    found = decode_timed(110, PATH, payload, MODELS, NOW)
    assert [node.unix_s for node in found] == [NOW - 5, NOW, 1.7e9]
    found = decode_timed(110, PATH, payload, MODELS)
    assert [node.unix_s for node in found] == [None, None, 1.7e9]


def test_one_value_twice_at_one_time_is_refused() -> None:
    payload = b'[{"bn":"/3303/0/5700","v":20,"t":-5},{"v":21,"t":-5}]'
    with pytest.raises(MalformedSenml, match="twice"):
        decode_timed(110, PATH, payload, MODELS)


def test_composites_are_for_some_formats_only() -> None:
    for content_format in (11542, 11543, 0, None):
        with pytest.raises(UnsupportedContentFormat):
            encode_timed(content_format, None, [], MODELS)
        with pytest.raises(UnsupportedContentFormat):
            decode_timed(content_format, None, b"", MODELS)
