"""Claims about readings: none lost, altered, doubled or misrouted, each acknowledged, enough of
them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from contracts.journal import (
    AlarmGenerated,
    DeviceDisconnected,
    DeviceEnded,
    PackGenerated,
    ReadingsStored,
)
from contracts.report import Evidence
from contracts.telemetry import ReadingKey
from fake_devices.devices import MODELS
from harness.checks.accounting import Fault, PackKey, account, packs
from harness.checks.onboarding import onboarding
from harness.checks.verdict import Check, Claim, Verdict, unobserved
from harness.journal import Journal

READINGS_MIN = 10
# A pack that was sent less than this before the end may still be on its way.
GRACE_NS = 5_000_000_000


def _evidence(journal: Journal, faults: Iterable[Fault]) -> list[Evidence]:
    return [
        Evidence(
            endpoint=fault.key.endpoint,
            observed=f"{fault.key.path} dated {_dated(journal, fault.key)}: {fault.observed}",
            expected=fault.expected,
            at_s=journal.since_start_s(fault.at_ns),
        )
        for fault in faults
    ]


def _dated(journal: Journal, key: ReadingKey) -> str:
    """The reading's device time, on the clock of the report: seconds since the run began."""
    return f"t{(key.time_us - journal.unix_us(journal.began_ns)) / 1e6:+.3f} s"


def _judged(
    journal: Journal, claim: Claim, faults: Sequence[Fault], good: str, bad: str
) -> Verdict:
    """Broken when there are faults: `bad` says of what the readings are that are counted."""
    missing = unobserved(journal, PackGenerated, ReadingsStored)
    if missing is not None:
        return claim.inconclusive(missing)
    devices = len({fault.key.endpoint for fault in faults})
    bad = f"readings {bad}: {len(faults):,}, devices concerned: {devices:,}"
    return claim.judge(_evidence(journal, faults), good=good, bad=bad)


_STORED = Claim(
    "acknowledged_readings_are_stored",
    "Every reading whose pack the broker acknowledged is in the telemetry store when the drain "
    "has ended.",
)


def acknowledged_readings_are_stored(journal: Journal) -> Verdict:
    """Nothing that was acknowledged is lost."""
    books = journal.derive(account)
    good = f"{books.acknowledged:,} acknowledged, {books.stored:,} stored, none lost"
    return _judged(journal, _STORED, books.lost, good, "acknowledged and lost")


_UNALTERED = Claim(
    "readings_are_unaltered",
    "Every stored reading has the path, time and value that its device gave it.",
)


def readings_are_unaltered(journal: Journal) -> Verdict:
    """What is stored is what was made."""
    books = journal.derive(account)
    faults = books.altered + books.conflicted
    good = f"{books.stored:,} stored readings are as they were made"
    return _judged(journal, _UNALTERED, faults, good, "altered")


_ONCE = Claim(
    "readings_arrive_once",
    "No reading reaches the store again, but where its device sent it again or ingestion "
    "connected anew.",
)


def readings_arrive_once(journal: Journal) -> Verdict:
    """Repetitions have a reason."""
    books = journal.derive(account)
    good = f"none arrived again without a reason; {books.redelivered:,} with one"
    return _judged(journal, _ONCE, books.duplicated, good, "repeated without a reason")


_HOME = Claim(
    "readings_stay_with_their_device",
    "No reading is stored under, or comes in on the topic of, another device than made it.",
)


def readings_stay_with_their_device(journal: Journal) -> Verdict:
    """Nothing is misrouted."""
    books = journal.derive(account)
    good = f"{books.stored:,} readings are stored under the device that made them"
    return _judged(journal, _HOME, books.misrouted, good, "misrouted")


_ACKNOWLEDGED = Claim(
    "every_reading_is_acknowledged",
    "Every pack of readings or alarms that a device made is acknowledged by the broker; none is "
    "given up, none is unknown at the end.",
)


def every_reading_is_acknowledged(journal: Journal) -> Verdict:
    """No pack ended without a PUBACK."""
    missing = unobserved(journal, PackGenerated)
    if missing is not None:
        return _ACKNOWLEDGED.inconclusive(missing)
    sending = journal.derive(packs)
    made = _packs_made(journal)
    open_packs = [key for key in made if key not in sending.acknowledged_ns]
    lives = _connection_losses(journal, {key.endpoint for key in open_packs})
    ended_ns = min((end.at_ns for end in journal.of(DeviceEnded)), default=journal.ended_ns)
    faults = []
    for key in open_packs:
        sent_ns = sending.sent_ns.get(key)
        faults.append(
            Evidence(
                endpoint=key.endpoint,
                observed=f"pack {key.sequence}: "
                + _why_open(key in sending.dropped, sent_ns, lives[key.endpoint], ended_ns),
                expected="acknowledged",
                at_s=journal.since_start_s(made[key] if sent_ns is None else sent_ns),
            )
        )
    return _ACKNOWLEDGED.judge(
        faults,
        good=f"all {len(made):,} packs were acknowledged",
        bad=f"packs never acknowledged: {len(faults):,} of {len(made):,}",
    )


def _packs_made(journal: Journal) -> dict[PackKey, int]:
    """Every pack and when it was made; an alarm pack has a record for each of its alarms."""
    made: dict[PackKey, int] = {}
    for pack in journal.of(PackGenerated):
        made.setdefault(PackKey(pack.endpoint, pack.boot, pack.sequence), pack.at_ns)
    for alarm in journal.of(AlarmGenerated):
        made.setdefault(PackKey(alarm.endpoint, alarm.boot, alarm.sequence), alarm.at_ns)
    return made


def _connection_losses(journal: Journal, endpoints: set[str]) -> defaultdict[str, list[int]]:
    losses: defaultdict[str, list[int]] = defaultdict(list)
    for record in journal.of(DeviceDisconnected):
        if record.endpoint in endpoints:
            losses[record.endpoint].append(record.at_ns)
    return losses


def _why_open(is_dropped: bool, sent_ns: int | None, losses_ns: list[int], ended_ns: int) -> str:
    if is_dropped:
        return "given up by a full offline buffer"
    if sent_ns is None:
        return "unknown: never sent"
    if any(at_ns >= sent_ns for at_ns in losses_ns):
        return "unknown: the connection was lost after it was sent"
    if ended_ns - sent_ns < GRACE_NS:
        return f"unknown: sent {(ended_ns - sent_ns) / 1e9:.1f} s before the end"
    return f"no PUBACK in {(ended_ns - sent_ns) / 1e9:.1f} s on a live connection"


def streams_report(journal: Journal, readings_min: int = READINGS_MIN) -> Verdict:
    """Every path that devices of a model report has enough stored readings of every device."""
    claim = Claim(
        "streams_report",
        f"Every device has {readings_min} or more stored readings of every path that its model "
        "reports.",
    )
    missing = unobserved(journal, PackGenerated, ReadingsStored)
    if missing is not None:
        return claim.inconclusive(missing)
    faults, streams = list(_thin_streams(journal, readings_min)), _stream_count(journal)
    return claim.judge(
        faults,
        good=f"{streams:,} streams have {readings_min} readings or more",
        bad=f"streams with fewer than {readings_min} readings: {len(faults):,}",
    )


def at_least(readings_min: int) -> Check:
    """`streams_report` with another number of readings."""

    def check(journal: Journal) -> Verdict:
        return streams_report(journal, readings_min)

    return check


def _paths_by_model(journal: Journal) -> dict[str, dict[str, None]]:
    """The paths that a model says its devices report, and those that any of them did report."""
    devices = journal.derive(onboarding).devices
    paths = {name: dict.fromkeys(map(str, model.reported), None) for name, model in MODELS.items()}
    for record in journal.of(PackGenerated):
        if record.endpoint in devices:
            of_model = paths.setdefault(devices[record.endpoint].model, {})
            for path, _, _ in record.records:
                of_model[path] = None
    return paths


def _stream_count(journal: Journal) -> int:
    paths = journal.derive(_paths_by_model)
    devices = journal.derive(onboarding).devices
    return sum(len(paths.get(device.model, {})) for device in devices.values())


def _thin_streams(journal: Journal, readings_min: int) -> Iterator[Evidence]:
    found = Counter(
        (endpoint, path)
        for record in journal.of(ReadingsStored)
        for endpoint, path, _, _ in record.rows
    )
    paths = journal.derive(_paths_by_model)
    for endpoint, device in journal.derive(onboarding).devices.items():
        for path in paths.get(device.model, {"any path": None}):
            if found[endpoint, path] < readings_min:
                yield Evidence(
                    endpoint=endpoint,
                    observed=f"{path}: {found[endpoint, path]} readings stored",
                    expected=f"{readings_min} or more",
                )
