"""Packs that differ little from earlier ones are read as the long way reads them."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lwm2m.codecs import Node, PackReader, content_formats, encode_payload
from lwm2m.codecs.pack_template import LEARNT_BYTES_MAX, PackTemplate, make_template
from lwm2m.objects import ObjectLink, ObjectPath, Value
from tests.lwm2m.codecs.test_pack_reader import MODELS, PLAIN, PUBLICATIONS, require_same

SENML = content_formats.SENML_CBOR
BROKER, PUBLICATION = ObjectPath(18830), ObjectPath(18831)
TEXTS = st.one_of(st.text(max_size=40), st.sampled_from(["", "x" * 23, "x" * 24, "é" * 200]))
KEYS = st.one_of(st.binary(max_size=30), st.sampled_from([b"k" * 23, b"k" * 24, b"k" * 600]))


def broker_pack(
    uri: str, client_id: str, certificate: bytes, key: bytes, *, keep_alive_s: int = 300
) -> bytes:
    values: dict[int, Value] = {
        0: uri, 1: client_id, 2: False, 3: keep_alive_s, 6: 2, 7: certificate, 8: b"anchor",
        9: key, 10: 2,
    }  # fmt: skip
    nodes = [Node(ObjectPath(18830, 0, number), value) for number, value in values.items()]
    return encode_payload(SENML, BROKER, nodes, MODELS)


def publication_pack(topic: str, sources: str = "</3303/0>", quality: int = 1) -> bytes:
    nodes = [
        Node(ObjectPath(18831, number, resource), value)
        for number in range(3)
        for resource, value in enumerate(
            [sources, ObjectLink(18830, 0), f"{topic}/{number}", quality, False, True, 112]
        )
    ]
    return encode_payload(SENML, PUBLICATION, nodes, MODELS)


def learnt(base: ObjectPath, *payloads: bytes) -> PackReader:
    reader = PackReader(MODELS)
    for payload in payloads:
        assert require_same(reader, base, payload)
    return reader


BROKER_PACKS = st.builds(broker_pack, TEXTS, TEXTS, KEYS, KEYS)
PUBLICATION_PACKS = st.builds(publication_pack, TEXTS, TEXTS, st.integers(0, 2))


@given(st.lists(st.one_of(BROKER_PACKS, PUBLICATION_PACKS), max_size=8))
@settings(max_examples=40, deadline=None)
def test_packs_one_after_the_other_are_read_as_the_long_way_reads_each(
    payloads: list[bytes],
) -> None:
    reader = PackReader(MODELS)
    for payload in payloads:
        for base in (None, BROKER, PUBLICATION):
            require_same(reader, base, payload)


@given(
    st.integers(0, 400),
    st.one_of(
        st.binary(max_size=3), st.sampled_from([b"\xff", b"\x78", b"\x7f", b"\x5b", b"\xc1"])
    ),
    st.integers(0, 3),
)
@example(0, b"", 400)
@settings(max_examples=100, deadline=None)
def test_a_known_pack_that_was_damaged_is_read_as_the_long_way_does(
    at: int, put: bytes, dropped: int
) -> None:
    first, second = publication_pack("devices/a"), publication_pack("devices/bb")
    reader = learnt(PUBLICATION, first, second)
    require_same(reader, PUBLICATION, second[:at] + put + second[at + dropped :])
    assert require_same(reader, PUBLICATION, first)


@given(TEXTS, TEXTS, KEYS, KEYS)
@settings(max_examples=40, deadline=None)
def test_every_device_keeps_what_it_alone_was_written(
    uri: str, client_id: str, certificate: bytes, key: bytes
) -> None:
    reader = learnt(
        BROKER, broker_pack("mqtts://a", "a", b"c", b"k"), broker_pack("mqtts://a", "b", b"d", b"l")
    )
    payload = broker_pack(uri, client_id, certificate, key)
    for _ in range(2):
        found = reader.values(BROKER, payload)
        assert found is not None
        assert [found[ObjectPath(18830, 0, number)] for number in (0, 1, 7, 9)] == [
            uri, client_id, certificate, key,
        ]  # fmt: skip


def template_of(*payloads: bytes) -> PackTemplate:
    """The template that the reader made of these packs of publications."""
    reader = learnt(PUBLICATION, *payloads)
    [template] = reader._lessons[PUBLICATION].templates.values()
    return template


def test_only_what_differed_is_looked_at_again() -> None:
    topics = {ObjectPath(18831, number, 2) for number in range(3)}
    assert template_of(publication_pack("devices/a")).gaps == set()
    template = template_of(publication_pack("devices/a"), publication_pack("devices/b"))
    assert template.gaps == topics
    found = template.read(publication_pack("devices/" + "c" * 300))
    assert found is not None
    assert {found[path] for path in topics} == {f"devices/{'c' * 300}/{n}" for n in range(3)}


@pytest.mark.parametrize("head", [b"\x4b", b"\x0b", b"\x8b", b"\x7a\x00\x00\x00\x0b"])
def test_another_type_where_a_text_may_differ_is_read_the_long_way(head: bytes) -> None:
    template = template_of(publication_pack("devices/a"), publication_pack("devices/b"))
    known = publication_pack("devices/c")
    assert template.read(known) is not None
    assert template.read(known.replace(b"\x6bdevices/c/0", head + b"devices/c/0")) is None


def test_a_template_keeps_no_opaque_values() -> None:
    secret = b"of one device alone"
    reader = learnt(BROKER, broker_pack("mqtts://a", "a", secret, secret))
    [template] = reader._lessons[BROKER].templates.values()
    assert secret not in template.values.values()
    assert all(secret not in gap.run for gap in template._gaps)
    assert secret not in template._tail


def test_a_number_that_differs_leaves_the_template_as_it_was() -> None:
    template = template_of(
        publication_pack("devices/a"), publication_pack("devices/b"),
        publication_pack("devices/a", quality=2), publication_pack("devices/a", quality=0),
    )  # fmt: skip
    assert template.read(publication_pack("devices/c")) is not None
    assert template.read(publication_pack("devices/c", quality=2)) is None


def test_lessons_end() -> None:
    reader = PackReader(MODELS)
    for number in range(200):
        base = ObjectPath(18831, number % 100)
        values = [f"</{number}/0>", ObjectLink(18830, 0), "devices/a", 1, False, True, 112]
        nodes = [Node(base.child(each), value) for each, value in enumerate(values)]
        for quality in range(3):
            nodes[3] = Node(nodes[3].path, quality)
            assert require_same(reader, base, encode_payload(SENML, base, nodes, MODELS))
    assert len(reader._lessons) <= 64
    assert all(len(each.templates) <= 4 for each in reader._lessons.values())


def test_packs_with_other_names_have_templates_of_their_own() -> None:
    base = PUBLICATION
    reader = PackReader(MODELS)
    payloads = [
        encode_payload(SENML, base, PUBLICATIONS[: 3 + number], MODELS) for number in range(6)
    ]
    for payload in payloads * 2:
        assert require_same(reader, base, payload)
    assert len(reader._lessons[base].templates) == 4


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\x60", b"\x81\x60", b"\x81\xa1", b"\x81\xa1\x00", b"\x81\xa1\x00\xc1\x01",
        b"\x81\xa1\x02\x81\x00", b"\x9f\xff", b"\x81\xa1\x02\x5f\x41x\xff",
        cbor2.dumps([{0: "a", 2: 1, 3: "b"}]),
    ],
    ids=repr,
)  # fmt: skip
def test_no_template_is_made_of_what_is_not_looked_for(payload: bytes) -> None:
    assert make_template(payload, {ObjectPath(3, 0, 0): 1}, {}, ()) is None


def test_a_long_pack_is_not_learnt() -> None:
    reader = learnt(BROKER, broker_pack("mqtts://a", "a", b"c" * LEARNT_BYTES_MAX, b"k"))
    assert not reader._lessons


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_values_of_every_type_may_follow_a_known_pack(data: st.DataObject) -> None:
    base = ObjectPath(3442)
    nodes = [Node(ObjectPath.parse(path), value) for path, value in PLAIN.items()]
    reader = learnt(base, encode_payload(SENML, base, nodes, MODELS))
    for _ in range(3):
        others: list[Any] = [
            Node(path, data.draw(_like(value)) if data.draw(st.booleans()) else value)
            for path, value in nodes
        ]
        require_same(reader, base, encode_payload(SENML, base, others, MODELS))


def _like(value: Value) -> st.SearchStrategy[Any]:
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, ObjectLink):
        return st.builds(ObjectLink, st.integers(0, 65_535), st.integers(0, 65_535))
    if isinstance(value, int):
        return st.integers(0, 2**62)
    if isinstance(value, float):
        return st.floats(allow_nan=False, allow_infinity=False)
    return KEYS if isinstance(value, bytes) else st.text(max_size=30)
