"""Faults of the bench itself: what was seen while it failed says nothing about the platform."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

import msgspec

from contracts.journal import (
    CommandReceived,
    CommandSent,
    Note,
    PhaseBegan,
    ProcessExited,
    ProcessStarted,
    ServerStarted,
)
from contracts.load import FleetBuilt, LoadPlanned
from harness.checks.verdict import Claim, Verdict
from harness.journal import Journal

# A process did not move for a while: its name, and how many seconds.
NOTE_STOOD_STILL = "process_stood_still"
# A journal file became shorter, or is gone; or what the runner observes with has failed.
NOTE_BENCH_FAULT = "bench_fault"
# A device that a defect of the LwM2M server is aimed at.
NOTE_DEFECT_AIMED = "defect_aimed"
# The planted defect took place, at this device.
NOTE_DEFECT_PLANTED = "defect_planted"

PLATFORM = "platform"
# Who issues the commands that write credentials.
_CREDENTIALS = "credentials"


def bench_faults(journal: Journal) -> list[str]:
    """What failed of the bench, in order of time; empty when nothing did.

    What fails after a component of the platform may be its doing, and is not counted.
    """
    sides = sides_of(journal)
    failed = sorted(_failed(journal))
    until_ns = min((at_ns for at_ns, name, _ in failed if sides.get(name) == PLATFORM), default=inf)
    return [
        text for at_ns, name, text in failed if sides.get(name) != PLATFORM and at_ns <= until_ns
    ]


def sides_of(journal: Journal) -> dict[str, str]:
    """By process, which side it is of."""
    return {record.process: record.side for record in journal.of(ProcessStarted)}


def _failed(journal: Journal) -> Iterator[tuple[int, str, str]]:
    """When, which process if it is known, and what."""
    for exited in journal.of(ProcessExited):
        text = f"{exited.process} ended by itself with code {exited.returncode}"
        yield exited.at_ns, exited.process, text
    for note in journal.of(Note):
        if note.name == NOTE_STOOD_STILL:
            text = f"{note.endpoint} stood still for {note.value:g} s"
            yield note.at_ns, note.endpoint, text
        elif note.name == NOTE_BENCH_FAULT:
            yield note.at_ns, note.endpoint, note.text
    for process in sorted(_without_beginning(journal)):
        # At the end: what the platform did before is in other journals.
        yield journal.ended_ns, process, f"the journal of {process} is gone, or lacks its beginning"


def _without_beginning(journal: Journal) -> set[str]:
    """Processes whose journal has not the record that it begins with."""
    has_load = journal.of(LoadPlanned) or any(
        phase.phase == "schedule" for phase in journal.of(PhaseBegan)
    )
    if not has_load or journal.run is None:
        return set()
    sides = sides_of(journal)
    built = {record.process for record in journal.of(FleetBuilt)}
    missing = {name for name, side in sides.items() if side == "fleet" and name not in built}
    is_tapped = journal.run.options.get("taps") == "on"
    if "server" in sides and is_tapped and not journal.of(ServerStarted):
        missing.add("server")
    return missing


def voided_by(faults: Sequence[str], verdict: Verdict) -> Verdict:
    """The verdict where the bench failed: nothing is broken that may be the bench's doing."""
    if not faults or verdict.outcome != "broken":
        return verdict
    return msgspec.structs.replace(
        verdict,
        outcome="inconclusive",
        summary=f"void, since {faults[0]}; it would have been: {verdict.summary}",
    )


def _swapped(journal: Journal) -> set[str]:
    """Of the endpoints aimed at, those whose credentials the server sent, to the other one."""
    aimed = {note.endpoint for note in journal.of(Note) if note.name == NOTE_DEFECT_AIMED}
    sent = {record.id for record in journal.of(CommandSent)}
    return {
        record.endpoint
        for record in journal.of(CommandReceived)
        if record.endpoint in aimed and record.issued_by == _CREDENTIALS and record.id in sent
    }


_PLANTED = Claim("defect_was_planted", "The defect that was asked for took place.")


def defect_was_planted(journal: Journal) -> Verdict:
    """A run that is to show that a defect is found shows nothing when there was none."""
    planted = [note for note in journal.of(Note) if note.name == NOTE_DEFECT_PLANTED]
    wanted = journal.run.defect if journal.run is not None else ""
    swapped = _swapped(journal)
    if swapped:
        return _PLANTED.holds(f"{wanted} took place at {' and '.join(sorted(swapped))}")
    if not planted:
        return _PLANTED.inconclusive(
            f"{wanted or 'the defect'} was asked for and did not take place: nothing suited it; "
            "take more devices or a longer run"
        )
    return _PLANTED.holds(planted[0].text)
