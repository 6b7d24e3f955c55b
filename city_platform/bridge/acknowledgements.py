"""Which events of one epoch are done, and how far without a hole."""

from __future__ import annotations


class ContiguousProgress:
    """The highest `seq` up to which every event is done; events may get done in any order."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.contiguous: int | None = None
        self._done_beyond: set[int] = set()

    def restart(self) -> None:
        """Forget everything: the next event received sets the position."""
        self.received = self.contiguous = None
        self._done_beyond.clear()

    def is_repeated(self, seq: int) -> bool:
        """Whether `seq` has been received before."""
        return self.received is not None and seq <= self.received

    def receive(self, seq: int) -> bool:
        """An event arrived; it is not done yet. Whether it is the one that comes next: another one
        changes nothing."""
        if self.received is not None and seq != self.received + 1:
            return False
        if self.contiguous is None:
            self.contiguous = seq - 1
        self.received = seq
        return True

    def finish(self, seq: int) -> bool:
        """An event is done. Returns whether the contiguous position moved."""
        if self.contiguous is None or seq <= self.contiguous:
            return False
        done_beyond = self._done_beyond
        if seq != self.contiguous + 1:
            done_beyond.add(seq)
            return False
        contiguous = seq
        while done_beyond and contiguous + 1 in done_beyond:
            contiguous += 1
            done_beyond.discard(contiguous)
        self.contiguous = contiguous
        return True

    @property
    def outstanding(self) -> int:
        """How many events have been received and are not done."""
        if self.received is None or self.contiguous is None:
            return 0
        return self.received - self.contiguous - len(self._done_beyond)
