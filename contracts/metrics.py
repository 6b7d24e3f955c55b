"""What a metric of `GET /metrics` is: its row in the table, and its name for Prometheus.

A component counts under names of its own; `contracts.metric_rows` says what each is to others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge"]
PREFIX: Final = "lamplighter"
# What a count is served as that has no row: nothing is lost, and a test fails.
UNLISTED: Final = f"{PREFIX}_unlisted"


class MetricRow(NamedTuple):
    """One count of a component; where `counted` ends in `*`, the rest is the label's value."""

    component: str
    counted: str
    kind: Kind
    meaning: str
    label: str = ""

    @property
    def metric(self) -> str:
        """The metric's name as Prometheus has it: counters end in `_total`."""
        stem = self.counted.rstrip("*").rstrip("._").replace(".", "_")
        return f"{PREFIX}_{self.component}_{stem}" + ("_total" if self.kind == "counter" else "")


class ProcessRow(NamedTuple):
    """One figure of the process that serves; `process_…` are named as by Prometheus's clients."""

    metric: str
    kind: Kind
    meaning: str


PROCESS: Final = (
    ProcessRow("process_cpu_seconds_total", "counter", "CPU time of the process, user and system"),
    ProcessRow("process_resident_memory_bytes", "gauge", "resident memory of the process"),
    ProcessRow("process_open_fds", "gauge", "open file descriptors of the process"),
    ProcessRow("process_max_fds", "gauge", "how many it may have open"),
    ProcessRow(
        "lamplighter_event_loop_delay_p99_seconds",
        "gauge",
        "how late 99 of 100 turns of its event loop were at most, in the last minute",
    ),
    ProcessRow(
        "lamplighter_event_loop_delay_max_seconds", "gauge", "how late the latest of them was"
    ),
)


class MetricTable:
    """Finds the rows of one component's counts."""

    def __init__(self, rows: Iterable[MetricRow]) -> None:
        found = list(rows)
        self._whole = {row.counted: row for row in found if not row.label}
        self._begun = [row for row in found if row.label]

    def find(self, count: str) -> tuple[MetricRow, str] | None:
        """The row of a count and its label's value; None when nobody wrote one.

        A whole name goes before one that ends in `*`.
        """
        row = self._whole.get(count)
        if row is not None:
            return row, ""
        for row in self._begun:
            begin = row.counted[:-1]
            if count.startswith(begin) and count != begin:
                return row, count[len(begin) :]
        return None
