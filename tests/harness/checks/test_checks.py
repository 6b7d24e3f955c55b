"""Every check holds on an honest run, and breaks, naming the device, on a spoiled one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contracts.journal import (
    AlarmStored,
    BenchDown,
    ClientSeen,
    CommandConcluded,
    CommandIssued,
    CredentialsActivated,
    DeadLetterStored,
    DeviceBootstrapped,
    DeviceConnected,
    DeviceDisconnected,
    DeviceEnded,
    DeviceRegistered,
    DeviceStarted,
    DownlinkServed,
    ImportEnded,
    LoopSample,
    MessageSeen,
    Note,
    PackAcknowledged,
    PackDropped,
    PackGenerated,
    PackSent,
    ProcessExited,
    ProcessKilled,
    ProcessStarted,
    ReadingsStored,
    RunStarted,
    SecretsScanned,
)
from harness import checks
from harness.checks import Check, Verdict
from harness.journal import Journal
from harness.journal.example import UNIX_US

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled

LAMP = "lamp-0003"
OTHER = "lamp-0004"


def _judge(spoiled: Spoiled, check: Check) -> Verdict:
    return check(Journal(spoiled.records))


def _broken(spoiled: Spoiled, check: Check, *endpoints: str) -> Verdict:
    """The verdict of a check that must be broken and must name exactly these."""
    verdict = _judge(spoiled, check)
    assert verdict.outcome == "broken", verdict.summary
    assert {evidence.endpoint for evidence in verdict.evidence} == set(endpoints)
    assert verdict.evidence_total >= len(verdict.evidence)
    return verdict


def _stored_pack(good: Spoiled, endpoint: str, sequence: int) -> Any:
    """The commit that holds this pack's readings."""
    pack = good.find(PackGenerated, endpoint=endpoint, sequence=sequence)
    key = (endpoint, pack.records[0][0], pack.records[0][1])
    return next(
        r for r in good.records if isinstance(r, ReadingsStored) and r.rows and r.rows[0][:3] == key
    )


@pytest.mark.parametrize("check", checks.MAIN_JOB, ids=lambda check: check.__name__)
def test_every_check_of_the_main_job_holds_on_an_honest_run(good: Spoiled, check: Check) -> None:
    verdict = _judge(good, check)
    assert verdict.outcome == "holds", verdict
    assert verdict.name == check.__name__
    assert verdict.claim
    assert verdict.summary


@pytest.mark.parametrize(
    "check",
    dict.fromkeys((*checks.MAIN_JOB, *checks.KILLS, *checks.UNKNOWN_DEVICES)),
    ids=lambda check: check.__name__,
)
def test_no_check_holds_when_nothing_was_observed(check: Check) -> None:
    assert check(Journal([])).outcome == "inconclusive"


# ---- onboarding ----


@pytest.mark.parametrize(
    ("kind", "fields", "stage"),
    [
        (DeviceRegistered, {}, "registered"),
        (MessageSeen, {"topic_kind": "event"}, "event_published"),
        (MessageSeen, {"topic_kind": "credentials"}, "credentials_published"),
        (DeviceBootstrapped, {}, "bootstrapped"),
        (DeviceConnected, {}, "mqtt_connected"),
    ],
)
def test_a_device_that_misses_a_stage_is_named(
    good: Spoiled, kind: Any, fields: dict[str, object], stage: str
) -> None:
    spoiled = good.drop(kind, endpoint=LAMP, **fields)
    verdict = _broken(spoiled, checks.every_device_comes_online, LAMP)
    assert verdict.evidence[0].observed.endswith(f"never to {stage}")


def test_a_device_without_a_stored_reading_is_not_online(good: Spoiled) -> None:
    records = [
        r
        for r in good.records
        if not (isinstance(r, ReadingsStored) and r.rows and r.rows[0][0] == LAMP)
    ]
    spoiled = type(good)(records)
    _broken(spoiled, checks.every_device_comes_online, LAMP)
    _broken(spoiled, checks.acknowledged_readings_are_stored, LAMP)
    _broken(spoiled, checks.streams_report, LAMP)


def test_a_device_that_was_never_switched_on_is_missed(good: Spoiled) -> None:
    spoiled = good.drop(DeviceStarted, endpoint=LAMP)
    verdict = _broken(spoiled, checks.every_device_comes_online, "")
    assert verdict.evidence[0].observed == "devices never switched on: 1"


def test_every_device_that_was_never_switched_on_is_counted(good: Spoiled) -> None:
    spoiled = good.drop(DeviceStarted, model="street_lamp")
    lamps = len(good.records) - len(spoiled.records)
    verdict = _broken(spoiled, checks.every_device_comes_online, "")
    assert verdict.summary == f"{lamps} of 40 devices did not come online"


def test_of_several_attempts_the_first_success_counts(good: Spoiled) -> None:
    later = good.find(DeviceRegistered, endpoint=LAMP)
    spoiled = good.add(
        DeviceRegistered(at_ns=later.at_ns + 10**10, endpoint=LAMP, location="/rd/x")
    )
    assert _judge(spoiled, checks.stages_are_in_order).outcome == "holds"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (DeviceRegistered, {}),
        (MessageSeen, {"topic_kind": "event"}),
        (MessageSeen, {"topic_kind": "credentials"}),
        (DeviceBootstrapped, {}),
        (DeviceConnected, {}),
    ],
)
def test_an_effect_long_before_its_cause_is_out_of_order(
    good: Spoiled, kind: Any, fields: dict[str, object]
) -> None:
    record = good.find(kind, endpoint=LAMP, **fields)
    late = good.swap(record, at_ns=record.at_ns + 3_000_000_000)
    _broken(late, checks.stages_are_in_order, LAMP)
    _broken(good.drop_one(record), checks.stages_are_in_order, LAMP)


def test_observers_that_are_late_by_their_own_loops_accuse_nobody(good: Spoiled) -> None:
    record = good.find(MessageSeen, endpoint=LAMP, topic_kind="credentials")
    late = good.swap(record, at_ns=record.at_ns + 600_000_000)
    _broken(late, checks.stages_are_in_order, LAMP)
    slow = LoopSample(
        at_ns=record.at_ns, process="runner", delay_p99_ns=1, delay_max_ns=800_000_000
    )
    assert _judge(late.add(slow), checks.stages_are_in_order).outcome == "holds"


def test_registration_and_its_event_may_be_seen_in_either_order(good: Spoiled) -> None:
    event = good.find(MessageSeen, endpoint=LAMP, topic_kind="event")
    early = good.swap(event, at_ns=event.at_ns - 1_000_000_000)
    assert _judge(early, checks.stages_are_in_order).outcome == "holds"


def test_a_device_with_anothers_credentials_is_named(good: Spoiled) -> None:
    activated = good.find(CredentialsActivated, endpoint=LAMP)
    swapped = good.swap(activated, client_id=OTHER)
    _broken(swapped, checks.devices_hold_their_own_credentials, LAMP)
    connected = good.find(DeviceConnected, endpoint=LAMP)
    _broken(good.swap(connected, client_id=OTHER), checks.devices_hold_their_own_credentials, LAMP)


def test_two_devices_with_one_certificate_are_found(good: Spoiled) -> None:
    first = good.find(CredentialsActivated, endpoint=LAMP)
    second = good.find(CredentialsActivated, endpoint=OTHER)
    spoiled = good.swap(second, certificate_sha256=first.certificate_sha256)
    verdict = _judge(spoiled, checks.devices_hold_their_own_credentials)
    assert verdict.outcome == "broken"
    assert LAMP in verdict.evidence[0].observed + verdict.evidence[0].endpoint


def test_a_devices_row_that_was_rejected_is_told_with_its_reason(good: Spoiled) -> None:
    ended = good.find(ImportEnded)
    spoiled = good.swap(ended, accepted=39, rejected=1, reasons=[(7, "latitude", "'123'…")])
    verdict = _broken(spoiled, checks.every_row_is_provisioned, "")
    assert "row 7 rejected: latitude" in verdict.evidence[0].observed
    assert verdict.summary == "39 of 40 devices accepted"


def test_faulty_rows_beside_the_devices_may_be_rejected_but_not_in_silence(good: Spoiled) -> None:
    ended = good.find(ImportEnded)
    told = good.swap(ended, rows=41, rejected=1, reasons=[(41, "model", "unknown")])
    verdict = _judge(told, checks.every_row_is_provisioned)
    assert verdict.outcome == "holds"
    assert verdict.evidence_total == 1
    silent = good.swap(ended, rows=41, rejected=1)
    assert _judge(silent, checks.every_row_is_provisioned).outcome == "broken"


# ---- unknown devices ----


def _with_unknown(good: Spoiled) -> Spoiled:
    at_ns = good.find(RunStarted).at_ns + 10**9
    return good.add(
        Note(at_ns=at_ns, name="unknown_device", endpoint="ghost-1"),
        DeviceStarted(at_ns=at_ns, endpoint="ghost-1", model="street_lamp", intended_at_ns=at_ns),
        DeviceRegistered(at_ns=at_ns, endpoint="ghost-1", location="/rd/g"),
    )


def test_unknown_devices_that_are_ignored_are_named_and_not_expected_online(good: Spoiled) -> None:
    spoiled = _with_unknown(good)
    verdict = _judge(spoiled, checks.unknown_devices_are_ignored)
    assert verdict.outcome == "holds"
    assert [evidence.endpoint for evidence in verdict.evidence] == ["ghost-1"]
    assert _judge(spoiled, checks.every_device_comes_online).outcome == "holds"


@pytest.mark.parametrize(
    "record",
    [
        MessageSeen(
            at_ns=1, topic="t", topic_kind="credentials", endpoint="ghost-1", payload_bytes=9
        ),
        DownlinkServed(
            at_ns=1,
            endpoint="ghost-1",
            operation="create",
            path="/18830",
            message_id=4,
            code="2.01",
        ),
        DeviceConnected(at_ns=1, endpoint="ghost-1", client_id="ghost-1", attempt=1),
    ],
)
def test_an_unknown_device_that_is_served_breaks(good: Spoiled, record: Any) -> None:
    _broken(_with_unknown(good).add(record), checks.unknown_devices_are_ignored, "ghost-1")


def test_an_unknown_device_that_never_registered_proves_nothing(good: Spoiled) -> None:
    spoiled = _with_unknown(good).drop(DeviceRegistered, endpoint="ghost-1")
    assert _judge(spoiled, checks.unknown_devices_are_ignored).outcome == "inconclusive"


# ---- commands ----


def test_a_lamp_whose_command_was_refused_did_not_obey(good: Spoiled) -> None:
    concluded = good.find(CommandConcluded, endpoint=LAMP)
    _broken(good.swap(concluded, state="refused"), checks.every_lamp_obeys, LAMP)


def test_a_lamp_that_answered_but_never_showed_the_level_did_not_obey(good: Spoiled) -> None:
    records = []
    for record in good.records:
        if isinstance(record, ReadingsStored):
            rows = [
                (e, path, t, 0 if (e, path) == (LAMP, "/3416/0/3") else value)
                for e, path, t, value in record.rows
            ]
            record = ReadingsStored(at_ns=record.at_ns, rows=rows)
        records.append(record)
    verdict = _broken(type(good)(records), checks.every_lamp_obeys, LAMP)
    assert verdict.evidence[0].observed == "0 was its last level"
    assert verdict.evidence[0].expected == "/3416/0/3 at 0.4"


def test_a_lamp_that_was_never_commanded_did_not_obey(good: Spoiled) -> None:
    _broken(good.drop(CommandIssued, endpoint=LAMP), checks.every_lamp_obeys, LAMP)


def test_commands_without_an_outcome_alone_are_inconclusive(good: Spoiled) -> None:
    spoiled = good.drop(CommandConcluded, endpoint=LAMP)
    assert _judge(spoiled, checks.every_lamp_obeys).outcome == "inconclusive"
    refused = spoiled.find(CommandConcluded, endpoint=OTHER)
    _broken(spoiled.swap(refused, state="expired"), checks.every_lamp_obeys, LAMP, OTHER)


def test_a_command_that_was_carried_out_twice_is_found(good: Spoiled) -> None:
    again = good.find(DownlinkServed, endpoint=LAMP)
    spoiled = good.add(again)
    verdict = _broken(spoiled, checks.commands_are_executed_once, LAMP)
    assert "carried out 2 times" in verdict.evidence[0].observed


def test_a_success_that_no_device_carried_out_is_found(good: Spoiled) -> None:
    spoiled = good.drop(DownlinkServed, endpoint=LAMP)
    _broken(spoiled, checks.commands_are_executed_once, LAMP)
    concluded = spoiled.find(CommandConcluded, endpoint=LAMP)
    unknown = spoiled.swap(concluded, state="unknown")
    assert _judge(unknown, checks.commands_are_executed_once).outcome == "holds"


# ---- readings ----


def test_a_lost_pack_is_named_with_its_device(good: Spoiled) -> None:
    spoiled = good.drop_one(_stored_pack(good, LAMP, 5))
    verdict = _broken(spoiled, checks.acknowledged_readings_are_stored, LAMP)
    assert verdict.evidence_total == 5
    for check in (checks.readings_are_unaltered, checks.readings_stay_with_their_device):
        assert _judge(spoiled, check).outcome == "holds"


def test_an_altered_value_is_named_with_what_was_made(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    endpoint, path, time_us, value = commit.rows[1]
    rows = [commit.rows[0], (endpoint, path, time_us, value + 1), *commit.rows[2:]]
    verdict = _broken(good.swap(commit, rows=rows), checks.readings_are_unaltered, LAMP)
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
    _broken(spoiled, checks.readings_are_unaltered, LAMP)


def test_a_reading_that_nobody_made_is_altered(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    spoiled = good.swap(commit, rows=[*commit.rows, (LAMP, "/3416/0/3", 17, 0.123)])
    verdict = _broken(spoiled, checks.readings_are_unaltered, LAMP)
    assert verdict.evidence[0].expected == "no such reading"


def test_a_conflict_is_an_alteration(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    other = (*commit.rows[0][:3], 99.5)
    _broken(good.swap(commit, conflicts=[other]), checks.readings_are_unaltered, LAMP)


def test_a_repetition_without_a_reason_is_a_duplicate(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    again = ReadingsStored(at_ns=commit.at_ns + 10**8, rows=[], duplicates=commit.rows)
    verdict = _broken(good.add(again), checks.readings_arrive_once, LAMP)
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
        verdict = _judge(good.add(again, reason), checks.readings_arrive_once)
        assert verdict.outcome == "holds"
        assert f"{len(commit.rows)} with one" in verdict.summary
    too_early = ClientSeen(at_ns=sent.at_ns - 1, identity="svc:ingestion", event="connected")
    _broken(good.add(again, too_early), checks.readings_arrive_once, LAMP)


def test_a_reading_under_anothers_name_is_misrouted_and_its_maker_named(good: Spoiled) -> None:
    commit = _stored_pack(good, LAMP, 5)
    moved = [(OTHER, *row[1:]) for row in commit.rows]
    spoiled = good.swap(commit, rows=moved)
    verdict = _broken(spoiled, checks.readings_stay_with_their_device, LAMP)
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
    verdict = _broken(spoiled, checks.readings_stay_with_their_device, LAMP)
    assert verdict.evidence_total == len(commit.rows)
    assert _judge(spoiled, checks.acknowledged_readings_are_stored).outcome == "holds"


def test_a_pack_that_is_never_acknowledged_is_named(good: Spoiled) -> None:
    spoiled = good.drop(PackAcknowledged, endpoint=LAMP, sequence=5, stream="state")
    verdict = _broken(spoiled, checks.every_reading_is_acknowledged, LAMP)
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
        verdict = _broken(case, checks.every_reading_is_acknowledged, LAMP)
        assert reason in verdict.evidence[0].observed


def test_alarm_packs_must_be_acknowledged_too(good: Spoiled) -> None:
    acknowledged = good.find(PackAcknowledged, stream="alarm")
    spoiled = good.drop_one(acknowledged)
    _broken(spoiled, checks.every_reading_is_acknowledged, acknowledged.endpoint)


def test_a_thin_stream_is_named_with_its_path(good: Spoiled) -> None:
    commits = [_stored_pack(good, LAMP, sequence) for sequence in range(1, 4)]
    spoiled = good
    for commit in commits:
        spoiled = spoiled.drop_one(commit)
    verdict = _broken(spoiled, checks.streams_report, LAMP)
    assert "9 readings stored" in verdict.evidence[0].observed
    assert _judge(spoiled, checks.at_least(9)).outcome == "holds"


# ---- alarms ----


def test_an_alarm_that_was_never_cleared_breaks_its_model(good: Spoiled) -> None:
    spoiled = good.drop(AlarmStored, alarm="lamp_failure", raised=False)
    verdict = _judge(spoiled, checks.alarms_raise_and_clear)
    assert verdict.outcome == "broken"
    named = {evidence.endpoint for evidence in verdict.evidence}
    assert named == {"street_lamp", "lamp-0001"}


def test_a_model_without_any_alarm_is_named(good: Spoiled) -> None:
    spoiled = good.drop(AlarmStored, alarm="container_full")
    assert "waste_bin" in {
        evidence.endpoint for evidence in _judge(spoiled, checks.alarms_raise_and_clear).evidence
    }


def test_a_clearing_before_its_raising_does_not_count(good: Spoiled) -> None:
    raised = good.find(AlarmStored, alarm="fine_dust", raised=True)
    spoiled = good.swap(raised, time_us=raised.time_us + 10**9)
    assert _judge(spoiled, checks.alarms_raise_and_clear).outcome == "broken"


# ---- the bench ----


def test_a_secret_in_an_output_names_the_file(good: Spoiled) -> None:
    scanned = good.find(SecretsScanned)
    _broken(
        good.swap(scanned, found=["logs/bridge.log"]),
        checks.no_secret_in_outputs,
        "logs/bridge.log",
    )
    for empty in ({"needles": 0}, {"files": 0}):
        verdict = _judge(good.swap(scanned, **empty), checks.no_secret_in_outputs)
        assert verdict.outcome == "inconclusive"


def test_a_process_that_is_left_or_crashed_is_named(good: Spoiled) -> None:
    down = good.find(BenchDown)
    _broken(good.swap(down, left=["broker"]), checks.nothing_left_behind, "broker")
    crash = ProcessExited(at_ns=down.at_ns, process="bridge", returncode=1)
    _broken(good.add(crash), checks.processes_stay_up, "bridge")


def test_a_loader_that_started_devices_late_is_saturated(good: Spoiled) -> None:
    started = good.find(DeviceStarted, endpoint=LAMP)
    late = good.swap(started, at_ns=started.intended_at_ns + 80_000_000)
    verdict = _judge(late, checks.loader_kept_up)
    assert verdict.outcome == "inconclusive"
    assert verdict.about == "loader"
    assert "start lag p99 80.0 ms, over 50 ms" in verdict.summary


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"delays": [(100, 90), (25_000, 10)]}, "loop delay p99 25.0 ms"),
        ({"socket_drops": 3}, "3 datagrams dropped"),
    ],
)
def test_late_timers_and_drops_are_saturation(
    good: Spoiled, fields: dict[str, object], fault: str
) -> None:
    sample = good.find(LoopSample, process="fleet")
    alone = good.drop(LoopSample, process="fleet").add(sample)
    assert fault in _judge(alone.swap(sample, **fields), checks.loader_kept_up).summary


def test_one_late_sample_among_many_is_weighed_by_its_timers(good: Spoiled) -> None:
    sample = good.find(LoopSample, process="fleet")
    spoiled = good.swap(sample, delays=[(100, 90), (25_000, 10)])
    assert _judge(spoiled, checks.loader_kept_up).outcome == "holds"


def test_without_bucketed_delays_the_median_sample_counts(good: Spoiled) -> None:
    spoiled = good.drop(LoopSample, process="fleet").add(
        *(
            LoopSample(at_ns=n, process="fleet", delay_p99_ns=ms * 1_000_000, delay_max_ns=0)
            for n, ms in enumerate((1, 25, 30))
        )
    )
    assert "loop delay p99 25.0 ms" in _judge(spoiled, checks.loader_kept_up).summary


def test_kills_that_did_not_take_place_prove_nothing(good: Spoiled) -> None:
    planned = good.add(Note(at_ns=1, name="kills_planned", value=2.0))
    kill = ProcessKilled(at_ns=2, process="bridge", point="event_received", endpoint=LAMP)
    once, twice = planned.add(kill), planned.add(kill, kill)
    assert _judge(once, checks.every_planned_kill_struck).outcome == "inconclusive"
    verdict = _judge(twice, checks.every_planned_kill_struck)
    assert verdict.outcome == "holds"
    assert verdict.evidence_total == 2


def test_evidence_is_cut_and_counted_honestly(good: Spoiled) -> None:
    spoiled = good.drop(ReadingsStored).add(ReadingsStored(at_ns=good.records[-1].at_ns, rows=[]))
    verdict = _judge(spoiled, checks.acknowledged_readings_are_stored)
    assert len(verdict.evidence) == 25
    assert verdict.evidence_total == 2_136
    assert "acknowledged and lost: 2,136, " in verdict.summary


def test_when_taps_were_off_it_is_said(good: Spoiled) -> None:
    run = good.find(RunStarted)
    blind = type(good)([good.swap(run, options={"taps": "off"}).records[0]])
    assert "the taps were off" in _judge(blind, checks.every_device_comes_online).summary
    assert isinstance(blind.records[0], RunStarted)
    assert _judge(good.drop(ProcessStarted), checks.processes_stay_up).outcome == "inconclusive"
