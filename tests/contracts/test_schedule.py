"""A schedule's file: what is written is read, and what is wrong in one is told with its line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError, UnsupportedVersion
from contracts.schedule import (
    HEADER_BYTES,
    KINDS,
    LINE_BYTES_MAX,
    ScheduledEvent,
    ScheduleError,
    ScheduleHeader,
    ScheduleReader,
    encode_event,
    encode_header,
)
from tests.contracts.golden import FOLDER

HEADER = ScheduleHeader(
    city="harbour_district", seed=7, from_s=1_000.0, to_s=4_600.0, speed=60.0, events=2, devices=9
)
REPORT = b'{"at_s":1.5,"endpoint":"lamp-0001","kind":"report"}\n'
TAKEN = b'{"at_s":2,"endpoint":"spot-1","kind":"set","path":"/3431/0/1","value":true}\n'


def _lines(*events: bytes, **changed: object) -> list[bytes]:
    header = {
        "schedule": 1,
        "city": "c",
        "seed": 1,
        "from": 0,
        "to": 3600,
        "speed": 60,
        "events": len(events),
    }
    fields = ",".join(
        f'"{name}":{value}' for name, value in (header | changed).items() if value != ""
    )
    return [("{" + fields.replace(":c", ':"c"') + "}\n").encode(), *events]


def _told(lines: list[bytes]) -> str:
    with pytest.raises(ScheduleError) as caught:
        list(ScheduleReader(lines, "day.ndjson"))
    text = str(caught.value)
    assert text.startswith("day.ndjson, line ")
    return text.removeprefix("day.ndjson, line ")


def test_a_header_says_how_city_time_and_the_run_s_time_belong_together() -> None:
    assert HEADER.duration_s == 60.0
    assert HEADER.city_time_s(10.0) == 1_600.0


def test_a_header_has_its_length_whatever_the_count() -> None:
    few, many = HEADER, ScheduleHeader(city="c", seed=1, from_s=0, to_s=1, speed=1, events=10**9)
    assert len(encode_header(few)) == len(encode_header(many)) == HEADER_BYTES
    with pytest.raises(ScheduleError, match="too long"):
        encode_header(ScheduleHeader(city="c" * 600, seed=1, from_s=0, to_s=1, speed=1, events=0))


def test_what_is_written_is_read() -> None:
    events = [
        ScheduledEvent(0.0, "lamp-1", "switch_on"),
        ScheduledEvent(0.5, "spot-1", "set", "/3431/0/1", True),
    ]
    reader = ScheduleReader([encode_header(HEADER), *map(encode_event, events)], "x")
    assert reader.header == HEADER
    assert list(reader) == events


def test_the_golden_example_is_read_and_written_again() -> None:
    lines = (FOLDER / "schedule.ndjson").read_bytes().splitlines(keepends=True)
    reader = ScheduleReader(lines, "golden")
    events = list(reader)
    assert {event.kind for event in events} == set(KINDS)
    written = [encode_header(reader.header), *map(encode_event, events)]
    assert list(map(json.loads, written)) == list(map(json.loads, lines))


def test_a_schedule_is_read_as_a_stream() -> None:
    asked = []

    def lines() -> Iterator[bytes]:
        for number, line in enumerate([encode_header(HEADER), REPORT, TAKEN], 1):
            asked.append(number)
            yield line

    events = iter(ScheduleReader(lines(), "x"))
    assert asked == [1]
    next(events)
    assert asked == [1, 2]


def test_unknown_fields_are_ignored_and_a_newer_version_is_refused() -> None:
    assert list(ScheduleReader(_lines(moon='"full"'), "x")) == []
    with pytest.raises(UnsupportedVersion, match=r"x, line 1: this schedule has version 2"):
        ScheduleReader(_lines(schedule=2), "x")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "1: not the header of a schedule: the file is empty"),
        ([REPORT], "1: not the header of a schedule: "),
        (_lines(city=""), "1: not the header of a schedule: "),
        (_lines(schedule=0), "1: schedule: 0 is no version"),
        (_lines(speed=0), "1: speed: 0 is not above 0"),
        (_lines(to=0), "1: to: the schedule ends before it begins"),
        (_lines(events=-1), "1: events: -1 cannot be a count"),
        (_lines(REPORT, events=2), "2: the file ends after 1 events where its header promises 2"),
        (_lines(REPORT, events=0), "2: the file ends after 1 events where its header promises 0"),
        (_lines(TAKEN, REPORT), "3: at_s: 1.5 comes after 2, sort"),
        (_lines(REPORT.replace(b"1.5", b"-1")), "2: at_s: -1 lies before"),
        (_lines(REPORT.replace(b"1.5", b"60.1")), "2: at_s: 60.1 lies after the schedule's end"),
        (_lines(REPORT.replace(b"1.5", b"1e999")), "2: Number out of range"),
        (_lines(REPORT.replace(b"report", b"rapport")), "2: Invalid enum value 'rapport'"),
        (_lines(REPORT.replace(b"lamp-0001", b"a/b")), "2: endpoint: 'a/b'"),
        (_lines(REPORT[:20]), "2: Input data was truncated"),
        (_lines(b"\xff\n"), "2: "),
        (_lines(b" " * (LINE_BYTES_MAX + 1)), f"2: {LINE_BYTES_MAX + 1} bytes"),
        (_lines(TAKEN.replace(b'"path":"/3431/0/1",', b"")), "2: path: set needs one"),
        (_lines(TAKEN.replace(b"/3431/0/1", b"3431")), "2: path: '3431' is not that of a resource"),
        (_lines(TAKEN.replace(b',"value":true', b"")), "2: value: set needs one"),
        (_lines(TAKEN.replace(b'"set"', b'"power_off"')), "2: path: power_off has none"),
        (
            _lines(REPORT.replace(b"}", b',"value":1}')),
            "2: value: report has none without a path",
        ),
        (
            _lines(REPORT.replace(b"report", b"incident_begins")),
            "2: value: incident_begins needs one",
        ),
        (
            _lines(REPORT.replace(b'"report"', b'"incident_ends","value":3')),
            "2: value: incident_ends needs the incident's kind",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(lines: list[bytes], told: str) -> None:
    assert _told(lines).startswith(told)


def test_an_unknown_kind_is_told_with_those_that_are_known() -> None:
    text = _told(_lines(REPORT.replace(b"report", b"explode")))
    assert text.endswith("known kinds are " + ", ".join(KINDS))


@given(lines=st.lists(st.binary(max_size=80), max_size=4))
def test_any_bytes_are_a_schedule_or_an_error_of_ours(lines: list[bytes]) -> None:
    for first in ([], _lines()):
        told = _refused([*first, *lines])
        assert told is None or told.startswith("x, line ")


def _refused(lines: list[bytes]) -> str | None:
    """Why a schedule is refused, None when it is not; only errors of ours count."""
    try:
        list(ScheduleReader(lines, "x"))
    except ContractError as error:
        return str(error)
    return None


@given(
    st.builds(
        dict,
        at_s=st.one_of(st.floats(allow_nan=False), st.none(), st.text(max_size=3)),
        endpoint=st.one_of(st.text(max_size=5), st.integers()),
        kind=st.sampled_from([*KINDS, "", None]),
        path=st.sampled_from([None, "", "/1/2/3", "/1/2", 4]),
        value=st.sampled_from([None, True, 1.5, "leak", "", [], {}]),
    )
)
def test_any_event_is_one_or_an_error_of_ours(fields: dict[str, object]) -> None:
    lines = _lines(json.dumps(fields).encode())
    told = _refused(lines)
    if told is not None:
        assert told.startswith("x, line 2")
        return
    (event,) = ScheduleReader(lines, "x")
    assert math.isfinite(event.at_s)
    assert list(ScheduleReader(_lines(encode_event(event)), "x")) == [event]
