"""What operators may ask for; errors name the field."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.control import InvalidRequest, builtin_names
from city_platform.control import read_request as read
from contracts.api import CommandRequest

NAMES = builtin_names()


def read_request(body: bytes) -> CommandRequest:
    return read(body, NAMES)


DIM = {
    "operation": "write",
    "path": "/3416/0/1",
    "values": [{"path": "/3416/0/1", "type": "integer", "value": 35}],
}


def test_a_good_request_is_read() -> None:
    request = read_request(msgspec.json.encode(DIM))
    assert (request.operation, request.path, request.expires_in_s) == ("write", "/3416/0/1", 60.0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"operation": "explode"}, "operation"),
        ({"operation": "read_composite"}, "path"),
        ({"path": "lamp/0/1"}, "path"),
        ({"path": ""}, "path"),
        ({"path": "/3416/0/1/2/3"}, "path"),
        ({"path": "/03416/0"}, "path"),
        ({"path": "/3416"}, "path"),
        ({"path": 17}, "path"),
        ({"values": None}, "values"),
        ({"values": []}, "values"),
        ({"values": [{"path": "/9/0/1", "type": "integer", "value": 1}]}, "values[0].path"),
        ({"values": [{"path": "/3416/0/11", "type": "integer", "value": 1}]}, "values[0].path"),
        ({"values": [{"path": "/3416/0/1", "type": "integer", "value": "x"}]}, "values[0].value"),
        ({"values": [{"path": "/3416/0/1", "type": "integer", "value": True}]}, "values[0].value"),
        ({"values": [{"path": "/3416/0/1", "type": "boolean", "value": 1}]}, "values[0].value"),
        ({"values": [{"path": "/3416/0/1", "type": "lamp", "value": 1}]}, "values[0].type"),
        ({"arguments": "0"}, "arguments"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"expires_in_s": 1e9}, "expires_in_s"),
        ({"format": 70_000}, "format"),
        ({"nonsense": 1}, ""),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_request(msgspec.json.encode({**DIM, **changes}))
    assert caught.value.field == field


@given(st.binary(max_size=100))
def test_arbitrary_bodies_raise_only_invalid_request(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_request(data)


def read_json(**fields: object) -> CommandRequest:
    return read_request(msgspec.json.encode(fields))


def test_a_value_gets_the_type_of_its_definition() -> None:
    request = read_json(operation="write", path="Light Control/0/Dimmer", value=40)
    assert request.values is not None
    (value,) = request.values
    assert (value.path, value.type, value.value) == ("/3311/0/5851", "integer", 40)
    assert request.value is None


@pytest.mark.parametrize(
    "fields",
    [
        {"operation": "read_composite", "paths": ["/", "Device/0/Error Code"]},
        {"operation": "observe_composite", "paths": ["/3"], "attributes": {"pmin": "10"}},
        {"operation": "write_attributes", "path": "/3311/0/5851", "attributes": {"pmin": ""}},
        {"operation": "discover", "path": "/3", "depth": 2},
        {"operation": "cancel_observation", "paths": ["/3"], "passive": True},
        {"operation": "cancel_observation", "path": "/3"},
        {"operation": "delete", "path": "/3/0/11/1"},
        {"operation": "write_composite", "paths": ["/3/0/11/1"]},
        {
            "operation": "write_composite",
            "values": [{"path": "Light Control/0/Dimmer", "type": "integer", "value": 1}],
        },
    ],
)
def test_every_operation_can_be_asked_for(fields: dict[str, object]) -> None:
    assert read_json(**fields).operation == fields["operation"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"operation": "write", "path": "Dimmer", "value": 1}, "path"),
        ({"operation": "write", "path": "/3311/0/5851", "value": "bright"}, "values[0].value"),
        ({"operation": "write", "path": "/3311/0", "value": 1}, "value"),
        ({"operation": "write", "path": "/3/0/4", "value": 1}, "value"),
        ({"operation": "write", "path": "/65000/0/1", "value": 1}, "value"),
        ({"operation": "read", "path": "/3", "value": 1}, "value"),
        ({"operation": "read", "path": "/3", "depth": 1}, "depth"),
        ({"operation": "discover", "path": "/3", "depth": 9}, "depth"),
        ({"operation": "read", "path": "/3", "passive": True}, "passive"),
        ({"operation": "read", "path": "/3", "paths": ["/3"]}, "paths"),
        ({"operation": "read_composite", "path": "/3", "paths": ["/3"]}, "path"),
        ({"operation": "read_composite", "paths": []}, "paths"),
        ({"operation": "read_composite", "paths": ["Dimer"]}, "paths[0]"),
        ({"operation": "cancel_observation"}, "path"),
        ({"operation": "cancel_observation", "path": "/3", "paths": ["/3"]}, "paths"),
        ({"operation": "write_attributes", "path": "/3"}, "attributes"),
        ({"operation": "write_attributes", "path": "/3", "attributes": {}}, "attributes"),
        ({"operation": "write_attributes", "path": "/3", "attributes": {"a&b": ""}}, "attributes"),
        ({"operation": "execute", "path": "/3/0/4", "attributes": {"pmin": "1"}}, "attributes"),
        ({"operation": "write_composite"}, "values"),
    ],
)
def test_what_an_operation_does_not_have_is_named(fields: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_json(**fields)
    assert caught.value.field == field
