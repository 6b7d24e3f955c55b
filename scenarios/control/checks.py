"""Claims about commands to many, and about commands under kills."""

from __future__ import annotations

from collections import Counter

from contracts.api import FINAL_COMMAND_STATES
from contracts.journal import CommandEnded, DownlinkServed, Note, ProcessKilled
from contracts.report import Evidence
from harness.checks import Claim, Verdict
from harness.checks.commands import commanding
from harness.checks.verdict import unobserved
from harness.journal import Journal

# The note with how many devices a group command found when it was accepted.
GROUP_DEVICES = "group_devices"

_EVERYONE = Claim(
    "a_group_command_reaches_everyone",
    "A group command finds every device that was to get it, each has exactly one command of it "
    "with an outcome, and each command succeeds.",
)
_OUTCOMES = Claim(
    "every_command_has_its_outcome",
    "Every command that was accepted ends in a final state.",
)
_EXECUTED = Claim(
    "nothing_is_executed_twice",
    "No device carries out an Execute more often than it was issued to it, whatever is killed.",
)
_UNKNOWN = Claim(
    "unknown_only_what_was_under_way",
    "A command is unknown only when it was under way at a kill: issued before it, and without an "
    "outcome at the server then.",
)


def a_group_command_reaches_everyone(journal: Journal) -> Verdict:
    """As many outcomes as devices, each of another device."""
    told = [note for note in journal.of(Note) if note.name == GROUP_DEVICES]
    if not told:
        return _EVERYONE.inconclusive("no group command was accepted")
    wanted = int(told[-1].value)
    found = journal.derive(commanding)
    times = Counter(command.endpoint for command in found.issued.values())
    faults = [
        Evidence(endpoint=endpoint, observed=f"{count} commands", expected="one")
        for endpoint, count in times.items()
        if count != 1
    ]
    for command in found.issued.values():
        state = found.states.get(command.id, "no final state")
        if state != "succeeded":
            faults.append(Evidence(endpoint=command.endpoint, observed=state, expected="succeeded"))
    if len(times) != wanted:
        faults.append(Evidence(observed=f"{len(times):,} devices", expected=f"{wanted:,} devices"))
    return _EVERYONE.judge(
        faults,
        good=f"{wanted:,} devices, {len(found.states):,} outcomes",
        bad=f"{len(faults):,} devices have not exactly one good outcome",
    )


def every_command_has_its_outcome(journal: Journal) -> Verdict:
    """Nothing that was accepted is lost."""
    found = journal.derive(commanding)
    if not found.issued:
        return _OUTCOMES.inconclusive("no command was issued")
    faults = [
        Evidence(
            endpoint=command.endpoint,
            observed=found.states.get(command.id, "no final state"),
            expected="a final state",
            at_s=journal.since_start_s(command.at_ns),
        )
        for command in found.issued.values()
        if found.states.get(command.id) not in FINAL_COMMAND_STATES
    ]
    return _OUTCOMES.judge(
        faults,
        good=f"all {len(found.issued):,} commands have their outcome",
        bad=f"commands without an outcome: {len(faults):,}",
    )


def nothing_is_executed_twice(journal: Journal) -> Verdict:
    """By the devices' own record."""
    missing = unobserved(journal, DownlinkServed)
    if missing is not None:
        return _EXECUTED.inconclusive(missing)
    served = Counter(
        (one.endpoint, one.path)
        for one in journal.of(DownlinkServed)
        if one.operation == "execute" and one.code.startswith("2.")
    )
    if not served:
        return _EXECUTED.inconclusive("no device has executed anything")
    issued = Counter(
        (command.endpoint, command.path) for command in journal.derive(commanding).issued.values()
    )
    faults = [
        Evidence(
            endpoint=endpoint,
            observed=f"{path} executed {times} times",
            expected=f"at most {issued[endpoint, path]}",
        )
        for (endpoint, path), times in served.items()
        if times > issued[endpoint, path]
    ]
    return _EXECUTED.judge(
        faults,
        good=f"{sum(served.values()):,} executed, each once",
        bad=f"devices that executed more than was issued: {len(faults):,}",
    )


def unknown_only_what_was_under_way(journal: Journal) -> Verdict:
    """Kills explain what is unknown."""
    found = journal.derive(commanding)
    if not found.issued:
        return _UNKNOWN.inconclusive("no command was issued")
    kills = [kill.at_ns for kill in journal.of(ProcessKilled)]
    ended_ns = {one.id: one.at_ns for one in reversed(journal.of(CommandEnded))}
    unknown = [one for one in found.issued.values() if found.states.get(one.id) == "unknown"]
    faults = [
        Evidence(
            endpoint=command.endpoint,
            observed="unknown",
            expected="an outcome: nothing was killed while it was under way",
            at_s=journal.since_start_s(command.at_ns),
        )
        for command in unknown
        if not any(
            command.intended_at_ns <= kill and ended_ns.get(command.id, kill) >= kill
            for kill in kills
        )
    ]
    return _UNKNOWN.judge(
        faults,
        good=f"{len(unknown):,} unknown, all of them under way at a kill",
        bad=f"unknown without a reason: {len(faults):,}",
    )
