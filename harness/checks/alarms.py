"""Claims about alarms: raised, cleared, and stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from contracts.journal import AlarmGenerated, AlarmStored, DeviceStarted
from contracts.report import Evidence
from harness.checks.accounting import PackKey, packs
from harness.checks.onboarding import onboarding
from harness.checks.verdict import Claim, Verdict, unobserved
from harness.journal import Journal


class _AlarmKey(NamedTuple):
    """What makes an alarm the same alarm; `raised` false is its clearing."""

    endpoint: str
    path: str
    time_us: int
    alarm: str
    raised: bool


_ALARMS = Claim(
    "alarms_raise_and_clear",
    "Of every model in the run an alarm was raised, then cleared, and both are stored; every "
    "alarm that the broker acknowledged is stored, once, and none that no device made.",
)


def alarms_raise_and_clear(journal: Journal) -> Verdict:
    """Each model shows one whole alarm, and none that was acknowledged is missing."""
    missing = unobserved(journal, DeviceStarted)
    if missing is not None:
        return _ALARMS.inconclusive(missing)
    models = {device.model for device in journal.derive(onboarding).devices.values()}
    faults = [*_models_without(journal, models), *_missing(journal), *_invented(journal)]
    stored = len(journal.of(AlarmStored))
    return _ALARMS.judge(
        faults,
        good=f"{stored:,} alarms stored; each of {len(models)} models raised and cleared one",
        bad=f"alarms missing, never cleared or never made: {len(faults):,}",
    )


def _models_without(journal: Journal, models: set[str]) -> Iterator[Evidence]:
    devices = journal.derive(onboarding).devices
    raised: set[tuple[str, str]] = set()
    shown = dict.fromkeys(sorted(models), "no alarm was stored")
    for record in sorted(journal.of(AlarmStored), key=lambda stored: stored.time_us):
        device = devices.get(record.endpoint)
        if device is None or shown.get(device.model, "") == "":
            continue
        alarm = (record.endpoint, record.alarm)
        if record.raised:
            raised.add(alarm)
            shown[device.model] = f"{record.alarm} of {record.endpoint} was raised, never cleared"
        elif alarm in raised:
            shown[device.model] = ""
    for model, fault in shown.items():
        if fault:
            yield Evidence(endpoint=model, observed=fault, expected="raised, then cleared")


def _missing(journal: Journal) -> Iterator[Evidence]:
    acknowledged = journal.derive(packs).acknowledged_ns
    stored = {
        _AlarmKey(r.endpoint, r.path, r.time_us, r.alarm, r.raised) for r in journal.of(AlarmStored)
    }
    for record in journal.of(AlarmGenerated):
        pack = PackKey(record.endpoint, record.boot, record.sequence)
        key = _AlarmKey(record.endpoint, record.path, record.time_us, record.alarm, record.raised)
        if pack in acknowledged and key not in stored:
            verb = "raised" if record.raised else "cleared"
            yield Evidence(
                endpoint=record.endpoint,
                observed=f"{record.alarm} {verb}: acknowledged and not stored",
                expected="stored",
                at_s=journal.since_start_s(record.at_ns),
            )


def _invented(journal: Journal) -> Iterator[Evidence]:
    """Stored alarms that their device never made, and those that are stored again."""
    left = {
        _AlarmKey(r.endpoint, r.path, r.time_us, r.alarm, r.raised)
        for r in journal.of(AlarmGenerated)
    }
    made = frozenset(left)
    for record in journal.of(AlarmStored):
        key = _AlarmKey(record.endpoint, record.path, record.time_us, record.alarm, record.raised)
        if key in left:
            left.remove(key)
            continue
        yield Evidence(
            endpoint=record.endpoint,
            observed=f"{record.alarm} stored " + ("again" if key in made else "and never made"),
            expected="stored once" if key in made else "no such alarm",
            at_s=journal.since_start_s(record.at_ns),
        )
