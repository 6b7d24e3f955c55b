"""The endpoint name is found in a Register without reading the rest."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m.coap import Request, codes
from lwm2m.coap.message import CON
from lwm2m.coap.plain import read_plain_request
from lwm2m.coap.requests import encode_request
from lwm2m.registration import ENDPOINT_NAME_PATTERN
from lwm2m.registration.plain_register import split_register

_LATER = ("lt=60", "lwm2m=1.1")


def _register(name: str, token: bytes = b"token", payload: bytes = b"</3/0>") -> bytes:
    query = (f"ep={name}", *_LATER)
    return encode_request(CON, 7, token, Request(codes.POST, ("rd",), query, 40, payload=payload))


@given(
    st.from_regex(ENDPOINT_NAME_PATTERN, fullmatch=True),
    st.binary(max_size=8),
    st.binary(max_size=20),
)
def test_name_and_tail_are_those_of_the_general_reading(
    name: str, token: bytes, payload: bytes
) -> None:
    data = _register(name, token, payload)
    split = split_register(data)
    assert split is not None
    assert split[0] == name.encode()
    assert data.endswith(split[1])
    assert split[1] == _register("", b"", payload).partition(b"\x33ep=")[2]


@given(
    st.binary(max_size=40)
    | st.binary(max_size=30).map(lambda rest: b"\x44\x02abtokn\xb2rd\x11\x28" + rest)
    | st.tuples(st.sampled_from([_register("lamp"), _register("l" * 20)]), st.integers(0, 60)).map(
        lambda cut: cut[0][: cut[1]]
    )
)
def test_any_bytes_are_split_or_left(data: bytes) -> None:
    split = split_register(data)
    if split is not None:
        assert data.endswith(b"ep=" + split[0] + split[1])
        assert re.fullmatch(ENDPOINT_NAME_PATTERN, split[0].decode())


@pytest.mark.parametrize(
    "data",
    [
        _register("lamp")[:16],
        _register("lamp").replace(b"\x45\x02", b"\x45\x01", 1),
        _register("lamp").replace(b"\x45\x02", b"\x4f\x02", 1),
        _register("lamp").replace(b"rd", b"bs", 1),
        _register("lamp").replace(b"ep=", b"et=", 1),
        _register(""),
        _register("lamp of the quay"),
        _register("l" * 129),
        _register("a" * 30)[:24],
        # A length in two more bytes, and none after the head.
        _register("lamp").replace(b"\x37ep=", b"\x3eep=", 1),
        _register("lamp", b"tokentok")[:17],
    ],
)
def test_what_begins_otherwise_is_left(data: bytes) -> None:
    assert split_register(data) is None


def test_what_is_split_may_still_be_unreadable() -> None:
    data = _register("lamp") + b"\xff"
    assert split_register(data) is not None
    cut = _register("lamp", payload=b"")[:-1]
    assert split_register(cut) is not None
    assert read_plain_request(cut) is None
