"""SenML in JSON means what the same pack in CBOR means, and refuses what JSON can say beyond."""

from __future__ import annotations

import base64
import json
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.codecs import SenmlLimits, senml, senml_cbor, senml_json
from lwm2m.errors import InvalidValue, MalformedSenml
from lwm2m.objects import ObjectLink
from tests.lwm2m.codecs.vectors import read_vectors

PACKS = read_vectors("senml/rfc8428.json")
ETCH = read_vectors("senml/rfc8790.json")
NOW = 1_700_000_000.25


def _value(record: dict[str, Any]) -> Any:
    if "vd" in record:
        return base64.urlsafe_b64decode(record["vd"] + "==")
    return next(record[name] for name in ("v", "vs", "vb") if name in record)


@pytest.mark.parametrize("vector", PACKS, ids=lambda vector: vector["name"])
def test_packs_of_the_rfc_resolve(vector: dict[str, Any]) -> None:
    found = senml_json.resolve(json.dumps(vector["pack"]).encode(), None)
    assert [(r.name, r.unit, r.value, r.time) for r in found] == [
        (record["n"], record.get("u"), _value(record), record.get("t"))
        for record in vector["resolved"]
    ]


@pytest.mark.parametrize("vector", PACKS, ids=lambda vector: vector["name"])
def test_packs_of_the_rfc_are_written_as_they_are_printed(vector: dict[str, Any]) -> None:
    text = json.dumps(vector["pack"], separators=(",", ":"))
    written = senml_json.encode(senml_json.decode(text.encode()))
    assert json.loads(written) == vector["pack"]


def test_json_and_cbor_differ_in_nothing_but_syntax() -> None:
    records = [
        {senml.BASE_NAME: "a/", senml.NAME: "x", senml.VALUE: 2**60 + 1, "seq": 7},
        {senml.NAME: "d", senml.DATA_VALUE: b"\xfb\xff\x00"},
        {senml.NAME: "l", senml.OBJECT_LINK_VALUE: "65535:65535"},
    ]
    as_json, as_cbor = senml_json.encode(records), senml_cbor.encode(records)
    assert json.loads(as_json)[1] == {"n": "d", "vd": "-_8A"}
    assert senml_json.resolve(as_json, NOW) == senml_cbor.resolve(as_cbor, NOW)
    assert senml_json.resolve(as_json, NOW)[2].value == ObjectLink(65535, 65535)


@pytest.mark.parametrize("text", ["-_8A", "-_8", "+/8A", "+/8A==", "-_8=", ""])
def test_opaque_data_may_be_base64_of_any_flavour(text: str) -> None:
    (found,) = senml_json.resolve(json.dumps([{"n": "a", "vd": text}]).encode(), None)
    assert found.value in (b"\xfb\xff\x00", b"\xfb\xff", b"")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{}", "a pack is an array"),
        ("[[]]", "record 0: a record is a map"),
        ("[1]", "record 0: a record is a map"),
        ('[{"n":"a","v":NaN}]', "NaN is no JSON number"),
        ('[{"n":"a","v":1e999}]', "too large"),
        ('[{"n":"a","v":"1"}]', "needs a finite number"),
        ('[{"n":"a","v":true}]', "needs a finite number"),
        ('[{"n":"a","v":null}]', "needs a finite number"),
        ('[{"n":"a","v":1,"n":"b"}]', "a member is there twice"),
        ('[{"n":"a","v":1,"vs":"x"}]', "more than one value"),
        ('[{"n":"a","v":1,"must_":1}]', "must be understood"),
        ('[{"n":"a","v":1,"bver":11}]', "version"),
        ('[{"n":"a","vd":"*"}]', "vd is not base64"),
        ('[{"n":"a","vd":1}]', "label 8"),
        ('[{"n":"a","vb":1}]', "label 4"),
        ('[{"n":"a"}]', "no value"),
        ('[{"n":"a b","v":1}]', "illegal name"),
        ('[{"n":"a","v":1,"x":[[[[[[[[0]]]]]]]]}]', "nested"),
        ('[{"n":"a","vs":"\\ud800"}]', "surrogate"),
        ("[" * 100_000, "nested"),
    ],
)
def test_packs_that_break_the_rules_are_refused(text: str, reason: str) -> None:
    with pytest.raises(MalformedSenml, match=reason):
        senml_json.resolve(text.encode(), None)


def test_packs_are_bounded() -> None:
    limits = SenmlLimits(payload_bytes_max=40, records_max=2)
    with pytest.raises(MalformedSenml, match="bytes, more than"):
        senml_json.load(b" " * 41, limits)
    with pytest.raises(MalformedSenml, match="records, more than"):
        senml_json.load(b"[{},{},{}]", limits)


def test_what_has_no_json_form_is_not_encoded() -> None:
    with pytest.raises(InvalidValue):
        senml_json.encode([{senml.NAME: "\ud800", senml.VALUE: 1}])
    with pytest.raises(InvalidValue):
        senml_json.encode([{"x": object()}])


@pytest.mark.parametrize("vector", [v for v in ETCH if "names" in v], ids=lambda v: v["name"])
def test_fetch_packs_of_the_rfc_name_what_they_name(vector: dict[str, Any]) -> None:
    records = senml_json.load(json.dumps(vector["pack"]).encode())
    assert senml.resolved_names(records) == vector["names"]


@pytest.mark.parametrize("vector", [v for v in ETCH if "changes" in v], ids=lambda v: v["name"])
def test_patch_packs_of_the_rfc_set_and_remove(vector: dict[str, Any]) -> None:
    records = senml_json.load(json.dumps(vector["pack"]).encode())
    found = senml.resolved_changes(records)
    assert [[record.name, record.value] for record in found] == vector["changes"]


def test_a_patch_pack_may_mix_base_fields_values_and_removals() -> None:
    text = '[{"bn":"a/"},{"n":"x","v":1},{"n":"y","v":null},{"bn":"b/","n":"z","v":null}]'
    found = senml.resolved_changes(senml_json.load(text.encode()))
    assert [(record.name, record.value) for record in found] == [
        ("a/x", 1),
        ("a/y", None),
        ("b/z", None),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"n":"a","v":null,"vs":"x"}]', "more than one value"),
        ('[{"n":"a b","v":null}]', "illegal name"),
        ('[{"n":"a","vs":null}]', "label 3"),
        ('[{"n":"a"}]', "no value"),
    ],
)
def test_patch_packs_that_break_the_rules_are_refused(text: str, reason: str) -> None:
    with pytest.raises(MalformedSenml, match=reason):
        senml.resolved_changes(senml_json.load(text.encode()))


ITEMS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda items: st.lists(items, max_size=2) | st.dictionaries(st.text(max_size=2), items),
    max_leaves=4,
)
NAMES = st.sampled_from([*senml_json.NAMES.values(), "vlo", "seq", "x_"])


@pytest.mark.slow
@given(st.lists(st.dictionaries(NAMES, ITEMS, max_size=4) | ITEMS, max_size=3))
@settings(max_examples=150, deadline=None)
def test_packs_of_any_items_resolve_as_they_do_in_cbor_or_are_refused(records: list[Any]) -> None:
    try:
        found = senml_json.resolve(json.dumps(records).encode(), NOW)
    except MalformedSenml:
        return
    labelled = senml_json.load(json.dumps(records).encode())
    assert senml_cbor.resolve(cbor2.dumps(labelled), NOW) == found


@pytest.mark.slow
@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:ntvsbde0123456789-.\\u', max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_bytes_resolve_or_are_refused(payload: bytes | str) -> None:
    data = payload if isinstance(payload, bytes) else payload.encode()
    try:
        senml_json.resolve(data, NOW)
    except MalformedSenml:
        return
