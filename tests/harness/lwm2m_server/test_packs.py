"""Packs written the short way are those of the long way, and what is unusual takes that one."""

from __future__ import annotations

import random
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.data_interface import Command, Operation, Value
from harness.lwm2m_server.operations import InvalidCommand, request_of
from harness.lwm2m_server.packs import PackWriter
from harness.lwm2m_server.payloads import Payloads, Target
from harness.lwm2m_server.values import ValueReader
from lwm2m.coap import codes
from lwm2m.codecs import content_formats
from lwm2m.errors import LwM2mError
from lwm2m.objects import NULL_ID, ModelRegistry, Models, ObjectPath, ValueType

MODELS: Models = ModelRegistry().models_for({})
TARGET = Target("1.1", MODELS, "", (content_formats.SENML_CBOR,))
BROKER, PUBLICATION, LAMP = ObjectPath(18830), ObjectPath(18831), ObjectPath(3416)
RAW: dict[ValueType, list[Any]] = {
    ValueType.STRING: ["", "a", "lämp", "x" * 23, "x" * 24, "x" * 300, "x" * 70_000],
    ValueType.CORE_LINK: ["</3311/0>,</3418/0>"],
    ValueType.OPAQUE: ["", b64encode(bytes(300)).decode(), "no base64"],
    ValueType.BOOLEAN: [True, False],
    ValueType.INTEGER: [0, 23, 24, 255, 256, 65_535, 65_536, 2**31, -1, "12", 1.0],
    ValueType.UNSIGNED: [0, 1, 2**31 - 1, 2**32, -1],
    ValueType.TIME: [0, 1_795_208_400],
    ValueType.FLOAT: [0.0, 21.5, 3],
    ValueType.OBJECT_LINK: ["18830:0", "65535:65535", "18830"],
}


def long_way(addressed: ObjectPath, values: list[Value], *, is_new: bool) -> bytes:
    nodes = ValueReader(MODELS).nodes(values, new_instance=is_new)
    return Payloads(lambda versions: MODELS).write(
        TARGET, content_formats.SENML_CBOR, addressed, nodes
    )


def test_every_value_of_every_resource_makes_the_pack_of_the_long_way_or_takes_it() -> None:
    writer, short = PackWriter(ValueReader(MODELS)), 0
    for object_id in sorted(MODELS):
        instance = ObjectPath(object_id, 0)
        for resource in MODELS[object_id].resources.values():
            for raw in RAW.get(resource.type, [0]):
                value = Value(str(instance.child(resource.id)), resource.type.value, raw)  # type: ignore[arg-type]  # the registry's types are the interface's
                for _ in range(2):  # found out, then remembered
                    packed = writer.pack(instance, instance, [value], is_new=False)
                    if packed is not None:
                        short += 1
                        assert packed == long_way(instance, [value], is_new=False)
    assert short > 100


def test_packs_of_many_values_are_those_of_the_long_way() -> None:
    chance = random.Random(4)
    writer = PackWriter(ValueReader(MODELS))
    for _ in range(200):
        values = [
            Value("/18831/3/0", "corelnk", "</3311/0>" * chance.randrange(1, 5)),
            Value("/18831/3/1", "objlnk", f"18830:{chance.randrange(3)}"),
            Value("/18831/3/2", "string", "t" * chance.randrange(1, 200)),
            Value("/18831/3/3", "unsigned", chance.randrange(3)),
            Value("/18831/3/5", "boolean", chance.random() < 0.5),
        ]
        values = chance.sample(values, chance.randrange(1, 6))
        packed = writer.pack(PUBLICATION, PUBLICATION.child(3), values, is_new=True)
        assert packed == long_way(PUBLICATION, values, is_new=True)


_PLACES = st.sampled_from(
    [
        ("/18831/3/0", "corelnk"), ("/18831/3/1", "objlnk"), ("/18831/3/2", "string"),
        ("/18831/3/3", "unsigned"), ("/18831/3/4", "boolean"), ("/18831/3/5", "boolean"),
    ]
)  # fmt: skip
_RAWS = st.sampled_from([0, 1, 1.0, True, False, 300, "", "a", "lämp", "18830:0", "x" * 2_000, -1])
_ORDINARY = {"corelnk": "</3>", "objlnk": "18830:0", "string": "a", "unsigned": 1, "boolean": True}


@given(
    st.lists(_PLACES, min_size=1, max_size=4),
    st.lists(st.lists(st.one_of(st.none(), st.none(), _RAWS), min_size=4, max_size=4), max_size=6),
)
@example([("/18831/3/3", "unsigned")], [[None] * 4, [True, *[None] * 3], [1, *[None] * 3]])
@example([("/18831/3/5", "boolean")], [[None] * 4, [1, *[None] * 3], [None] * 4])
def test_packs_that_differ_from_those_before_are_those_of_the_long_way(
    places: list[tuple[str, Any]], changes: list[list[Any]]
) -> None:
    writer, instance = PackWriter(ValueReader(MODELS)), PUBLICATION.child(3)
    for raws in [[None] * 4, *changes, [None] * 4]:
        values = [
            Value(path, kind, _ORDINARY[kind] if raw is None else raw)
            for (path, kind), raw in zip(places, raws, strict=False)
        ]
        packed = writer.pack(instance, instance, values, is_new=False)
        if packed is not None:
            assert packed == long_way(instance, values, is_new=False)
        else:
            assert any(raw is not None for raw in raws)


def test_a_value_that_is_written_alone_goes_the_short_way() -> None:
    writer, resource = PackWriter(ValueReader(MODELS)), LAMP.child(0).child(1)
    for level in (40, 41, 41):
        values = [Value("/3416/0/1", "integer", level)]
        packed = writer.pack(resource, resource, values, is_new=False)
        assert packed is not None
        assert packed == long_way(resource, values, is_new=False)


def test_nothing_secret_is_kept_for_the_next_pack() -> None:
    writer, broker = PackWriter(ValueReader(MODELS)), BROKER.child(0)
    key = bytes(range(100, 140))
    values = [
        Value("/18830/0/1", "string", "lamp-1"),
        Value("/18830/0/9", "opaque", b64encode(key).decode()),
        Value("/18830/0/2", "boolean", True),
    ]
    packed = writer.pack(BROKER, broker, values, is_new=True)
    assert packed is not None
    assert key in packed
    [[shape]] = writer._shapes.values()
    kept = [getattr(shape, name) for name in shape.__slots__]
    assert "lamp-1" in repr(kept)
    assert repr(key)[2:-1] not in repr(kept)
    assert b64encode(key).decode() not in repr(kept)


def test_the_shapes_that_are_kept_are_bounded() -> None:
    writer = PackWriter(ValueReader(MODELS))
    for number in range(40):
        instance = PUBLICATION.child(number)
        for resource in (2, 0, 2):
            path, kind = f"{instance}/{resource}", "string" if resource == 2 else "corelnk"
            for base in (instance, PUBLICATION):
                assert writer.pack(base, instance, [Value(path, kind, "a")], is_new=True)  # type: ignore[arg-type]  # both are types
    assert sum(map(len, writer._shapes.values())) == 160


def publication(number: int) -> list[Value]:
    return [
        Value(f"/18831/{number}/0", "corelnk", "</3311/0>"),
        Value(f"/18831/{number}/1", "objlnk", "18830:0"),
        Value(f"/18831/{number}/5", "boolean", True),
    ]


def test_packs_of_several_new_instances_are_those_of_the_long_way() -> None:
    writer = PackWriter(ValueReader(MODELS))
    values = [*publication(0), *publication(12)]
    packed = writer.pack(PUBLICATION, PUBLICATION, values, is_new=True)
    assert packed == long_way(PUBLICATION, values, is_new=True)
    unnamed = [*publication(0), *publication(NULL_ID)]
    assert writer.pack(PUBLICATION, PUBLICATION, unnamed, is_new=True) is None


@pytest.mark.parametrize(
    ("addressed", "beneath", "values"),
    [
        (BROKER, BROKER, [Value("/18830/0/0", "string", "mqtts://a")]),
        (BROKER, BROKER.child(0), [Value("/18830/1/0", "string", "mqtts://a")]),
        (BROKER, BROKER.child(0), [Value("/18830/0/0", "integer", 1)]),
        (BROKER, BROKER.child(0), [Value("/18830/0/999", "string", "unknown")]),
        (BROKER, BROKER.child(0), [Value("/18830/0", "string", "no resource")]),
        (BROKER, BROKER.child(0), [Value("18830/0/0", "string", "no path")]),
        (PUBLICATION, PUBLICATION.child(NULL_ID), [Value("/18831/65535/3", "unsigned", 1)]),
        (LAMP.child(0).child(1), LAMP.child(0).child(1), [Value("/3416/0/1", "integer", 40)]),
        (BROKER, BROKER.child(0), []),
    ],
)
def test_the_unusual_takes_the_long_way(
    addressed: ObjectPath, beneath: ObjectPath, values: list[Value]
) -> None:
    writer = PackWriter(ValueReader(MODELS))
    packed = writer.pack(addressed, beneath, values, is_new=True)
    if packed is not None:
        assert packed == long_way(addressed, values, is_new=True)
    else:
        assert writer.pack(addressed, beneath, values, is_new=True) is None


def create(*values: Value) -> Command:
    return Command(
        id="1", endpoint="lamp-1", operation="create", expires_at_us=1,
        path="/18831/0", values=list(values),
    )  # fmt: skip


def test_a_value_that_does_not_fit_is_refused_as_before() -> None:
    payloads = Payloads(lambda versions: MODELS)
    for values in (
        [Value("/18831/0/3", "unsigned", -1)],
        [Value("/18831/0/5", "boolean", "yes")],
        [Value("/18831/1/5", "boolean", True)],
        [Value("/18831/0/1", "objlnk", "nowhere")],
    ):
        with pytest.raises((InvalidCommand, LwM2mError)):
            request_of(create(*values), TARGET, payloads)


@pytest.mark.parametrize(
    ("operation", "path"), [("create", "/18831/0"), ("write", "/18831/0"), ("create", "/18831")]
)
def test_several_instances_are_only_created_and_each_with_its_id(
    operation: Operation, path: str
) -> None:
    payloads = Payloads(lambda versions: MODELS)
    several = Command(
        id="1", endpoint="lamp-1", operation=operation, expires_at_us=1, path=path,
        values=[*publication(0), *publication(1 if path != "/18831" else NULL_ID)],
    )  # fmt: skip
    with pytest.raises(InvalidCommand):
        request_of(several, TARGET, payloads)


def test_a_device_with_a_root_of_its_own_is_written_beneath_it() -> None:
    payloads = Payloads(lambda versions: MODELS)
    rooted = TARGET._replace(root="/lwm2m")
    value = Value("/18831/0/5", "boolean", True)
    [plain, beneath] = [request_of(create(value), each, payloads) for each in (TARGET, rooted)]
    assert plain.code == beneath.code == codes.POST
    assert plain.path == ("18831",)
    assert beneath.path == ("lwm2m", "18831")
    assert b"/lwm2m/18831/" in beneath.payload
    assert b"/lwm2m" not in plain.payload
