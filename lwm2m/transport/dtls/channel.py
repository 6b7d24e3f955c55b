"""One established session's records: numbers, replay window, the last flight while it may be lost.

RFC 6347 §4.1.2.6 (replay), §4.2.4 (who sent the last flight sends it again when asked).
"""

from __future__ import annotations

from lwm2m.transport.dtls.protection import Protection
from lwm2m.transport.dtls.records import pack_datagrams, renumber_record

WINDOW_RECORDS = 64
_WINDOW_MASK = (1 << WINDOW_RECORDS) - 1
_REPEATS_MAX = 32
# Where a record has its epoch: 0 or 1, as there is no second handshake on a session.
_EPOCH = 4
# Bound once: it is called for every record.
_from_bytes = int.from_bytes


class LastFlight:
    """The flight that ended the handshake: the peer may not have it yet.

    `records` is as it was sent first, `sequence` the next number of epoch 0.
    """

    __slots__ = ("bytes_max", "records", "repeats_left", "sequence")

    def __init__(self, records: list[bytes], sequence: int, bytes_max: int) -> None:
        self.records = records
        self.sequence = sequence
        self.bytes_max = bytes_max
        self.repeats_left = _REPEATS_MAX


class Channel:
    """Seals and opens the records of epoch 1. `sequence` is the first number that is unused."""

    __slots__ = ("_last_flight", "_latest", "_read", "_sequence", "_window", "_write")

    def __init__(self, read: Protection, write: Protection, sequence: int) -> None:
        self._read = read
        self._write = write
        self._sequence = sequence
        self._latest = -1
        # Bit n: whether record `_latest - n` came.
        self._window = 0
        self._last_flight: LastFlight | None = None

    def seal(self, content_type: int, content: bytes) -> bytes:
        """The next record."""
        sequence = self._sequence
        self._sequence = sequence + 1
        return self._write.seal(content_type, sequence, content)

    def open(self, record: bytes) -> bytes | None:
        """The content of a record of epoch 1; None when it came before, is too old, or is not made
        with this session's keys. What opens shows that the peer has the last flight.
        """
        sequence = _from_bytes(record[5:11], "big")
        behind = self._latest - sequence
        if behind >= 0 and self._has_come(behind):
            return None
        content = self._read.open(record)
        if content is None:
            return None
        if behind == -1:
            # In order, as nearly all come.
            self._window = (self._window << 1 | 1) & _WINDOW_MASK
            self._latest = sequence
        else:
            self.mark(sequence)
        self._last_flight = None
        return content

    def peek(self, record: bytes) -> bytes | None:
        """As `open`, but of repeated records too, and nothing is noted."""
        return self._read.open(record)

    def is_replay(self, record: bytes) -> bool:
        """Whether a record with this number came before, or one too old to tell."""
        behind = self._latest - int.from_bytes(record[5:11], "big")
        return behind >= 0 and self._has_come(behind)

    def mark(self, sequence: int) -> None:
        """Note that the record of this number came."""
        ahead = sequence - self._latest
        if ahead > 0:
            # Shifted no further than the window is wide: the number is the peer's to choose.
            self._window = (self._window << min(ahead, WINDOW_RECORDS) | 1) & _WINDOW_MASK
            self._latest = sequence
        elif -ahead < WINDOW_RECORDS:
            self._window |= 1 << -ahead

    def keep_last_flight(self, flight: LastFlight) -> None:
        """Have a flight ready to be sent again until the peer shows that it has it."""
        self._last_flight = flight

    def repeat_last_flight(self) -> list[bytes]:
        """The datagrams of the last flight with new numbers; none when the peer has it."""
        flight = self._last_flight
        if flight is None or not flight.repeats_left:
            return []
        flight.repeats_left -= 1
        records = []
        for record in flight.records:
            # What is protected was by us: it opens with the keys that we write with.
            content = self._write.open(record) if record[_EPOCH] else None
            if content is not None:
                records.append(self.seal(record[0], content))
            else:
                records.append(renumber_record(record, flight.sequence))
                flight.sequence += 1
        return pack_datagrams(records, flight.bytes_max)

    def _has_come(self, behind: int) -> bool:
        return behind >= WINDOW_RECORDS or bool(self._window >> behind & 1)
