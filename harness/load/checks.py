"""What must be true of a load: that Locust counted what the journal says, and what devices did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from contracts.journal import DeviceStarted, Note
from contracts.report import Evidence
from harness.checks import Check, Claim, Verdict, loader_kept_up
from harness.journal import Journal
from harness.load.config import Totals
from harness.load.operations import BenchOperations, FleetOperations, Operation

# Notes with these names hold Locust's totals: its table has no other way into the journal.
NOTE_COUNT: Final = "locust:count:"
NOTE_FAILURES: Final = "locust:failures:"
NOTE_MISSING: Final = "locust:workers_missing"
# What only the loader itself, or the bench's observers, have lines for.
FLEET_KINDS_NOT: Final = frozenset({"loader", "bootstrapped", "online", "update", "command"})

Counts = dict[str, tuple[int, int]]
"""`kind name`, then how many there were and how many of them failed."""


def totals_notes(totals: Totals, at_ns: int) -> list[Note]:
    """Locust's totals as records."""
    notes = [Note(at_ns=at_ns, name=NOTE_MISSING, value=totals.workers_missing)]
    for entry in totals.entries:
        line = f"{entry.kind} {entry.name}"
        notes.append(Note(at_ns=at_ns, name=NOTE_COUNT + line, value=entry.count))
        if entry.failures:
            notes.append(Note(at_ns=at_ns, name=NOTE_FAILURES + line, value=entry.failures))
    return notes


def counted_by_locust(journal: Journal) -> Counts:
    """What Locust counted, by what its notes say."""
    counts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for note in journal.of(Note):
        if note.name.startswith(NOTE_COUNT):
            counts[note.name.removeprefix(NOTE_COUNT)] += round(note.value)
        elif note.name.startswith(NOTE_FAILURES):
            failures[note.name.removeprefix(NOTE_FAILURES)] += round(note.value)
    return {line: (counts[line], failures[line]) for line in counts}


def counted_in_journal(journal: Journal) -> Counts:
    """The same lines, counted from what fleets recorded."""
    operations = FleetOperations()
    return count(each for record in journal for each in operations.take(record))


def observed_in_journal(journal: Journal) -> Counts:
    """The same lines, counted from what the bench's observers recorded."""
    operations = BenchOperations()
    started = [each for r in journal.of(DeviceStarted) for each in operations.started(r)]
    return count([*started, *(each for record in journal for each in operations.take(record))])


def count(operations: Iterable[Operation]) -> Counts:
    """How many operations of each kind and name, and how many failed."""
    counts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for operation in operations:
        line = f"{operation.kind} {operation.name}"
        counts[line] += 1
        failures[line] += bool(operation.failure)
    return {line: (number, failures[line]) for line, number in counts.items()}


_EQUAL = Claim(
    "locust_counts_what_the_journal_says",
    "Every line of Locust's table about devices has as many operations, and as many failures, as "
    "the journals of the fleets.",
)


def locust_counts_what_the_journal_says(journal: Journal) -> Verdict:
    """Locust's totals equal the journal's."""
    if missing := workers_missing(journal):
        return _EQUAL.inconclusive(f"{missing} workers did not count to the end: totals are low")
    locust = {
        line: counted
        for line, counted in counted_by_locust(journal).items()
        if line.partition(" ")[0] not in FLEET_KINDS_NOT
    }
    if not locust or not journal.of(DeviceStarted):
        return _EQUAL.inconclusive("Locust counted nothing, or no device was switched on")
    found = counted_in_journal(journal)
    faults = [
        Evidence(
            endpoint=line,
            observed=_told(locust.get(line, (0, 0))),
            expected=_told(found.get(line, (0, 0))),
        )
        for line in sorted(locust.keys() | found.keys())
        if locust.get(line) != found.get(line)
    ]
    total = sum(number for number, _ in found.values())
    return _EQUAL.judge(
        faults,
        good=f"{total:,} operations in {len(found)} lines, the same in both",
        bad=f"lines that differ: {len(faults)}",
    )


def _told(counted: tuple[int, int]) -> str:
    return f"{counted[0]:,}, {counted[1]:,} failed"


_COUNTED = Claim("every_worker_counted", "Every worker counted its test to the end.")


def every_worker_counted(journal: Journal) -> Verdict:
    """No worker was lost, and its devices with it."""
    if not counted_by_locust(journal):
        return _COUNTED.inconclusive("Locust counted nothing")
    if missing := workers_missing(journal):
        return _COUNTED.inconclusive(f"{missing} did not: their devices are gone with them")
    return _COUNTED.holds("all did")


def workers_missing(journal: Journal) -> int:
    """How many workers did not say that they had counted to the end."""
    return round(sum(note.value for note in journal.of(Note) if note.name == NOTE_MISSING))


_SUCCEED = Claim("operations_succeed", "No operation of a device failed.")


def operations_succeed(journal: Journal) -> Verdict:
    """No line of the journal is a failure."""
    found = counted_in_journal(journal)
    if not found:
        return _SUCCEED.inconclusive("there were no operations")
    faults = [
        Evidence(endpoint=line, observed=f"{failed:,} of {number:,} failed", expected="none")
        for line, (number, failed) in sorted(found.items())
        if failed
    ]
    total = sum(number for number, _ in found.values())
    return _SUCCEED.judge(
        faults,
        good=f"{total:,} operations succeeded",
        bad=f"kinds of operations with failures: {len(faults)}",
    )


CHECKS: tuple[Check, ...] = (
    operations_succeed,
    every_worker_counted,
    locust_counts_what_the_journal_says,
    loader_kept_up,
)
"""What is judged of every load whose journals are on this machine."""
