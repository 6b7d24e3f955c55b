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
from harness.checks.bridges import (
    bridge_losses_are_seen,
    commands_reach_exactly_the_holder,
    every_server_has_its_share,
    moved_devices_are_followed,
)
from harness.checks.certificates import (
    all_end_on_their_new_certificates,
    nobody_else_is_disturbed,
    nobody_is_offline_for_longer_than_a_reconnect,
    old_certificates_are_refused,
    revoked_devices_are_thrown_off,
)
from harness.checks.city import (
    every_lamp_reports_within_the_minute,
    everyone_is_back,
    schedule_is_followed,
    stores_agree,
)
from harness.checks.commands import commands_are_executed_once, every_lamp_obeys
from harness.checks.faults import bench_faults, defect_was_planted
from harness.checks.firmware import (
    every_device_runs_its_new_firmware,
    every_image_is_the_one_that_was_offered,
)
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
from harness.checks.registrations import (
    every_device_registers,
    every_device_updates,
    every_event_is_delivered,
    no_registration_lapses,
    reads_return_the_devices_own_value,
    registrations_are_answered_in_time,
    updates_run,
)
from harness.checks.resources import (
    descriptors_do_not_grow,
    fleet_and_server_fit,
    memory_does_not_grow,
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

ROTATION: tuple[Check, ...] = (
    nobody_is_offline_for_longer_than_a_reconnect,
    all_end_on_their_new_certificates,
    old_certificates_are_refused,
    every_row_is_provisioned,
    every_device_comes_online,
    *READINGS,
    *HOUSEKEEPING,
    loader_kept_up,
)

REVOCATION: tuple[Check, ...] = (
    revoked_devices_are_thrown_off,
    nobody_else_is_disturbed,
    old_certificates_are_refused,
    every_row_is_provisioned,
    every_device_comes_online,
    *READINGS,
    *HOUSEKEEPING,
)

LWM2M_ALONE: tuple[Check, ...] = (every_device_registers, *HOUSEKEEPING, loader_kept_up)
"""What must be true of every run that has only the LwM2M server and a fleet."""

MANY_REGISTER: tuple[Check, ...] = (
    registrations_are_answered_in_time,
    no_registration_lapses,
    every_event_is_delivered,
    *LWM2M_ALONE,
)

KEPT_ALIVE: tuple[Check, ...] = (
    no_registration_lapses,
    every_device_updates,
    every_event_is_delivered,
    *LWM2M_ALONE,
)

A_MILLION: tuple[Check, ...] = (
    registrations_are_answered_in_time,
    updates_run,
    reads_return_the_devices_own_value,
    fleet_and_server_fit,
    *LWM2M_ALONE,
)

FIRMWARE: tuple[Check, ...] = (
    every_image_is_the_one_that_was_offered,
    every_device_runs_its_new_firmware,
    *LWM2M_ALONE,
)

CITY: tuple[Check, ...] = (
    every_row_is_provisioned,
    every_device_comes_online,
    devices_hold_their_own_credentials,
    schedule_is_followed,
    *READINGS,
    *HOUSEKEEPING,
    loader_kept_up,
)
"""What must be true of a city that follows a schedule."""

DUSK: tuple[Check, ...] = (every_lamp_reports_within_the_minute, *CITY)

POWER_CUT: tuple[Check, ...] = (everyone_is_back, stores_agree, *CITY)

FOUR_BRIDGES: tuple[Check, ...] = (
    commands_reach_exactly_the_holder,
    moved_devices_are_followed,
    bridge_losses_are_seen,
    every_server_has_its_share,
    every_row_is_provisioned,
    every_device_comes_online,
    devices_hold_their_own_credentials,
    every_lamp_obeys,
    commands_are_executed_once,
    *READINGS,
    *HOUSEKEEPING,
)

SOAK: tuple[Check, ...] = (
    memory_does_not_grow,
    descriptors_do_not_grow,
    every_row_is_provisioned,
    every_device_comes_online,
    devices_hold_their_own_credentials,
    *READINGS,
    *HOUSEKEEPING,
    loader_kept_up,
)


def judge(journal: Journal, checks: Iterable[Check]) -> list[Verdict]:
    """The verdict of every check, in order."""
    return [check(journal) for check in checks]


__all__ = [
    "A_MILLION",
    "CITY",
    "DUSK",
    "FIRMWARE",
    "FOUR_BRIDGES",
    "HOUSEKEEPING",
    "KEPT_ALIVE",
    "KILLS",
    "LWM2M_ALONE",
    "MAIN_JOB",
    "MANY_REGISTER",
    "POWER_CUT",
    "READINGS",
    "REVOCATION",
    "ROTATION",
    "SOAK",
    "UNKNOWN_DEVICES",
    "Check",
    "Claim",
    "Conclusion",
    "Verdict",
    "acknowledged_readings_are_stored",
    "alarms_raise_and_clear",
    "all_end_on_their_new_certificates",
    "at_least",
    "bench_faults",
    "bridge_losses_are_seen",
    "commands_are_executed_once",
    "commands_reach_exactly_the_holder",
    "conclude",
    "defect_was_planted",
    "descriptors_do_not_grow",
    "devices_hold_their_own_credentials",
    "every_device_comes_online",
    "every_device_registers",
    "every_device_runs_its_new_firmware",
    "every_device_updates",
    "every_event_is_delivered",
    "every_image_is_the_one_that_was_offered",
    "every_lamp_obeys",
    "every_lamp_reports_within_the_minute",
    "every_planned_kill_struck",
    "every_reading_is_acknowledged",
    "every_row_is_provisioned",
    "every_server_has_its_share",
    "everyone_is_back",
    "fleet_and_server_fit",
    "judge",
    "loader_kept_up",
    "memory_does_not_grow",
    "moved_devices_are_followed",
    "no_registration_lapses",
    "no_secret_in_outputs",
    "nobody_else_is_disturbed",
    "nobody_is_offline_for_longer_than_a_reconnect",
    "nothing_left_behind",
    "old_certificates_are_refused",
    "processes_stay_up",
    "readings_are_unaltered",
    "readings_arrive_once",
    "readings_stay_with_their_device",
    "reads_return_the_devices_own_value",
    "registrations_are_answered_in_time",
    "revoked_devices_are_thrown_off",
    "schedule_is_followed",
    "stages_are_in_order",
    "stores_agree",
    "streams_report",
    "unknown_devices_are_ignored",
    "updates_run",
]
