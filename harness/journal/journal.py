"""What was observed in one run, in order of time and by kind; checks and reports read only this."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import chain
from operator import attrgetter
from typing import Any, TypeVar

from contracts.journal import Record, RunStarted

RecordType = TypeVar("RecordType", bound=Record)
Derived = TypeVar("Derived")

_at_ns = attrgetter("at_ns")


class Journal:
    """The records of a run.

    `run` is the record that began it. `began_ns` is its time, or of the first thing observed
    where there is none; `ended_ns` of the last. `torn_lines` were cut short by a kill.
    """

    def __init__(self, records: Iterable[Record], *, torn_lines: int = 0) -> None:
        self.torn_lines = torn_lines
        self._by_kind: dict[type, list[Any]] = {}
        for record in records:
            self._by_kind.setdefault(type(record), []).append(record)
        for found in self._by_kind.values():
            # Records of one process come in order, so this is a merge of few runs.
            found.sort(key=_at_ns)
        self._derived: dict[Callable[[Journal], Any], Any] = {}
        self.run: RunStarted | None = next(iter(self.of(RunStarted)), None)
        firsts = (found[0].at_ns for found in self._by_kind.values())
        self.began_ns: int = min(firsts, default=0) if self.run is None else self.run.at_ns
        self.ended_ns: int = max((found[-1].at_ns for found in self._by_kind.values()), default=0)

    def of(self, kind: type[RecordType]) -> list[RecordType]:
        """All records of one kind, in order of time. The list is shared: do not change it."""
        return self._by_kind.get(kind, [])

    def __iter__(self) -> Iterator[Record]:
        return merge(*self._by_kind.values(), key=_at_ns)

    def __len__(self) -> int:
        return sum(map(len, self._by_kind.values()))

    def plus(self, records: Iterable[Record]) -> Journal:
        """This journal with more records."""
        return Journal(chain(*self._by_kind.values(), records), torn_lines=self.torn_lines)

    def derive(self, make: Callable[[Journal], Derived]) -> Derived:
        """What the pure function `make` gives for this journal, worked out once."""
        if make not in self._derived:
            self._derived[make] = make(self)
        found: Derived = self._derived[make]
        return found

    def since_start_s(self, at_ns: int) -> float:
        """Seconds from the beginning of the run to `at_ns`."""
        return (at_ns - self.began_ns) / 1e9

    def unix_us(self, at_ns: int) -> int:
        """The calendar's microseconds at `at_ns`; 0 at the beginning of a run without a record."""
        began_us = self.run.at_unix_us if self.run is not None else 0
        return began_us + (at_ns - self.began_ns) // 1_000
