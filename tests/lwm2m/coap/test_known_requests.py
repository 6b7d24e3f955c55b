"""The short way of what servers ask of devices against the general way: the same, or None."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lwm2m.coap import (
    BadOption,
    CoapEndpoint,
    MalformedMessage,
    Message,
    Request,
    RequestReceived,
    Response,
    TransmissionParameters,
    codes,
    decode_message,
    options,
)
from lwm2m.coap.blocks import Block, MalformedBlock, decode_block, encode_block
from lwm2m.coap.known_requests import Upload, names_a_device_place, read_known_request
from lwm2m.coap.message import ACK, CON, NON, encode_message
from lwm2m.coap.requests import encode_request, find_option, read_request
from lwm2m.coap.transfers import upload_key

_VALUES = {
    options.OBSERVE: [b"", b"\x01"],
    options.URI_PATH: [b"3", b"18830", b"rd", b"", b".", b"..", b"\xff", b"5" * 100, b"x" * 256],
    options.CONTENT_FORMAT: [b"", b"\x70", b"\x2d\x16", b"123", b"\xff"],
    options.URI_QUERY: [b"pmin=1", b"pmax=300", b"\xff"],
    options.ACCEPT: [b"\x70", b"\x2d\x18", b"123"],
    options.BLOCK1: [
        b"",
        b"\x08",
        b"\x0e",
        b"\x16",
        b"\x07",
        b"\x00\x0e",
        b"\xff",
        b"\x01\xff\xf6",
    ],
    options.BLOCK2: [b"", b"\x06"],
    options.SIZE1: [b"", b"\x05\x00", b"\xff\xff", b"12345"],
    options.ECHO: [b"echo"],
    options.REQUEST_TAG: [b"tag"],
    300: [b"elective"],
    301: [b"critical"],
}
_OPTIONS = st.lists(
    st.sampled_from(sorted(_VALUES)).flatmap(
        lambda number: st.tuples(st.just(number), st.sampled_from(_VALUES[number]))
    ),
    max_size=6,
).map(lambda found: tuple(sorted(found, key=lambda option: option[0])))
_PAYLOADS = st.sampled_from([b"", b"\xff", b"p", b"p" * 16, b"p" * 1_024])


def _damaged(data: bytes, at: int, put: bytes) -> bytes:
    return data[:at] + put


_WHOLE = st.builds(
    Message, st.just(CON), st.integers(1, 31), st.integers(0, 0xFFFF), st.binary(max_size=9),
    _OPTIONS, _PAYLOADS,
).map(encode_message)  # fmt: skip
_DATAGRAMS = st.one_of(
    _WHOLE, _WHOLE, st.builds(_damaged, _WHOLE, st.integers(4, 60), st.binary(max_size=8)),
    st.binary(min_size=4, max_size=60),
)  # fmt: skip


def _in_general(data: bytes) -> tuple[int, bytes, Request, Upload | None] | None:
    try:
        message = decode_message(data)
        if message.type != CON or not codes.is_request(message.code):
            return None
        request = read_request(message.code, message.options, message.payload, True)
        value = find_option(request.options, options.BLOCK1)
        upload = None
        if value is not None:
            size = int.from_bytes(find_option(request.options, options.SIZE1) or b"", "big")
            upload = Upload(decode_block(value), upload_key(request), size)
    except (MalformedMessage, BadOption, MalformedBlock):
        return None
    return message.message_id, message.token, request, upload


@given(_DATAGRAMS)
@example(b"\x40\x02ab\xb13\xff")  # a marker without payload
@example(b"\x48\x02ab")  # a token that is cut off
@example(b"\x40\x02ab\xb13\xd1\x03\xff")  # 0xFF as the value of Block1
@example(b"\x40\x02ab")  # nothing but a header
@settings(max_examples=300, deadline=None)
def test_a_request_is_known_as_it_is_read_in_general(data: bytes) -> None:
    known = read_known_request(data)
    if known is None:
        return
    general = _in_general(data)
    assert general is not None
    message_id, token, request, upload = general
    assert (known.message_id, known.token, known.upload) == (message_id, token, upload)
    of_blocks = {options.BLOCK1, options.SIZE1} if upload else set()
    assert {number for number, _ in request.options} <= of_blocks
    assert known.request == Request(
        request.code, request.path, request.query, request.content_format, request.accept,
        request.observe, request.payload,
    )  # fmt: skip


@pytest.mark.parametrize(
    "request_",
    [
        Request(codes.GET, ("3303", "0", "5700")),
        Request(codes.GET, ("3", "0"), accept=112),
        Request(codes.PUT, ("3", "0"), ("pmin=1", "pmax=300")),
        Request(codes.POST, ("18831",), (), 112, payload=b"\xff" * 900),
        Request(codes.DELETE, ("18831", "0")),
    ],
)
def test_what_is_asked_of_devices_is_known(request_: Request) -> None:
    data = encode_request(CON, 7, b"token", request_)
    assert names_a_device_place(data)
    assert read_known_request(data) == (7, b"token", request_, None)


def test_a_register_is_not_worth_being_known_again() -> None:
    data = encode_request(CON, 7, b"token", Request(codes.POST, ("rd",), ("ep=lamp-1",)))
    assert not names_a_device_place(data)


@pytest.mark.parametrize(
    "found",
    [
        (options.OBSERVE, b""), (options.BLOCK2, b"\x06"), (options.BLOCK1, b"\x07"),
        (options.ECHO, b"e"), (options.REQUEST_TAG, b"t"), (options.PROXY_URI, b"coap://a"),
        (options.URI_PATH, b"x" * 200), (300, b"other"),
    ],
)  # fmt: skip
def test_what_says_more_goes_the_general_way(found: tuple[int, bytes]) -> None:
    both = tuple(sorted([(options.URI_PATH, b"3"), found]))
    message = Message(CON, codes.GET, 7, b"tokn", both)
    assert read_known_request(encode_message(message)) is None


# ---- whole conversations ----

_Feed = Callable[[CoapEndpoint, bytes, str, float], None]


def _shortly(endpoint: CoapEndpoint, data: bytes, peer: str, now: float) -> None:
    endpoint.receive_datagram(data, peer, now)


def _generally(endpoint: CoapEndpoint, data: bytes, peer: str, now: float) -> None:
    endpoint._core.now = now
    endpoint._receive_message(data, peer, now)


_ANSWERS = st.sampled_from(
    [
        Response(codes.CHANGED),
        Response(codes.CREATED, location_path=("18830", "0")),
        Response(codes.CREATED, location_path=("18830", "x" * 200)),
        Response(codes.BAD_REQUEST, b"why not"),
        Response(codes.CONTENT, b"c" * 1_500, 112),
        Response(codes.CHANGED, options=((options.ETAG, b"e"),)),
        Response(codes.CHANGED, options=((301, b"e"),)),
        None,
    ]
)
_BODY = bytes(range(256)) * 10


@st.composite
def _blocks(draw: st.DrawFn) -> Message:
    """A message of an upload, nearly always as it should be."""
    szx = draw(st.sampled_from([6, 6, 6, 0, 7]))
    size = draw(st.sampled_from([1_024 + 300, 1_024, 2_048 + 1, 40]))
    number = draw(st.sampled_from([0, 0, 1, 1, 2]))
    begin = number << (szx + 4)
    payload = _BODY[begin : min(size, begin + (16 << szx))]
    more = begin + (16 << szx) < size
    if not draw(st.integers(0, 9)):
        payload, more = payload + b"x", not more
    found = [(options.URI_PATH, draw(st.sampled_from([b"18830", b"18831"])))]
    found.append((options.CONTENT_FORMAT, b"\x70"))
    found.append((options.BLOCK1, encode_block(Block(number, more, min(szx, 6)))))
    if number == 0:
        announced = draw(st.sampled_from([size, size, 1 << 24]))
        found.append((options.SIZE1, announced.to_bytes(4, "big")))
    if not draw(st.integers(0, 9)):
        found.append((options.REQUEST_TAG, b"t"))
    message_id = draw(st.integers(1, 6))
    token = draw(st.sampled_from([b"", b"tokn", b"token-of-more-than-8"]))
    type_ = draw(st.sampled_from([CON] * 9 + [NON]))
    return Message(type_, codes.POST, message_id, token, tuple(found), payload)


def _told(
    feed: _Feed, steps: list[tuple[Message, str, Response | None, float]], block_size: int
) -> list[object]:
    """All that an endpoint says and sends."""
    parameters = TransmissionParameters(
        block_size=block_size,
        transfer_bytes_max=4_000,
        pending_per_peer_max=3,
        remembered_per_peer_max=4,
    )
    endpoint = CoapEndpoint(parameters, random.Random("seed").randbytes)
    found: list[object] = []
    now = 100.0
    for message, peer, answer, later_s in steps:
        feed(endpoint, encode_message(message), peer, now)
        events = endpoint.events()
        for event in events:
            if isinstance(event, RequestReceived) and answer is not None:
                endpoint.respond(event.exchange, answer, now)
        found += [events, endpoint.datagrams_to_send(), endpoint.next_timer()]
        now += later_s
        endpoint.handle_timer(now)
        found += [endpoint.events(), endpoint.datagrams_to_send(), endpoint.messages_remembered]
    return found


@given(
    st.lists(
        st.tuples(
            _blocks(), st.sampled_from(["a", "a", "b"]), _ANSWERS,
            st.sampled_from([0.0, 0.1, 2.0, 300.0]),
        ),
        max_size=10,
    ),
    st.sampled_from([1_024, 512]),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_uploads_end_the_same_either_way(
    steps: list[tuple[Message, str, Response | None, float]], block_size: int
) -> None:
    assert _told(_shortly, steps, block_size) == _told(_generally, steps, block_size)


def test_two_blocks_are_confirmed_and_told_as_one_request() -> None:
    endpoint = CoapEndpoint(TransmissionParameters(), random.Random("seed").randbytes)
    body = _BODY[:1_382]
    for number, more in ((0, True), (1, False)):
        block = (options.BLOCK1, encode_block(Block(number, more, 6)))
        found = ((options.URI_PATH, b"18830"), (options.CONTENT_FORMAT, b"\x70"), block)
        payload = body[number * 1_024 : (number + 1) * 1_024]
        data = encode_message(Message(CON, codes.POST, 7 + number, b"tokn", found, payload))
        endpoint.receive_datagram(data, "peer", 1.0)
    [event] = endpoint.events()
    assert isinstance(event, RequestReceived)
    assert event.request == Request(codes.POST, ("18830",), (), 112, payload=body)
    endpoint.respond(event.exchange, Response(codes.CREATED, location_path=("18830", "0")), 1.0)
    first, second = [decode_message(data) for data, _ in endpoint.datagrams_to_send()]
    assert first == Message(ACK, codes.CONTINUE, 7, b"tokn", ((options.BLOCK1, b"\x0e"),))
    assert second.code == codes.CREATED
    assert second.options == (
        (options.LOCATION_PATH, b"18830"), (options.LOCATION_PATH, b"0"), (options.BLOCK1, b"\x16"),
    )  # fmt: skip
