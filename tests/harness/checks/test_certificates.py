"""Claims about certificates: an honest rotation and revocation hold, each doctored one is found."""

from __future__ import annotations

import pytest

from contracts.journal import (
    ClientSeen,
    CredentialsActivated,
    DeviceConnected,
    DeviceDisconnected,
    DeviceStarted,
    Note,
    PhaseBegan,
    Record,
)
from contracts.load import LoadAsked
from harness import checks
from harness.checks.certificates import (
    NOTE_OLD_TRIED,
    NOTE_READMITTED,
    NOTE_REVOKED,
    NOTE_WANTED,
)
from harness.journal import Journal
from tests.harness.checks.conftest import Spoiled

S = 1_000_000_000
T = 1_000 * S
NAMES = ("lamp-1", "lamp-2", "lamp-3")


def began(endpoint: str) -> list[Record]:
    return [
        DeviceStarted(at_ns=T, endpoint=endpoint, model="street_lamp", intended_at_ns=T),
        account(endpoint, T + S, "old"),
        connected(endpoint, T + 2 * S),
    ]


def account(endpoint: str, at_ns: int, version: str) -> Record:
    return CredentialsActivated(
        at_ns=at_ns,
        endpoint=endpoint,
        client_id=endpoint,
        certificate_sha256=f"{version} of {endpoint}",
    )


def connected(endpoint: str, at_ns: int) -> Record:
    return DeviceConnected(at_ns=at_ns, endpoint=endpoint, client_id=endpoint, attempt=1)


def lost(endpoint: str, at_ns: int, reason: str = "credentials renewed") -> Record:
    return DeviceDisconnected(at_ns=at_ns, endpoint=endpoint, reason=reason)


def note(name: str, endpoint: str, at_ns: int, text: str = "", value: float = 0.0) -> Record:
    return Note(at_ns=at_ns, name=name, endpoint=endpoint, text=text, value=value)


def seen(endpoint: str, event: str, at_ns: int) -> Record:
    return ClientSeen(at_ns=at_ns, identity=endpoint, event=event)  # type: ignore[arg-type]  # one of its three


def in_time(records: list[Record]) -> Spoiled:
    return Spoiled(sorted(records, key=lambda record: record.at_ns))


@pytest.fixture
def rotated() -> Spoiled:
    """Each device takes another certificate, and is away for half a second."""
    records: list[Record] = [
        LoadAsked(at_ns=T, wanted={"offline_within_s": 5.0}),
        PhaseBegan(at_ns=T + 10 * S, phase="rotation"),
        PhaseBegan(at_ns=T + 30 * S, phase="drain"),
    ]
    for number, name in enumerate(NAMES):
        at_ns = T + (11 + number) * S
        records += began(name)
        records += [lost(name, at_ns), account(name, at_ns + 1, "new")]
        records += [connected(name, at_ns + S // 2)]
        records.append(note(NOTE_OLD_TRIED, name, T + 20 * S, "CONNACK 5"))
        records.append(note(NOTE_WANTED, name, T + 25 * S, f"new of {name}"))
        records.append(lost(name, T + 40 * S, "the run ended"))
    return in_time(records)


@pytest.fixture
def revoked() -> Spoiled:
    """The first device is revoked, thrown off, refused, and given another certificate."""
    thief, other = NAMES[:2]
    return in_time(
        [
            *began(thief),
            *began(other),
            seen(thief, "connected", T + 2 * S),
            note(NOTE_REVOKED, thief, T + 10 * S, "old"),
            seen(thief, "disconnected", T + 10 * S + S // 10),
            lost(thief, T + 10 * S + S // 10),
            seen(thief, "refused", T + 11 * S),
            note(NOTE_OLD_TRIED, thief, T + 12 * S, "CONNACK 5"),
            note(NOTE_READMITTED, thief, T + 14 * S),
            seen(thief, "connected", T + 15 * S),
            connected(thief, T + 15 * S),
            PhaseBegan(at_ns=T + 30 * S, phase="drain"),
        ]
    )


ROTATION = (
    checks.nobody_is_offline_for_longer_than_a_reconnect,
    checks.all_end_on_their_new_certificates,
    checks.old_certificates_are_refused,
)
REVOCATION = (
    checks.revoked_devices_are_thrown_off,
    checks.nobody_else_is_disturbed,
    checks.old_certificates_are_refused,
)


def broken(spoiled: Spoiled, check: checks.Check) -> list[tuple[str, str]]:
    verdict = check(Journal(spoiled.records))
    assert verdict.outcome == "broken", verdict
    return [(evidence.endpoint, evidence.observed) for evidence in verdict.evidence]


def test_an_honest_rotation_holds(rotated: Spoiled) -> None:
    assert {check(Journal(rotated.records)).outcome for check in ROTATION} == {"holds"}


def test_an_honest_revocation_holds(revoked: Spoiled) -> None:
    assert {check(Journal(revoked.records)).outcome for check in REVOCATION} == {"holds"}


@pytest.mark.parametrize("check", dict.fromkeys([*ROTATION, *REVOCATION]))
def test_without_a_word_of_it_nothing_is_judged(good: Spoiled, check: checks.Check) -> None:
    assert check(Journal(good.records)).outcome == "inconclusive"


def test_a_device_that_is_away_for_too_long_is_found(rotated: Spoiled) -> None:
    back = rotated.find(DeviceConnected, endpoint="lamp-2", at_ns=T + 12 * S + S // 2)
    late = rotated.swap(back, at_ns=T + 18 * S)
    ((endpoint, observed),) = broken(late, ROTATION[0])
    assert (endpoint, "offline for 6.0 s" in observed) == ("lamp-2", True)


def test_attempts_in_between_make_nobody_be_back_sooner(rotated: Spoiled) -> None:
    back = rotated.find(DeviceConnected, endpoint="lamp-2", at_ns=T + 12 * S + S // 2)
    late = rotated.swap(back, at_ns=T + 18 * S).add(lost("lamp-2", T + 17 * S, "refused"))
    assert len(broken(in_time(late.records), ROTATION[0])) == 1


def test_a_device_that_never_comes_back_is_found(rotated: Spoiled) -> None:
    gone = rotated.drop(DeviceConnected, endpoint="lamp-3", at_ns=T + 13 * S + S // 2)
    ((endpoint, observed),) = broken(gone, ROTATION[0])
    assert (endpoint, observed) == ("lamp-3", "never connected again (credentials renewed)")
    assert broken(gone, ROTATION[1]) == [("lamp-3", "it did not connect with it")]


def test_a_device_that_stays_on_its_old_certificate_is_found(rotated: Spoiled) -> None:
    new = "new of lamp-1"
    stays = rotated.drop(CredentialsActivated, certificate_sha256=new)
    ((endpoint, observed),) = broken(stays, ROTATION[1])
    assert (endpoint, observed) == ("lamp-1", "it has old of lamp-1…")


def test_a_certificate_that_was_not_replaced_is_found(rotated: Spoiled) -> None:
    told = rotated.find(Note, name=NOTE_WANTED, endpoint="lamp-1")
    same = rotated.swap(told, text="old of lamp-1")
    same = same.drop(CredentialsActivated, certificate_sha256="new of lamp-1")
    assert broken(same, ROTATION[1]) == [("lamp-1", "it has the one that it began with")]


def test_a_device_without_a_certificate_at_the_end_is_found(rotated: Spoiled) -> None:
    forgotten = rotated.drop(Note, name=NOTE_WANTED, endpoint="lamp-2")
    assert broken(forgotten, ROTATION[1]) == [("lamp-2", "the platform has no certificate for it")]


def test_an_old_certificate_that_is_let_in_is_found(rotated: Spoiled) -> None:
    tried = rotated.find(Note, name=NOTE_OLD_TRIED, endpoint="lamp-1")
    let_in = rotated.swap(tried, value=1.0, text="was let in")
    assert broken(let_in, ROTATION[2]) == [("lamp-1", "was let in")]


def test_a_revoked_device_that_stays_connected_is_found(revoked: Spoiled) -> None:
    stays = revoked.drop(ClientSeen, event="disconnected")
    assert broken(stays, REVOCATION[0]) == [("lamp-1", "its connection was not ended")]


def test_a_revoked_device_that_is_ended_late_is_found(revoked: Spoiled) -> None:
    ended = revoked.find(ClientSeen, event="disconnected")
    late = revoked.swap(ended, at_ns=T + 12 * S)
    assert broken(in_time(late.records), REVOCATION[0]) == [
        ("lamp-1", "its connection was ended after 2.0 s")
    ]


def test_a_revoked_device_that_is_let_in_again_is_found(revoked: Spoiled) -> None:
    again = revoked.add(seen("lamp-1", "connected", T + 13 * S))
    assert broken(in_time(again.records), REVOCATION[0]) == [("lamp-1", "it was let in again")]


def test_a_refusal_that_nobody_saw_is_missed(revoked: Spoiled) -> None:
    ((endpoint, observed),) = broken(revoked.drop(ClientSeen, event="refused"), REVOCATION[0])
    assert (endpoint, "did not come again" in observed) == ("lamp-1", True)


def test_a_bystander_that_is_ended_too_is_found(revoked: Spoiled) -> None:
    hit = revoked.add(lost("lamp-2", T + 11 * S, "closed by the broker"))
    assert broken(in_time(hit.records), REVOCATION[1]) == [
        ("lamp-2", "lost its connection: closed by the broker")
    ]
