"""What is on its way to the devices of one server: at most so many drives, the others in a queue.

A bridge takes credentials in about the order in which they were sent, so the confirmations tell how
far it has come: what was sent after the last one that is confirmed still waits there or is under
way, however long it takes, and need not be sent again.

How many those may be is found out from small: one more with each confirmation. Whoever begins with
all at once on a machine that is short of time has them all half-way when the patience ends, nothing
confirmed, and begins anew with twice the load.
"""

from __future__ import annotations

from collections import OrderedDict


class Window:
    """Endpoints on their way, oldest first, and those that wait for room. Times are Unix µs.

    `patience_us` is how long after sending a drive may be behind the confirmations, and how long
    confirmations may be missing, before it counts as lost. Of `size` at most, `first` are on their
    way in the beginning (None: all), and again after confirmations were missing for so long.
    """

    def __init__(self, size: int, patience_us: int, first: int | None = None) -> None:
        self._size = size
        self._first = self._open = size if first is None else min(first, size)
        self._patience_us = patience_us
        self._sent_us: OrderedDict[str, int] = OrderedDict()
        self._queue: dict[str, None] = {}
        # When the last confirmation came, and when the latest drive that is confirmed was sent.
        self._heard_us = self._reached_us = 0

    @property
    def on_their_way(self) -> int:
        """How many have been sent and are neither confirmed nor given up as lost."""
        return len(self._sent_us)

    @property
    def queued(self) -> int:
        """How many wait for room."""
        return len(self._queue)

    def is_queued(self, endpoint: str) -> bool:
        """Whether this one waits for room."""
        return endpoint in self._queue

    def enter(self, endpoint: str, now_us: int) -> bool:
        """Whether the endpoint may be sent its credentials now; else it waits in the queue."""
        self._sent_us.pop(endpoint, None)
        self._forget_lost(now_us)
        if self._queue or len(self._sent_us) >= self._open:
            self._queue[endpoint] = None
            return False
        self._sent_us[endpoint] = now_us
        return True

    def confirm(self, endpoint: str, now_us: int) -> None:
        """The device has its credentials."""
        self._heard_us = now_us
        sent_us = self._sent_us.get(endpoint)
        if sent_us is not None:
            self._reached_us = max(self._reached_us, sent_us)
            self._open = min(self._size, self._open + 1)
        self.leave(endpoint)

    def leave(self, endpoint: str) -> None:
        """Nothing is driven there any more."""
        self._sent_us.pop(endpoint, None)
        self._queue.pop(endpoint, None)

    def is_under_way(self, endpoint: str, now_us: int) -> bool:
        """Whether what was sent may well be waiting or at work at the bridge."""
        sent_us = self._sent_us.get(endpoint)
        return sent_us is not None and not self._is_lost(sent_us, now_us)

    def released(self, now_us: int, limit: int) -> list[str]:
        """At most `limit` of those that waited and may be sent now: they are on their way."""
        if not self._queue:
            return []
        self._forget_lost(now_us)
        room = min(limit, self._open - len(self._sent_us), len(self._queue))
        taken = [endpoint for endpoint, _ in zip(self._queue, range(room), strict=False)]
        for endpoint in taken:
            del self._queue[endpoint]
            self._sent_us[endpoint] = now_us
        return taken

    def next_timer(self) -> int | None:
        """When `released` should be asked again, None while nothing waits."""
        if not self._queue:
            return None
        if len(self._sent_us) < self._open:
            return 0
        oldest_us = next(iter(self._sent_us.values()))
        if self._reached_us >= oldest_us + self._patience_us:
            return oldest_us + self._patience_us
        return max(oldest_us, self._heard_us) + self._patience_us

    def _forget_lost(self, now_us: int) -> None:
        while self._sent_us:
            endpoint, sent_us = next(iter(self._sent_us.items()))
            if not self._is_lost(sent_us, now_us):
                return
            if self._is_silent(now_us):
                self._open = self._first
            del self._sent_us[endpoint]

    def _is_lost(self, sent_us: int, now_us: int) -> bool:
        if now_us < sent_us + self._patience_us:
            return False
        return self._is_silent(now_us) or self._reached_us >= sent_us + self._patience_us

    def _is_silent(self, now_us: int) -> bool:
        return now_us >= self._heard_us + self._patience_us
