"""Composite operations: lists of paths, writes that remove, in every format that can say it."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import (
    COMPOSITE,
    SUPPORTED,
    Change,
    Node,
    decode_composite_write,
    decode_paths,
    decode_payload,
    encode_composite_write,
    encode_paths,
    encode_payload,
)
from lwm2m.errors import IllegalPath, LwM2mError, MalformedPayload, UnsupportedContentFormat
from lwm2m.objects import ObjectLink, ObjectPath, builtin_models

MODELS = builtin_models()
parse = ObjectPath.parse
REMOVING = [320, 322, 11544]
PATHS = [parse("/3/0"), parse("/1"), parse("/3/0/6/1"), parse("/3416/0/3")]
NODES = [
    Node(parse("/3/0/13"), 1_700_000_000),
    Node(parse("/3416/0/1"), 50),
    Node(parse("/3442/0/1170/1"), ObjectLink(3, 0)),
]


@pytest.mark.parametrize("content_format", sorted(COMPOSITE))
def test_paths_are_the_same_in_every_format(content_format: int) -> None:
    payload = encode_paths(content_format, PATHS)
    assert decode_paths(content_format, payload) == PATHS


@pytest.mark.parametrize("content_format", [110, 112, 320, 322])
def test_the_root_is_a_path_of_senml(content_format: int) -> None:
    payload = encode_paths(content_format, [None, parse("/3")])
    assert decode_paths(content_format, payload) == [None, parse("/3")]


def test_lwm2m_cbor_cannot_name_the_root() -> None:
    with pytest.raises(IllegalPath):
        encode_paths(11544, [None])


@pytest.mark.parametrize(
    ("pack", "paths"),
    [
        ([{"n": "/3/0/9"}], ["/3/0/9"]),
        ([{"n": "3/0/9"}], ["/3/0/9"]),
        ([{"bn": "/3/0/9"}], ["/3/0/9"]),
        ([{"bn": "/3/0/", "n": "9"}, {"n": "10"}], ["/3/0/9", "/3/0/10"]),
        ([{"bn": "/3/0/"}, {"n": "9"}], ["/3/0/9"]),
        ([{"bn": "/3"}, {"n": "/0"}], ["/3", "/3/0"]),
        ([{"bn": "/"}, {"n": "3"}], ["/3"]),
        ([{"bn": "/"}], [None]),
        ([{"n": "/"}], [None]),
        ([{"n": "/3/0", "t": 5, "u": "V", "bt": 1, "bu": "V", "v": 1}], ["/3/0"]),
    ],
)
def test_names_of_a_fetch_pack_are_paths(pack: Any, paths: list[str | None]) -> None:
    expected = [None if path is None else parse(path) for path in paths]
    assert decode_paths(320, json.dumps(pack).encode()) == expected


@pytest.mark.parametrize(
    "pack",
    [
        [],
        {},
        [1],
        [{"v": 1}],
        [{"n": ""}],
        [{"n": "/3/0/"}],
        [{"n": "/3/0/9/1/2"}],
        [{"n": "a"}],
        [{"n": 3}],
        [{"bn": "/3/0/", "n": "9", "x_": 1}],
    ],
)
def test_fetch_packs_that_name_no_paths_are_refused(pack: Any) -> None:
    with pytest.raises(MalformedPayload):
        decode_paths(320, json.dumps(pack).encode())


@pytest.mark.parametrize(
    "tree", [[], {}, {3: {}}, {3: 1}, {"a": None}, {(1, 2, 3, 4, 5): None}, {65535: None}]
)
def test_maps_that_name_no_paths_are_refused(tree: Any) -> None:
    with pytest.raises(MalformedPayload):
        decode_paths(11544, cbor2.dumps(tree))


def test_maps_of_paths_may_be_nested() -> None:
    payload = cbor2.dumps({3: {0: {9: None, 6: None}}, 1: None})
    assert decode_paths(11544, payload) == [parse("/3/0/9"), parse("/3/0/6"), parse("/1")]


# --- writes


@pytest.mark.parametrize("content_format", sorted(COMPOSITE))
def test_a_composite_write_is_the_same_in_every_format(content_format: int) -> None:
    payload = encode_composite_write(content_format, NODES, [], MODELS)
    assert payload == encode_payload(content_format, None, NODES, MODELS)
    assert decode_composite_write(content_format, payload, MODELS) == NODES
    assert decode_payload(content_format, None, payload, MODELS) == NODES


@pytest.mark.parametrize("content_format", REMOVING)
def test_null_removes(content_format: int) -> None:
    removed = parse("/3442/0/1170/0")
    payload = encode_composite_write(content_format, NODES, [removed], MODELS)
    found = decode_composite_write(content_format, payload, MODELS)
    assert sorted(found, key=lambda change: change.path) == sorted(
        [*[Change(*node) for node in NODES], Change(removed, None)], key=lambda change: change.path
    )
    with pytest.raises(MalformedPayload):
        decode_payload(content_format, None, payload, MODELS)


@pytest.mark.parametrize("content_format", [110, 112])
def test_plain_senml_cannot_remove(content_format: int) -> None:
    with pytest.raises(UnsupportedContentFormat):
        encode_composite_write(content_format, [], [parse("/3442/0/1170/0")], MODELS)
    etch = {110: 320, 112: 322}[content_format]
    payload = encode_composite_write(etch, [], [parse("/3442/0/1170/0")], MODELS)
    with pytest.raises(MalformedPayload):
        decode_composite_write(content_format, payload, MODELS)


@pytest.mark.parametrize(
    "pack",
    [
        [{"n": "/3/0/9", "v": 1}, {"n": "/3/0/9", "v": 2}],
        [{"n": "/3/0/6/1", "v": None}, {"n": "/3/0/6/1", "v": None}],
        [{"n": "/3/0", "v": 1}],
        [{"n": "/3/0", "v": None}],
        [{"n": "/3/0/9", "s": 1}],
        [{"n": "/3/0/6", "v": 1}],
        [{"n": "/3/0/65535", "v": 1}],
        [{"n": "/3/65535/9", "v": 1}],
    ],
)
def test_patch_packs_that_say_no_change_are_refused(pack: Any) -> None:
    for content_format in (110, 320):
        with pytest.raises(MalformedPayload):
            decode_composite_write(content_format, json.dumps(pack).encode(), MODELS)


@pytest.mark.parametrize("content_format", [None, 0, 42, 60, 11542, 11543, 1543, 9999])
def test_other_formats_are_not_for_composites(content_format: int | None) -> None:
    with pytest.raises(UnsupportedContentFormat):
        encode_paths(content_format, PATHS)
    with pytest.raises(UnsupportedContentFormat):
        decode_paths(content_format, b"")
    with pytest.raises(UnsupportedContentFormat):
        encode_composite_write(content_format, [], [], MODELS)
    with pytest.raises(UnsupportedContentFormat):
        decode_composite_write(content_format, b"", MODELS)


@pytest.mark.parametrize("content_format", [320, 322])
def test_etch_is_for_composites_only(content_format: int) -> None:
    assert content_format not in SUPPORTED
    with pytest.raises(UnsupportedContentFormat):
        decode_payload(content_format, parse("/3/0"), b"", MODELS)


@pytest.mark.slow
@given(
    st.sampled_from(sorted(COMPOSITE)),
    st.binary(max_size=40) | st.text(alphabet='[]{}":,bnvt0123456789/', max_size=40),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_paths_and_changes_or_refused(
    content_format: int, payload: bytes | str
) -> None:
    data = payload if isinstance(payload, bytes) else payload.encode()
    for decode in (decode_paths, lambda form, each: decode_composite_write(form, each, MODELS)):
        try:
            decode(content_format, data)
        except LwM2mError:
            continue
