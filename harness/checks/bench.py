"""Claims about the bench itself: its load, its processes, and what it leaves behind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import median
from types import MappingProxyType
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
from contracts.load import LagSample, LoaderLimits, LoadPlanned
from contracts.report import Evidence
from harness.checks.faults import NOTE_STOOD_STILL
from harness.checks.figures import percentile
from harness.checks.verdict import Claim, Verdict, unobserved
from harness.journal import Journal
from runtime.latency import merge_buckets, percentile_of

FLEET = "fleet"
_ARRIVALS = "switch_on"
NOTE_KILLS_PLANNED = "kills_planned"


class Lag(NamedTuple):
    """How much later than intended one kind of work was issued; `missed` was not at all."""

    issued: int
    missed: int
    p99_ms: float
    max_ms: float


class Load(NamedTuple):
    """How well the fleet kept its schedule. Rates per second, delays in milliseconds."""

    intended_per_s: float | None
    actual_per_s: float | None
    start_lag_p99_ms: float | None
    loop_delay_p99_ms: float | None
    socket_drops: int
    retransmissions: int
    start_lag_max_ms: float | None = None
    loop_delay_max_ms: float | None = None
    lags: Mapping[str, Lag] = MappingProxyType({})
    limits: LoaderLimits = LoaderLimits()

    @property
    def faults(self) -> list[str]:
        """Why the loader counts as saturated; empty when it kept up."""
        limits = self.limits
        measured = [
            ("start lag p99", self.start_lag_p99_ms, limits.lag_p99_ms),
            ("start lag max", self.start_lag_max_ms, limits.lag_max_ms),
            ("loop delay p99", self.loop_delay_p99_ms, limits.loop_delay_p99_ms),
            ("loop delay max", self.loop_delay_max_ms, limits.loop_delay_max_ms),
        ]
        for kind, lag in self.lags.items():
            measured += [
                (f"{kind} lag p99", lag.p99_ms, limits.lag_p99_ms),
                (f"{kind} lag max", lag.max_ms, limits.lag_max_ms),
            ]
        found = [
            f"{name} {value:.1f} ms, over {limit:g} ms"
            for name, value, limit in measured
            if value is not None and limit is not None and value > limit
        ]
        too_many = self.socket_drops > limits.socket_drops
        return found + [f"{self.socket_drops:,} datagrams dropped"] * too_many


def load(journal: Journal) -> Load:
    """What the fleet was meant to do and did."""
    started = journal.of(DeviceStarted)
    samples = [sample for sample in journal.of(LoopSample) if is_fleet(sample.process)]
    lags_ms = sorted((r.at_ns - r.intended_at_ns) / 1e6 for r in started)
    planned = journal.of(LoadPlanned)
    return Load(
        intended_per_s=_rate(sorted(r.intended_at_ns for r in started)),
        actual_per_s=_rate([r.at_ns for r in started]),
        start_lag_p99_ms=percentile(lags_ms, 0.99) if lags_ms else None,
        loop_delay_p99_ms=_loop_delay_p99_ms(samples),
        socket_drops=sum(sample.socket_drops for sample in samples),
        retransmissions=sum(sample.retransmissions for sample in samples),
        start_lag_max_ms=lags_ms[-1] if lags_ms else None,
        loop_delay_max_ms=max((s.delay_max_ns / 1e6 for s in samples), default=None),
        lags=_lags(journal),
        limits=planned[0].limits if planned else LoaderLimits(),
    )


def is_fleet(process: str) -> bool:
    """Whether a process of this name has devices: `fleet`, `fleet-2`…"""
    return process == FLEET or process.startswith(f"{FLEET}-")


def _lags(journal: Journal) -> dict[str, Lag]:
    """By kind of work, over all processes; arrivals are told by the devices themselves."""
    samples: defaultdict[str, list[LagSample]] = defaultdict(list)
    for sample in journal.of(LagSample):
        if sample.kind != _ARRIVALS:
            samples[sample.kind].append(sample)
    return {kind: _lag(of_kind) for kind, of_kind in sorted(samples.items())}


def _lag(samples: list[LagSample]) -> Lag:
    buckets = merge_buckets(sample.lags for sample in samples)
    return Lag(
        issued=sum(count for _, count in buckets),
        missed=sum(sample.missed for sample in samples),
        p99_ms=(percentile_of(buckets, 0.99) or 0) / 1e3,
        max_ms=max(sample.lag_max_ns for sample in samples) / 1e6,
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
    f"The loader kept its schedule: unless the profile sets other limits, 99 of 100 pieces of work "
    f"are issued within {LoaderLimits().lag_p99_ms:g} ms, loop delay p99 is up to "
    f"{LoaderLimits().loop_delay_p99_ms:g} ms, and no datagram is dropped.",
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
    lags = "".join(f", {kind} lag p99 {lag.p99_ms:.1f} ms" for kind, lag in found.lags.items())
    return _KEPT_UP.holds(
        f"start lag p99 {found.start_lag_p99_ms:.1f} ms{lags}, loop delay p99 {delay:.1f} ms, "
        f"{found.socket_drops or 'no'} drops"
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
            observed=how.strip() or "still there",
            expected="gone",
            at_s=journal.since_start_s(down.at_ns),
        )
        for down in downs
        for name, _, how in (each.partition(":") for each in down.left)
    ]
    return _CLEAN.judge(
        faults,
        good=f"down in {downs[-1].down_s:.2f} s, nothing left",
        bad=f"processes left: {len(faults):,}",
    )


_STAY_UP = Claim(
    "processes_stay_up", "No process ends that no story killed, and none stands still."
)


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
    faults += [
        Evidence(
            endpoint=note.endpoint,
            observed=f"stood still for {note.value:g} s",
            expected="running",
            at_s=journal.since_start_s(note.at_ns),
        )
        for note in journal.of(Note)
        if note.name == NOTE_STOOD_STILL
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
