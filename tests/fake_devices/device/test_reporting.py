"""What a device measures, packs, keeps and sends."""

import cbor2
import pytest

from contracts.journal import (
    AlarmGenerated,
    DeviceConnected,
    PackAcknowledged,
    PackDropped,
    PackGenerated,
    PackSent,
)
from fake_devices.device import IncidentPlan
from fake_devices.device.settings import DeviceSettings
from fake_devices.device.telemetry import UnknownUnit, plan_report
from fake_devices.devices import MODELS
from lwm2m.coap import codes
from lwm2m.codecs import senml_cbor
from lwm2m.objects import ObjectModel, ObjectPath, ResourceModel, ValueType


def resolve(pack):
    return senml_cbor.resolve(pack.pack.payload, None)


def test_the_first_pack_follows_the_connection_and_says_what_the_contract_wants(rig):
    rig.bootstrap()
    rig.connect()
    [sent] = rig.published
    assert (sent.pack.stream, sent.pack.topic) == ("state", "devices/lamp-7/state")
    records = resolve(sent)
    base = cbor2.loads(sent.pack.payload)[0]
    assert base[-2] == "lamp-7/"
    assert (base["seq"], base["boot"]) == (1, "boot-1")
    [generated] = rig.recorded(PackGenerated)
    assert [
        (record.name.removeprefix("lamp-7"), round(record.time * 1e6), record.value)
        for record in records
    ] == generated.records
    assert {time_us for _, time_us, _ in generated.records} == {rig.moment().unix_us}
    units = {record.name: record.unit for record in records}
    assert units["lamp-7/3416/0/3"] == "/"
    assert units["lamp-7/3418/0/6"] == "J"
    assert {path: value for path, _, value in generated.records}["/3416/0/3"] == 1.0


def test_a_stream_reports_what_its_sources_name(rig):
    rig.start()
    rig.write_broker()
    rig.write_publication(0, "devices/lamp-7/state", source="</3418/0>", active=True)
    rig.connect()
    names = {record.name for record in resolve(rig.published[0])}
    assert names
    assert all(name.startswith("lamp-7/3418/0/") for name in names)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_model_reports_in_units_that_senml_has(models, model):
    plan = plan_report(MODELS[model].reported, (), models)
    assert [resource.path for resource in plan] == list(MODELS[model].reported)


def test_a_resource_without_a_senml_unit_is_an_error_of_ours(models):
    speed = ResourceModel(1, "Speed", ValueType.FLOAT, "R", unit="furlong/fortnight")
    odd = ObjectModel(9999, "Odd", "1.0", "1.0", True, False, {1: speed})
    with pytest.raises(UnknownUnit, match="furlong"):
        plan_report([ObjectPath(9999, 0, 1)], (), {**models, 9999: odd})


def test_packs_come_in_the_devices_own_place_of_the_interval(make_rig):
    rig = make_rig(report_every_s=10.0)
    rig.bootstrap()
    rig.connect()
    rig.run(60)
    times = [round(record.at_ns / 1e9, 1) for record in rig.recorded(PackGenerated)]
    assert len(times) in (6, 7)
    assert all(abs(time % 10 - 2.5) < 0.11 for time in times[1:]), "phase 0.25 of 10 s"
    sequences = [record.sequence for record in rig.recorded(PackGenerated)]
    assert sequences == list(range(1, len(times) + 1))


def test_a_command_is_seen_in_the_next_pack(rig):
    rig.bootstrap()
    rig.connect()
    rig.ask(codes.PUT, "/3416/0/1", [("/3416/0/1", 35)])
    rig.run(8)
    values = {record.name: record.value for record in resolve(rig.published[-1])}
    assert values["lamp-7/3416/0/3"] == 0.35


def test_packs_without_connection_are_kept_and_sent_later_with_their_own_times(make_rig):
    rig = make_rig(report_every_s=5.0, drain_per_s=2.0, reconnect_s=60.0)
    rig.bootstrap()
    rig.connect()
    for sent in rig.published:
        rig.acknowledge(sent)
    rig.lose_connection()
    rig.run(41)
    before = len(rig.published)
    assert rig.device.unacknowledged == 8
    rig.connect_again()
    drained_from = rig.now
    while len(rig.published) < before + 8:
        rig.run(0.1)
        for sent in rig.published[before:]:
            rig.acknowledge(sent)
    assert rig.now - drained_from == pytest.approx(3.5, abs=0.5), "two a second"
    times = [round(resolve(sent)[0].time * 1e6) for sent in rig.published]
    generated = [record.records[0][1] for record in rig.recorded(PackGenerated)]
    assert times == generated[: len(times)]
    assert times == sorted(times)


def test_what_was_in_flight_is_repeated_by_the_session(rig):
    rig.bootstrap()
    rig.connect()
    rig.lose_connection()
    rig.connect_again()
    sent = [(record.sequence, record.attempt) for record in rig.recorded(PackSent)]
    assert sent[:2] == [(1, 1), (1, 2)]
    assert len(rig.published) == 1, "the MQTT session repeats it, not the device"
    rig.acknowledge(rig.published[0])
    rig.acknowledge(rig.published[0])
    assert len(rig.recorded(PackAcknowledged)) == 1


def test_a_new_session_gets_what_was_in_flight_published_anew(rig):
    rig.bootstrap()
    rig.connect()
    rig.write_broker(codes.PUT, client_id="lamp-8")
    rig.connect()
    assert [sent.pack.sequence for sent in rig.published] == [1, 1]
    assert rig.published[1].pack.attempt == 2


@pytest.mark.parametrize(("drop", "kept"), [("oldest", [7, 8, 9]), ("newest", [2, 3, 4])])
def test_a_full_buffer_gives_packs_up_by_its_policy(make_rig, drop, kept):
    rig = make_rig(buffer_packs_max=3, buffer_drop=drop, drain_per_s=100.0, reconnect_s=1.0)
    rig.bootstrap()
    rig.connect()
    rig.acknowledge(rig.published[0])
    rig.lose_connection()
    while len(rig.recorded(PackGenerated)) < 9:
        rig.run(0.1)
    rig.connect()
    rig.run(1)
    assert [sent.pack.sequence for sent in rig.published[1:4]] == kept
    dropped = [record.sequence for record in rig.recorded(PackDropped)]
    assert sorted([*dropped, *kept]) == list(range(2, 10))


def test_no_more_packs_are_in_flight_than_allowed(make_rig):
    rig = make_rig(in_flight_max=2, report_every_s=1.0)
    rig.bootstrap()
    rig.connect()
    rig.run(5)
    assert len(rig.published) == 2
    rig.acknowledge(rig.published[0])
    assert len(rig.published) == 3


def test_packs_of_qos_0_need_no_acknowledgement(rig):
    rig.start()
    rig.write_broker()
    rig.write_publication(0, "devices/lamp-7/state")
    rig.ask(codes.PUT, "/18831/0/3", [("/18831/0/3", 0)])
    rig.activate(0)
    rig.connect()
    assert rig.published[0].pack.qos == 0
    assert rig.device.unacknowledged == 0


def test_alarms_are_raised_and_cleared_in_order(make_rig):
    incident = MODELS["street_lamp"].demonstration_incident
    rig = make_rig(report_every_s=1.0, incidents=(IncidentPlan(incident, 2.0, 6.0),))
    rig.bootstrap()
    rig.connect()
    rig.run(15)
    alarms = rig.recorded(AlarmGenerated)
    rule = MODELS["street_lamp"].alarm_rules[0]
    assert [(record.alarm, record.raised) for record in alarms] == [
        (rule.alarm, True),
        (rule.alarm, False),
    ]
    connected_ns = rig.recorded(DeviceConnected)[0].at_ns
    raised_s, cleared_s = [(record.at_ns - connected_ns) / 1e9 for record in alarms]
    assert 2 <= raised_s <= 3.2
    assert 6 <= cleared_s <= 7.2
    rig.acknowledge_all()
    packs = [sent for sent in rig.published if sent.pack.stream == "alarm"]
    assert [sent.pack.topic for sent in packs] == ["devices/lamp-7/alarm"] * 2
    first = cbor2.loads(packs[0].pack.payload)[0]
    assert first[0] == str(rule.path).removeprefix("/")
    assert (first[4], first["alarm"], first["severity"]) == (True, rule.alarm, rule.severity)
    assert first["aseq"] == 1
    assert first["seq"] == alarms[0].sequence
    assert cbor2.loads(packs[1].pack.payload)[0]["aseq"] == 2


def test_an_alarm_that_stands_when_its_stream_appears_is_raised_then(make_rig):
    incident = MODELS["street_lamp"].demonstration_incident
    rig = make_rig(report_every_s=1.0, incidents=(IncidentPlan(incident, 0.0, 60.0),))
    rig.start()
    rig.write_broker()
    rig.write_publication(0, "devices/lamp-7/state", active=True)
    rig.connect()
    rig.run(3)
    assert rig.recorded(AlarmGenerated) == []
    rig.write_publication(1, "devices/lamp-7/alarm", active=True)
    rig.run(2)
    assert [record.raised for record in rig.recorded(AlarmGenerated)] == [True]


def test_a_device_told_to_stop_sends_what_it_has_and_nothing_more(rig):
    rig.bootstrap()
    rig.connect()
    rig.device.stop_generating()
    rig.run(60)
    assert len(rig.recorded(PackGenerated)) == 1
    assert rig.device.unacknowledged == 1
    rig.acknowledge(rig.published[0])
    assert rig.device.unacknowledged == 0


def test_readings_of_one_path_never_have_the_same_time(rig):
    rig.bootstrap()
    rig.connect()
    moment = rig.moment()
    reporter = rig.device._reporter
    for _ in range(3):
        reporter.sample(rig.device.tree, moment._replace(unix_us=moment.unix_us - 5_000_000))
    times = [record.records[0][1] for record in rig.recorded(PackGenerated)]
    assert times == sorted(set(times))


def test_defaults_are_within_what_aws_allows():
    assert DeviceSettings().in_flight_max <= 100
