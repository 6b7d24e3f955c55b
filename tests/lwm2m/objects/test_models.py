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
    check_create,
    check_operation,
    check_path,
    check_value,
    check_write,
    missing_mandatory,
    read_definition,
    resource_model,
)

MODELS = builtin_models()
T = ValueType


def test_the_objects_that_come_along_are_those_of_the_manual() -> None:
    sensors = [number for number in range(3300, 3351) if number not in (3307, 3309)]
    assert sorted(MODELS) == [
        *range(8),
        *(10, 11, 12, 16, *range(19, 25)),
        *(3200, 3201, 3202, 3203, *sensors),
        *range(3410, 3440),
        *(3441, 3442, 10379, 18830, 18831),
    ]
    assert len(builtin_versions()) == 195


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
        # A range of what has no length bounds nothing.
        (ResourceModel(0, "N", T.BOOLEAN, range=ValueRange(0, 0)), True, 1),
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
    assert device[13].is_readable
    assert not device[4].is_readable
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


def P(text: str) -> ObjectPath:  # noqa: N802 - short, because the tables below are wide
    return ObjectPath.parse(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/3/0/13", 1_700_000_000),
        ("/1/0/1", 60),
        ("/18831/7/3", 2),
        ("/9999/0/1", "?"),
        ("/3416/0/13/4", 1),
    ],
)
def test_what_a_definition_allows_may_be_written(path: str, value: Value) -> None:
    check_write(MODELS, [(P(path), value)])


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("/3/1/13", 0, IllegalPath),
        ("/3416/0/13", 1, IllegalPath),
        ("/1/0/1/0", 60, IllegalPath),
        ("/3/0/0", "Acme", OperationNotAllowed),
        ("/3/0/4", "", OperationNotAllowed),
        ("/1/0/1", "60", InvalidValue),
        ("/18831/0/3", 3, InvalidValue),
    ],
)
def test_what_a_definition_does_not_allow_may_not(
    path: str, value: Value, error: type[Exception]
) -> None:
    with pytest.raises(error):
        check_write(MODELS, [(P("/1/0/1"), 60), (P(path), value)])


def test_a_bootstrap_server_may_write_what_no_server_may_but_execute_nothing() -> None:
    check_write(MODELS, [(P("/0/0/5"), b"secret"), (P("/3/0/0"), "Acme")], is_bootstrap=True)
    with pytest.raises(OperationNotAllowed):
        check_write(MODELS, [(P("/3/0/4"), "")], is_bootstrap=True)
    with pytest.raises(InvalidValue):
        check_write(MODELS, [(P("/0/0/2"), 9)], is_bootstrap=True)


def test_a_new_instance_needs_its_mandatory_resources() -> None:
    given: list[tuple[ObjectPath, Value]] = [
        (P("/18831/4/0"), "</3416>"),
        (P("/18831/4/1"), ObjectLink(18830, 0)),
        (P("/18831/4/2"), "lamps"),
        (P("/18831/4/3"), 1),
        (P("/18831/4/4"), False),
    ]
    check_create(MODELS, P("/18831/4"), given)
    with pytest.raises(InvalidValue, match="MQTT Publication: a new instance needs Broker, Retain"):
        check_create(MODELS, P("/18831/4"), [given[0], given[2], given[3]])
    with pytest.raises(IllegalPath):
        check_create(MODELS, P("/3/1"), [])
    check_create(MODELS, P("/9999/1"), [])


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
        b'{"id":1,"name":' + b"[" * 5_000,
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


def test_what_only_bootstrap_writes_may_be_empty_where_it_does_not_apply() -> None:
    security, device = builtin_models()[0], builtin_models()[3]
    check_value(security.resources[7], b"")  # SMS Binding Key Parameters: 6 bytes otherwise
    with pytest.raises(InvalidValue, match="1 bytes"):
        check_value(security.resources[7], b"x")
    assert device.resources[0].operations
