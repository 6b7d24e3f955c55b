"""Claims about a city's hours: dusk, a power cut and the return, a schedule that is followed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from contracts.journal import (
    DeviceConnected,
    DeviceRegistered,
    DeviceStarted,
    PackGenerated,
    PhaseBegan,
    ReadingsStored,
)
from contracts.load import (
    DevicePowerLost,
    DevicePowerRestored,
    LagSample,
    LoadAsked,
    StoreAsked,
)
from contracts.report import Evidence
from contracts.telemetry import ReadingValue
from harness.checks.accounting import PackKey, is_same, packs
from harness.checks.onboarding import onboarding
from harness.checks.registrations import wanted
from harness.checks.verdict import Claim, Verdict, unobserved
from harness.journal import Journal

BACK_WITHIN_S = "back_within_s"
DUSK_WITHIN_S = "dusk_within_s"
SCHEDULED = "scheduled_"
LAMP: Final = "street_lamp"
LIT_PATH: Final = "/3419/0/3"
DUSK: Final = "schedule"

# ---- dusk ----

_DUSK = Claim(
    "every_lamp_reports_within_the_minute",
    f"When it gets dark every street lamp reports that it is lit ({LIT_PATH}), and the report is "
    "stored within the time that the scenario states from the first lamp's.",
)


def every_lamp_reports_within_the_minute(journal: Journal) -> Verdict:
    """A stored reading that is true, of every lamp, soon enough after dusk began."""
    missing = unobserved(journal, DeviceStarted, ReadingsStored)
    within_s = wanted(journal, DUSK_WITHIN_S)
    began = [each.at_ns for each in journal.of(PhaseBegan) if each.phase == DUSK]
    if missing is not None or within_s is None or not began:
        return _DUSK.inconclusive(missing or "there was no dusk")
    lamps = [each.endpoint for each in journal.of(DeviceStarted) if each.model == LAMP]
    lit: dict[str, int] = {}
    for commit in journal.of(ReadingsStored):
        if commit.at_ns >= began[0]:
            for endpoint, path, _, value in commit.rows:
                if path == LIT_PATH and value is True:
                    lit.setdefault(endpoint, commit.at_ns)
    most_ns = began[0] + round(within_s * 1e9)
    faults = [
        Evidence(
            endpoint=lamp,
            observed="never reported that it is lit"
            if lamp not in lit
            else f"reported {(lit[lamp] - began[0]) / 1e9:.1f} s after dusk began",
            expected=f"within {within_s:g} s",
        )
        for lamp in lamps
        if lit.get(lamp, most_ns + 1) > most_ns
    ]
    if not lamps:
        return _DUSK.inconclusive("there is no lamp")
    last_s = (max(lit.values(), default=began[0]) - began[0]) / 1e9
    return _DUSK.judge(
        faults,
        good=f"all {len(lamps):,} lamps, the last after {last_s:.1f} s",
        bad=f"{len(faults):,} of {len(lamps):,} lamps did not, or late",
    )


# ---- power cut ----

_BACK = Claim(
    "everyone_is_back",
    "Every device whose power was cut and came back has registered and connected again, and a "
    "reading that it made since is stored, within the time that the scenario states.",
)


def everyone_is_back(journal: Journal) -> Verdict:
    """Registered, connected and heard, each device since its own return."""
    missing = unobserved(journal, DevicePowerLost, DeviceStarted)
    within_s = wanted(journal, BACK_WITHIN_S)
    if missing is not None or within_s is None:
        return _BACK.inconclusive(missing or "the scenario states no time")
    lost = {each.endpoint for each in journal.of(DevicePowerLost)}
    back = {each.endpoint: each for each in journal.of(DevicePowerRestored)}
    faults = list(_not_back(journal, lost, back, within_s))
    return _BACK.judge(
        faults,
        good=f"all {len(lost):,} devices, each within {within_s:g} s of its return",
        bad=f"{len(faults):,} of {len(lost):,} devices are not back, or late",
    )


def _not_back(
    journal: Journal,
    lost: set[str],
    back: Mapping[str, DevicePowerRestored],
    within_s: float,
) -> Iterator[Evidence]:
    reached = {
        "registered": _first_since(back, journal.of(DeviceRegistered)),
        "connected": _first_since(back, journal.of(DeviceConnected)),
        "stored a reading": _stored_since(journal, back),
    }
    for endpoint in sorted(lost):
        restored = back.get(endpoint)
        if restored is None:
            yield Evidence(endpoint=endpoint, observed="its power never came back", expected="back")
            continue
        for what, found in reached.items():
            at_ns = found.get(endpoint)
            took_s = None if at_ns is None else (at_ns - restored.intended_at_ns) / 1e9
            if took_s is None or took_s > within_s:
                never = f"never {what} again"
                yield Evidence(
                    endpoint=endpoint,
                    observed=never if took_s is None else f"{what} after {took_s:.1f} s",
                    expected=f"within {within_s:g} s",
                    at_s=journal.since_start_s(restored.at_ns),
                )
                break


def _first_since(
    back: Mapping[str, DevicePowerRestored],
    records: list[DeviceRegistered] | list[DeviceConnected],
) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in records:
        restored = back.get(record.endpoint)
        if restored is not None and record.at_ns >= restored.at_ns:
            found.setdefault(record.endpoint, record.at_ns)
    return found


def _stored_since(journal: Journal, back: Mapping[str, DevicePowerRestored]) -> dict[str, int]:
    """When the first reading that a device made after its return was stored."""
    made_us = {name: journal.unix_us(restored.at_ns) for name, restored in back.items()}
    found: dict[str, int] = {}
    for commit in journal.of(ReadingsStored):
        for endpoint, _, time_us, _ in commit.rows:
            if time_us >= made_us.get(endpoint, 1 << 62):
                found.setdefault(endpoint, commit.at_ns)
    return found


# ---- the stores ----

_AGREE = Claim(
    "stores_agree",
    "At the end the LwM2M server holds every device's registration, provisioning has its thing, "
    "and the newest reading in the telemetry store is the newest that the device was thanked for.",
)


def stores_agree(journal: Journal) -> Verdict:
    """What each part said of each device when it was asked, against the device's own record."""
    missing = unobserved(journal, StoreAsked, PackGenerated)
    if missing is not None:
        return _AGREE.inconclusive(missing)
    newest = _newest(journal)
    asked = {each.endpoint: each for each in journal.of(StoreAsked)}
    faults = []
    for endpoint in journal.derive(onboarding).devices:
        observed = _disagreement(asked.get(endpoint), newest[endpoint])
        if observed is not None:
            faults.append(Evidence(endpoint=endpoint, observed=observed, expected="agreement"))
    return _AGREE.judge(
        faults,
        good=f"server, things and telemetry agree about {len(asked):,} devices",
        bad=f"devices about which parts disagree: {len(faults):,}",
    )


def _newest(journal: Journal) -> Mapping[str, dict[str, tuple[int, ReadingValue]]]:
    """By device and path: the newest reading that the broker acknowledged."""
    thanked = journal.derive(packs).acknowledged_ns
    found: defaultdict[str, dict[str, tuple[int, ReadingValue]]] = defaultdict(dict)
    for pack in journal.of(PackGenerated):
        if PackKey(pack.endpoint, pack.boot, pack.sequence) in thanked:
            of_device = found[pack.endpoint]
            for path, time_us, value in pack.records:
                if time_us >= of_device.get(path, (0, 0))[0]:
                    of_device[path] = (time_us, value)
    return found


def _disagreement(
    asked: StoreAsked | None, newest: Mapping[str, tuple[int, ReadingValue]]
) -> str | None:
    if asked is None:
        return "nobody was asked about it"
    if not asked.registered:
        return "the LwM2M server does not hold it"
    if not asked.thing:
        return "provisioning has no thing for it"
    latest_us = max((time_us for time_us, _ in newest.values()), default=0)
    if asked.time_us != latest_us:
        return f"the store's newest reading is {(asked.time_us - latest_us) / 1e6:+.3f} s off"
    if asked.path in newest and not (
        asked.value is not None and is_same(newest[asked.path][1], asked.value)
    ):
        return f"the store has {asked.path} = {asked.value!r}, not {newest[asked.path][1]!r}"
    return None


# ---- a schedule ----

_FOLLOWED = Claim(
    "schedule_is_followed",
    "Everything that the schedule asks for is issued: as often, kind by kind, as it says.",
    about="loader",
)


def schedule_is_followed(journal: Journal) -> Verdict:
    """What fleets say they issued, against what the schedule's file has."""
    missing = unobserved(journal, LagSample)
    names = _scheduled(journal)
    if missing is not None or not names:
        return _FOLLOWED.inconclusive(missing or "there was no schedule")
    issued: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for sample in journal.of(LagSample):
        issued[sample.kind] += sum(number for _, number in sample.lags)
        missed[sample.kind] += sample.missed
    faults = [
        Evidence(
            endpoint=kind,
            observed=f"{issued[kind]:,} issued, {missed[kind]:,} not: nobody could do it",
            expected=f"{number:,}",
        )
        for kind, number in sorted(names.items())
        if issued[kind] < number
    ]
    total = sum(names.values())
    if faults:
        return _FOLLOWED.inconclusive(f"kinds of events that fell short: {len(faults)}", faults)
    return _FOLLOWED.holds(f"{total:,} events of {len(names)} kinds")


def _scheduled(journal: Journal) -> dict[str, int]:
    return {
        name.removeprefix(SCHEDULED): round(number)
        for each in journal.of(LoadAsked)
        for name, number in each.wanted.items()
        if name.startswith(SCHEDULED)
    }
