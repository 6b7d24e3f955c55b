"""The log's framing, its file, and the event window in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.lwm2m_server.event_log import EventLog
from harness.lwm2m_server.log_file import LOG_NAME, LogFile
from harness.lwm2m_server.records import (
    EventsAcked,
    decode_log,
    frame_all,
    frame_json,
    frame_record,
)
from harness.lwm2m_server.secret_resources import is_secret
from harness.lwm2m_server.turn import begin

RECORDS = [frame_record(EventsAcked(number)) for number in range(1, 6)]


@pytest.mark.slow
@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_decode_to_what_is_whole(data: bytes) -> None:
    found = decode_log(data)
    assert found.whole_bytes <= len(data)


@given(cut=st.integers(0, sum(map(len, RECORDS))))
def test_a_cut_log_keeps_every_whole_record_and_is_not_called_damaged(cut: int) -> None:
    found = decode_log(b"".join(RECORDS)[:cut])
    assert found.records == [EventsAcked(number) for number in range(1, len(found.records) + 1)]
    assert found.whole_bytes <= cut < found.whole_bytes + len(RECORDS[0]) + 1
    assert not found.damaged


@settings(max_examples=50)
@given(record=st.integers(0, 3), byte=st.integers(0, 20), flip=st.integers(1, 255))
def test_a_changed_byte_before_the_end_is_damage(record: int, byte: int, flip: int) -> None:
    lines = [bytearray(line) for line in RECORDS]
    lines[record][byte] ^= flip
    found = decode_log(b"".join(lines))
    assert found.damaged
    assert EventsAcked(5) in found.records


@pytest.mark.parametrize("sync", [False, True])
def test_what_was_appended_is_there_for_the_next(tmp_path: Path, sync: bool) -> None:
    log = LogFile(tmp_path, sync=sync)
    begin(log, server="s1", new_epoch="e1")
    log.append(b"".join(RECORDS))
    log.close()
    log.close()
    again = LogFile(tmp_path, sync=sync)
    assert again.read().records[1:] == [EventsAcked(number) for number in range(1, 6)]
    assert (tmp_path / LOG_NAME).stat().st_mode & 0o077 == 0
    again.close()


@pytest.mark.parametrize("sync", [False, True])
def test_a_successor_catches_up_by_portions_with_what_is_appended_meanwhile(
    tmp_path: Path, sync: bool
) -> None:
    log = LogFile(tmp_path, sync=sync)
    begin(log, server="s1", new_epoch="e1")
    begun = log.size
    successor = log.begin_successor()
    successor.write(b"new\n")
    line = bytes([ord("x")]) * 1_000_000 + b"\n"
    portions = 0
    for _ in range(3):
        log.append(line)
    while log.catch_up(successor):
        portions += 1
        if portions == 1:
            log.append(line)
    assert portions == 3
    log.append(b"last\n")
    log.succeed(successor)
    assert (tmp_path / LOG_NAME).read_bytes() == b"new\n" + 4 * line + b"last\n"
    assert log.size == 4 + 4 * len(line) + 5 > begun
    log.close()


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_records_framed_together_are_those_framed_one_by_one(bodies: list[bytes]) -> None:
    assert frame_all(bodies) == b"".join(map(frame_json, bodies))


def test_the_event_window_keeps_what_is_not_acknowledged() -> None:
    log = EventLog("e", newest=10, acknowledged=10, kept_max=100, bytes_max=1_000)
    assert log.oldest == 11
    for number in range(11, 15):
        log.append(b"%d" % number)
    assert (log.oldest, log.newest) == (11, 14)
    assert log.acknowledge(12)
    assert not log.acknowledge(12)
    assert not log.acknowledge(5)
    assert (log.oldest, list(log.frames(13, 10))) == (13, [b"13", b"14"])
    assert log.acknowledge(14)
    assert (log.oldest, list(log.frames(15, 10))) == (15, [])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 9_000), st.integers(0, 9_000)), max_size=8),
    kept_max=st.integers(1, 12_000),
    bytes_max=st.integers(0, 50_000),
)
def test_the_event_window_is_a_bounded_queue(
    steps: list[tuple[int, int]], kept_max: int, bytes_max: int
) -> None:
    log = EventLog("e", newest=0, acknowledged=0, kept_max=kept_max, bytes_max=bytes_max)
    for added, acknowledged in steps:
        for number in range(log.newest + 1, log.newest + 1 + added):
            log.append(b"%d" % number)
        log.acknowledge(min(log.acknowledged + acknowledged, log.newest))
        kept = list(log.frames(log.oldest, 20_000))
        assert kept == [b"%d" % number for number in range(log.oldest, log.newest + 1)]
        assert len(kept) <= kept_max
        assert len(kept) <= 1 or sum(map(len, kept)) <= bytes_max
        assert len(log._frames) <= 2 * kept_max + 4_097


@given(
    steps=st.lists(st.tuples(st.lists(st.binary(max_size=9)), st.integers(0, 9)), max_size=8),
    kept_max=st.integers(1, 12),
    bytes_max=st.integers(0, 50),
)
def test_events_appended_together_are_kept_as_those_appended_one_by_one(
    steps: list[tuple[list[bytes], int]], kept_max: int, bytes_max: int
) -> None:
    together, by_one = (
        EventLog("e", newest=0, acknowledged=0, kept_max=kept_max, bytes_max=bytes_max)
        for _ in range(2)
    )
    for frames, acknowledged in steps:
        together.extend(frames)
        for frame in frames:
            by_one.append(frame)
        for log in (together, by_one):
            log.acknowledge(min(log.acknowledged + acknowledged, log.newest))
        kept = [
            (log.oldest, log.newest, log.dropped, list(log.frames(log.oldest, 100)))
            for log in (together, by_one)
        ]
        assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("/18830/0/9", True),
        ("/18830/0/5", True),
        ("/18830/3/9/0", True),
        ("/0/0/5", True),
        ("/21/1/0", True),
        ("/18830/0/7", False),
        ("/18830/0", False),
        ("/18831/0/9", False),
        ("", False),
        ("/a/b/c", False),
    ],
)
def test_which_resources_are_secret(path: str, secret: bool) -> None:
    assert is_secret(path) is secret
