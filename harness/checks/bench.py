"""Claims about the bench itself: its load, its processes, and what it leaves behind."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from contracts.journal import (
    BenchDown,
    DeviceStarted,
    LoopSample,
    Note,
    ProcessExited,
    ProcessKilled,
    ProcessStarted,
    SecretsScanned,
)
from contracts.report import Evidence
from harness.checks.figures import percentile
from harness.checks.verdict import Claim, Verdict, unobserved
from harness.journal import Journal
from runtime.latency import merge_buckets, percentile_of

FLEET = "fleet"
START_LAG_MAX_MS = 50.0
LOOP_DELAY_MAX_MS = 20.0
NOTE_KILLS_PLANNED = "kills_planned"


class Load(NamedTuple):
    """How well the fleet kept its schedule. Rates per second, delays in milliseconds."""

    intended_per_s: float | None
    actual_per_s: float | None
    start_lag_p99_ms: float | None
    loop_delay_p99_ms: float | None
    socket_drops: int
    retransmissions: int

    @property
    def faults(self) -> list[str]:
        """Why the loader counts as saturated; empty when it kept up."""
        limits = (
            ("start lag p99", self.start_lag_p99_ms, START_LAG_MAX_MS),
            ("loop delay p99", self.loop_delay_p99_ms, LOOP_DELAY_MAX_MS),
        )
        found = [
            f"{name} {value:.1f} ms, over {limit:g} ms"
            for name, value, limit in limits
            if value is not None and value > limit
        ]
        return found + [f"{self.socket_drops:,} datagrams dropped"] * (self.socket_drops > 0)


def load(journal: Journal) -> Load:
    """What the fleet was meant to do and did."""
    started = journal.of(DeviceStarted)
    samples = [sample for sample in journal.of(LoopSample) if sample.process == FLEET]
    lags_ms = sorted((r.at_ns - r.intended_at_ns) / 1e6 for r in started)
    return Load(
        intended_per_s=_rate(sorted(r.intended_at_ns for r in started)),
        actual_per_s=_rate([r.at_ns for r in started]),
        start_lag_p99_ms=percentile(lags_ms, 0.99) if lags_ms else None,
        loop_delay_p99_ms=_loop_delay_p99_ms(samples),
        socket_drops=sum(sample.socket_drops for sample in samples),
        retransmissions=sum(sample.retransmissions for sample in samples),
    )


def _rate(times_ns: list[int]) -> float | None:
    if len(times_ns) < 2 or times_ns[-1] == times_ns[0]:
        return None
    return (len(times_ns) - 1) / (times_ns[-1] - times_ns[0]) * 1e9


def _loop_delay_p99_ms(samples: list[LoopSample]) -> float | None:
    """Of the whole run where samples say how many timers were how late.

    From percentiles of samples alone the run's cannot be told: then it is their median.
    """
    if not samples:
        return None
    if any(sample.delays for sample in samples):
        found = percentile_of(merge_buckets(sample.delays for sample in samples), 0.99)
        return None if found is None else found / 1e3
    return median(sample.delay_p99_ns for sample in samples) / 1e6


_KEPT_UP = Claim(
    "loader_kept_up",
    f"The fleet kept its schedule: start lag p99 up to {START_LAG_MAX_MS:g} ms, loop delay p99 up "
    f"to {LOOP_DELAY_MAX_MS:g} ms, no datagram dropped.",
    about="loader",
)


def loader_kept_up(journal: Journal) -> Verdict:
    """The load was what it was meant to be. A loader that fell behind makes this inconclusive."""
    missing = unobserved(journal, DeviceStarted)
    if missing is not None:
        return _KEPT_UP.inconclusive(missing)
    found = journal.derive(load)
    if found.faults:
        seen = [Evidence(endpoint=FLEET, observed=f, expected="less") for f in found.faults]
        return _KEPT_UP.inconclusive("the loader was saturated: " + "; ".join(found.faults), seen)
    delay = found.loop_delay_p99_ms
    if delay is None:
        return _KEPT_UP.inconclusive("the fleet recorded no loop delays")
    return _KEPT_UP.holds(
        f"start lag p99 {found.start_lag_p99_ms:.1f} ms, loop delay p99 {delay:.1f} ms, no drops"
    )


_NO_SECRET = Claim(
    "no_secret_in_outputs",
    "No private key, pre-shared key or token of the run is in any of its outputs.",
)


def no_secret_in_outputs(journal: Journal) -> Verdict:
    """All outputs were searched for all secrets, and none was found."""
    scans = journal.of(SecretsScanned)
    if not scans:
        return _NO_SECRET.inconclusive("the outputs were not searched")
    if any(not scan.needles or not scan.files for scan in scans):
        return _NO_SECRET.inconclusive("there was nothing to search, or nothing to search for")
    faults = [
        Evidence(endpoint=name, observed="holds a secret", expected="none")
        for scan in scans
        for name in scan.found
    ]
    last = scans[-1]
    return _NO_SECRET.judge(
        faults,
        good=f"{last.files:,} files, {last.searched_bytes / 1e6:.1f} MB, searched for "
        f"{last.needles:,} secrets",
        bad=f"files that hold secrets of the run: {len(faults):,}",
    )


_CLEAN = Claim("nothing_left_behind", "After the teardown no process of the bench is left.")


def nothing_left_behind(journal: Journal) -> Verdict:
    """The teardown ended every process."""
    downs = journal.of(BenchDown)
    if not downs:
        return _CLEAN.inconclusive("no teardown was observed")
    faults = [
        Evidence(
            endpoint=name,
            observed="still there",
            expected="gone",
            at_s=journal.since_start_s(down.at_ns),
        )
        for down in downs
        for name in down.left
    ]
    return _CLEAN.judge(
        faults,
        good=f"down in {downs[-1].down_s:.2f} s, nothing left",
        bad=f"processes left: {len(faults):,}",
    )


_STAY_UP = Claim("processes_stay_up", "No process ends that no story killed.")


def processes_stay_up(journal: Journal) -> Verdict:
    """Nothing crashed."""
    missing = unobserved(journal, ProcessStarted)
    if missing is not None:
        return _STAY_UP.inconclusive(missing)
    faults = [
        Evidence(
            endpoint=record.process,
            observed=f"ended by itself with code {record.returncode}",
            expected="running",
            at_s=journal.since_start_s(record.at_ns),
        )
        for record in journal.of(ProcessExited)
    ]
    started = len(journal.of(ProcessStarted))
    return _STAY_UP.judge(
        faults, good=f"{started} started, none crashed", bad=f"crashes: {len(faults):,}"
    )


_KILLED = Claim("every_planned_kill_struck", "Every kill that the story planned took place.")


def every_planned_kill_struck(journal: Journal) -> Verdict:
    """A story about kills proves nothing when its points were not reached."""
    planned = sum(round(n.value) for n in journal.of(Note) if n.name == NOTE_KILLS_PLANNED)
    kills = journal.of(ProcessKilled)
    seen = [
        Evidence(
            endpoint=kill.endpoint or kill.process,
            observed=f"{kill.process} killed at {kill.point}",
            at_s=journal.since_start_s(kill.at_ns),
        )
        for kill in kills
    ]
    if not planned:
        return _KILLED.inconclusive("the story planned no kill", seen)
    if len(kills) < planned:
        return _KILLED.inconclusive(f"{len(kills)} of {planned} kills took place", seen)
    return _KILLED.holds(f"{len(kills)} kills took place", seen)
