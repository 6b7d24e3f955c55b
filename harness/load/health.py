"""How well a fleet keeps its schedule, from its journal while it is written."""

from __future__ import annotations

from contracts.journal import DeviceStarted, LoopSample, Record
from contracts.load import DevicePowerRestored, LagSample
from harness.checks.bench import Load, load
from harness.checks.figures import percentile
from harness.journal import Journal
from harness.load.config import Figures
from harness.load.operations import LOADER, Operation

START_LAG = "start lag p99"
LOOP_DELAY = "loop delay p99"


class FleetHealth:
    """Collects what the fleet says of itself; `take` is called with every record."""

    def __init__(self) -> None:
        self._records: list[DeviceStarted | LoopSample | LagSample] = []
        self._lags_ms: list[float] = []
        self._told: set[str] = set()

    def take(self, record: Record) -> list[Operation]:
        """What the loader's own lines of the table get: at each sample of the event loop."""
        if isinstance(record, DeviceStarted):
            self._records.append(record)
            self._lags_ms.append((record.at_ns - record.intended_at_ns) / 1e6)
            return []
        if isinstance(record, DevicePowerRestored):
            self._lags_ms.append((record.at_ns - record.intended_at_ns) / 1e6)
        if isinstance(record, LagSample):
            self._records.append(record)
        if not isinstance(record, LoopSample):
            return []
        self._records.append(record)
        found = [Operation(LOADER, LOOP_DELAY, record.delay_p99_ns / 1e6)]
        if self._lags_ms:
            lag_ms = percentile(sorted(self._lags_ms), 0.99)
            found.append(Operation(LOADER, START_LAG, lag_ms))
            self._lags_ms.clear()
        return found

    def load(self) -> Load:
        """The figures so far, as the report has them."""
        return load(Journal(self._records))

    def figures(self, worker: str) -> Figures:
        """The figures so far, for the master."""
        found = self.load()
        return Figures(
            worker=worker,
            devices=sum(isinstance(each, DeviceStarted) for each in self._records),
            intended_per_s=found.intended_per_s,
            actual_per_s=found.actual_per_s,
            start_lag_p99_ms=found.start_lag_p99_ms,
            loop_delay_p99_ms=found.loop_delay_p99_ms,
            socket_drops=found.socket_drops,
            retransmissions=found.retransmissions,
            faults=found.faults,
        )

    def new_faults(self) -> list[str]:
        """Limits that the loader is past and that were not told before."""
        found = []
        for fault in self.load().faults:
            # The figure in the text changes; what it is about does not.
            about = fault.split(" p99")[0] if " p99" in fault else "dropped"
            if about not in self._told:
                self._told.add(about)
                found.append(fault)
        return found
