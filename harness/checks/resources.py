"""Claims about memory and descriptors: what processes hold, and that it does not grow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from contracts.journal import PhaseBegan, ProcessSample
from contracts.report import Evidence
from harness.checks.registrations import wanted
from harness.checks.verdict import Claim, Verdict, unobserved
from harness.journal import Journal

MEMORY_BYTES = "memory_bytes"
# The phase whose samples are looked at, and the first part of it, which is warm-up.
PHASE: Final = "soak"
WARM_UP_RATIO: Final = 1 / 3
# Under this nothing can be said: a page of memory more looks like a leak.
MEASURED_S_MIN: Final = 30.0
SAMPLES_MIN: Final = 20
# Growth that is a fault: this part of what the process held, and at least so much, in what was
# measured. Allocators and caches move by as much without a leak.
GROWTH_RATIO: Final = 0.05
GROWTH_BYTES: Final = 4 * 1024 * 1024
GROWTH_DESCRIPTORS: Final = 4
_POINTS_MAX: Final = 400


class Growth(NamedTuple):
    """How one process's holding went: the slope per hour, what that came to, and the level."""

    per_hour: float
    grown: float
    level: float


def growth_of(points: Sequence[tuple[float, float]]) -> Growth:
    """Of (seconds, value), by the median of all slopes (Theil and Sen): peaks do not bend it."""
    step = max(1, len(points) // _POINTS_MAX)
    chosen = points[::step]
    slopes = [
        (value - before) / (at_s - before_s)
        for number, (at_s, value) in enumerate(chosen)
        for before_s, before in chosen[:number]
        if at_s > before_s
    ]
    slope = median(slopes) if slopes else 0.0
    lasted_s = points[-1][0] - points[0][0]
    return Growth(slope * 3_600.0, slope * lasted_s, median(value for _, value in points))


_Value = Callable[[ProcessSample], int]


def _measured(journal: Journal, value: _Value) -> Mapping[str, list[tuple[float, float]]] | str:
    """The samples of each process after the warm-up; a text that says why there are none."""
    missing = unobserved(journal, ProcessSample)
    if missing is not None:
        return missing
    phases = journal.of(PhaseBegan)
    begins = next((n for n, each in enumerate(phases) if each.phase == PHASE), None)
    if begins is None:
        return "there was no soak"
    began_ns = phases[begins].at_ns
    ends_ns = phases[begins + 1].at_ns if begins + 1 < len(phases) else journal.ended_ns
    warm_ns = began_ns + round((ends_ns - began_ns) * WARM_UP_RATIO)
    if ends_ns - warm_ns < MEASURED_S_MIN * 1e9:
        return (
            f"{(ends_ns - warm_ns) / 1e9:.0f} s after the warm-up are too few, "
            f"{MEASURED_S_MIN:g} s are needed: choose a longer --duration"
        )
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for sample in journal.of(ProcessSample):
        held = value(sample)
        if warm_ns <= sample.at_ns < ends_ns and held:
            found[sample.process].append(((sample.at_ns - warm_ns) / 1e9, float(held)))
    if not found or min(map(len, found.values())) < SAMPLES_MIN:
        return f"a process has fewer than {SAMPLES_MIN} samples after the warm-up"
    return found


_MEMORY = Claim(
    "memory_does_not_grow",
    f"After a warm-up of a third of the soak no process's memory grows by more than "
    f"{GROWTH_RATIO:.0%} and {GROWTH_BYTES >> 20} MiB, by the median slope of its samples.",
)


def memory_does_not_grow(journal: Journal) -> Verdict:
    """Resident memory of each process, by its slope."""
    found = _measured(journal, lambda sample: sample.rss_bytes)
    if isinstance(found, str):
        return _MEMORY.inconclusive(found)
    growths = {process: growth_of(points) for process, points in sorted(found.items())}
    faults = [
        Evidence(
            endpoint=process,
            observed=f"grew by {each.grown / 2**20:.1f} MiB, {each.per_hour / 2**20:.1f} an hour, "
            f"from about {each.level / 2**20:.0f} MiB",
            expected=f"{_allowed(each.level) / 2**20:.1f} MiB at most",
        )
        for process, each in growths.items()
        if each.grown > _allowed(each.level)
    ]
    most = max(growths, key=lambda process: growths[process].grown)
    return _MEMORY.judge(
        faults,
        good=f"{len(growths)} processes; the most is {most}, "
        f"{growths[most].grown / 2**20:+.2f} MiB in {_lasted_s(found):.0f} s",
        bad=f"processes that grow: {len(faults)}",
    )


def _allowed(level: float) -> float:
    return max(GROWTH_BYTES, GROWTH_RATIO * level)


def _lasted_s(found: Mapping[str, Sequence[tuple[float, float]]]) -> float:
    return max(points[-1][0] - points[0][0] for points in found.values())


_DESCRIPTORS = Claim(
    "descriptors_do_not_grow",
    f"After a warm-up of a third of the soak no process holds {GROWTH_DESCRIPTORS} descriptors "
    "more at its end than at its beginning, by the median slope of its samples.",
)


def descriptors_do_not_grow(journal: Journal) -> Verdict:
    """Open files, sockets and pipes of each process, by their slope."""
    found = _measured(journal, lambda sample: sample.descriptors)
    if isinstance(found, str):
        return _DESCRIPTORS.inconclusive(found)
    growths = {process: growth_of(points) for process, points in sorted(found.items())}
    faults = [
        Evidence(
            endpoint=process,
            observed=f"{each.grown:+.1f} descriptors, {each.per_hour:+.0f} an hour",
            expected="about as many as before",
        )
        for process, each in growths.items()
        if each.grown >= GROWTH_DESCRIPTORS
    ]
    return _DESCRIPTORS.judge(
        faults,
        good=f"{len(growths)} processes, none grows",
        bad=f"processes that open more than they close: {len(faults)}",
    )


_FITS = Claim(
    "fleet_and_server_fit",
    "Fleet and LwM2M server together never hold more memory than the scenario states.",
)
_COUNTED: Final = frozenset({"fleet", "emulated"})


def fleet_and_server_fit(journal: Journal) -> Verdict:
    """The sum of each process's largest sample, of fleets and emulated services."""
    missing = unobserved(journal, ProcessSample)
    most = wanted(journal, MEMORY_BYTES)
    if missing is not None or most is None or journal.run is None:
        return _FITS.inconclusive(missing or "the scenario states no memory")
    held: dict[str, int] = {}
    for sample in journal.of(ProcessSample):
        if sample.side in _COUNTED:
            held[sample.process] = max(held.get(sample.process, 0), sample.rss_bytes)
    total = sum(held.values())
    each_bytes = total / max(1, journal.run.devices)
    told = f"{total / 1e9:.2f} GB, {each_bytes:,.0f} bytes a device: " + ", ".join(
        f"{process} {size / 1e9:.2f} GB" for process, size in sorted(held.items())
    )
    faults = [Evidence(observed=told, expected=f"{most / 1e9:g} GB at most")] * (total > most)
    return _FITS.judge(faults, good=told, bad=told)
