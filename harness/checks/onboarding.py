"""From switched on to online: which device came through which stage, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from contracts.journal import (
    STAGES,
    CredentialsActivated,
    DeviceBootstrapped,
    DeviceConnected,
    DeviceRegistered,
    DeviceStarted,
    DownlinkServed,
    ImportEnded,
    LoopSample,
    MessageSeen,
    Note,
    ReadingsStored,
    Stage,
)
from contracts.report import Evidence
from harness.checks.verdict import TAPS_OFF, Claim, Verdict, taps_were_off, unobserved
from harness.journal import Journal

# A story notes each device that it switches on without having provisioned it.
NOTE_UNKNOWN_DEVICE = "unknown_device"
# Two observers of one order may each be late by what their event loops were late.
# On two busy cores a process may wait so long for its turn, between two looks at its own loop, and
# not every observer looks. What a platform does out of order is missing, or seconds apart.
_OBSERVER_LAG_MIN_NS = 400_000_000
_OBSERVER_LAG_MAX_NS = 1_000_000_000


class Started(NamedTuple):
    """A device that was switched on."""

    model: str
    intended_at_ns: int
    at_ns: int


class Onboarding(NamedTuple):
    """The known devices, the unknown ones, and when each device first reached each stage."""

    devices: Mapping[str, Started]
    unknown: frozenset[str]
    stages: Mapping[Stage, Mapping[str, int]]


def onboarding(journal: Journal) -> Onboarding:
    """The onboarding of every device; of several attempts the first success counts."""
    unknown = frozenset(n.endpoint for n in journal.of(Note) if n.name == NOTE_UNKNOWN_DEVICE)
    devices: dict[str, Started] = {}
    for record in journal.of(DeviceStarted):
        if record.endpoint not in unknown:
            started = Started(record.model, record.intended_at_ns, record.at_ns)
            devices.setdefault(record.endpoint, started)
    stages: dict[Stage, dict[str, int]] = {stage: {} for stage in STAGES}
    for stage, endpoint, at_ns in _reached(journal):
        stages[stage].setdefault(endpoint, at_ns)
    return Onboarding(devices, unknown, stages)


def _reached(journal: Journal) -> Iterator[tuple[Stage, str, int]]:
    """Every time that a device reached a stage, in order of time within a stage."""
    for registered in journal.of(DeviceRegistered):
        yield "registered", registered.endpoint, registered.at_ns
    for seen in journal.of(MessageSeen):
        if seen.topic_kind == "event" and seen.event_kind == "registered":
            yield "event_published", seen.endpoint, seen.at_ns
        elif seen.topic_kind == "credentials":
            yield "credentials_published", seen.endpoint, seen.at_ns
    for bootstrapped in journal.of(DeviceBootstrapped):
        yield "bootstrapped", bootstrapped.endpoint, bootstrapped.at_ns
    for connected in journal.of(DeviceConnected):
        yield "mqtt_connected", connected.endpoint, connected.at_ns
    for stored in journal.of(ReadingsStored):
        for row in stored.rows:
            yield "online", row[0], stored.at_ns


# ---- every row is provisioned ----

_PROVISIONED = Claim(
    "every_row_is_provisioned",
    "The import accepts the row of every device of the run, and says of every other row what is "
    "wrong with it.",
)


def every_row_is_provisioned(journal: Journal) -> Verdict:
    """As many rows were accepted as the run has devices; rejected ones are told with a reason."""
    imports = journal.of(ImportEnded)
    if not imports or journal.run is None:
        return _PROVISIONED.inconclusive("no import was observed")
    rejections = [
        Evidence(
            observed=f"row {row} rejected: {field} {reason}".rstrip(),
            at_s=journal.since_start_s(ended.at_ns),
        )
        for ended in imports
        for row, field, reason in ended.reasons
    ]
    accepted, wanted = max(ended.accepted for ended in imports), journal.run.devices
    rejected = sum(ended.rejected for ended in imports)
    if accepted < wanted:
        return _PROVISIONED.broken(f"{accepted:,} of {wanted:,} devices accepted", rejections)
    if rejected and not rejections:
        return _PROVISIONED.broken(f"{rejected:,} rows rejected without a reason", ())
    told = f", {rejected:,} faulty ones rejected with a reason" if rejected else ""
    return _PROVISIONED.holds(f"all {wanted:,} rows of devices accepted{told}", rejections)


# ---- every device comes online ----

_ONLINE = Claim(
    "every_device_comes_online",
    "Every device of the run comes through all six stages: " + ", ".join(STAGES) + ".",
)


def every_device_comes_online(journal: Journal) -> Verdict:
    """All devices of the run were switched on and came through all stages."""
    missing = unobserved(journal, DeviceStarted)
    if missing is not None or journal.run is None:
        return _ONLINE.inconclusive(missing or "there is no beginning of the run")
    if taps_were_off(journal):
        return _ONLINE.inconclusive(f"{TAPS_OFF}: not every stage was observed")
    found = journal.derive(onboarding)
    faults = [
        Evidence(
            endpoint=endpoint,
            observed=f"came to {_last_stage(found, endpoint)}, never to {stage}",
            expected="online",
            at_s=journal.since_start_s(started.at_ns),
        )
        for endpoint, started in found.devices.items()
        if (stage := _first_missing(found, endpoint)) is not None
    ]
    never_started = max(0, journal.run.devices - len(found.devices))
    offline = len(faults) + never_started
    if never_started:
        faults.append(
            Evidence(
                observed=f"devices never switched on: {never_started:,}",
                expected=f"{journal.run.devices:,} devices",
            )
        )
    return _ONLINE.judge(
        faults,
        good=f"all {len(found.devices):,} devices came online through six stages",
        bad=f"{offline:,} of {journal.run.devices:,} devices did not come online",
    )


def _first_missing(found: Onboarding, endpoint: str) -> Stage | None:
    return next((stage for stage in STAGES if endpoint not in found.stages[stage]), None)


def _last_stage(found: Onboarding, endpoint: str) -> str:
    reached = [stage for stage in STAGES if endpoint in found.stages[stage]]
    return reached[-1] if reached else "no stage"


# ---- stages are in order ----

# (cause, effect). `registered` (the device's answer) and `event_published` (the broker's
# acknowledgement) are two parties' views of one message, so nothing orders those two.
CAUSES: tuple[tuple[Stage, Stage], ...] = (
    ("registered", "bootstrapped"),
    ("registered", "mqtt_connected"),
    ("event_published", "credentials_published"),
    ("credentials_published", "bootstrapped"),
    ("bootstrapped", "mqtt_connected"),
    ("mqtt_connected", "online"),
)
_ORDER = Claim(
    "stages_are_in_order",
    "No stage of a device precedes one that must cause it: "
    + "; ".join(f"{cause} before {effect}" for cause, effect in CAUSES)
    + ".",
)


def stages_are_in_order(journal: Journal) -> Verdict:
    """No device's effect was observed before its cause by more than its observers can be late."""
    missing = unobserved(journal, DeviceStarted)
    if missing is not None or taps_were_off(journal):
        return _ORDER.inconclusive(missing or f"{TAPS_OFF}: not every stage was observed")
    found, lag_ns = journal.derive(onboarding), observer_lag_ns(journal)
    faults = []
    for cause, effect in CAUSES:
        causes, effects = found.stages[cause], found.stages[effect]
        for endpoint in found.devices:
            caused, happened = causes.get(endpoint), effects.get(endpoint)
            if happened is not None and (caused is None or happened < caused - lag_ns):
                faults.append(_out_of_order(journal, endpoint, cause, effect, caused, happened))
    return _ORDER.judge(
        faults,
        good=f"in order for {len(found.devices):,} devices; observers may be "
        f"{lag_ns / 1e6:.0f} ms late",
        bad=f"pairs of stages out of order: {len(faults):,}",
    )


def _out_of_order(
    journal: Journal, endpoint: str, cause: Stage, effect: Stage, caused: int | None, happened: int
) -> Evidence:
    early = f"{(caused - happened) / 1e6:.1f} ms before" if caused is not None else "without"
    return Evidence(
        endpoint=endpoint,
        observed=f"{effect} {early} {cause}",
        expected=f"{cause} first",
        at_s=journal.since_start_s(happened),
    )


def observer_lag_ns(journal: Journal) -> int:
    """By how much observations of two processes can be out of order though the facts are not."""
    worst_ns = max((sample.delay_max_ns for sample in journal.of(LoopSample)), default=0)
    return min(_OBSERVER_LAG_MAX_NS, max(_OBSERVER_LAG_MIN_NS, worst_ns))


# ---- devices hold their own credentials ----

_OWN = Claim(
    "devices_hold_their_own_credentials",
    "Every device activates and uses credentials whose identity is its own endpoint name.",
)


def devices_hold_their_own_credentials(journal: Journal) -> Verdict:
    """No device took or used another's identity, and no two devices hold one certificate."""
    missing = unobserved(journal, CredentialsActivated)
    if missing is not None:
        return _OWN.inconclusive(missing)
    faults = [
        Evidence(
            endpoint=record.endpoint,
            observed=f"{verb} the credentials of {record.client_id}",
            expected=record.endpoint,
            at_s=journal.since_start_s(record.at_ns),
        )
        for verb, records in (
            ("activated", journal.of(CredentialsActivated)),
            ("connected with", journal.of(DeviceConnected)),
        )
        for record in records
        if record.client_id != record.endpoint
    ]
    faults += _shared_certificates(journal)
    holders = {record.endpoint for record in journal.of(CredentialsActivated)}
    return _OWN.judge(
        faults,
        good=f"{len(holders):,} devices hold their own",
        bad=f"credentials held by another device: {len(faults):,}",
    )


def _shared_certificates(journal: Journal) -> Iterator[Evidence]:
    holder_of: dict[str, str] = {}
    for record in journal.of(CredentialsActivated):
        holder = holder_of.setdefault(record.certificate_sha256, record.endpoint)
        if holder != record.endpoint:
            yield Evidence(
                endpoint=record.endpoint,
                observed=f"has the certificate that {holder} has",
                expected="a certificate of its own",
                at_s=journal.since_start_s(record.at_ns),
            )


# ---- unknown devices are ignored ----

_UNKNOWN = Claim(
    "unknown_devices_are_ignored",
    "For devices that nobody provisioned nothing is published on a credentials topic, and nothing "
    "is written to them.",
)
_WRITES = frozenset({"write", "create", "delete", "write_composite"})


def unknown_devices_are_ignored(journal: Journal) -> Verdict:
    """Nothing was sent to the devices that the story noted as unknown, though all registered."""
    found = journal.derive(onboarding)
    if not found.unknown:
        return _UNKNOWN.inconclusive("the story switched on no unknown device")
    faults = list(_attention(journal, found.unknown))
    if faults:
        return _UNKNOWN.broken(f"services to unknown devices: {len(faults):,}", faults)
    registered = found.stages["registered"]
    seen = [
        Evidence(
            endpoint=endpoint,
            observed="registered; nothing was published for it and nothing written"
            if endpoint in registered
            else "never registered, so nothing was tried",
            at_s=journal.since_start_s(registered[endpoint]) if endpoint in registered else None,
        )
        for endpoint in sorted(found.unknown)
    ]
    silent = len(found.unknown - set(registered))
    if silent:
        return _UNKNOWN.inconclusive(f"unknown devices that never registered: {silent:,}", seen)
    return _UNKNOWN.holds(f"{len(seen):,} unknown devices registered and were ignored", seen)


def _attention(journal: Journal, unknown: frozenset[str]) -> Iterator[Evidence]:
    """Whatever the platform did for or to an unknown device."""
    for seen in journal.of(MessageSeen):
        if seen.endpoint in unknown and seen.topic_kind == "credentials":
            yield _served(journal, seen.endpoint, f"a message on {seen.topic}", seen.at_ns)
    for served in journal.of(DownlinkServed):
        if served.endpoint in unknown and served.operation in _WRITES:
            what = f"{served.operation} of {served.path}"
            yield _served(journal, served.endpoint, what, served.at_ns)
    for connected in journal.of(DeviceConnected):
        if connected.endpoint in unknown:
            yield _served(journal, connected.endpoint, "an MQTT connection", connected.at_ns)


def _served(journal: Journal, endpoint: str, observed: str, at_ns: int) -> Evidence:
    return Evidence(
        endpoint=endpoint,
        observed=observed,
        expected="nothing",
        at_s=journal.since_start_s(at_ns),
    )


def stage_gaps_ns(found: Onboarding) -> Iterator[tuple[Stage, str, int, int]]:
    """(stage, endpoint, since intended start, since the stage before) of every known device."""
    for endpoint, started in found.devices.items():
        for before, stage in pairwise((None, *STAGES)):
            at_ns = found.stages[stage].get(endpoint) if stage is not None else None
            if stage is None or at_ns is None:
                continue
            previous = (
                found.stages[before].get(endpoint, at_ns)
                if before is not None
                else started.intended_at_ns
            )
            yield stage, endpoint, at_ns - started.intended_at_ns, max(0, at_ns - previous)
