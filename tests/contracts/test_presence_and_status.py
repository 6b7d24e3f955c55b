"""Presence, bridge status, holder notices: golden examples, versions, only our own errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.bridge_status import BridgeList, decode_notice, decode_status
from contracts.errors import ContractError, UnsupportedVersion
from contracts.presence import decode_lifecycle, decode_presence
from tests.contracts.golden import golden

PRESENCE, STATUS = golden("presence"), golden("bridge_status")
DECODERS: dict[str, tuple[Callable[[bytes], Any], list[Any]]] = {
    "presence": (decode_presence, PRESENCE["presence"]),
    "lifecycle": (decode_lifecycle, PRESENCE["lifecycle"]),
    "status": (decode_status, STATUS["status"]),
    "notice": (decode_notice, STATUS["notice"]),
    "bridges": (msgspec.json.Decoder(BridgeList).decode, STATUS["bridges"]),
}
EXAMPLES = [
    pytest.param(decode, example, id=f"{name}-{number}")
    for name, (decode, examples) in DECODERS.items()
    for number, example in enumerate(examples)
]


@pytest.mark.parametrize(("decode", "example"), EXAMPLES)
def test_an_example_is_read_and_written_again(
    decode: Callable[[bytes], Any], example: dict[str, Any]
) -> None:
    found = decode(json.dumps(example).encode())
    assert json.loads(msgspec.json.encode(found)) == example


@pytest.mark.parametrize(("decode", "example"), EXAMPLES)
def test_fields_of_a_newer_minor_version_are_ignored(
    decode: Callable[[bytes], Any], example: dict[str, Any]
) -> None:
    newer = {**example, "something_new": [1]}
    assert decode(json.dumps(newer).encode()) == decode(json.dumps(example).encode())


@pytest.mark.parametrize("name", ["presence", "status", "notice"])
def test_a_newer_major_version_is_refused(name: str) -> None:
    decode, examples = DECODERS[name]
    with pytest.raises(UnsupportedVersion, match="version 2, this side knows up to 1"):
        decode(json.dumps({**examples[0], "v": 2}).encode())


@given(data=st.binary(max_size=60))
@pytest.mark.parametrize("name", ["presence", "lifecycle", "status", "notice"])
def test_arbitrary_bytes_raise_only_our_own_error(name: str, data: bytes) -> None:
    decode, _ = DECODERS[name]
    with pytest.raises(ContractError):
        decode(data)


def test_a_lifecycle_message_of_aws_with_all_its_fields_is_read() -> None:
    # AWS IoT Core Developer Guide, "Lifecycle events": the example of a disconnect.
    told = {
        "clientId": "186b5",
        "timestamp": 1573002340451,
        "eventType": "disconnected",
        "sessionIdentifier": "a4666d2a7d844ae4ac5d7b38c9cb7967",
        "principalIdentifier": "12345678901234567890123456789012",
        "clientInitiatedDisconnect": True,
        "disconnectReason": "CLIENT_INITIATED_DISCONNECT",
        "versionNumber": 0,
    }
    found = decode_lifecycle(json.dumps(told).encode())
    assert (found.client_id, found.event_type, found.timestamp) == (
        "186b5", "disconnected", 1573002340451,
    )  # fmt: skip
