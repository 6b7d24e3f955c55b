"""Object definitions, and what they let values, paths and operations be."""

from __future__ import annotations

import pytest

from lwm2m.errors import IllegalPath, InvalidValue, MalformedDefinition, OperationNotAllowed
from lwm2m.objects import (
    ObjectLink,
    ObjectPath,
    ResourceModel,
    Value,
    ValueRange,
    ValueType,
    builtin_models,
    builtin_versions,
    check_operation,
    check_path,
    check_value,
    missing_mandatory,
    read_definition,
    resource_model,
)

MODELS = builtin_models()
T = ValueType


def test_the_objects_of_every_device_model_are_there() -> None:
    assert sorted(MODELS) == [
        *range(8),
        *(3301, 3302, 3303, 3304, 3311, 3325, 3330),
        *(3416, 3417, 3418, 3419, 3424, 3428, 3431, 3435),
        *(18830, 18831),
    ]


def test_the_server_object_comes_in_two_versions_and_the_newer_is_the_default() -> None:
    versions = builtin_versions()
    assert MODELS[1].version == "1.2"
    assert len(versions[1, "1.1"].resources) == 24
    assert len(versions[1, "1.2"].resources) == 28


@pytest.mark.parametrize(
    ("path", "name", "kind", "operations", "unit"),
    [
        ("/3416/0/1", "Command", T.INTEGER, "RW", "/100"),
        ("/3416/0/3", "Dimming level", T.INTEGER, "R", "/100"),
        ("/3/0/4", "Reboot", T.NONE, "E", ""),
        ("/3/0/13", "Current Time", T.TIME, "RW", ""),
        ("/0/0/5", "Secret Key", T.OPAQUE, "", ""),
        ("/18830/0/9", "Secret Key", T.OPAQUE, "W", ""),
        ("/18831/0/0", "Source", T.CORE_LINK, "RW", ""),
        ("/18831/0/1", "Broker", T.OBJECT_LINK, "RW", ""),
        ("/1/0/1", "Lifetime", T.INTEGER, "RW", "s"),
    ],
)
def test_resources_are_what_the_registry_says(
    path: str, name: str, kind: ValueType, operations: str, unit: str
) -> None:
    found = resource_model(MODELS, ObjectPath.parse(path))
    assert found is not None
    assert (found.name, found.type, found.operations, found.unit) == (name, kind, operations, unit)


def test_definitions_do_not_contradict_themselves() -> None:
    for model in builtin_versions().values():
        for number, resource in model.resources.items():
            assert resource.id == number
            assert set(resource.operations) <= set("RWE")
            assert resource.is_executable == (resource.type is T.NONE)


def test_unknown_objects_and_resources_have_no_definition() -> None:
    assert resource_model(MODELS, ObjectPath(9999, 0, 0)) is None
    assert resource_model(MODELS, ObjectPath(3, 0, 999)) is None
    assert resource_model(MODELS, ObjectPath(3, 0)) is None


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (T.STRING, "ü", b"x"),
        (T.STRING, "", "\ud800"),
        (T.INTEGER, -(2**63), 2**63),
        (T.INTEGER, 0, True),
        (T.INTEGER, 0, 1.0),
        (T.UNSIGNED, 2**64 - 1, 2**64),
        (T.UNSIGNED, 0, -1),
        (T.FLOAT, 1.5, float("nan")),
        (T.FLOAT, 3, float("inf")),
        (T.FLOAT, 1.5, "1.5"),
        (T.FLOAT, 1.5, True),
        (T.FLOAT, 1.5, 10**400),
        (T.BOOLEAN, False, 0),
        (T.OPAQUE, b"", ""),
        (T.TIME, 1_700_000_000, 1.5),
        (T.OBJECT_LINK, ObjectLink(65535, 65535), "3:0"),
        (T.OBJECT_LINK, ObjectLink(3, 0), ObjectLink(3, 65536)),
        (T.CORE_LINK, "</3416>", 3416),
    ],
)
def test_values_have_the_type_of_their_resource(kind: ValueType, good: Value, bad: Value) -> None:
    model = ResourceModel(0, "Tested", kind)
    check_value(model, good)
    with pytest.raises(InvalidValue, match="Tested"):
        check_value(model, bad)


def test_an_executable_has_no_value() -> None:
    with pytest.raises(InvalidValue, match="has no value"):
        check_value(MODELS[3].resources[4], 1)


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        (ResourceModel(0, "N", T.INTEGER, range=ValueRange(0, 100)), 100, 101),
        (ResourceModel(0, "N", T.FLOAT, range=ValueRange(0, 1)), 0.0, -0.1),
        (ResourceModel(0, "N", T.STRING, range=ValueRange(0, 3)), "ab", "éé"),
        (ResourceModel(0, "N", T.OPAQUE, range=ValueRange(allowed=(16, 32))), bytes(16), bytes(17)),
        (ResourceModel(0, "N", T.INTEGER, range=ValueRange(maximum=5)), -9, 6),
    ],
)
def test_ranges_bound_numbers_and_the_bytes_of_texts(
    model: ResourceModel, good: Value, bad: Value
) -> None:
    check_value(model, good)
    with pytest.raises(InvalidValue, match="N: "):
        check_value(model, bad)


def test_a_refused_secret_is_not_in_the_message() -> None:
    with pytest.raises(InvalidValue) as caught:
        check_value(MODELS[18830].resources[9], "hunter2")
    assert "hunter2" not in str(caught.value)


def test_operations_follow_the_definition() -> None:
    device = MODELS[3].resources
    check_operation(device[4], "E")
    check_operation(device[13], "W")
    with pytest.raises(OperationNotAllowed, match="Reboot cannot be read"):
        check_operation(device[4], "R")
    with pytest.raises(OperationNotAllowed, match="Manufacturer cannot be written"):
        check_operation(device[0], "W")


@pytest.mark.parametrize("path", ["/3/0/6/1", "/3416/7/1", "/9999/5/1/2", "/3/0"])
def test_paths_that_fit_their_definition_pass(path: str) -> None:
    check_path(MODELS, ObjectPath.parse(path))


@pytest.mark.parametrize("path", ["/3/1/0", "/3/0/0/1"])
def test_paths_that_do_not_fit_are_refused(path: str) -> None:
    with pytest.raises(IllegalPath):
        check_path(MODELS, ObjectPath.parse(path))


def test_create_needs_the_mandatory_writable_resources() -> None:
    assert missing_mandatory(MODELS[18831], [0, 1, 2, 3, 4]) == []
    assert missing_mandatory(MODELS[18831], [0, 2]) == [1, 3, 4]
    assert missing_mandatory(MODELS[3416], []) == [1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"id":1,"name":"x","version":"1.0","lwm2m_version":"1.0","resources":[],"more":1}',
        b'{"id":1,"name":"x","version":"1.0","lwm2m_version":"1.0","resources":['
        b'{"id":1,"name":"a","type":"string"},{"id":1,"name":"b","type":"string"}]}',
        b'{"id":1,"name":"x","version":"1.0","lwm2m_version":"1.0","resources":['
        b'{"id":1,"name":"a","type":"complex"}]}',
    ],
)
def test_a_definition_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedDefinition):
        read_definition(data)


@pytest.mark.parametrize("text", ["", "3", "3:", ":0", "3:0:1", "3:-1", "3:65536", "a:b", "3: 0"])
def test_an_object_link_is_two_numbers(text: str) -> None:
    with pytest.raises(InvalidValue):
        ObjectLink.parse(text)


def test_the_link_to_nothing_is_read_in_decimal_and_hexadecimal() -> None:
    assert ObjectLink.parse("65535:65535") == ObjectLink.parse("FFFF:ffff") == (65535, 65535)
    assert str(ObjectLink.parse("18830:0")) == "18830:0"
