"""OMA JSON of LwM2M 1.0: what other implementations send, and what nobody should."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import Node, TimedNode, oma_json
from lwm2m.errors import IllegalPath, InvalidValue, LwM2mError, MalformedOmaJson
from lwm2m.objects import NULL_ID, ObjectLink, ObjectPath, Value, builtin_models
from tests.lwm2m.codecs.vectors import nodes_of, read_vectors

MODELS = builtin_models()
DOCUMENTS = read_vectors("oma_json/documents.json")
parse = ObjectPath.parse
NOW = 1_700_000_000.0


def _decode(base: str, document: Any) -> list[tuple[str, Value]]:
    found = oma_json.decode(parse(base), json.dumps(document).encode(), MODELS)
    return [(str(path), value) for path, value in found]


@pytest.mark.parametrize("vector", DOCUMENTS, ids=lambda vector: vector["name"])
def test_documents_of_other_implementations_are_read(vector: dict[str, Any]) -> None:
    payload = json.dumps(vector["document"]).encode()
    base = parse(vector["base"])
    assert oma_json.decode(base, payload, MODELS) == nodes_of(vector["nodes"])
    timed = oma_json.decode_timed(base, payload, MODELS, None)
    assert [node.unix_s for node in timed] == [
        row[2] if len(row) > 2 else None for row in vector["nodes"]
    ]


@pytest.mark.parametrize(
    "vector", [v for v in DOCUMENTS if v.get("is_ours")], ids=lambda vector: vector["name"]
)
def test_documents_are_written_as_others_write_them(vector: dict[str, Any]) -> None:
    payload = oma_json.encode(parse(vector["base"]), nodes_of(vector["nodes"]), MODELS)
    assert payload == json.dumps(vector["document"], separators=(",", ":")).encode()


def test_a_value_at_the_base_needs_no_name() -> None:
    path = parse("/3/0/9")
    payload = oma_json.encode(path, [Node(path, 100)], MODELS)
    assert json.loads(payload) == {"bn": "/3/0/9", "e": [{"v": 100}]}
    assert _decode("/3/0/9", {"e": [{"v": 100}]}) == [("/3/0/9", 100)]
    assert _decode("/3/0/9", {"e": [{"n": "", "v": 100}]}) == [("/3/0/9", 100)]


def test_a_slash_between_base_name_and_name_may_be_missing() -> None:
    assert _decode("/3/0", {"bn": "/3/0", "e": [{"n": "9", "v": 1}]}) == [("/3/0/9", 1)]
    assert _decode("/3/0/6", {"bn": "/3/0/6", "e": [{"n": "1", "v": 1}]}) == [("/3/0/6/1", 1)]


def test_a_create_may_leave_the_instance_open() -> None:
    document = {"bn": f"/3303/{NULL_ID}/", "e": [{"n": "5700", "v": 1}]}
    (node,) = oma_json.decode(ObjectPath(3303), json.dumps(document).encode(), MODELS)
    assert node == (ObjectPath(3303, NULL_ID, 5700), 1.0)
    assert oma_json.decode(
        ObjectPath(3303), oma_json.encode(ObjectPath(3303), [node], MODELS), MODELS
    ) == [node]


@pytest.mark.parametrize(
    ("path", "value", "entry"),
    [
        ("/3442/0/110", "ü", {"sv": "ü"}),
        ("/3442/0/120", -(2**63), {"v": -(2**63)}),
        ("/3442/0/125", 2**64 - 1, {"v": 2**64 - 1}),
        ("/3442/0/130", 1.0, {"v": 1.0}),
        ("/3442/0/140", True, {"bv": True}),
        ("/3442/0/150", b"\xfb\xff", {"sv": "+/8="}),
        ("/3442/0/160", 1_700_000_000, {"v": 1_700_000_000}),
        ("/3442/0/170", ObjectLink(3, 0), {"ov": "3:0"}),
        ("/3442/0/180", "</1>", {"sv": "</1>"}),
        ("/9999/0/1", "?", {"sv": "?"}),
        ("/9999/0/1", ObjectLink(1, 2), {"ov": "1:2"}),
    ],
)
def test_each_type_has_its_member(path: str, value: Value, entry: dict[str, Any]) -> None:
    node = Node(parse(path), value)
    payload = oma_json.encode(node.path, [node], MODELS)
    assert json.loads(payload)["e"] == [entry]
    assert oma_json.decode(node.path, payload, MODELS) == [node]


@pytest.mark.parametrize(
    ("path", "entry", "value"),
    [
        ("/3442/0/150", {"sv": "-_8"}, b"\xfb\xff"),
        ("/3442/0/170", {"ov": "FFFF:FFFF"}, ObjectLink(65535, 65535)),
        ("/3442/0/170", {"ov": "65535:65535"}, ObjectLink(65535, 65535)),
        ("/3442/0/120", {"v": 5.0}, 5),
        ("/3442/0/130", {"v": 5}, 5.0),
    ],
)
def test_flavours_of_clients_are_understood(path: str, entry: Any, value: Value) -> None:
    assert _decode(path, {"e": [entry]}) == [(path, value)]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "a document is an object"),
        ({}, "a list `e` is needed"),
        ({"e": {}}, "a list `e` is needed"),
        ({"bn": 1, "e": []}, "`bn` is a string"),
        ({"bt": "now", "e": []}, "bt is no time"),
        ({"bt": 1e12, "e": []}, "bt is no time"),
        ({"e": [1]}, "entry 0: an entry is an object"),
        ({"e": [{"n": 9, "v": 1}]}, "entry 0: n is a string"),
        ({"e": [{"n": "9", "v": 1}, {"n": "9", "v": 2}]}, "entry 1: /3/0/9 is there twice"),
        ({"e": [{"n": "9", "v": 1, "t": True}]}, "t is no time"),
        ({"e": [{"n": "9"}]}, "one value is needed"),
        ({"e": [{"n": "9", "v": 1, "sv": "1"}]}, "one value is needed"),
        ({"e": [{"n": "9", "v": "1"}]}, "v has a str"),
        ({"e": [{"n": "9", "v": None}]}, "v has a NoneType"),
        ({"e": [{"n": "9", "bv": 1}]}, "bv has a int"),
        ({"e": [{"n": "0", "sv": 1}]}, "sv has a int"),
        ({"e": [{"n": "22/0", "ov": "3"}]}, "two numbers and a colon"),
        ({"e": [{"n": "6", "v": 1}]}, "has resource instances"),
        ({"e": [{"n": "9/0", "v": 1}]}, "has no resource instances"),
        ({"bn": "/4/0/", "e": [{"n": "0", "v": 1}]}, "name no value of /3/0"),
        ({"e": [{"n": "", "v": 1}]}, "name no value of /3/0"),
        ({"e": [{"n": "a", "v": 1}]}, "name no value of /3/0"),
        ({"e": [{}] * 4_097}, "entries, more than"),
    ],
)
def test_documents_that_break_the_rules_are_refused(document: Any, reason: str) -> None:
    with pytest.raises(MalformedOmaJson, match=reason):
        _decode("/3/0", document)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(MalformedOmaJson, match="Expecting value") as caught:
        oma_json.decode(parse("/3/0"), b"", MODELS)
    assert caught.value.entry is None


def test_opaque_values_are_base64() -> None:
    with pytest.raises(MalformedOmaJson, match="not base64"):
        _decode("/5/0/0", {"e": [{"sv": "*"}]})


@pytest.mark.parametrize("entry", [{"n": "9", "sv": "x"}, {"n": "9", "ov": "1:1"}])
def test_values_have_the_type_of_their_resource(entry: Any) -> None:
    with pytest.raises(InvalidValue, match="Battery Level"):
        _decode("/3/0", {"e": [entry]})


@pytest.mark.parametrize(
    ("base", "path"), [("/3/0", "/4/0/0"), ("/3/0", "/3/0/6"), ("/3/0", "/3/0")]
)
def test_paths_that_do_not_fit_are_not_encoded(base: str, path: str) -> None:
    with pytest.raises(IllegalPath):
        oma_json.encode(parse(base), [Node(parse(path), 1)], MODELS)


# --- times

PATH = parse("/3303/0/5700")


def test_a_history_goes_back_from_the_newest() -> None:
    nodes = [TimedNode(PATH, 20.0, NOW), TimedNode(PATH, 21.0, NOW + 60)]
    payload = oma_json.encode_timed(PATH, nodes, MODELS)
    assert json.loads(payload) == {
        "bn": "/3303/0/5700",
        "bt": NOW + 60,
        "e": [{"v": 20.0, "t": -60}, {"v": 21.0}],
    }
    assert oma_json.decode_timed(PATH, payload, MODELS, None) == nodes


def test_values_without_times_have_none() -> None:
    nodes = [TimedNode(PATH, 20.0, None)]
    payload = oma_json.encode_timed(PATH, nodes, MODELS)
    assert "bt" not in json.loads(payload)
    assert oma_json.decode_timed(PATH, payload, MODELS, None) == nodes


def test_relative_times_need_a_now() -> None:
    payload = b'{"e":[{"v":20,"t":-5},{"v":21},{"v":22,"t":1700000001}]}'
    found = oma_json.decode_timed(PATH, payload, MODELS, NOW)
    assert [node.unix_s for node in found] == [NOW - 5, NOW, NOW + 1]
    found = oma_json.decode_timed(PATH, payload, MODELS, None)
    assert [node.unix_s for node in found] == [None, None, NOW + 1]


@pytest.mark.parametrize("times", [(NOW, None), (0.0, NOW), (NOW, 1e12)])
def test_times_are_for_all_values_or_for_none(times: tuple[float | None, ...]) -> None:
    with pytest.raises(InvalidValue, match="time"):
        oma_json.encode_timed(PATH, [TimedNode(PATH, 1.0, time) for time in times], MODELS)


@pytest.mark.slow
@given(st.text(alphabet='{}[]":,ebntvso0123456789/-.', max_size=60) | st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_bytes_decode_or_are_refused(payload: str | bytes) -> None:
    data = payload if isinstance(payload, bytes) else payload.encode()
    try:
        nodes = oma_json.decode(parse("/3/0"), data, MODELS)
    except LwM2mError:
        return
    assert all(parse("/3/0").contains(node.path) for node in nodes)
