"""The frames and signals of CoAP over TCP, byte by byte: lengths, settings, pings, limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.coap import codes
from lwm2m.transport.reliable import FrameReader, MalformedFrame, encode_frame
from lwm2m.transport.reliable.signaling import (
    ABORT,
    CSM,
    PING,
    PONG,
    RELEASE,
    TRANSITIONS,
    settings_message,
    signaling_message,
)
from tests.lwm2m.transport.reliable_pair import feed, raw


@pytest.mark.parametrize(
    ("length", "head"),
    [
        # RFC 8323 §3.2, figure 5 and table 1: the nibble and what follows it.
        (0, "01"),
        (12, "c1"),
        (13, "d100"),
        (268, "d1ff"),
        (269, "e10000"),
        (65_804, "e1ffff"),
        (65_805, "f100000000"),
    ],
)
def test_lengths_are_written_and_read_as_in_the_rfc(length: int, head: str) -> None:
    frame = encode_frame(codes.GET, b"\x7f", bytes(length))
    assert frame.startswith(bytes.fromhex(head) + b"\x01\x7f")
    reader = FrameReader(100_000)
    reader.feed(frame)
    assert reader.next_frame() == (codes.GET, b"\x7f", bytes(length))
    assert reader.next_frame() is None


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=8), st.binary(max_size=400))),
    st.integers(1, 50),
)
def test_frames_pass_in_pieces_of_any_size(
    frames: list[tuple[int, bytes, bytes]], piece: int
) -> None:
    stream = b"".join(encode_frame(*frame) for frame in frames)
    reader = FrameReader(1_000)
    found: list[tuple[int, bytes, bytes]] = []
    for start in range(0, len(stream), piece):
        reader.feed(stream[start : start + piece])
        while (frame := reader.next_frame()) is not None:
            found.append(tuple(frame))
    assert found == frames
    assert reader.buffered_bytes == 0


def test_a_frame_that_says_it_is_too_large_is_refused_before_it_comes() -> None:
    reader = FrameReader(1_000)
    reader.feed(b"\xf0\xff\xff\xff\xff")
    with pytest.raises(MalformedFrame):
        reader.next_frame()
    with pytest.raises(ValueError, match="token"):
        encode_frame(codes.GET, bytes(9), b"")


@given(st.binary(max_size=80))
@settings(max_examples=400)
def test_any_bytes_are_taken_or_abort_the_connection(data: bytes) -> None:
    side = raw()
    feed(side, settings_message(2_000))
    said = feed(side, data)
    if side.endpoint.take_closing():
        assert not side.endpoint.is_open(side.peer)
        assert feed(side, signaling_message(PING)) == b""
    else:
        assert ABORT not in _codes(said)


def _codes(stream: bytes) -> list[int]:
    reader = FrameReader(100_000)
    reader.feed(stream)
    found = []
    while (frame := reader.next_frame()) is not None:
        found.append(frame.code)
    return found


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(codes.GET, b"", b""),
        signaling_message(PING),
        signaling_message(RELEASE),
        signaling_message(CSM, options=((1, b""),)),
        b"\x0f",
    ],
)
def test_what_is_no_csm_aborts_a_new_connection(data: bytes) -> None:
    side = raw()
    said = feed(side, data)
    assert _codes(said) == [ABORT]
    assert side.endpoint.take_closing() == [side.peer]


def test_a_bad_csm_option_is_named_in_the_abort() -> None:
    side = raw()
    said = feed(side, signaling_message(CSM, options=((5, b""),)))
    # RFC 8323 §5.6: Bad-CSM-Option is option 2, and holds the number.
    assert b"\x21\x05" in said


def test_ping_is_answered_with_its_token() -> None:
    side = raw()
    feed(side, settings_message(2_000))
    assert feed(side, signaling_message(PING, b"abc")) == signaling_message(PONG, b"abc")
    side.endpoint.ping(side.peer, 0.0)
    assert side.endpoint.take_output() == [(side.peer, signaling_message(PING))]
    feed(side, signaling_message(PONG))
    assert side.rejections == ["a Pong"]


def test_every_state_of_a_connection_knows_how_it_ends() -> None:
    for state, row in TRANSITIONS.items():
        assert set(row.values()) <= set(TRANSITIONS)
        if state != "closed":
            assert (row["lost"], row["aborted"]) == ("closed", "closed")
            assert row["released"] == "releasing"
        for event, following in row.items():
            # What is closed stays closed, and nothing opens without settings.
            assert following != "opening"
            assert (following == "open") <= (event == "settings_received")
