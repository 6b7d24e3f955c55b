"""Claims about commands: lamps obey, and nothing is carried out twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from contracts.journal import (
    CommandConcluded,
    CommandEnded,
    CommandIssued,
    CommandSent,
    DeviceStarted,
    DownlinkServed,
    ReadingsStored,
)
from contracts.report import Evidence
from contracts.telemetry import SENML_UNITS
from harness.checks.onboarding import onboarding
from harness.checks.verdict import Claim, Verdict, unobserved
from harness.journal import Journal

LAMP_MODEL = "street_lamp"
COMMAND_PATH = "/3416/0/1"
LEVEL_PATH = "/3416/0/3"
_LEVEL_FACTOR = SENML_UNITS["/100"][1]
_LEVEL_TOLERANCE = 1e-9


class Commanding(NamedTuple):
    """What became of the commands of a run. States are those of the control API."""

    issued: Mapping[str, CommandIssued]
    states: Mapping[str, str]
    sent: frozenset[str]
    ended_ns: Mapping[str, int]
    executed: Mapping[tuple[str, str], int]


def commanding(journal: Journal) -> Commanding:
    """Collect what operator, server and devices recorded of every command."""
    issued = {record.id: record for record in journal.of(CommandIssued)}
    targets = {(record.endpoint, record.path) for record in issued.values()}
    return Commanding(
        issued=issued,
        states={record.id: record.state for record in journal.of(CommandConcluded)},
        sent=frozenset(r.id for r in journal.of(CommandSent) if r.id in issued),
        ended_ns={r.id: r.at_ns for r in reversed(journal.of(CommandEnded)) if r.id in issued},
        executed=Counter(
            (served.endpoint, served.path)
            for served in journal.of(DownlinkServed)
            if (served.endpoint, served.path) in targets and served.code.startswith("2.")
        ),
    )


_OBEYS = Claim(
    "every_lamp_obeys",
    f"Every street lamp is commanded a level, the command succeeds, and a later reading of "
    f"{LEVEL_PATH} has that level.",
)


def every_lamp_obeys(journal: Journal) -> Verdict:
    """Each lamp got its command, answered, and showed it."""
    missing = unobserved(journal, DeviceStarted, ReadingsStored)
    if missing is not None:
        return _OBEYS.inconclusive(missing)
    devices = journal.derive(onboarding).devices
    lamps = [endpoint for endpoint, device in devices.items() if device.model == LAMP_MODEL]
    if not lamps:
        return _OBEYS.holds("there is no street lamp in this run")
    found = journal.derive(commanding)
    faults = [*_disobedience(journal, found), *_neglected(lamps, found)]
    doubts = [e for e in faults if e.observed.startswith("its command is unknown")]
    if doubts and len(doubts) == len(faults):
        return _OBEYS.inconclusive(f"commands without an outcome: {len(doubts):,}", doubts)
    return _OBEYS.judge(
        faults,
        good=f"all {len(lamps):,} lamps obeyed",
        bad=f"{len(faults):,} of {len(lamps):,} lamps did not obey",
    )


def _neglected(lamps: list[str], found: Commanding) -> Iterator[Evidence]:
    commanded = {c.endpoint for c in found.issued.values() if c.path == COMMAND_PATH}
    for endpoint in lamps:
        if endpoint not in commanded:
            yield Evidence(
                endpoint=endpoint, observed="was never commanded", expected="a commanded level"
            )


def _disobedience(journal: Journal, found: Commanding) -> Iterator[Evidence]:
    levels = _levels(journal, {command.endpoint for command in found.issued.values()})
    for command in found.issued.values():
        if command.path != COMMAND_PATH or not isinstance(command.value, int | float):
            continue
        issued_us = journal.unix_us(command.at_ns)
        later = [
            value for time_us, value in levels.get(command.endpoint, ()) if time_us > issued_us
        ]
        wanted = command.value * _LEVEL_FACTOR
        fault = _fault(found.states.get(command.id, "unknown"), later, wanted)
        if fault is not None:
            yield Evidence(
                endpoint=command.endpoint,
                observed=fault,
                expected=f"{LEVEL_PATH} at {wanted:g}",
                at_s=journal.since_start_s(command.at_ns),
            )


def _fault(state: str, later: list[float], wanted: float) -> str | None:
    if state != "succeeded":
        return f"its command is {state}"
    if any(abs(value - wanted) <= _LEVEL_TOLERANCE for value in later):
        return None
    return f"{later[-1]:g} was its last level" if later else "no later reading of its level"


def _levels(journal: Journal, endpoints: set[str]) -> dict[str, list[tuple[int, float]]]:
    """Stored dimming levels (device time, SenML value) of these devices."""
    levels: dict[str, list[tuple[int, float]]] = {}
    for record in journal.of(ReadingsStored):
        for endpoint, path, time_us, value in record.rows:
            if path == LEVEL_PATH and endpoint in endpoints and isinstance(value, int | float):
                levels.setdefault(endpoint, []).append((time_us, value))
    return levels


_ONCE = Claim(
    "commands_are_executed_once",
    "No device carries a command out more often than it was issued, and every command that is "
    "reported as succeeded was carried out.",
)


def _nothing_issued(journal: Journal) -> Verdict:
    devices = journal.derive(onboarding).devices.values()
    if devices and all(device.model != LAMP_MODEL for device in devices):
        return _ONCE.holds("there is no street lamp to command in this run")
    return _ONCE.inconclusive("no command was issued")


def commands_are_executed_once(journal: Journal) -> Verdict:
    """Devices carried out as many commands as were issued to them."""
    found = journal.derive(commanding)
    if not found.issued:
        return _nothing_issued(journal)
    missing = unobserved(journal, DownlinkServed)
    if missing is not None:
        return _ONCE.inconclusive(missing)
    issued: Counter[tuple[str, str]] = Counter()
    succeeded: Counter[tuple[str, str]] = Counter()
    for command in found.issued.values():
        issued[command.endpoint, command.path] += 1
        succeeded[command.endpoint, command.path] += found.states.get(command.id) == "succeeded"
    faults = [
        Evidence(
            endpoint=target[0],
            observed=f"{target[1]} carried out {times} times",
            expected=f"{issued[target]} issued, {succeeded[target]} succeeded",
        )
        for target in issued
        if not succeeded[target] <= (times := found.executed.get(target, 0)) <= issued[target]
    ]
    return _ONCE.judge(
        faults,
        good=f"{sum(found.executed.values()):,} carried out, {len(found.issued):,} issued",
        bad=f"devices that carried out more or fewer commands than they should: {len(faults):,}",
    )
