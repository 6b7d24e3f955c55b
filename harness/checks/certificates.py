"""Claims about the life of certificates: rotated, rolled over, revoked, while devices work."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from contracts.journal import (
    ClientSeen,
    CredentialsActivated,
    DeviceConnected,
    DeviceDisconnected,
    DeviceStarted,
    Note,
    PhaseBegan,
)
from contracts.report import Evidence
from harness.checks.registrations import wanted
from harness.checks.verdict import Claim, Verdict, unobserved
from harness.journal import Journal

# A device's certificate was revoked (`text`: its SHA-256), from when that was asked for.
NOTE_REVOKED: Final = "certificate:revoked"
# A revoked device was given another certificate.
NOTE_READMITTED: Final = "certificate:readmitted"
# Which certificate the platform says at the end that the device has (`text`: its SHA-256).
NOTE_WANTED: Final = "certificate:wanted"
# Somebody connected with a certificate of before; `value` 1: it was let in. `text` says what came.
NOTE_OLD_TRIED: Final = "certificate:old_tried"

OFFLINE_WITHIN_S: Final = "offline_within_s"
THROWN_OFF_WITHIN_S: Final = 1.0
ROTATION: Final = "rotation"
_OVER: Final = "drain"


def _notes(journal: Journal, name: str) -> list[Note]:
    return [note for note in journal.of(Note) if note.name == name]


def _phase_ns(journal: Journal, phase: str) -> int | None:
    return next((each.at_ns for each in journal.of(PhaseBegan) if each.phase == phase), None)


_OFFLINE = Claim(
    "nobody_is_offline_for_longer_than_a_reconnect",
    "While certificates are rotated and the authority is rolled over, no device is without its "
    "MQTT connection for longer than the time that the scenario states for one reconnect.",
    about="rate",
)


def nobody_is_offline_for_longer_than_a_reconnect(journal: Journal) -> Verdict:
    """From each device's loss of its connection to the next CONNACK, from the rotation on."""
    missing = unobserved(journal, DeviceStarted, DeviceConnected)
    within_s = wanted(journal, OFFLINE_WITHIN_S)
    began_ns = _phase_ns(journal, ROTATION)
    if missing is not None or within_s is None or began_ns is None:
        return _OFFLINE.inconclusive(missing or "no certificates were rotated")
    until_ns = _phase_ns(journal, _OVER) or journal.ended_ns
    faults, longest_s, gaps = [], 0.0, 0
    for lost, back_ns in _gaps(journal, began_ns, until_ns):
        gaps += 1
        took_s = ((back_ns or until_ns) - lost.at_ns) / 1e9
        longest_s = max(longest_s, took_s)
        if back_ns is None or took_s > within_s:
            observed = f"offline for {took_s:.1f} s" if back_ns else "never connected again"
            faults.append(
                Evidence(
                    endpoint=lost.endpoint,
                    observed=f"{observed} ({lost.reason})",
                    expected=f"at most {within_s:g} s",
                    at_s=journal.since_start_s(lost.at_ns),
                )
            )
    return _OFFLINE.judge(
        faults,
        good=f"{gaps:,} reconnects, the longest after {longest_s:.2f} s",
        bad=f"{len(faults):,} of {gaps:,} times longer, the longest {longest_s:.1f} s",
    )


def _gaps(
    journal: Journal, began_ns: int, until_ns: int
) -> Iterator[tuple[DeviceDisconnected, int | None]]:
    """Each loss of a connection in this time, and when the device was connected again."""
    connected: defaultdict[str, list[int]] = defaultdict(list)
    for each in journal.of(DeviceConnected):
        connected[each.endpoint].append(each.at_ns)
    back: dict[str, int | None] = {}
    for lost in journal.of(DeviceDisconnected):
        if not began_ns <= lost.at_ns <= until_ns:
            continue
        if lost.endpoint in back and (
            (before := back[lost.endpoint]) is None or lost.at_ns < before
        ):
            continue  # one attempt more in the same gap
        times = connected[lost.endpoint]
        place = bisect_right(times, lost.at_ns)
        back[lost.endpoint] = times[place] if place < len(times) else None
        yield lost, back[lost.endpoint]


_NEW = Claim(
    "all_end_on_their_new_certificates",
    "At the end every device is connected with the certificate that the platform says is its own, "
    "and that is not the one that it began with.",
)


def all_end_on_their_new_certificates(journal: Journal) -> Verdict:
    """The last account that each device activated, and that it connected with it."""
    missing = unobserved(journal, DeviceStarted, CredentialsActivated)
    told = {note.endpoint: note.text for note in _notes(journal, NOTE_WANTED)}
    if missing is not None or not told:
        return _NEW.inconclusive(missing or "the platform was not asked which certificates are new")
    activated: defaultdict[str, list[CredentialsActivated]] = defaultdict(list)
    for account in journal.of(CredentialsActivated):
        activated[account.endpoint].append(account)
    connected_ns = {each.endpoint: each.at_ns for each in journal.of(DeviceConnected)}
    faults = []
    for endpoint in sorted({each.endpoint for each in journal.of(DeviceStarted)}):
        observed = _not_new(activated[endpoint], told.get(endpoint), connected_ns.get(endpoint, 0))
        if observed is not None:
            expected = f"{told.get(endpoint, '')[:16] or 'a certificate'}…, new, and connected"
            faults.append(Evidence(endpoint=endpoint, observed=observed, expected=expected))
    return _NEW.judge(
        faults,
        good=f"all {len(told):,} devices",
        bad=f"{len(faults):,} devices have another one, or did not connect with it",
    )


def _not_new(
    accounts: list[CredentialsActivated], told: str | None, connected_ns: int
) -> str | None:
    if told is None:
        return "the platform has no certificate for it"
    if not accounts:
        return "it never took an account"
    first, last = accounts[0], accounts[-1]
    if last.certificate_sha256 != told:
        return f"it has {last.certificate_sha256[:16]}…"
    if first.certificate_sha256 == told:
        return "it has the one that it began with"
    return None if connected_ns > last.at_ns else "it did not connect with it"


_OLD = Claim(
    "old_certificates_are_refused",
    "A certificate that was replaced gets nobody into the broker any more, once its device has the "
    "new one: it is tried.",
)


def old_certificates_are_refused(journal: Journal) -> Verdict:
    """What came of each attempt."""
    tried = _notes(journal, NOTE_OLD_TRIED)
    if not tried:
        return _OLD.inconclusive("no certificate of before was tried")
    faults = [
        Evidence(
            endpoint=note.endpoint,
            observed=note.text,
            expected="refused",
            at_s=journal.since_start_s(note.at_ns),
        )
        for note in tried
        if note.value
    ]
    return _OLD.judge(
        faults,
        good=f"all {len(tried):,} attempts",
        bad=f"{len(faults):,} of {len(tried):,} attempts were let in",
    )


_THROWN_OFF = Claim(
    "revoked_devices_are_thrown_off",
    "The broker ends the connection of a device whose certificate is revoked within "
    f"{THROWN_OFF_WITHIN_S:g} s of the request, refuses it when it comes again, and lets it in no "
    "more until it is given another certificate.",
)


def revoked_devices_are_thrown_off(journal: Journal) -> Verdict:
    """What the broker saw of each revoked device."""
    missing = unobserved(journal, ClientSeen)
    revoked = _notes(journal, NOTE_REVOKED)
    if missing is not None or not revoked:
        return _THROWN_OFF.inconclusive(missing or "nothing was revoked")
    seen: defaultdict[str, list[ClientSeen]] = defaultdict(list)
    for client in journal.of(ClientSeen):
        seen[client.identity].append(client)
    readmitted = {note.endpoint: note.at_ns for note in _notes(journal, NOTE_READMITTED)}
    faults, longest_s = [], 0.0
    for note in revoked:
        until_ns = readmitted.get(note.endpoint, journal.ended_ns)
        of_it = [one for one in seen[note.endpoint] if note.at_ns <= one.at_ns <= until_ns]
        observed, took_s = _not_thrown_off(note, of_it)
        longest_s = max(longest_s, took_s)
        if observed is not None:
            faults.append(
                Evidence(
                    endpoint=note.endpoint,
                    observed=observed,
                    expected=f"ended within {THROWN_OFF_WITHIN_S:g} s, and refused after",
                    at_s=journal.since_start_s(note.at_ns),
                )
            )
    return _THROWN_OFF.judge(
        faults,
        good=f"all {len(revoked):,}, the last after {longest_s * 1e3:.0f} ms",
        bad=f"{len(faults):,} of {len(revoked):,} were not",
    )


def _not_thrown_off(note: Note, seen: list[ClientSeen]) -> tuple[str | None, float]:
    """What is wrong, and how long its end took."""
    ended = next((one for one in seen if one.event == "disconnected"), None)
    if ended is None:
        return "its connection was not ended", 0.0
    took_s = (ended.at_ns - note.at_ns) / 1e9
    if took_s > THROWN_OFF_WITHIN_S:
        return f"its connection was ended after {took_s:.1f} s", took_s
    if any(one.event == "connected" for one in seen):
        return "it was let in again", took_s
    if not any(one.event == "refused" for one in seen):
        return "it did not come again, so that nobody could refuse it", took_s
    return None, took_s


_UNDISTURBED = Claim(
    "nobody_else_is_disturbed",
    "While devices are revoked, every other device keeps its connection.",
)


def nobody_else_is_disturbed(journal: Journal) -> Verdict:
    """Whose connection ended between the first revocation and the drain."""
    missing = unobserved(journal, DeviceConnected)
    revoked = _notes(journal, NOTE_REVOKED)
    if missing is not None or not revoked:
        return _UNDISTURBED.inconclusive(missing or "nothing was revoked")
    names = {note.endpoint for note in revoked}
    until_ns = _phase_ns(journal, _OVER) or journal.ended_ns
    faults = [
        Evidence(
            endpoint=lost.endpoint,
            observed=f"lost its connection: {lost.reason}",
            expected="connected",
            at_s=journal.since_start_s(lost.at_ns),
        )
        for lost in journal.of(DeviceDisconnected)
        if revoked[0].at_ns <= lost.at_ns <= until_ns and lost.endpoint not in names
    ]
    others = {each.endpoint for each in journal.of(DeviceConnected)} - names
    return _UNDISTURBED.judge(
        faults,
        good=f"all {len(others):,} others stayed connected",
        bad=f"{len(faults):,} connections of others ended",
    )
