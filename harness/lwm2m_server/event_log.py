"""The event log in memory: encoded event frames from the oldest unacknowledged to the newest."""

from __future__ import annotations

from collections.abc import Sequence

_TRIM_AT = 4_096


class EventLog:
    """Frames by sequence number within one epoch. At most `kept_max` of `bytes_max` together; older
    ones are dropped, the newest never is."""

    def __init__(
        self,
        epoch: str,
        *,
        newest: int,
        acknowledged: int,
        kept_max: int,
        bytes_max: int,
        frames: Sequence[bytes] = (),
    ) -> None:
        """`frames` are those of the events up to `newest` that are there already."""
        self.epoch = epoch
        self.newest = newest - len(frames)
        self.acknowledged = acknowledged
        # Events that went unacknowledged because a bound was reached.
        self.dropped = 0
        self._kept_max = kept_max
        self._bytes_left = bytes_max
        self._frames: list[bytes] = []
        self._skip = 0
        # Up to here there is room for all from `oldest` on.
        self._newest_max = self.newest + kept_max
        for frame in frames:
            self.append(frame)

    @property
    def oldest(self) -> int:
        """The first event that can still be delivered; `newest` + 1 when there is none."""
        return self.newest - len(self._frames) + self._skip + 1

    def append(self, frame: bytes) -> None:
        """Keep the frame of event `newest` + 1."""
        self.newest = newest = self.newest + 1
        self._frames.append(frame)
        self._bytes_left = left = self._bytes_left - len(frame)
        if left < 0 or newest > self._newest_max:
            self._make_room()

    def extend(self, frames: Sequence[bytes]) -> None:
        """`append` each."""
        self.newest += len(frames)
        self._frames += frames
        self._bytes_left -= sum(map(len, frames))
        if self._bytes_left < 0 or self.newest > self._newest_max:
            self._make_room()

    def acknowledge(self, seq: int) -> bool:
        """Move the acknowledged position; False when it was there already."""
        if seq <= self.acknowledged:
            return False
        self._forget(max(0, seq - self.oldest + 1))
        self.acknowledged = seq
        return True

    def frames(self, first: int, count: int) -> Sequence[bytes]:
        """Up to `count` frames from event `first` on, which must not be older than `oldest`."""
        start = self._skip + first - self.oldest
        return self._frames[start : start + count]

    def _make_room(self) -> None:
        kept = len(self._frames) - self._skip
        while kept > self._kept_max or (self._bytes_left < 0 and kept > 1):
            self.dropped += 1
            self._forget(1)
            kept -= 1

    def _forget(self, count: int) -> None:
        end = self._skip + count
        self._bytes_left += sum(map(len, self._frames[self._skip : end]))
        self._skip = end
        self._newest_max += count
        if self._skip > _TRIM_AT and self._skip * 2 > len(self._frames):
            del self._frames[: self._skip]
            self._skip = 0
