"""Claims about many registrations: everybody has one in time, keeps it, and every event arrives."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from contracts.journal import DeviceEnded, DeviceRegistered, DeviceStarted
from contracts.load import (
    DeviceUpdated,
    EventsDelivered,
    LoadAsked,
    LoadPlanned,
    OperationEnded,
    ServerCounted,
)
from contracts.report import Evidence
from harness.checks.accounting import is_same
from harness.checks.figures import percentile
from harness.checks.verdict import Claim, Verdict, unobserved
from harness.journal import Journal

REGISTERED_P99_MS = "registered_p99_ms"
REGISTERED_WITHIN_S = "registered_within_s"
LIFETIME_S = "lifetime_s"
UPDATES_TRIGGERED = "updates_triggered"
# An Update is answered within CoAP's patience or the registration is in danger; observers are late.
_GRACE_NS = 500_000_000
_LAPSED = "deregistered_expired"
_TRIGGER = "/1/0/8"


def wanted(journal: Journal, name: str) -> float | None:
    """What the story said it wants to be true; None when it said nothing."""
    found = [each.wanted[name] for each in journal.of(LoadAsked) if name in each.wanted]
    return found[-1] if found else None


# ---- everybody registers ----

_REGISTER = Claim(
    "every_device_registers",
    "Every device of the run is switched on and registered, and at the end the server holds as "
    "many registrations as there are devices.",
)


def every_device_registers(journal: Journal) -> Verdict:
    """All devices got 2.01, none was refused for good, and the server's own count agrees."""
    missing = unobserved(journal, DeviceStarted, ServerCounted)
    if missing is not None or journal.run is None:
        return _REGISTER.inconclusive(missing or "there is no beginning of the run")
    started = {each.endpoint: each.at_ns for each in journal.of(DeviceStarted)}
    registered = {each.endpoint for each in journal.of(DeviceRegistered)}
    faults = [
        Evidence(
            endpoint=endpoint,
            observed="never registered",
            expected="2.01",
            at_s=journal.since_start_s(at_ns),
        )
        for endpoint, at_ns in started.items()
        if endpoint not in registered
    ]
    off = journal.run.devices - len(started)
    if off > 0:
        faults.append(Evidence(observed=f"devices never switched on: {off:,}", expected="none"))
    last = journal.of(ServerCounted)[-1]
    held = last.numbers.get("registrations", 0)
    if held != journal.run.devices:
        faults.append(
            Evidence(
                endpoint=last.server,
                observed=f"holds {held:,} registrations",
                expected=f"{journal.run.devices:,}",
                at_s=journal.since_start_s(last.at_ns),
            )
        )
    return _REGISTER.judge(
        faults,
        good=f"all {len(registered):,} devices registered, and the server holds {held:,}",
        bad=f"devices or counts that are wrong: {len(faults):,}",
    )


# ---- in time ----

_IN_TIME = Claim(
    "registrations_are_answered_in_time",
    "99 of 100 devices are registered within the time that the scenario states, from the moment "
    "they were meant to be switched on, and all of them within the whole time it states.",
    about="rate",
)


def registrations_are_answered_in_time(journal: Journal) -> Verdict:
    """Latency from the intended start; a server that stood still shows in it."""
    missing = unobserved(journal, DeviceStarted, DeviceRegistered, LoadPlanned)
    p99_ms, within_s = wanted(journal, REGISTERED_P99_MS), wanted(journal, REGISTERED_WITHIN_S)
    if missing is not None or (p99_ms is None and within_s is None):
        return _IN_TIME.inconclusive(missing or "the scenario states no time")
    intended = {each.endpoint: each.intended_at_ns for each in journal.of(DeviceStarted)}
    first: dict[str, int] = {}
    for each in journal.of(DeviceRegistered):
        first.setdefault(each.endpoint, each.at_ns)
    latencies = sorted(
        (at_ns - intended[name]) / 1e6 for name, at_ns in first.items() if name in intended
    )
    if not latencies:
        return _IN_TIME.inconclusive("no device that was switched on registered")
    found_ms = percentile(latencies, 0.99)
    took_s = (max(first.values()) - journal.of(LoadPlanned)[0].began_ns) / 1e9
    faults = []
    if p99_ms is not None and found_ms > p99_ms:
        faults.append(Evidence(observed=f"p99 {found_ms:.1f} ms", expected=f"{p99_ms:g} ms"))
    if within_s is not None and took_s > within_s:
        faults.append(
            Evidence(observed=f"the last after {took_s:.1f} s", expected=f"{within_s:g} s")
        )
    told = f"p99 {found_ms:.1f} ms, the last after {took_s:.1f} s"
    return _IN_TIME.judge(faults, good=told, bad=told)


# ---- none lapses ----

_NO_LAPSE = Claim(
    "no_registration_lapses",
    "From its registration to the end no device goes without an Update that was answered for as "
    "long as its lifetime, none has to register again, and the server lets none expire.",
)


def no_registration_lapses(journal: Journal) -> Verdict:
    """Seen from both sides: the gaps between a device's answered Updates, the server's events."""
    missing = unobserved(journal, DeviceRegistered)
    lifetime_s = wanted(journal, LIFETIME_S)
    if missing is not None or lifetime_s is None:
        return _NO_LAPSE.inconclusive(missing or "the scenario states no lifetime")
    ends_ns = _ends_ns(journal)
    faults = [
        *_again(journal),
        *_gaps(journal, lifetime_s, ends_ns),
        *_expired(journal),
    ]
    updates = len(journal.of(DeviceUpdated))
    return _NO_LAPSE.judge(
        faults,
        good=f"{updates:,} Updates were answered, and none lapsed",
        bad=f"registrations that lapsed, or may have: {len(faults):,}",
    )


def _ends_ns(journal: Journal) -> int:
    """When devices were looked at last: their own end, else the end of all."""
    ended = journal.of(DeviceEnded)
    return ended[0].at_ns if ended else journal.ended_ns


def _again(journal: Journal) -> Iterable[Evidence]:
    times = Counter(each.endpoint for each in journal.of(DeviceRegistered))
    for endpoint, count in times.items():
        if count > 1:
            yield Evidence(endpoint=endpoint, observed=f"registered {count} times", expected="once")


def _gaps(journal: Journal, lifetime_s: float, ends_ns: int) -> Iterable[Evidence]:
    most_ns = round(lifetime_s * 1e9) + _GRACE_NS
    answered: defaultdict[str, list[int]] = defaultdict(list)
    for registered in journal.of(DeviceRegistered):
        answered[registered.endpoint].append(registered.at_ns)
    for updated in journal.of(DeviceUpdated):
        answered[updated.endpoint].append(updated.at_ns)
    for endpoint, times_ns in answered.items():
        times_ns.sort()
        times_ns.append(max(ends_ns, times_ns[-1]))
        for before_ns, after_ns in pairwise(times_ns):
            if after_ns - before_ns > most_ns:
                yield Evidence(
                    endpoint=endpoint,
                    observed=f"{(after_ns - before_ns) / 1e9:.1f} s without an Update",
                    expected=f"{lifetime_s:g} s at most",
                    at_s=journal.since_start_s(before_ns),
                )
                break


def _expired(journal: Journal) -> Iterable[Evidence]:
    for each in journal.of(EventsDelivered):
        lapsed = each.kinds.get(_LAPSED, 0)
        if lapsed:
            yield Evidence(
                endpoint=each.server,
                observed=f"{lapsed:,} registrations expired",
                expected="none",
                at_s=journal.since_start_s(each.at_ns),
            )


_ALL_UPDATE = Claim(
    "every_device_updates",
    "Every device that registered has sent an Update since, and it was answered.",
)


def every_device_updates(journal: Journal) -> Verdict:
    """A registration is kept by Updates: one that was not held for long enough shows nothing."""
    missing = unobserved(journal, DeviceRegistered)
    lifetime_s = wanted(journal, LIFETIME_S)
    if missing is not None or lifetime_s is None:
        return _ALL_UPDATE.inconclusive(missing or "the scenario states no lifetime")
    first = {each.endpoint: each.at_ns for each in reversed(journal.of(DeviceRegistered))}
    updated = {each.endpoint for each in journal.of(DeviceUpdated)}
    silent = {endpoint: at_ns for endpoint, at_ns in first.items() if endpoint not in updated}
    ends_ns = _ends_ns(journal)
    due = {name: at_ns for name, at_ns in silent.items() if ends_ns - at_ns >= lifetime_s * 1e9}
    if silent and not due:
        held_s = (ends_ns - min(silent.values())) / 1e9
        return _ALL_UPDATE.inconclusive(
            f"{len(silent):,} of {len(first):,} devices had no need to within {held_s:.0f} s: "
            f"choose a --duration of {lifetime_s:g} or more"
        )
    faults = [
        Evidence(
            endpoint=endpoint,
            observed="no Update was answered",
            expected="one at least",
            at_s=journal.since_start_s(at_ns),
        )
        for endpoint, at_ns in due.items()
    ]
    return _ALL_UPDATE.judge(
        faults,
        good=f"all {len(first):,} devices did",
        bad=f"{len(faults):,} of {len(first):,} devices did not",
    )


# ---- events ----

_DELIVERED = Claim(
    "every_event_is_delivered",
    "The data interface delivers every event that the server has, in order and without a gap.",
)


def every_event_is_delivered(journal: Journal) -> Verdict:
    """What the reader was given, one range after the other, is all that the server counted."""
    missing = unobserved(journal, EventsDelivered, ServerCounted)
    if missing is not None:
        return _DELIVERED.inconclusive(missing)
    faults, expected, epoch = [], 0, ""
    delivered: Counter[str] = Counter()
    for each in journal.of(EventsDelivered):
        delivered.update(each.kinds)
        if each.epoch != epoch:
            # A new epoch counts anew, after its snapshot.
            epoch, expected = each.epoch, each.first
        if each.first != expected:
            faults.append(
                Evidence(
                    endpoint=each.server,
                    observed=f"event {each.first:,} came next",
                    expected=f"{expected:,}",
                    at_s=journal.since_start_s(each.at_ns),
                )
            )
        expected = each.last + 1
    last = journal.of(ServerCounted)[-1]
    newest = last.numbers.get("events_newest", 0)
    if expected - 1 < newest:
        faults.append(
            Evidence(
                endpoint=last.server,
                observed=f"the last that came is {expected - 1:,}",
                expected=f"{newest:,}",
                at_s=journal.since_start_s(last.at_ns),
            )
        )
    told = ", ".join(f"{number:,} {kind}" for kind, number in sorted(delivered.items()))
    return _DELIVERED.judge(
        faults, good=f"all delivered: {told}", bad=f"places where events are missing: {len(faults)}"
    )


# ---- operations on single devices ----

_OWN_VALUE = Claim(
    "reads_return_the_devices_own_value",
    "Every device that is read by command answers, with the value that is its own.",
)


def reads_return_the_devices_own_value(journal: Journal) -> Verdict:
    """Each read found what the device is known to hold."""
    reads = [
        each
        for each in journal.of(OperationEnded)
        if each.operation == "read" and each.expected is not None
    ]
    if not reads:
        return _OWN_VALUE.inconclusive("no device was read")
    faults = [
        Evidence(
            endpoint=each.endpoint,
            observed=f"{each.path} is {each.value!r}" if each.value is not None else _end(each),
            expected=f"{each.expected!r}",
            at_s=journal.since_start_s(each.at_ns),
        )
        for each in reads
        if each.value is None or each.expected is None or not is_same(each.value, each.expected)
    ]
    endpoints = {each.endpoint for each in reads}
    return _OWN_VALUE.judge(
        faults,
        good=f"{len(reads):,} reads of {len(endpoints):,} devices, each its own value",
        bad=f"{len(faults):,} of {len(reads):,} reads are wrong",
    )


def _end(ended: OperationEnded) -> str:
    return f"answered {ended.code}" if ended.code else f"no answer: {ended.stage}"


_UPDATES_RUN = Claim(
    "updates_run",
    "Every device that the server asks for an Update (/1/0/8) sends one, and it is answered.",
)


def updates_run(journal: Journal) -> Verdict:
    """Each trigger led to an Update of the same device."""
    asked = [each for each in journal.of(OperationEnded) if each.path == _TRIGGER]
    if not asked:
        return _UPDATES_RUN.inconclusive("no device was asked for an Update")
    latest = {each.endpoint: each.at_ns for each in journal.of(DeviceUpdated)}
    faults = [
        Evidence(
            endpoint=each.endpoint,
            observed="no Update was answered" if each.code else _end(each),
            expected="an Update",
            at_s=journal.since_start_s(each.at_ns),
        )
        for each in asked
        if not each.code.startswith("2.") or latest.get(each.endpoint, 0) < each.intended_at_ns
    ]
    return _UPDATES_RUN.judge(
        faults,
        good=f"{len(asked):,} devices were asked, and updated",
        bad=f"{len(faults):,} of {len(asked):,} devices did not update",
    )
