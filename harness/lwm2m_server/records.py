"""The records of the server's log, and how they are framed: a checksum, JSON, a line each.

An event is kept as the very frame that the bridge gets, so that it is encoded once. What a
registration is follows from its events; commands have records of their own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from contracts.data_interface import Command, Event, Outcome, Registration

LOG_VERSION = 1
# Eight figures and a blank, before the record itself.
_CHECKSUM_CHARACTERS = 9


class LogHeader(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="log"):
    """The first record. Events up to `newest` are already in the registrations that follow;
    those up to `acknowledged` are not kept."""

    server: str
    epoch: str
    newest: int
    acknowledged: int
    v: int = LOG_VERSION


class KeptRegistration(Registration, frozen=True, gc=False, kw_only=True):
    """A `Registration` as the log is read: its object links stay JSON, which thousands share."""

    object_links: msgspec.Raw


class KeptEvent(Event, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """An `Event` as the log is read. What a bridge gets is not made from it, but kept as it was."""

    registration: KeptRegistration | None = None


class RegistrationKept(msgspec.Struct, frozen=True, tag_field="type", tag="registration"):
    """A registration at the time of a compaction. `renewed_at_us` is Unix time; `is_asleep` is of
    queue mode."""

    registration: Registration
    renewed_at_us: int
    is_asleep: bool = False


class _RegistrationRead(RegistrationKept, frozen=True, tag_field="type", tag="registration"):
    registration: KeptRegistration


class MessageIdUsed(msgspec.Struct, frozen=True, tag_field="type", tag="message_id"):
    """The last message id that was used towards an address, at a compaction; Unix time."""

    address: str
    message_id: int
    used_at_us: int


class EventsAcked(msgspec.Struct, frozen=True, tag_field="type", tag="acked"):
    """The bridge acknowledged all events up to `seq`."""

    seq: int


class CommandAccepted(msgspec.Struct, frozen=True, tag_field="type", tag="accepted"):
    """A command was taken. One with secret values is kept without them, and only from when it was
    sent."""

    command: Command
    secret: bool = False


class CommandIntent(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="intent", omit_defaults=True
):
    """The request of a command is about to be sent to `address`. `datagram` is there when it may
    be sent again after a restart; `in_session` says that `address` then leads nowhere."""

    id: str
    address: str
    message_id: int
    sent_at_us: int
    datagram: bytes | None = None
    in_session: bool = False


class CommandRequeued(msgspec.Struct, frozen=True, tag_field="type", tag="requeued"):
    """A request got no answer because its device slept, or lost its session: it waits again."""

    id: str


class ObservationKept(msgspec.Struct, frozen=True, tag_field="type", tag="observation"):
    """An observation began by `command`, whose id is its own; also at a compaction."""

    command: Command


class OutcomeKept(msgspec.Struct, frozen=True, tag_field="type", tag="outcome"):
    """An outcome whose event is no longer kept, at a compaction."""

    outcome: Outcome


LogRecord = (
    LogHeader
    | RegistrationKept
    | MessageIdUsed
    | EventsAcked
    | CommandAccepted
    | CommandIntent
    | CommandRequeued
    | ObservationKept
    | OutcomeKept
    | Event
)
_Read = (
    LogHeader
    | _RegistrationRead
    | MessageIdUsed
    | EventsAcked
    | CommandAccepted
    | CommandIntent
    | CommandRequeued
    | ObservationKept
    | OutcomeKept
    | KeptEvent
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Read)


class DecodedLog(NamedTuple):
    """What was found in a log's bytes.

    `whole_bytes` is where the last whole record ends; `damaged` tells that records follow one that
    is not whole, which a kill cannot cause. `frames` are the events among them, as they were sent.
    """

    records: list[LogRecord]
    whole_bytes: int
    damaged: bool
    frames: Sequence[bytes] = ()


def frame_record(record: msgspec.Struct) -> bytes:
    """One record as a line of the log."""
    return frame_json(_encoder.encode(record))


def encode_record(record: msgspec.Struct) -> bytes:
    """One record as `frame_json` and `frame_all` take it."""
    return _encoder.encode(record)


def frame_json(body: bytes) -> bytes:
    """An already encoded record as a line of the log."""
    return b"%08x %b\n" % (zlib.crc32(body), body)


def frame_all(bodies: Sequence[bytes]) -> bytes:
    """Already encoded records as lines of the log: `frame_json` of each, without a step for it."""
    count = len(bodies)
    checksums = struct.pack(f">{count}I", *map(zlib.crc32, bodies)).hex(" ", 4).encode()
    pieces = [b" "] * (4 * count)
    pieces[0::4] = checksums.split()
    pieces[2::4] = bodies
    pieces[3::4] = [b"\n"] * count
    return b"".join(pieces)


def decode_log(data: bytes) -> DecodedLog:
    """All whole records of `data`; never raises."""
    records: list[LogRecord] = []
    frames: list[bytes] = []
    whole_bytes = 0
    torn = damaged = False
    for line, end in _lines(data):
        record = _decode_line(line)
        if record is None:
            torn = True
            continue
        damaged = damaged or torn
        records.append(record)
        if type(record) is KeptEvent:
            frames.append(line[_CHECKSUM_CHARACTERS:])
        whole_bytes = end
    return DecodedLog(records, whole_bytes, damaged, frames)


def _lines(data: bytes) -> Iterator[tuple[bytes, int]]:
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield data[start:end], end + 1
        start = end + 1


def _decode_line(line: bytes) -> LogRecord | None:
    body = line[_CHECKSUM_CHARACTERS:]
    if line[:_CHECKSUM_CHARACTERS] != b"%08x " % zlib.crc32(body):
        return None
    try:
        record: LogRecord = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return record
