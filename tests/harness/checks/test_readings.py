"""Readings' checks tell lost, altered, repeated, misrouted and unacknowledged apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contracts.journal import (
    ClientSeen,
    DeadLetterStored,
    DeviceDisconnected,
    DeviceEnded,
    PackAcknowledged,
    PackDropped,
    PackGenerated,
    PackSent,
    ProcessKilled,
    ReadingsStored,
)
from harness import checks
from harness.journal.example import UNIX_US
from tests.harness.checks.judging import LAMP, OTHER, broken, judge

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled


def _stored_pack(good: Spoiled, endpoint: str, sequence: int) -> Any:
    """The commit that holds this pack's readings."""
    pack = good.find(PackGenerated, endpoint=endpoint, sequence=sequence)
    key = (endpoint, pack.records[0][0], pack.records[0][1])
    return next(
        r for r in good.records if isinstance(r, ReadingsStored) and r.rows and r.rows[0][:3] == key
    )


# ---- readings ----


def test_a_lost_pack_is_named_with_its_device(good: Spoiled) -> None:
    spoiled = good.drop_one(_stored_pack(good, LAMP, 5))
    verdict = broken(spoiled, checks.acknowledged_readings_are_stored, LAMP)
    assert verdict.evidence_total == 5
    for check in (checks.readings_are_unaltered, checks.readings_stay_with_their_device):
        assert judge(spoiled, check).outcome == "holds"


def test_an_altered_value_is_named_with_what_was_made(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    endpoint, path, time_us, value = commit.rows[1]
    rows = [commit.rows[0], (endpoint, path, time_us, value + 1), *commit.rows[2:]]
    verdict = broken(good.swap(commit, rows=rows), checks.readings_are_unaltered, LAMP)
    assert verdict.evidence_total == 1
    assert verdict.evidence[0].expected == f"{value!r}"
    made_s = (time_us - UNIX_US) / 1e6
    assert f"{path} dated t+{made_s:.3f} s" in verdict.evidence[0].observed
    assert verdict.summary == "readings altered: 1, devices concerned: 1"


@pytest.mark.parametrize(("made", "stored"), [(True, 1), (0, False)])
def test_a_boolean_that_became_a_number_is_altered(
    good: Spoiled, made: bool | int, stored: bool | int
) -> None:
    pack, commit = good.find(PackGenerated, endpoint=LAMP, sequence=5), _stored_pack(good, LAMP, 5)
    path, time_us, _ = pack.records[0]
    spoiled = good.swap(pack, records=[(path, time_us, made), *pack.records[1:]])
    spoiled = spoiled.swap(commit, rows=[(LAMP, path, time_us, stored), *commit.rows[1:]])
    broken(spoiled, checks.readings_are_unaltered, LAMP)


def test_a_reading_that_nobody_made_is_altered(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    spoiled = good.swap(commit, rows=[*commit.rows, (LAMP, "/3416/0/3", 17, 0.123)])
    verdict = broken(spoiled, checks.readings_are_unaltered, LAMP)
    assert verdict.evidence[0].expected == "no such reading"


def test_a_conflict_is_an_alteration(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    other = (*commit.rows[0][:3], 99.5)
    broken(good.swap(commit, conflicts=[other]), checks.readings_are_unaltered, LAMP)


def test_a_repetition_without_a_reason_is_a_duplicate(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    again = ReadingsStored(at_ns=commit.at_ns + 10**8, rows=[], duplicates=commit.rows)
    verdict = broken(good.add(again), checks.readings_arrive_once, LAMP)
    assert verdict.evidence_total == len(commit.rows)


def test_a_repetition_is_explained_by_a_resend_a_reconnect_or_a_kill(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    again = ReadingsStored(at_ns=commit.at_ns + 10**8, rows=[], duplicates=commit.rows)
    sent = good.find(PackSent, endpoint=LAMP, sequence=5)
    between = commit.at_ns + 10**7
    reasons = (
        PackSent(
            at_ns=between, endpoint=LAMP, boot=sent.boot, sequence=5, stream="state", attempt=2
        ),
        ClientSeen(at_ns=between, identity="svc:ingestion", event="connected"),
        ProcessKilled(at_ns=between, process="ingestion", point="anywhere"),
    )
    for reason in reasons:
        verdict = judge(good.add(again, reason), checks.readings_arrive_once)
        assert verdict.outcome == "holds"
        assert f"{len(commit.rows)} with one" in verdict.summary
    too_early = ClientSeen(at_ns=sent.at_ns - 1, identity="svc:ingestion", event="connected")
    broken(good.add(again, too_early), checks.readings_arrive_once, LAMP)


def test_a_reading_under_anothers_name_is_misrouted_and_its_maker_named(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    moved = [(OTHER, *row[1:]) for row in commit.rows]
    spoiled = good.swap(commit, rows=moved)
    verdict = broken(spoiled, checks.readings_stay_with_their_device, LAMP)
    assert verdict.evidence[0].observed.endswith(f"stored under {OTHER}")


def test_a_pack_that_came_in_on_anothers_topic_is_misrouted_and_not_lost(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    letter = DeadLetterStored(
        at_ns=commit.at_ns,
        reason="claims_another_device",
        topic=f"devices/{OTHER}/state",
        endpoint=OTHER,
        claimed=LAMP,
    )
    spoiled = good.drop_one(commit).add(letter)
    verdict = broken(spoiled, checks.readings_stay_with_their_device, LAMP)
    assert verdict.evidence_total == len(commit.rows)
    assert judge(spoiled, checks.acknowledged_readings_are_stored).outcome == "holds"


def test_a_pack_that_is_never_acknowledged_is_named(good: Spoiled) -> None:
    spoiled = good.drop(PackAcknowledged, endpoint=LAMP, sequence=5, stream="state")
    verdict = broken(spoiled, checks.every_reading_is_acknowledged, LAMP)
    assert "on a live connection" in verdict.evidence[0].observed


def test_why_a_pack_is_unacknowledged_is_told_apart(good: Spoiled) -> None:
    spoiled = good.drop(PackAcknowledged, endpoint=LAMP, sequence=5)
    sent = spoiled.find(PackSent, endpoint=LAMP, sequence=5)
    lost = DeviceDisconnected(at_ns=sent.at_ns + 1, endpoint=LAMP, reason="reset")
    dropped = PackDropped(
        at_ns=sent.at_ns, endpoint=LAMP, boot=sent.boot, sequence=5, stream="state"
    )
    end = spoiled.find(DeviceEnded)
    cases = [
        (spoiled.add(lost), "unknown: the connection was lost"),
        (spoiled.add(dropped), "given up by a full offline buffer"),
        (spoiled.drop_one(sent), "unknown: never sent"),
        (spoiled.swap(sent, at_ns=end.at_ns - 1_000_000_000), "unknown: sent 1.0 s before the end"),
    ]
    for case, reason in cases:
        verdict = broken(case, checks.every_reading_is_acknowledged, LAMP)
        assert reason in verdict.evidence[0].observed


def test_alarm_packs_must_be_acknowledged_too(good: Spoiled) -> None:
    acknowledged = good.find(PackAcknowledged, stream="alarm")
    spoiled = good.drop_one(acknowledged)
    broken(spoiled, checks.every_reading_is_acknowledged, acknowledged.endpoint)


def test_a_thin_stream_is_named_with_its_path(good: Spoiled) -> None:
    commits = [_stored_pack(good, LAMP, sequence) for sequence in range(1, 4)]
    spoiled = good
    for commit in commits:
        spoiled = spoiled.drop_one(commit)
    verdict = broken(spoiled, checks.streams_report, LAMP)
    assert "9 readings stored" in verdict.evidence[0].observed
    assert judge(spoiled, checks.at_least(9)).outcome == "holds"


# ---- the bench ----


def test_evidence_is_cut_and_counted_honestly(good: Spoiled) -> None:
    spoiled = good.drop(ReadingsStored).add(ReadingsStored(at_ns=good.records[-1].at_ns, rows=[]))
    verdict = judge(spoiled, checks.acknowledged_readings_are_stored)
    assert len(verdict.evidence) == 25
    assert verdict.evidence_total == 2_136
    assert "acknowledged and lost: 2,136, " in verdict.summary
