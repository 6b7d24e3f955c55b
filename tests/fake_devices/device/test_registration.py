"""How a device gets and keeps its registration."""

import pytest

from contracts.journal import DeviceRegistered, DeviceRegistrationFailed, DeviceStarted
from lwm2m.coap import Request, Response, codes
from lwm2m.registration import RegistrationReader
from lwm2m.transport.simulated import NetworkConditions

READER = RegistrationReader()


def read(request):
    return READER.read_register(request.query, request.payload, request.content_format)


def test_a_device_registers_with_its_objects(rig):
    rig.start()
    [request] = rig.requests
    register = read(request)
    assert (register.endpoint_name, register.lifetime_s) == ("lamp-7", 300)
    assert (register.lwm2m_version, register.binding) == ("1.1", "U")
    assert register.objects.version_of(1) == "1.1"
    assert register.objects.version_of(3416) == "2.0"
    assert register.objects.has_instance(3416, 0)
    assert 18830 in register.objects.objects
    assert not register.objects.has_instance(18830, 0)
    assert rig.recorded(DeviceStarted)[0].endpoint == "lamp-7"
    assert rig.recorded(DeviceRegistered)[0].location == "/rd/1"
    assert rig.device.is_registered


@pytest.mark.parametrize("seed", range(5))
def test_a_device_registers_over_a_network_that_loses_and_repeats(make_rig, seed):
    conditions = NetworkConditions(loss_ratio=0.35, duplication_ratio=0.2, jitter_s=0.2)
    rig = make_rig(conditions=conditions, seed=seed)
    rig.start()
    rig.run(200)
    assert rig.device.is_registered


def test_an_update_is_sent_before_the_lifetime_ends_and_again(make_rig):
    rig = make_rig(lifetime_s=200)
    rig.start()
    rig.run(330)
    updates = [request for request in rig.requests if request.path == ("rd", "1")]
    assert len(updates) == 3
    assert all((update.query, update.payload) == ((), b"") for update in updates)


def test_a_device_that_its_server_forgot_registers_again(make_rig):
    rig = make_rig(lifetime_s=100)
    rig.start()
    rig.answers = lambda request: (
        Response(codes.NOT_FOUND) if request.path == ("rd", "1") else rig.accept(request)
    )
    rig.run(60)
    assert [request.path for request in rig.requests] == [("rd",), ("rd", "1"), ("rd",)]
    assert len(rig.recorded(DeviceRegistered)) == 2


def test_a_refused_register_is_recorded_and_tried_again_after_a_pause(rig):
    rig.answers = lambda request: Response(codes.FORBIDDEN)
    rig.start()
    assert rig.recorded(DeviceRegistrationFailed)[0].code == "4.03"
    assert not rig.device.is_registered
    rig.answers = rig.accept
    rig.run(8)
    assert rig.device.is_registered


def test_a_register_that_nobody_answers_is_given_up_and_tried_again(rig):
    rig.network.set_conditions(NetworkConditions(loss_ratio=1.0))
    rig.start()
    rig.run(100)
    assert rig.recorded(DeviceRegistrationFailed)[0].code == ""
    rig.network.set_conditions(NetworkConditions())
    rig.run(60)
    assert rig.device.is_registered


def test_new_instances_are_told_in_one_update(rig):
    rig.bootstrap()
    rig.run(5)
    updates = [request for request in rig.requests if request.path == ("rd", "1")]
    assert len(updates) == 1
    objects = READER.read_update(updates[0].query, updates[0].payload, 40, "1.1").objects
    assert objects.has_instance(18830, 0)
    assert objects.has_instance(18831, 0)
    assert objects.has_instance(18831, 1)


def test_a_written_lifetime_is_told_by_an_update(rig):
    rig.start()
    assert rig.ask(codes.PUT, "/1/0/1", [("/1/0/1", 90)]).code == codes.CHANGED
    assert rig.requests[-1].query == ("lt=90",)
    rig.run(50)
    assert len(rig.requests) == 3, "the next Update follows the new lifetime"


def test_the_update_trigger_makes_the_device_update(rig):
    rig.start()
    assert rig.ask(codes.POST, "/1/0/8").code == codes.CHANGED
    assert rig.requests[-1] == Request(codes.POST, ("rd", "1"))


def test_a_reboot_makes_the_device_register_anew(rig):
    rig.bootstrap()
    rig.connect()
    assert rig.ask(codes.POST, "/3/0/4").code == codes.CHANGED
    assert rig.requests[-1].path == ("rd",)
    assert read(rig.requests[-1]).objects.has_instance(18830, 0), "credentials survive it"
    assert (rig.closed, len(rig.opened)) == (1, 2)
    rig.connect()
    rig.run(1)
    packs = [(sent.pack.boot, sent.pack.sequence) for sent in rig.published]
    assert packs == [("boot-1", 1), ("boot-1", 1), ("boot-2", 1)], "what was kept goes first"
