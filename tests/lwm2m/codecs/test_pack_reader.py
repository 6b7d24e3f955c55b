"""The short way of SenML CBOR packs gives what the long way gives, or nothing."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lwm2m.codecs import Node, PackReader, content_formats, decode_payload, encode_payload
from lwm2m.errors import LwM2mError
from lwm2m.objects import (
    NULL_ID,
    ObjectLink,
    ObjectPath,
    Value,
    ValueRange,
    builtin_models,
    check_value,
    resource_model,
)

MODELS = builtin_models()
SENML = content_formats.SENML_CBOR
parse = ObjectPath.parse
# The test object has every type; 18831 has ranges, an object link and a mandatory resource.
PLAIN: dict[str, Value] = {
    "/3442/0/110": "text",
    "/3442/0/120": 17,
    "/3442/0/125": 2**40,
    "/3442/0/130": 0.5,
    "/3442/0/140": True,
    "/3442/0/150": b"\x00\xff",
    "/3442/0/160": 1_700_000_000,
    "/3442/0/170": ObjectLink(3, 0),
    "/3442/0/180": "</3/0>",
    "/3442/0/1110/3": "one of many",
}
PUBLICATIONS = [
    Node(ObjectPath(18831, number, resource), value)
    for number in range(3)
    for resource, value in enumerate(
        ["</3416/0>", ObjectLink(18830, 0), f"devices/lamp-1/{number}", 1, False, True, 112]
    )
]
BASES = [None, *map(parse, ("/3442", "/3442/0", "/18831", "/18831/0", "/18831/0/2"))]


def long_way(base: ObjectPath | None, payload: bytes) -> list[Node] | None:
    """The values that the general decoder gives, when all may be written; else None."""
    try:
        nodes = decode_payload(SENML, base, payload, MODELS)
        for path, value in nodes:
            model = resource_model(MODELS, path)
            if model is None:
                return None
            assert model.multiple is (path.resource_instance_id is not None)
            check_value(model, value)
    except LwM2mError:
        return None
    return nodes


def require_same(reader: PackReader, base: ObjectPath | None, payload: bytes) -> bool:
    """Whether the short way was taken; what it gives is then what the long way gives."""
    found = reader.values(base, payload)
    if found is None:
        return False
    expected = long_way(base, payload)
    assert expected is not None
    assert [Node(*item) for item in found.items()] == expected
    assert [type(value) for value in found.values()] == [type(value) for _, value in expected]
    assert all(type(path) is ObjectPath for path in found)
    return True


@pytest.mark.parametrize("base", [None, parse("/3442"), parse("/3442/0")])
def test_values_of_every_type_take_the_short_way(base: ObjectPath | None) -> None:
    payload = encode_payload(SENML, base, [Node(parse(p), v) for p, v in PLAIN.items()], MODELS)
    reader = PackReader(MODELS)
    assert require_same(reader, base, payload)
    assert require_same(reader, base, payload)


def test_several_instances_take_the_short_way_and_paths_are_shared() -> None:
    shared: dict[ObjectPath, ObjectPath] = {}
    reader = PackReader(MODELS, lambda path: shared.setdefault(path, path))
    base = parse("/18831")
    payload = encode_payload(SENML, base, PUBLICATIONS, MODELS)
    for _ in range(2):
        assert require_same(reader, base, payload)
        found = reader.values(base, payload)
        assert found is not None
        assert all(shared[path] is path for path in found)


ANY_LABEL = st.sampled_from([-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, "vlo", "x", "x_"])
ANY_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64 - 1),
    st.sampled_from([-1, 0, 2, 3, 65535, 65536, 2**63, 1.0, 1e300]),
    st.floats(),
    st.binary(max_size=4),
    st.sampled_from(["", "3:0", "FFFF:FFFF", "3:x", "1/110", "0/110", "/3442/0/110", "é", "a b"]),
    st.text(max_size=4),
    st.lists(st.integers(0, 3), max_size=2),
    st.decimals(allow_nan=False, places=2, min_value=-5, max_value=5),
)
ANY_BASE_NAME = st.sampled_from(["", "/", "/3442/", "/3442/0/", "3442/0/", "/18831/", "/18831/0/2"])
ANY_NAME = st.sampled_from(
    [
        *("0/110", "110", "0/120", "120", "0/1110/3", "1110/3", "65535/110", "/3442/0/110"),
        *("0/0", "0/1", "0/3", "0/6", "1/3", "3", "6", "99", "0/99", "00/110", "0/110/0", "", "é"),
        "3442/0/110/" + "0" * 40,
    ]
)


@st.composite
def packs(draw: st.DrawFn) -> Any:
    """Packs that are nearly as they should be."""
    records: list[Any] = []
    for index in range(draw(st.integers(0, 4))):
        fields: dict[Any, Any] = {}
        if draw(st.integers(0, 9)) < (8 if index == 0 else 1):
            fields[-2] = draw(ANY_BASE_NAME)
        if draw(st.integers(0, 9)):
            fields[0] = draw(ANY_NAME)
        fields[draw(st.sampled_from([2, 2, 3, 4, 8, "vlo"]))] = draw(ANY_VALUE)
        if draw(st.integers(0, 9)) == 0:
            fields[draw(ANY_LABEL)] = draw(ANY_VALUE)
        records.append(fields if draw(st.integers(0, 19)) else draw(ANY_VALUE))
    return records


@given(st.sampled_from(BASES), packs())
@settings(max_examples=400, deadline=None)
def test_what_the_short_way_gives_the_long_way_gives_too(
    base: ObjectPath | None, records: list[Any]
) -> None:
    payload = cbor2.dumps(records)
    reader = PackReader(MODELS)
    is_short = require_same(reader, base, payload)
    assert require_same(reader, base, payload) is is_short


@given(
    st.integers(0, len(PUBLICATIONS) - 1),
    st.sampled_from([-2, 0, 2, 3, 4, 8, "vlo"]),
    st.one_of(ANY_VALUE, ANY_NAME),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_a_pack_that_differs_in_one_field_from_a_known_one_is_read_as_the_long_way_does(
    index: int, label: Any, value: Any, takes_away: bool
) -> None:
    reader, base = PackReader(MODELS), parse("/18831")
    ordinary = encode_payload(SENML, base, PUBLICATIONS, MODELS)
    assert require_same(reader, base, ordinary)
    records = cbor2.loads(ordinary)
    if takes_away:
        records[index].pop(label, None)
    else:
        records[index][label] = value
    require_same(reader, base, cbor2.dumps(records))
    assert require_same(reader, base, ordinary)


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_at_all_are_for_the_long_way_or_give_the_same(payload: bytes) -> None:
    for base in BASES:
        require_same(PackReader(MODELS), base, payload)


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{-2: "/18831/", 0: "0/3", 2: 3}],
        [{-2: "/18831/", 0: "0/3", 2: True}],
        [{-2: "/18831/", 0: "0/3", 2: 1.0}],
        [{-2: "/18831/", 0: "0/3", 2: 1, 6: 5}],
        [{-2: "/18831/", 0: "0/3", 2: 1}, {0: "/0/3", 2: 1}],
        [{-2: "/18831/", 0: "0/3", 2: 1}, {0: "0/3", 2: 1}],
        [{-2: "/18831/", 0: "0/99", 2: 1}],
        [{-2: "/18831/", 0: "0/1", "vlo": "x"}],
        [{-2: "/18831/", 0: [1], 2: 1}],
        [{-2: ["/18831/"], 0: "0/3", 2: 1}],
        [{-2: "/18831/", 0: 3, 2: 1}],
        [["0/3", 2, 1]],
        ["0/3"],
        {0: "0/3", 2: 1},
    ],
    ids=repr,
)
def test_what_is_out_of_the_ordinary_is_left_to_the_long_way(records: Any) -> None:
    reader = PackReader(MODELS)
    for _ in range(2):
        assert reader.values(parse("/18831"), cbor2.dumps(records)) is None


@pytest.mark.parametrize(
    "record",
    [
        # What is executed has no value.
        {-2: "/3/0/", 0: "4", 2: 1},
        {-2: "/3442/0/", 0: "130", 2: float("nan")},
        {-2: "/3442/0/", 0: "130", 2: float("-inf")},
        {-2: "/3442/0/", 0: "170", "vlo": "0" * 12 + "3:0"},
    ],
    ids=repr,
)
def test_what_is_no_value_of_its_resource_is_left_to_the_long_way(record: Any) -> None:
    assert PackReader(MODELS).values(None, cbor2.dumps([record])) is None


def test_numbers_that_a_resource_lists_are_held_against_its_list() -> None:
    publication = MODELS[18831]
    listed = replace(publication.resources[3], range=ValueRange(allowed=(0, 2)))
    models = {**MODELS, 18831: replace(publication, resources={**publication.resources, 3: listed})}
    reader = PackReader(models)
    packs = {number: cbor2.dumps([{-2: "/18831/0/", 0: "3", 2: number}]) for number in (1, 2)}
    assert reader.values(None, packs[2]) == {ObjectPath(18831, 0, 3): 2}
    assert reader.values(None, packs[1]) is None


def test_the_instance_without_a_number_is_named_as_such() -> None:
    payload = cbor2.dumps([{-2: "/18831/", 0: f"{NULL_ID}/3", 2: 1}])
    found = PackReader(MODELS).values(parse("/18831"), payload)
    assert found == {ObjectPath(18831, NULL_ID, 3): 1}


def test_packs_of_ever_new_shapes_do_not_fill_the_memory() -> None:
    reader = PackReader(MODELS)
    for number in range(2_000):
        payload = cbor2.dumps([{-2: "/18831/", 0: f"{number}/3", 2: 1}])
        assert reader.values(parse("/18831"), payload) == {ObjectPath(18831, number, 3): 1}
    assert len(reader) <= 256
