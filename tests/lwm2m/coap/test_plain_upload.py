"""The short way of a body in blocks against the general one: the same messages and the same end,
whatever the other side says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lwm2m.coap import (
    ACK,
    CON,
    RST,
    Event,
    ExchangeFailed,
    Message,
    Request,
    Response,
    ResponseReceived,
    codes,
    encode_message,
    options,
)
from lwm2m.coap.blocks import BLOCK_SIZES, Block
from lwm2m.coap.plain_upload import encode_upload, is_plain, read_confirmation
from lwm2m.coap.requests import encode_request
from tests.lwm2m.coap.by_hand import ByHand, block1, block_of

SIZE = 32
SZX = 1
LOCATION = (options.LOCATION_PATH, b"3")
FORMAT = (options.CONTENT_FORMAT, b"")
UNKNOWN = (2048, b"?")


class _Pair:
    """Two endpoints that are told the same: one knows the short way, the other never takes it,
    because its tokens are extended ones."""

    def __init__(self) -> None:
        self.both = (
            ByHand(block_size=SIZE),
            ByHand(block_size=SIZE, token_bytes=9, falls_back_to_short_tokens=False),
        )
        self.out: list[Message] = []

    def send(self, request: Request) -> None:
        for talk in self.both:
            talk.send(request)
        self._compare()

    def answer(self, *found: Any, code: int, type_: int = ACK, payload: bytes = b"") -> None:
        for talk, asked in zip(self.both, self.out, strict=True):
            talk.answer(asked, code, payload, *found, type_=type_)
        self._compare()

    def say_empty(self, type_: int) -> None:
        for talk, asked in zip(self.both, self.out, strict=True):
            talk.hear(Message(type_, codes.EMPTY, asked.message_id))
        self._compare()

    def wait(self, seconds: float) -> None:
        counts = [len(talk.wait(seconds)) for talk in self.both]
        assert counts[0] == counts[1]
        self._compare()

    def cancel(self) -> None:
        for talk in self.both:
            talk.endpoint.cancel(1, talk.now)
        self._compare()

    def _compare(self) -> None:
        short, general = (talk.sent() for talk in self.both)
        assert [_said(one) for one in short] == [_said(one) for one in general]
        if short:
            self.out = [short[-1], general[-1]]
        assert _told(self.both[0]) == _told(self.both[1])
        datagrams = [talk.endpoint.datagram_of(1) for talk in self.both]
        assert (datagrams[0] is None) is (datagrams[1] is None)


def _said(message: Message) -> Any:
    return message.type, message.code, message.options, message.payload


def _told(talk: ByHand) -> list[Any]:
    return [_of_event(event) for event in talk.told()]


def _of_event(event: Event) -> Any:
    if isinstance(event, ResponseReceived):
        return event.exchange, event.response
    if isinstance(event, ExchangeFailed):
        return event.exchange, event.reason
    return type(event), getattr(event, "reason", "")


def _do(pair: _Pair, step: str) -> None:
    block = block_of(pair.out[0], options.BLOCK1) or Block(0, False, SZX)
    echo = block1(*block)
    code = codes.CONTINUE if block.more else codes.CREATED
    match step:
        case "confirm":
            pair.answer(echo, code=code)
        case "done":
            pair.answer(echo, code=codes.CHANGED)
        case "continue":
            pair.answer(echo, code=codes.CONTINUE)
        case "smaller":
            pair.answer(block1(block.number, block.more, 0), code=code)
        case "unset":
            pair.answer(block1(block.number, False, block.szx), code=code)
        case "other number":
            pair.answer(block1(block.number + 1, block.more, block.szx), code=code)
        case "no block":
            pair.answer(code=code)
        case "location":
            pair.answer(LOCATION, echo, code=code)
        case "payload":
            pair.answer(FORMAT, echo, code=code, payload=b"text")
        case "unknown option":
            pair.answer(echo, UNKNOWN, code=code)
        case "refused":
            pair.answer(echo, code=codes.BAD_REQUEST)
        case "incomplete":
            pair.answer(code=codes.REQUEST_ENTITY_INCOMPLETE)
        case "too large":
            pair.answer(block1(0, False, 0), code=codes.REQUEST_ENTITY_TOO_LARGE)
        case "echo asked":
            pair.answer((options.ECHO, b"fresh"), code=codes.UNAUTHORIZED)
        case "separate":
            pair.answer(echo, code=code, type_=CON)
        case "empty":
            pair.say_empty(ACK)
        case "reset":
            pair.say_empty(RST)
        case "cancel":
            pair.cancel()
        case "late":
            # Longer than the longest first wait, and shorter than the shortest first two.
            pair.wait(3.1)
        case "silence":
            pair.wait(100.0)
        case "another":
            pair.send(Request(codes.POST, ("18830",), payload=bytes(3 * SIZE)))
        case "plain one":
            pair.send(Request(codes.PUT, ("3",), payload=b"short"))
        case _:
            raise AssertionError(step)


STEPS = (
    "done", "continue", "smaller", "unset", "other number", "no block", "location", "payload",
    "unknown option", "refused", "incomplete", "too large", "echo asked", "separate", "empty",
    "reset", "cancel", "another", "plain one",
)  # fmt: skip


@given(
    st.integers(1, 200),
    st.lists(st.one_of(st.just("confirm"), st.sampled_from(STEPS)), max_size=12),
    st.sampled_from(["", "late", "silence"]),
)
@example(64, ["confirm", "confirm"], "")
@example(65, ["confirm", "confirm", "confirm", "plain one", "confirm"], "")
@example(64, ["confirm", "another", "confirm", "confirm", "confirm"], "silence")
@example(70, ["confirm", "cancel", "another", "confirm"], "late")
def test_a_body_goes_up_shortly_as_it_does_in_general(
    size: int, steps: list[str], ends_with: str
) -> None:
    pair = _Pair()
    pair.send(Request(codes.POST, ("18830", "0"), content_format=112, payload=b"x" * size))
    for step in steps:
        _do(pair, step)
    if ends_with:
        _do(pair, ends_with)
        _do(pair, "confirm")
    # Whatever it was: what follows is as it is in general, also its Request-Tag.
    _do(pair, "another")


@given(
    st.sampled_from([codes.POST, codes.PUT]),
    st.lists(st.text("3a-", min_size=1, max_size=5), max_size=3),
    st.one_of(st.none(), st.integers(0, 70_000)),
    st.integers(1, 9_000),
    st.sampled_from(range(len(BLOCK_SIZES))),
    st.integers(0, 20),
    st.binary(max_size=8),
)
def test_a_block_is_encoded_as_it_is_in_general(
    code: int, path: list[str], content_format: int | None, size: int, szx: int, number: int,
    token: bytes,
) -> None:  # fmt: skip
    body = bytes(index & 0xFF for index in range(size))
    plain = Request(code, tuple(path), content_format=content_format, payload=body)
    offset = min(number, (size - 1) // (16 << szx)) * (16 << szx)
    end = offset + (16 << szx)
    extra = [block1(offset // (16 << szx), end < size, szx)]
    if offset == 0:
        extra.append((options.SIZE1, size.to_bytes((size.bit_length() + 7) // 8, "big")))
    part = Request(
        code, tuple(path), content_format=content_format, payload=body[offset:end],
        options=tuple(extra),
    )  # fmt: skip
    try:
        whole = encode_request(CON, 7, token, part)
    except ValueError:
        whole = b""
    try:
        found = encode_upload(plain, offset, szx, 7, token)
    except ValueError:
        found = b""
    assert found == whole


def test_a_request_that_says_more_than_its_body_is_not_plain() -> None:
    assert is_plain(Request(codes.PUT, ("3",), content_format=112, payload=b"x"))
    for more in (
        Request(codes.PUT, ("3",), ("pmin=1",)),
        Request(codes.PUT, ("3",), accept=112),
        Request(codes.PUT, ("3",), observe=0),
        Request(codes.PUT, ("3",), options=((292, b"tag"),)),
    ):
        assert not is_plain(more)


def _rest(*found: tuple[int, bytes], payload: bytes = b"") -> bytes:
    return encode_message(Message(ACK, codes.CREATED, 0, b"", tuple(sorted(found)), payload))[4:]


def test_a_confirmation_names_its_block_and_may_name_a_place() -> None:
    block = Block(1, False, 6)
    plain = read_confirmation(codes.CREATED, _rest(block1(*block)))
    assert plain == (block, Response(codes.CREATED))
    named = read_confirmation(codes.CREATED, _rest(LOCATION, block1(*block)))
    assert named == (block, Response(codes.CREATED, location_path=("3",)))


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"\xff",
        _rest(LOCATION),
        _rest(block1(0, False, 0), payload=b"text"),
        _rest(block1(0, False, 0), UNKNOWN),
        _rest(block1(0, False, 0), (options.BLOCK2, b"")),
        _rest(block1(0, False, 0), (options.OBSERVE, b"")),
        _rest((options.BLOCK1, b"\x07")),
        _rest((13, b"critical")),
        _rest(block1(0, False, 0), (options.LOCATION_PATH, bytes(80))),
    ],
)
def test_whatever_says_more_is_read_in_general(rest: bytes) -> None:
    assert read_confirmation(codes.CREATED, rest) is None


def test_a_refusal_confirms_nothing() -> None:
    assert read_confirmation(codes.BAD_REQUEST, _rest(block1(0, False, 0))) is None


def test_three_blocks_are_each_timed_from_when_they_went_out() -> None:
    talk = ByHand(block_size=SIZE)
    talk.send(Request(codes.POST, ("18830",), payload=bytes(3 * SIZE)))
    for number in range(2):
        talk.wait(1.5)
        talk.answer(talk.sent_one(), codes.CONTINUE, b"", block1(number, True, SZX))
    assert talk.endpoint.next_timer() == 3.0 + 2.0
    third = talk.sent_one()
    [(at, again)] = talk.wait(3.1)
    assert 5.0 <= at <= 6.1
    assert again == third


@pytest.mark.slow
def test_the_message_ids_of_blocks_run_out_as_those_of_other_requests_do() -> None:
    talk = ByHand(block_size=16, payload_bytes_max=1 << 21)
    talk.send(Request(codes.POST, ("18830",), payload=bytes(16 * 70_000)))
    sent = 0
    while asked := talk.sent():
        sent += len(asked)
        number = block_of(asked[0], options.BLOCK1)
        assert number is not None
        talk.answer(asked[0], codes.CONTINUE, b"", block1(number.number, True, 0))
    assert 60_000 < sent <= 0x10000
    assert talk.wait(248.0)
