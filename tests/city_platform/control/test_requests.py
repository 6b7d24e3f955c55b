"""What operators may ask for; errors name the field."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.control import InvalidRequest, read_request

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
        ({"operation": "read_composite"}, "operation"),
        ({"path": "3416/0/1"}, "path"),
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
