"""Every golden example is read by its receiver and written the same by its sender.

An example is compared as JSON values, so that the order of keys does not matter. A newer minor
version may add keys, which are ignored; a newer major version is refused clearly.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import api
from contracts.credentials import decode_document, decode_sealed
from contracts.data_interface import (
    VERSION,
    decode_bridge_frame,
    decode_command,
    decode_event,
    decode_server_frame,
    encode,
)
from contracts.errors import ContractError, UnsupportedVersion
from tests.contracts.golden import golden

FRAMES = golden("data_interface")
CREDENTIALS = golden("credentials")
API = golden("api")

DECODERS: dict[str, tuple[Callable[[bytes], Any], list[Any]]] = {
    "server_frame": (decode_server_frame, FRAMES["server_frames"]),
    "bridge_frame": (decode_bridge_frame, FRAMES["bridge_frames"]),
    "event": (decode_event, [one for one in FRAMES["server_frames"] if one["type"] == "event"]),
    "command": (
        decode_command,
        [one for one in FRAMES["bridge_frames"] if one["type"] == "command"],
    ),
    "credentials_document": (decode_document, CREDENTIALS["document"]),
    "sealed_credentials": (decode_sealed, CREDENTIALS["sealed"]),
}
EXAMPLES = [
    pytest.param(decode, example, id=f"{name}-{number}")
    for name, (decode, examples) in DECODERS.items()
    for number, example in enumerate(examples)
]
API_EXAMPLES = [
    pytest.param(name, example, id=f"{name}-{number}")
    for name, examples in API.items()
    if name != "version"
    for number, example in enumerate(examples)
]


@pytest.mark.parametrize(("decode", "example"), EXAMPLES)
def test_an_example_is_read_and_written_again(
    decode: Callable[[bytes], Any], example: dict[str, Any]
) -> None:
    found = decode(json.dumps(example).encode())
    assert json.loads(encode(found)) == example


@pytest.mark.parametrize(("decode", "example"), EXAMPLES)
def test_a_newer_minor_version_is_read_and_a_newer_major_one_refused(
    decode: Callable[[bytes], Any], example: dict[str, Any]
) -> None:
    newer = {**example, "something_new": {"a": [1]}}
    assert decode(json.dumps(newer).encode()) == decode(json.dumps(example).encode())
    with pytest.raises(ContractError, match="version"):
        decode(json.dumps({**example, "v": VERSION + 1}).encode())


def test_the_refusal_of_a_newer_version_says_what_is_known() -> None:
    document = {**CREDENTIALS["document"][0], "v": 2}
    with pytest.raises(UnsupportedVersion, match="version 2, this side knows up to 1"):
        decode_document(json.dumps(document).encode())


@pytest.mark.parametrize(("name", "example"), API_EXAMPLES)
def test_a_body_of_the_http_interfaces_is_read_and_written_again(
    name: str, example: dict[str, Any]
) -> None:
    found = msgspec.json.decode(json.dumps(example).encode(), type=getattr(api, name))
    assert json.loads(msgspec.json.encode(found)) == example


@settings(max_examples=60)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(
                    st.sampled_from(["type", "v", "kind", "endpoint", "event", "command"]),
                    inner,
                    max_size=4,
                ),
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from(sorted(DECODERS)),
)
def test_arbitrary_bytes_raise_only_our_own_error(data: bytes, name: str) -> None:
    decode, _ = DECODERS[name]
    try:
        decode(data)
    except ContractError as error:
        found = str(error)
    else:
        found = "read"
    assert found


def test_no_example_of_credentials_is_repeated_in_an_error() -> None:
    document = json.loads(json.dumps(CREDENTIALS["document"][0]))
    document["broker"]["secret_key"] = "c2VjcmV0LXNlY3JldA=="
    document["broker"]["keep_alive_s"] = "sixty"
    with pytest.raises(ContractError) as caught:
        decode_document(json.dumps(document).encode())
    assert "c2VjcmV0" not in str(caught.value)


def test_what_holds_a_key_does_not_show_it() -> None:
    document = decode_document(json.dumps(CREDENTIALS["document"][0]).encode())
    assert "MAI" not in repr(document)
    assert repr(document.broker.secret_key) not in repr(document)
