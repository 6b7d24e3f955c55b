"""The short way of reading against the general one: the same for any bytes, or None."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lwm2m.coap import BadOption, MalformedMessage, Message, Request, codes, decode_message, options
from lwm2m.coap.message import ACK, CON, encode_message
from lwm2m.coap.plain import read_plain_request, read_plain_response
from lwm2m.coap.requests import Response, encode_request, read_request, read_response

_NUMBERS = (
    options.OBSERVE, options.LOCATION_PATH, options.URI_PATH, options.CONTENT_FORMAT,
    options.URI_QUERY, options.ACCEPT, options.BLOCK2, 13, 14, 300,
)  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from([b"", b"rd", b".", b"..", b"\xff", b"\xff\xff", "ö".encode()]),
    st.integers(0, 270).map(lambda length: b"x" * length),
)
_OPTIONS = st.lists(st.tuples(st.sampled_from(_NUMBERS), _VALUES), max_size=6).map(
    lambda found: tuple(sorted(found, key=lambda option: option[0]))
)
_PAYLOADS = st.sampled_from([b"", b"\xff", b"</3/0>", b"p" * 1_100])


def _datagrams(type_: int, codes_: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    """Messages that are nearly all well formed; some are cut off, or have a byte changed."""
    whole = st.builds(
        Message, st.just(type_), codes_, st.integers(0, 0xFFFF), st.binary(max_size=9), _OPTIONS,
        _PAYLOADS,
    ).map(encode_message)  # fmt: skip
    return st.one_of(whole, whole, st.builds(_damaged, whole, st.integers(4, 60), st.binary()))


def _damaged(data: bytes, at: int, put: bytes) -> bytes:
    return data[:at] + put


def _in_general(data: bytes) -> Message | None:
    try:
        return decode_message(data)
    except MalformedMessage:
        return None


def _request_in_general(data: bytes) -> tuple[int, bytes, Request] | None:
    message = _in_general(data)
    if message is None or message.type != CON or not codes.is_request(message.code):
        return None
    try:
        request = read_request(message.code, message.options, message.payload, True)
    except BadOption:
        return None
    return message.message_id, message.token, request


def _response_in_general(data: bytes) -> Response | None:
    message = _in_general(data)
    if message is None or not codes.is_response(message.code):
        return None
    try:
        return read_response(message.code, message.options, message.payload)
    except BadOption:
        return None


_ANY = st.binary(min_size=4, max_size=80)
_HEADED = st.builds(lambda head, rest: head + rest, st.sampled_from([b"\x44\x02ab", b"\x40\x01ab"]),
                    st.binary(max_size=60))  # fmt: skip


@given(st.one_of(_ANY, _HEADED, _datagrams(CON, st.integers(1, 31))))
@example(b"\x40\x02ab\xf5abcde")  # a reserved delta that would add up to a query
@example(b"\x40\x02ab\xb2rd\x4d")  # a length that is cut off
@example(b"\x40\x02ab\xb2rd\x41q\x0d\xf3" + b"x" * 256)  # 256 bytes of a later query
@example(b"\x40\x02ab\xb2rd\x41q\x0d")
@example(b"\x40\x02ab\xb2rd\x41q\xff")  # a marker without payload
@example(b"\x40\x02ab\xb2rd\x41q\x05abc")
@example(b"\x40\x02ab\xb2rd\x41q\x0e\x00\x00")
@example(b"\x40\x02ab\xb2rd\x41q\x21\x28")  # Accept after the query
@example(b"\x48\x02abtoken")  # a token that is cut off
def test_a_request_is_read_shortly_as_it_is_in_general(data: bytes) -> None:
    plain = read_plain_request(data)
    if plain is not None:
        assert plain == _request_in_general(data)


@given(st.one_of(_ANY, _datagrams(ACK, st.integers(0x40, 0xBF).filter(lambda c: c != 0x60))))
@example(b"\x60\x41ab\x8d")
@example(b"\x60\x41ab\x8d\xf3" + b"x" * 256)
@example(b"\x60\x41ab\x8e\x00\x00")
@example(b"\x60\x41ab\xf8")
@example(b"\x60\x41ab\xff")
@example(b"\x60\x41ab\x85abc")
def test_a_response_is_read_shortly_as_it_is_in_general(data: bytes) -> None:
    options_at = 4 + (data[0] & 15)
    if data[0] & 0xF0 != 0x60 or data[0] & 15 > 8 or options_at > len(data):
        return
    plain = read_plain_response(data, options_at)
    if plain is not None:
        assert plain == _response_in_general(data)


@pytest.mark.parametrize(
    "request_",
    [
        Request(codes.GET, ("3303", "0", "5700")),
        Request(codes.POST, ("rd",), ("ep=a", "lt=60", "b=U"), 40, payload=b"</1/0>"),
        Request(codes.POST, ("rd",), (f"ep={'e' * 128}", "x" * 255), 40, payload=b"p" * 3_000),
        Request(codes.PUT, ("19", "ö" * 100), (), 11_542, payload=b"\xff"),
        Request(codes.POST, ("rd",), ("a", "")),
        Request(codes.DELETE, ("rd", "s" * 255)),
    ],
)
def test_what_is_plain_is_read_shortly(request_: Request) -> None:
    data = encode_request(CON, 7, b"tokn", request_)
    assert read_plain_request(data) == (7, b"tokn", request_)


@pytest.mark.parametrize(
    "response",
    [
        Response(codes.CHANGED),
        Response(codes.CREATED, location_path=("rd", "lamp-000001")),
        Response(codes.CREATED, location_path=("rd", "s" * 255)),
        Response(codes.CONTENT, b"\xff\xff", 11_542),
        Response(codes.NOT_FOUND, b"why not"),
    ],
)
def test_a_plain_response_is_read_shortly(response: Response) -> None:
    found = []
    if response.location_path:
        found = [(options.LOCATION_PATH, part.encode()) for part in response.location_path]
    if response.content_format is not None:
        found = [(options.CONTENT_FORMAT, response.content_format.to_bytes(2, "big"))]
    message = Message(ACK, response.code, 7, b"tokn", tuple(found), response.payload)
    assert read_plain_response(encode_message(message), 8) == response


@pytest.mark.parametrize(
    "found",
    [
        (options.OBSERVE, b""), (options.ACCEPT, b"\x28"), (options.BLOCK1, b"\x06"), (9, b""),
        (options.URI_PATH, b".."), (options.URI_PATH, b"\xff"), (options.URI_PATH, b"x" * 256),
        (options.CONTENT_FORMAT, b"123"), (options.URI_QUERY, b"x" * 270),
    ],
)  # fmt: skip
def test_what_is_not_plain_goes_the_general_way(found: tuple[int, bytes]) -> None:
    data = encode_message(Message(CON, codes.GET, 7, b"tokn", (found,)))
    assert read_plain_request(data) is None
