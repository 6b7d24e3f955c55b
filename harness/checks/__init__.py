"""Claims about a run: pure functions of the journal, each with a verdict and evidence for it."""

from __future__ import annotations

from collections.abc import Iterable

from harness.checks.alarms import alarms_raise_and_clear
from harness.checks.bench import (
    every_planned_kill_struck,
    loader_kept_up,
    no_secret_in_outputs,
    nothing_left_behind,
    processes_stay_up,
)
from harness.checks.commands import commands_are_executed_once, every_lamp_obeys
from harness.checks.onboarding import (
    devices_hold_their_own_credentials,
    every_device_comes_online,
    every_row_is_provisioned,
    stages_are_in_order,
    unknown_devices_are_ignored,
)
from harness.checks.outcome import Conclusion, conclude
from harness.checks.readings import (
    acknowledged_readings_are_stored,
    at_least,
    every_reading_is_acknowledged,
    readings_are_unaltered,
    readings_arrive_once,
    readings_stay_with_their_device,
    streams_report,
)
from harness.checks.verdict import Check, Claim, Verdict
from harness.journal import Journal

READINGS: tuple[Check, ...] = (
    acknowledged_readings_are_stored,
    readings_are_unaltered,
    readings_arrive_once,
    readings_stay_with_their_device,
    every_reading_is_acknowledged,
)
"""What must be true of readings in every run."""

HOUSEKEEPING: tuple[Check, ...] = (no_secret_in_outputs, processes_stay_up, nothing_left_behind)
"""What must be true of the bench in every run."""

MAIN_JOB: tuple[Check, ...] = (
    every_row_is_provisioned,
    every_device_comes_online,
    stages_are_in_order,
    devices_hold_their_own_credentials,
    every_lamp_obeys,
    commands_are_executed_once,
    streams_report,
    alarms_raise_and_clear,
    *READINGS,
    *HOUSEKEEPING,
    loader_kept_up,
)

KILLS: tuple[Check, ...] = (
    every_planned_kill_struck,
    every_row_is_provisioned,
    every_device_comes_online,
    devices_hold_their_own_credentials,
    every_lamp_obeys,
    commands_are_executed_once,
    *READINGS,
    *HOUSEKEEPING,
)

UNKNOWN_DEVICES: tuple[Check, ...] = (
    unknown_devices_are_ignored,
    every_row_is_provisioned,
    every_device_comes_online,
    stages_are_in_order,
    devices_hold_their_own_credentials,
    *READINGS,
    *HOUSEKEEPING,
)


def judge(journal: Journal, checks: Iterable[Check]) -> list[Verdict]:
    """The verdict of every check, in order."""
    return [check(journal) for check in checks]


__all__ = [
    "HOUSEKEEPING",
    "KILLS",
    "MAIN_JOB",
    "READINGS",
    "UNKNOWN_DEVICES",
    "Check",
    "Claim",
    "Conclusion",
    "Verdict",
    "acknowledged_readings_are_stored",
    "alarms_raise_and_clear",
    "at_least",
    "commands_are_executed_once",
    "conclude",
    "devices_hold_their_own_credentials",
    "every_device_comes_online",
    "every_lamp_obeys",
    "every_planned_kill_struck",
    "every_reading_is_acknowledged",
    "every_row_is_provisioned",
    "judge",
    "loader_kept_up",
    "no_secret_in_outputs",
    "nothing_left_behind",
    "processes_stay_up",
    "readings_are_unaltered",
    "readings_arrive_once",
    "readings_stay_with_their_device",
    "stages_are_in_order",
    "streams_report",
    "unknown_devices_are_ignored",
]
