"""Onboarding's checks name the device that misses a stage, and those that nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contracts.journal import (
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
    RunStarted,
)
from harness import checks
from tests.harness.checks.judging import LAMP, OTHER, broken, judge

if TYPE_CHECKING:
    from tests.harness.checks.conftest import Spoiled

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
    verdict = broken(spoiled, checks.every_device_comes_online, LAMP)
    assert verdict.evidence[0].observed.endswith(f"never to {stage}")


def test_a_device_without_a_stored_reading_is_not_online(good: Spoiled) -> None:
    records = [
        r
        for r in good.records
        if not (isinstance(r, ReadingsStored) and r.rows and r.rows[0][0] == LAMP)
    ]
    spoiled = type(good)(records)
    broken(spoiled, checks.every_device_comes_online, LAMP)
    broken(spoiled, checks.acknowledged_readings_are_stored, LAMP)
    broken(spoiled, checks.streams_report, LAMP)


def test_a_device_that_was_never_switched_on_is_missed(good: Spoiled) -> None:
    spoiled = good.drop(DeviceStarted, endpoint=LAMP)
    verdict = broken(spoiled, checks.every_device_comes_online, "")
    assert verdict.evidence[0].observed == "devices never switched on: 1"


def test_every_device_that_was_never_switched_on_is_counted(good: Spoiled) -> None:
    spoiled = good.drop(DeviceStarted, model="street_lamp")
    lamps = len(good.records) - len(spoiled.records)
    verdict = broken(spoiled, checks.every_device_comes_online, "")
    assert verdict.summary == f"{lamps} of 40 devices did not come online"


def test_of_several_attempts_the_first_success_counts(good: Spoiled) -> None:
    later = good.find(DeviceRegistered, endpoint=LAMP)
    spoiled = good.add(
        DeviceRegistered(at_ns=later.at_ns + 10**10, endpoint=LAMP, location="/rd/x")
    )
    assert judge(spoiled, checks.stages_are_in_order).outcome == "holds"


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
    broken(late, checks.stages_are_in_order, LAMP)
    broken(good.drop_one(record), checks.stages_are_in_order, LAMP)


def test_observers_that_are_late_by_their_own_loops_accuse_nobody(good: Spoiled) -> None:
    record = good.find(MessageSeen, endpoint=LAMP, topic_kind="credentials")
    late = good.swap(record, at_ns=record.at_ns + 600_000_000)
    broken(late, checks.stages_are_in_order, LAMP)
    slow = LoopSample(
        at_ns=record.at_ns, process="runner", delay_p99_ns=1, delay_max_ns=800_000_000
    )
    assert judge(late.add(slow), checks.stages_are_in_order).outcome == "holds"


def test_registration_and_its_event_may_be_seen_in_either_order(good: Spoiled) -> None:
    event = good.find(MessageSeen, endpoint=LAMP, topic_kind="event")
    early = good.swap(event, at_ns=event.at_ns - 1_000_000_000)
    assert judge(early, checks.stages_are_in_order).outcome == "holds"


def test_a_device_with_anothers_credentials_is_named(good: Spoiled) -> None:
    activated = good.find(CredentialsActivated, endpoint=LAMP)
    swapped = good.swap(activated, client_id=OTHER)
    broken(swapped, checks.devices_hold_their_own_credentials, LAMP)
    connected = good.find(DeviceConnected, endpoint=LAMP)
    broken(good.swap(connected, client_id=OTHER), checks.devices_hold_their_own_credentials, LAMP)


def test_two_devices_with_one_certificate_are_found(good: Spoiled) -> None:
    first = good.find(CredentialsActivated, endpoint=LAMP)
    second = good.find(CredentialsActivated, endpoint=OTHER)
    spoiled = good.swap(second, certificate_sha256=first.certificate_sha256)
    verdict = judge(spoiled, checks.devices_hold_their_own_credentials)
    assert verdict.outcome == "broken"
    assert LAMP in verdict.evidence[0].observed + verdict.evidence[0].endpoint


def test_a_devices_row_that_was_rejected_is_told_with_its_reason(good: Spoiled) -> None:
    ended = good.find(ImportEnded)
    spoiled = good.swap(ended, accepted=39, rejected=1, reasons=[(7, "latitude", "'123'…")])
    verdict = broken(spoiled, checks.every_row_is_provisioned, "")
    assert "row 7 rejected: latitude" in verdict.evidence[0].observed
    assert verdict.summary == "39 of 40 devices accepted"


def test_faulty_rows_beside_the_devices_may_be_rejected_but_not_in_silence(good: Spoiled) -> None:
    ended = good.find(ImportEnded)
    told = good.swap(ended, rows=41, rejected=1, reasons=[(41, "model", "unknown")])
    verdict = judge(told, checks.every_row_is_provisioned)
    assert verdict.outcome == "holds"
    assert verdict.evidence_total == 1
    silent = good.swap(ended, rows=41, rejected=1)
    assert judge(silent, checks.every_row_is_provisioned).outcome == "broken"


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
    verdict = judge(spoiled, checks.unknown_devices_are_ignored)
    assert verdict.outcome == "holds"
    assert [evidence.endpoint for evidence in verdict.evidence] == ["ghost-1"]
    assert judge(spoiled, checks.every_device_comes_online).outcome == "holds"


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
    broken(_with_unknown(good).add(record), checks.unknown_devices_are_ignored, "ghost-1")


def test_an_unknown_device_that_never_registered_proves_nothing(good: Spoiled) -> None:
    spoiled = _with_unknown(good).drop(DeviceRegistered, endpoint="ghost-1")
    assert judge(spoiled, checks.unknown_devices_are_ignored).outcome == "inconclusive"
