"""What was appended is read again, whatever a kill left of the last file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.ingestion.spool import (
    Message,
    Spool,
    SpoolDamaged,
    SpoolFull,
    SpoolReader,
    encode_frame,
    segments,
)

MANY = 1_000_000


def contents(folder: Path, position: int = 0) -> list[tuple[str, bytes]]:
    spool = Spool(folder, MANY)
    reader = SpoolReader(folder, position)
    found = reader.read(spool.end, MANY, MANY)
    reader.close()
    spool.close()
    return [(message.topic, message.payload) for message in found]


def fill(folder: Path, count: int, segment_bytes: int = MANY) -> None:
    spool = Spool(folder, segment_bytes)
    first = spool.end
    for number in range(first, first + count):
        spool.append([(number, f"topic/{number}", b"x" * (number % 50))])
    spool.close()


def test_messages_come_back_in_order_with_position_and_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MANY)
    assert spool.append([(7, "a/b", b"one"), (8, "ü", b"")]) == 2
    assert spool.append([(9, "c", b"\x00\xff")]) == 3
    reader = SpoolReader(tmp_path, 0)
    assert reader.read(2, MANY, MANY) == [Message(0, 7, "a/b", b"one"), Message(1, 8, "ü", b"")]
    assert reader.read(3, MANY, MANY) == [Message(2, 9, "c", b"\x00\xff")]
    assert reader.read(3, MANY, MANY) == []
    reader.close()
    spool.close()


def test_a_reader_takes_no_more_than_it_is_told_to(tmp_path: Path) -> None:
    fill(tmp_path, 10)
    reader = SpoolReader(tmp_path, 0)
    assert len(reader.read(10, 3, MANY)) == 3
    assert len(reader.read(10, MANY, 1)) == 1
    assert len(reader.read(7, MANY, MANY)) == 3
    reader.close()


def test_files_follow_each_other_and_go_when_all_of_them_is_done(tmp_path: Path) -> None:
    fill(tmp_path, 30, segment_bytes=200)
    found = segments(tmp_path)
    assert len(found) > 3
    assert len(contents(tmp_path)) == 30
    spool = Spool(tmp_path, 200)
    spool.drop_before(found[2].first)
    assert [one.first for one in segments(tmp_path)] == [one.first for one in found[2:]]
    spool.drop_before(MANY)
    assert len(segments(tmp_path)) == 1
    spool.close()
    assert contents(tmp_path, 29) == [("topic/29", b"x" * 29)]


def test_a_position_that_was_dropped_is_said_to_be_missing(tmp_path: Path) -> None:
    fill(tmp_path, 30, segment_bytes=200)
    spool = Spool(tmp_path, 200)
    spool.drop_before(20)
    spool.close()
    with pytest.raises(SpoolDamaged, match="message at 0 is missing"):
        contents(tmp_path, 0)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_torn_tail_costs_only_what_was_not_whole(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, 12)
        path = segments(folder)[0].path
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        rubbish = data.draw(st.binary(max_size=30))
        ends = [0]
        for number in range(12):
            frame = encode_frame(number, f"topic/{number}", b"x" * (number % 50))
            ends.append(ends[-1] + len(frame))
        kept = max(count for count, end in enumerate(ends) if end <= cut)
        path.write_bytes(whole[:cut] + rubbish)
        found = contents(folder)
        assert found[:kept] == [(f"topic/{n}", b"x" * (n % 50)) for n in range(kept)]
        assert len(found) <= 12
        fill(folder, 1)
        assert len(contents(folder)) == len(found) + 1


def test_what_was_cut_off_is_kept_beside_the_file(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    path = segments(tmp_path)[0].path
    path.write_bytes(path.read_bytes() + b"half a frame")
    assert len(contents(tmp_path)) == 2
    (torn,) = tmp_path.glob("*.torn-at-2")
    assert torn.read_bytes() == b"half a frame"


def test_damage_before_the_end_is_never_skipped(tmp_path: Path) -> None:
    fill(tmp_path, 30, segment_bytes=200)
    path = segments(tmp_path)[1].path
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(SpoolDamaged, match="damaged before byte"):
        contents(tmp_path)


def test_zeros_where_messages_should_be_are_damage_and_not_skipped(tmp_path: Path) -> None:
    fill(tmp_path, 30, segment_bytes=200)
    path = segments(tmp_path)[1].path
    data = path.read_bytes()
    # As a disk may have them after a power cut: a frame of no bytes with the right checksum.
    path.write_bytes(bytes(8) + data[8:])
    with pytest.raises(SpoolDamaged, match="damaged before byte"):
        contents(tmp_path)


def test_what_does_not_fit_on_the_disk_is_refused_whole(tmp_path: Path) -> None:
    class FullSpool(Spool):
        """Its disk takes ten bytes more."""

        def _write_some(self, view: memoryview) -> int:
            if self.is_full:
                raise OSError(28, "No space left on device")
            self.is_full = True
            return super()._write_some(view[:10])

        is_full = False

    fill(tmp_path, 2)
    spool = FullSpool(tmp_path, MANY)
    with pytest.raises(SpoolFull, match="No space"):
        spool.append([(1, "t", b"payload")])
    spool.close()
    assert len(contents(tmp_path)) == 2


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_in_the_last_file_never_stop_the_spool(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / f"{5:020d}.spool").write_bytes(data)
        spool = Spool(folder, MANY)
        end = spool.append([(1, "t", b"p")])
        reader = SpoolReader(folder, end - 1)
        assert reader.read(end, MANY, MANY) == [Message(end - 1, 1, "t", b"p")]
        reader.close()
        spool.close()
