"""Frames come out as they went in, however their bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from runtime.websocket import _text_header
from runtime.websocket_frames import FrameReader, masked

LIMIT = 70_000
frames = st.lists(
    st.tuples(
        st.sampled_from([Opcode.TEXT, Opcode.TEXT, Opcode.PING, Opcode.BINARY, Opcode.CONT]),
        st.sampled_from([0, 1, 3, 125, 126, 300, 65_535, 65_536]),
    ),
    max_size=8,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(marks)]


def read(reader: FrameReader, pieces: list[bytes]) -> list[tuple[str, bytes]]:
    found = []
    for piece in pieces:
        reader.receive(piece)
        while True:
            text = reader.next_text()
            if text is not None:
                found.append(("text", text))
                continue
            raw = reader.next_raw()
            if not raw:
                break
            found.append(("raw", raw))
    return found


@given(frames, st.lists(st.integers(0, 200_000), max_size=12), st.booleans())
def test_frames_cut_anywhere_come_out_whole_and_in_order(
    told: list[tuple[Opcode, int]], places: list[int], is_masked: bool
) -> None:
    sent, expected = b"", []
    for number, (opcode, size) in enumerate(told):
        # A control frame has 125 bytes at most.
        payload = bytes([65 + number]) * (min(size, 125) if opcode is Opcode.PING else size)
        data = Frame(opcode, payload).serialize(mask=is_masked)
        sent += data
        is_text = opcode is Opcode.TEXT
        expected.append(("text", payload) if is_text else ("raw", data))
    reader = FrameReader(is_masked=is_masked, payload_bytes_max=LIMIT)
    assert read(reader, cut(sent, places)) == expected
    assert reader.take_rest() == b""


@pytest.mark.parametrize("is_masked", [True, False])
def test_a_text_with_or_without_a_mask_against_the_rules_is_for_the_library(
    is_masked: bool,
) -> None:
    reader = FrameReader(is_masked=not is_masked, payload_bytes_max=LIMIT)
    data = Frame(Opcode.TEXT, b"hello").serialize(mask=is_masked)
    assert read(reader, [data]) == [("raw", data)]


def test_a_part_of_a_text_is_for_the_library() -> None:
    reader = FrameReader(is_masked=False, payload_bytes_max=LIMIT)
    parts = [
        Frame(Opcode.TEXT, b"hel", fin=False).serialize(mask=False),
        Frame(Opcode.CONT, b"lo").serialize(mask=False),
    ]
    assert read(reader, parts) == [("raw", part) for part in parts]


def test_a_frame_over_the_limit_is_not_waited_for() -> None:
    reader = FrameReader(is_masked=False, payload_bytes_max=10)
    begun = Frame(Opcode.TEXT, b"x" * 11).serialize(mask=False)[:5]
    assert read(reader, [begun]) == [("raw", begun)]
    assert read(reader, [b"whatever follows"]) == [("raw", b"whatever follows")]


def test_a_whole_text_over_the_limit_is_for_the_library() -> None:
    reader = FrameReader(is_masked=False, payload_bytes_max=10)
    data = Frame(Opcode.TEXT, b"x" * 11).serialize(mask=False)
    assert read(reader, [data]) == [("raw", data)]


def test_what_is_left_of_a_frame_is_given_back() -> None:
    reader = FrameReader(is_masked=False, payload_bytes_max=LIMIT)
    assert read(reader, [b"\x81", b"\x05hel"]) == []
    assert reader.take_rest() == b"\x81\x05hel"


@given(
    st.sampled_from([0, 1, 2, 3, 124, 125, 126, 127, 300, 65_535, 65_536]),
    st.binary(min_size=4, max_size=4),
)
def test_a_masked_text_is_the_librarys(size: int, mask: bytes) -> None:
    text = bytes(number % 251 for number in range(size))
    frame = masked(_text_header(size), text, mask)
    library = Frame(Opcode.TEXT, text).serialize(mask=True)
    end_of_mask = len(library) - size
    assert frame[: end_of_mask - 4] == library[: end_of_mask - 4]
    assert frame[end_of_mask - 4 : end_of_mask] == mask
    reader = FrameReader(is_masked=True, payload_bytes_max=LIMIT)
    assert read(reader, [frame, library]) == [("text", text), ("text", text)]
