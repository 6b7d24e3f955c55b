"""The message codec answers to the RFC's bytes, and to any bytes at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.coap import (
    CON,
    NON,
    MalformedMessage,
    Message,
    codes,
    decode_block,
    decode_message,
    encode_block,
    encode_message,
)
from lwm2m.coap.codes import code_of_text, code_text
from lwm2m.coap.options import decode_uint, encode_uint

_VECTORS = Path(__file__).parents[3] / "fixtures/vectors/coap"


def _load(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((_VECTORS / name).read_text())
    return loaded


def _message_of(vector: dict[str, Any]) -> Message:
    return Message(
        vector["type"],
        code_of_text(vector["code"]),
        vector["message_id"],
        bytes.fromhex(vector["token"]),
        tuple((number, bytes.fromhex(value)) for number, value in vector["options"]),
        bytes.fromhex(vector["payload"]),
    )


@pytest.mark.parametrize("vector", _load("rfc7252.json"), ids=lambda v: v["name"])
def test_the_worked_examples_of_rfc_7252_decode_and_encode(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    assert decode_message(data) == _message_of(vector)
    assert encode_message(_message_of(vector)) == data


@pytest.mark.parametrize("vector", _load("malformed.json"), ids=lambda v: v["hex"] or "nothing")
def test_what_breaks_a_rule_of_rfc_7252_names_that_rule(vector: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage) as raised:
        decode_message(bytes.fromhex(vector["hex"]))
    assert raised.value.fault == vector["fault"]


@pytest.mark.parametrize("vector", _load("rfc7959_block_values.json"), ids=lambda v: v["text"])
def test_block_values_of_rfc_7959_decode_and_encode(vector: dict[str, Any]) -> None:
    value = bytes.fromhex(vector["hex"])
    block = decode_block(value)
    assert (block.number, block.more, block.szx) == (
        vector["number"],
        vector["more"],
        vector["szx"],
    )
    assert encode_block(block) == value


def test_a_header_that_cannot_be_trusted_gives_no_message_id_to_answer() -> None:
    with pytest.raises(MalformedMessage) as raised:
        decode_message(bytes.fromhex("80011234"))
    assert raised.value.message_id == -1


def test_a_malformed_message_with_a_good_header_tells_type_and_message_id() -> None:
    with pytest.raises(MalformedMessage) as raised:
        decode_message(bytes.fromhex("40011234ff"))
    assert (raised.value.type, raised.value.message_id) == (CON, 0x1234)


def test_codes_have_the_dotted_text_of_the_standard() -> None:
    assert code_text(codes.CONTENT) == "2.05"
    assert code_text(codes.REQUEST_ENTITY_TOO_LARGE) == "4.13"
    assert all(code_of_text(code_text(code)) == code for code in range(256))
    with pytest.raises(ValueError, match="not a CoAP code"):
        code_of_text("9.99")


def test_codes_are_sorted_by_their_class() -> None:
    kinds = [(codes.is_request(c), codes.is_response(c), codes.is_success(c)) for c in range(256)]
    assert kinds == [(0 < code < 0x20, 2 <= code >> 5 <= 5, code >> 5 == 2) for code in range(256)]


def test_unsigned_numbers_are_shortest_when_sent_and_any_length_when_received() -> None:
    assert encode_uint(0) == b""
    assert encode_uint(256) == b"\x01\x00"
    assert decode_uint(b"\x00\x00\x05") == 5


@pytest.mark.parametrize(
    "message",
    [
        Message(CON, codes.GET, 0x1_0000),
        Message(4, codes.GET, 1),
        Message(CON, 0x20, 1),
        Message(CON, codes.GET, 1, bytes(65_805)),
        Message(NON, codes.EMPTY, 1),
        Message(CON, codes.EMPTY, 1, payload=b"x"),
        Message(CON, codes.GET, 1, options=((12, b""), (11, b""))),
        Message(CON, codes.GET, 1, options=((65_535, b""), (65_536, b""))),
        Message(CON, codes.GET, 1, options=((11, bytes(65_805)),)),
    ],
)
def test_what_breaks_the_format_is_not_encoded(message: Message) -> None:
    with pytest.raises(ValueError):
        encode_message(message)


@pytest.mark.parametrize(
    ("size", "header"),
    [
        # RFC 8974 §2.1: up to 12 in the header, then 13 and a byte, then 14 and two.
        (8, "48010001"),
        (9, "49010001"),
        (12, "4c010001"),
        (13, "4d01000100"),
        (268, "4d010001ff"),
        (269, "4e0100010000"),
        (65_804, "4e010001ffff"),
    ],
)
def test_tokens_of_every_length_of_rfc_8974_decode_and_encode(size: int, header: str) -> None:
    token = bytes(number & 255 for number in range(size))
    message = Message(CON, codes.GET, 1, token, ((11, b"a"),), b"body")
    data = encode_message(message)
    assert data == bytes.fromhex(header) + token + b"\xb1a\xffbody"
    assert decode_message(data) == message


_OPTIONS = st.lists(st.tuples(st.integers(0, 65_535), st.binary(max_size=400)), max_size=8).map(
    lambda found: tuple(sorted(found, key=lambda option: option[0]))
)

_MESSAGES = st.builds(
    Message,
    type=st.integers(0, 1),
    code=st.sampled_from([codes.GET, codes.POST, codes.CONTENT, codes.NOT_FOUND]),
    message_id=st.integers(0, 0xFFFF),
    token=st.binary(max_size=8) | st.binary(min_size=9, max_size=300),
    options=_OPTIONS,
    payload=st.binary(max_size=2_000),
)


@given(_MESSAGES)
@settings(max_examples=60, deadline=None)
def test_any_message_comes_back_as_it_was(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@given(st.binary(max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    try:
        message = decode_message(data)
    except MalformedMessage:
        return
    assert decode_message(encode_message(message)) == message


@given(st.sampled_from(_load("rfc7252.json")), st.integers(0, 40), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_flipped_byte_is_a_message_or_malformed(
    vector: dict[str, Any], offset: int, flip: int
) -> None:
    data = bytearray.fromhex(vector["hex"])
    data[offset % len(data)] ^= flip
    try:
        told = decode_message(bytes(data)).message_id
    except MalformedMessage as error:
        told = error.message_id
    assert told in (-1, int.from_bytes(data[2:4], "big"))
