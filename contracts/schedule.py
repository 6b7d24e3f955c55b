"""A schedule: what is to happen to which device and when, written ahead of a live run.

The file is NDJSON in UTF-8: a `ScheduleHeader`, then one `ScheduledEvent` a line in order of time.
It is read as a stream, so that a city's day needs no memory. How it is stored is the callers'
affair: lines come in and go out as bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from contracts.errors import ContractError, UnsupportedVersion
from contracts.names import IllegalName, check_endpoint_name

VERSION: Final = 1
LINE_BYTES_MAX: Final = 4_096
# The header is padded to this, so that a writer can put the count of events in at the end.
HEADER_BYTES: Final = 512

EventKind = Literal[
    "switch_on",
    "report",
    "power_off",
    "power_on",
    "incident_begins",
    "incident_ends",
    "set",
]
KINDS: Final[tuple[EventKind, ...]] = get_args(EventKind)
EventValue = float | str | bool | None


class ScheduleError(ContractError):
    """A schedule does not keep to this contract; the text says where, what, and what to do."""


class ScheduleHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. A receiver ignores fields that it does not know."""

    schedule: int = VERSION
    """Version of this contract."""
    city: str
    """Whose day it is: the site of its devices."""
    seed: int
    """Of the city's chance. A fleet with the same seed has the same weather."""
    from_s: float = msgspec.field(name="from")
    """City time when the run starts, Unix seconds."""
    to_s: float = msgspec.field(name="to")
    """City time when the schedule ends, Unix seconds; events lie before it or at it."""
    speed: float
    """Seconds of city time in one second of the run."""
    events: int
    """How many lines follow."""
    devices: int = 0
    """How many devices the city has; most have events, all may."""

    @property
    def duration_s(self) -> float:
        """Seconds that the run takes."""
        return (self.to_s - self.from_s) / self.speed

    def city_time_s(self, at_s: float) -> float:
        """City time, Unix seconds, `at_s` seconds after the run's start."""
        return self.from_s + at_s * self.speed


class ScheduledEvent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing that happens to one device, `at_s` seconds of the run after its start.

    | kind | what it asks for | path | value |
    |---|---|---|---|
    | `switch_on` | the device is switched on for the first time, and registers; a device that has \
none is there from the start | – | – |
    | `set` | the resource takes the value and keeps it until the schedule gives another, whatever \
the device would measure by itself; nothing is sent | needed | needed |
    | `report` | the device measures and sends a state pack; with path and value, that is what has \
just changed and the reason for the pack: as after a `set` | may | with path |
    | `power_off` | the device loses its power, without a word to anybody | – | – |
    | `power_on` | the power is back: the device boots, and connects and registers again | – | – |
    | `incident_begins`, `incident_ends` | an incident of the kind `value`, such as \
`lamp_failure`, begins or ends | – | needed, text |
    """

    at_s: float
    endpoint: str
    kind: EventKind
    path: str | None = None
    value: EventValue = None


class _Shape(NamedTuple):
    path: Literal["needed", "none", "may"]
    value: Literal["needed", "none", "text", "with path"]


_SHAPES: Final[dict[str, _Shape]] = {
    "switch_on": _Shape("none", "none"),
    "set": _Shape("needed", "needed"),
    "report": _Shape("may", "with path"),
    "power_off": _Shape("none", "none"),
    "power_on": _Shape("none", "none"),
    "incident_begins": _Shape("none", "text"),
    "incident_ends": _Shape("none", "text"),
}
# /object/instance/resource, or an instance of a resource (OMA LwM2M 1.1 §7.3, 16-bit numbers).
_PATH: Final = re.compile(r"/[0-9]{1,5}/[0-9]{1,5}/[0-9]{1,5}(/[0-9]{1,5})?", re.ASCII)
# Times are written in milliseconds: what was rounded may end that much late.
_ROUNDING_S: Final = 0.001


def encode_header(header: ScheduleHeader) -> bytes:
    """The first line, of `HEADER_BYTES` with its line feed. Raises `ScheduleError` if too long."""
    line = msgspec.json.encode(header)
    if len(line) >= HEADER_BYTES:
        raise ScheduleError(f"city: the name {header.city[:40]!r}… is too long for a header")
    return line.ljust(HEADER_BYTES - 1) + b"\n"


def encode_event(event: ScheduledEvent) -> bytes:
    """One line, with its line feed."""
    return msgspec.json.encode(event) + b"\n"


class ScheduleReader:
    """Reads a schedule: `header` at once, the events when it is iterated, once and in order.

    `lines` are the file's, such as a file opened for reading bytes; `source` is its name in
    errors. Raises `ScheduleError`, or `UnsupportedVersion` for a newer version, from here and from
    iteration; both say which line.
    """

    def __init__(self, lines: Iterable[bytes], source: str) -> None:
        self._lines = iter(lines)
        self._source = source
        self.header: ScheduleHeader = self._read_header()

    def __iter__(self) -> Iterator[ScheduledEvent]:
        decode = msgspec.json.Decoder(ScheduledEvent).decode
        before_s, count, number = 0.0, 0, 1
        latest_s = self.header.duration_s + _ROUNDING_S
        for number, line in enumerate(self._lines, 2):
            try:
                self._check_length(line, number)
                event = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise self._error(number, _told(error)) from None
            wrong = _wrong_shape(event) or _wrong_time(event.at_s, before_s, latest_s)
            if wrong:
                raise self._error(number, wrong)
            before_s, count = event.at_s, count + 1
            yield event
        if count != self.header.events:
            raise self._error(
                number,
                f"the file ends after {count} events where its header promises "
                f"{self.header.events}: it was cut short or changed, write it again",
            )

    def _read_header(self) -> ScheduleHeader:
        line = next(self._lines, b"")
        self._check_length(line, 1)
        try:
            version = msgspec.json.decode(line, type=_Version).schedule
            if version > VERSION:
                raise UnsupportedVersion(f"{self._source}, line 1: this schedule", version, VERSION)
            header = msgspec.json.decode(line, type=ScheduleHeader)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            what = "the file is empty" if not line.strip() else _told(error)
            remedy = "write a schedule with `lamplighter schedule … --out FILE`"
            raise self._error(1, f"not the header of a schedule: {what}; {remedy}") from None
        wrong = _wrong_header(header)
        if wrong:
            raise self._error(1, wrong)
        return header

    def _check_length(self, line: bytes, number: int) -> None:
        if len(line) > LINE_BYTES_MAX:
            raise self._error(
                number, f"{len(line)} bytes, at most {LINE_BYTES_MAX} are allowed in a line"
            )

    def _error(self, number: int, text: str) -> ScheduleError:
        return ScheduleError(f"{self._source}, line {number}: {text}")


class _Version(msgspec.Struct):
    schedule: int


def _told(error: Exception) -> str:
    text = str(error)
    if "$.kind" in text:
        text += f"; known kinds are {', '.join(KINDS)}"
    return text


def _wrong_header(header: ScheduleHeader) -> str | None:
    if header.schedule < 1:
        return f"schedule: {header.schedule} is no version, the first is 1"
    if not header.speed > 0.0:
        return f"speed: {header.speed:g} is not above 0"
    if not header.to_s > header.from_s:
        return "to: the schedule ends before it begins, exchange `from` and `to`"
    if header.events < 0:
        return f"events: {header.events} cannot be a count"
    return None


def _wrong_time(at_s: float, before_s: float, latest_s: float) -> str | None:
    if at_s < 0.0:
        return f"at_s: {at_s:g} lies before the run's start"
    if at_s < before_s:
        return f"at_s: {at_s:g} comes after {before_s:g}, sort the events by time"
    if at_s > latest_s:
        return f"at_s: {at_s:g} lies after the schedule's end at {latest_s - _ROUNDING_S:g} s"
    return None


def _wrong_shape(event: ScheduledEvent) -> str | None:
    try:
        check_endpoint_name(event.endpoint)
    except IllegalName as error:
        return f"endpoint: {error}"
    shape = _SHAPES[event.kind]
    if event.path is None:
        if shape.path == "needed":
            return f"path: {event.kind} needs one, such as /3431/0/1"
    elif shape.path == "none":
        return f"path: {event.kind} has none"
    elif _PATH.fullmatch(event.path) is None:
        return f"path: {event.path[:40]!r} is not that of a resource, such as /3431/0/1"
    return _wrong_value(event, shape)


def _wrong_value(event: ScheduledEvent, shape: _Shape) -> str | None:
    is_needed = shape.value in ("needed", "text") or (
        shape.value == "with path" and event.path is not None
    )
    if is_needed and event.value is None:
        return f"value: {event.kind} needs one"
    if not is_needed and event.value is not None:
        return f"value: {event.kind} has none{' without a path' if shape.path == 'may' else ''}"
    if shape.value == "text" and not (isinstance(event.value, str) and event.value):
        return f"value: {event.kind} needs the incident's kind, such as 'lamp_failure'"
    return None
