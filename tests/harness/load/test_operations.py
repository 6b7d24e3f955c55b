"""What records amount to as lines of Locust's table."""

from __future__ import annotations

from contracts.journal import (
    AlarmGenerated,
    CommandEnded,
    CommandIssued,
    CredentialsActivated,
    DeviceBootstrapped,
    DeviceConnected,
    DeviceDisconnected,
    DeviceRegistered,
    DeviceRegistrationFailed,
    DeviceStarted,
    DownlinkServed,
    EventLogged,
    PackAcknowledged,
    PackDropped,
    PackGenerated,
    ReadingsStored,
    Record,
)
from contracts.load import DevicePowerLost, DevicePowerRestored
from harness.load.operations import BenchOperations, FleetOperations, Operation

MS = 1_000_000
STARTED = DeviceStarted(at_ns=3 * MS, endpoint="a", model="street_lamp", intended_at_ns=1 * MS)


def fleet(*records: Record) -> list[Operation]:
    operations = FleetOperations()
    return [each for record in (STARTED, *records) for each in operations.take(record)]


def test_stages_are_measured_from_the_intended_start() -> None:
    assert fleet(
        DeviceRegistered(at_ns=11 * MS, endpoint="a", location="/rd/1"),
        CredentialsActivated(at_ns=31 * MS, endpoint="a", client_id="a", certificate_sha256="00"),
        DeviceConnected(at_ns=41 * MS, endpoint="a", client_id="a", attempt=1),
    ) == [
        Operation("registered", "street_lamp", 10.0),
        Operation("credentials_activated", "street_lamp", 30.0),
        Operation("mqtt_connected", "street_lamp", 40.0),
    ]


def test_only_the_first_time_is_a_stage() -> None:
    again = DeviceRegistered(at_ns=21 * MS, endpoint="a", location="/rd/2")
    first = DeviceRegistered(at_ns=11 * MS, endpoint="a", location="/rd/1")
    assert [each.kind for each in fleet(first, again)] == ["registered", "registered_again"]


def test_a_device_that_is_switched_on_again_comes_through_its_stages_again() -> None:
    again = DevicePowerRestored(at_ns=50 * MS, endpoint="a", intended_at_ns=50 * MS)
    assert fleet(
        DeviceRegistered(at_ns=11 * MS, endpoint="a", location="/rd/1"),
        again,
        DeviceRegistered(at_ns=55 * MS, endpoint="a", location="/rd/2"),
    ) == [
        Operation("registered", "street_lamp", 10.0),
        Operation("registered", "street_lamp", 5.0),
    ]


def test_a_refused_registration_fails_with_its_code_and_an_unanswered_one_says_so() -> None:
    assert fleet(
        DeviceRegistrationFailed(at_ns=5 * MS, endpoint="a", code="4.03"),
        DeviceRegistrationFailed(at_ns=9 * MS, endpoint="a"),
    ) == [
        Operation("registered", "street_lamp", None, "4.03"),
        Operation("registered", "street_lamp", None, "no answer"),
    ]


def test_a_publish_is_measured_from_the_making_of_its_pack() -> None:
    pack = PackGenerated(at_ns=20 * MS, endpoint="a", boot="b", sequence=1, records=[])
    acknowledged = PackAcknowledged(
        at_ns=24 * MS, endpoint="a", boot="b", sequence=1, stream="state"
    )
    assert fleet(pack, acknowledged) == [
        Operation("reading_acknowledged", "street_lamp", 23.0),
        Operation("publish_state", "street_lamp", 4.0),
    ]


def test_state_and_alarm_packs_of_one_number_are_told_apart() -> None:
    alarm = AlarmGenerated(
        at_ns=10 * MS,
        endpoint="a",
        boot="b",
        sequence=1,
        path="/3311/0/5850",
        time_us=0,
        alarm="lamp_failure",
        raised=True,
        severity="major",
    )
    pack = PackGenerated(at_ns=20 * MS, endpoint="a", boot="b", sequence=1, records=[])
    acknowledged = PackAcknowledged(
        at_ns=30 * MS, endpoint="a", boot="b", sequence=1, stream="alarm"
    )
    assert fleet(alarm, pack, acknowledged) == [Operation("publish_alarm", "street_lamp", 20.0)]


def test_a_dropped_pack_is_a_publish_that_failed() -> None:
    pack = PackGenerated(at_ns=20 * MS, endpoint="a", boot="b", sequence=1, records=[])
    dropped = PackDropped(at_ns=25 * MS, endpoint="a", boot="b", sequence=1, stream="state")
    (operation,) = fleet(pack, dropped)
    assert operation.kind == "publish_state"
    assert "buffer" in operation.failure


def test_a_lost_connection_fails_and_the_next_one_is_measured_from_the_loss() -> None:
    assert fleet(
        DeviceConnected(at_ns=41 * MS, endpoint="a", client_id="a", attempt=1),
        DeviceDisconnected(at_ns=50 * MS, endpoint="a", reason="reset"),
        DeviceDisconnected(at_ns=60 * MS, endpoint="a", reason="refused"),
        DeviceConnected(at_ns=90 * MS, endpoint="a", client_id="a", attempt=3),
    )[1:] == [
        Operation("mqtt_connection", "street_lamp", None, "reset"),
        Operation("mqtt_connection", "street_lamp", None, "refused"),
        Operation("mqtt_connected_again", "street_lamp", 40.0),
    ]


def test_a_connection_that_ends_with_the_power_is_no_failure() -> None:
    assert (
        fleet(
            DeviceDisconnected(at_ns=50 * MS, endpoint="a", reason="power lost"),
            DevicePowerLost(at_ns=50 * MS, endpoint="a", intended_at_ns=50 * MS),
        )
        == []
    )


def test_a_publish_is_measured_from_when_its_measurement_was_meant() -> None:
    pack = PackGenerated(
        at_ns=20 * MS, endpoint="a", boot="b", sequence=1, records=[], intended_at_ns=15 * MS
    )
    acknowledged = PackAcknowledged(
        at_ns=24 * MS, endpoint="a", boot="b", sequence=1, stream="state"
    )
    assert fleet(pack, acknowledged)[1].milliseconds == 9.0


def test_a_downlink_request_has_its_operation_and_fails_by_its_code() -> None:
    def served(code: str) -> DownlinkServed:
        return DownlinkServed(
            at_ns=9 * MS, endpoint="a", operation="write", path="/3/0", message_id=1, code=code
        )

    assert fleet(served("2.04"), served("4.05")) == [
        Operation("downlink_write", "street_lamp"),
        Operation("downlink_write", "street_lamp", None, "4.05"),
    ]


# ---- what the bench's observers saw ----


def test_what_the_bench_saw_before_the_start_was_read_waits_for_it() -> None:
    operations = BenchOperations()
    early = DeviceBootstrapped(at_ns=21 * MS, server="s", endpoint="a", version="1")
    assert list(operations.take(early)) == []
    assert list(operations.started(STARTED)) == [Operation("bootstrapped", "street_lamp", 20.0)]
    assert list(operations.take(early)) == [], "a stage is reached once"


def test_a_device_is_online_when_its_first_reading_is_stored() -> None:
    operations = BenchOperations()
    list(operations.started(STARTED))
    stored = ReadingsStored(at_ns=101 * MS, rows=[("a", "/3311/0/5850", 1, True)])
    assert list(operations.take(stored)) == [Operation("online", "street_lamp", 100.0)]
    assert list(operations.take(stored)) == []


def test_updates_are_counted_without_a_latency() -> None:
    operations = BenchOperations()
    list(operations.started(STARTED))
    updated = EventLogged(at_ns=9, server="s", epoch="e", seq=1, kind="updated", endpoint="a")
    assert list(operations.take(updated)) == [Operation("update", "street_lamp")]


def test_a_command_is_measured_from_when_it_was_meant_to_be_posted() -> None:
    operations = BenchOperations()
    list(operations.started(STARTED))
    issued = CommandIssued(
        at_ns=12 * MS, id="1", endpoint="a", path="/3416/0/1", intended_at_ns=10 * MS
    )
    ended = CommandEnded(
        at_ns=15 * MS,
        server="s",
        id="1",
        endpoint="a",
        operation="write",
        path="/3416/0/1",
        stage="timeout",
    )
    list(operations.take(issued))
    assert list(operations.take(ended)) == [Operation("command", "street_lamp", 5.0, "timeout")]


def test_a_command_may_end_before_who_posted_it_hears() -> None:
    operations = BenchOperations()
    list(operations.started(STARTED))
    ended = CommandEnded(
        at_ns=15 * MS,
        server="s",
        id="1",
        endpoint="a",
        operation="write",
        path="/3416/0/1",
        code="2.04",
    )
    issued = CommandIssued(
        at_ns=16 * MS, id="1", endpoint="a", path="/3416/0/1", intended_at_ns=10 * MS
    )
    assert list(operations.take(ended)) == []
    assert list(operations.take(issued)) == [Operation("command", "street_lamp", 5.0)]
