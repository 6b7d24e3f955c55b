"""Devices of a lot have nothing of their own until it matters, and are the same as if they had."""

from dataclasses import replace

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_devices.device import (
    DEFAULT_ACCOUNT,
    Device,
    DeviceSettings,
    Environment,
    Lot,
    Moment,
    ServerAccount,
    device_models,
    make_template,
)
from fake_devices.device.lot import _kinds, _without_keys
from fake_devices.device.registrar import object_list
from fake_devices.device.servers import read_plan
from fake_devices.devices import MODELS, DeviceIdentity
from fake_devices.devices.street_lamp import STREET_LAMP
from lwm2m.coap import Request, Response, codes
from lwm2m.objects import ObjectPath

BEGAN_S = 1_795_208_400.0
SECURE = ServerAccount(101, "coaps://127.0.0.1:5684", 0, b"lamp-7", b"key of 7")
ACCOUNTS = {
    "plain": (DEFAULT_ACCOUNT,),
    "with a key": (SECURE,),
    "a bootstrap server": (ServerAccount(None, "coap://127.0.0.1:5783"),),
    "both, with keys": (
        ServerAccount(None, "coaps://127.0.0.1:5784", 0, b"lamp-7", b"another key"),
        SECURE,
    ),
    "two servers": (SECURE, ServerAccount(102, "coap://127.0.0.2:5683")),
}
MOMENT = Moment(10_000_000_000, 1_795_208_410_000_000)


def make_lot(accounts, model="street_lamp"):
    environment = Environment(DeviceSettings(), lambda record: None, lambda: 0.5, lambda: "boot")
    first = DeviceIdentity("lamp-1", "SN-1", model, 52.0, 4.2, 7)
    template = make_template(MODELS[model], first, BEGAN_S, 300, device_models(), accounts=accounts)
    return Lot(
        environment, template, MODELS[model], BEGAN_S,
        lambda endpoint, number: identity(model), lambda number: number / 10,
        lambda number: f"127.16.1.{number}",
    )  # fmt: skip


def identity(model="street_lamp"):
    return DeviceIdentity("lamp-7", "SN-7", model, 52.1, 4.3, 7)


def make_device(lot, accounts=(DEFAULT_ACCOUNT,)):
    return Device.of_lot(lot, "lamp-7", 7, accounts)


def start(device):
    device.start(0, MOMENT)
    return device.take_actions()


@pytest.mark.parametrize("name", ACCOUNTS)
def test_a_device_without_values_registers_as_one_that_has_them(name):
    accounts = ACCOUNTS[name]
    lot = make_lot((DEFAULT_ACCOUNT,))
    idle, looked_at = make_device(lot, accounts), make_device(lot, accounts)
    tree = looked_at.tree
    assert idle.server_plan() == read_plan(tree, lot.environment) == looked_at.server_plan()
    assert idle.object_list() == object_list(tree)
    assert start(idle) == start(looked_at)
    assert idle._tree is None


def test_keys_of_one_device_are_not_given_to_another():
    lot = make_lot((SECURE,))
    other = ServerAccount(101, SECURE.uri, 0, b"lamp-8", b"key of 8")
    plans = [make_device(lot, (each,)).server_plan() for each in (SECURE, other, SECURE)]
    keys = [(plan.servers[0][0].identity, plan.servers[0][0].key) for plan in plans]
    assert keys == [(b"lamp-7", b"key of 7"), (b"lamp-8", b"key of 8"), (b"lamp-7", b"key of 7")]


@pytest.mark.parametrize("model", MODELS)
def test_values_are_those_of_its_birth_whenever_they_are_asked_for(model):
    lot = make_lot((DEFAULT_ACCOUNT,), model)
    late, early = make_device(lot), make_device(lot)
    expected = dict(early.tree)
    for device in (late, early):
        [register] = start(device)
        created = Response(codes.CREATED, location_path=("rd", "1"))
        device.response_received(register, created, MOMENT)
    assert late._tree is None
    assert dict(late.tree) == expected
    read = Request(codes.GET, ("3", "0"))
    answers = [
        each.serve(read, 1, 1, each.account_at(DEFAULT_ACCOUNT.uri), MOMENT)
        for each in (late, early)
    ]
    assert answers[0] == answers[1]
    assert answers[0].code == codes.CONTENT
    assert dict(late.tree) == dict(early.tree)


def set_up(device):
    """What a platform writes before the device connects."""
    broker = [
        {-2: "/18830/0/", 0: "0", 3: "mqtts://a:8883"},
        {0: "1", 3: "lamp-7"}, {0: "2", 4: True}, {0: "3", 2: 60}, {0: "6", 2: 2},
    ]  # fmt: skip
    request = Request(codes.POST, ("18830",), (), 112, payload=cbor2.dumps(broker))
    return device.serve(request, 1, 1, device.account_at(DEFAULT_ACCOUNT.uri), MOMENT)


def test_a_device_that_is_set_up_measures_nothing():
    measured = []

    def initial(identity, t_s):
        measured.append(identity.endpoint)
        return STREET_LAMP.initial(identity, t_s)

    def new_memory(identity, t_s):
        measured.append("memory")
        return STREET_LAMP.new_memory(identity, t_s)

    lot = make_lot((DEFAULT_ACCOUNT,))
    lot.model = replace(STREET_LAMP, initial=initial, new_memory=new_memory)
    device = make_device(lot)
    start(device)
    del measured[:]  # what all devices of the lot share
    assert set_up(device).code == codes.CREATED
    assert measured == []
    assert device.tree[ObjectPath(3, 0, 2)] == "SN-7"
    assert measured == ["lamp-7"]


@pytest.mark.parametrize("name", ["plain", "two servers"])
def test_a_device_that_was_set_up_has_the_values_of_its_birth(name):
    lot = make_lot((DEFAULT_ACCOUNT,))
    unseen, seen = make_device(lot, ACCOUNTS[name]), make_device(lot, ACCOUNTS[name])
    assert len(seen.tree) > 20
    for device in (unseen, seen):
        start(device)
        set_up(device)
    assert unseen.tree.instances == seen.tree.instances
    assert unseen.object_list() == seen.object_list()
    assert dict(unseen.tree) == dict(seen.tree)


def test_a_device_in_a_lot_knows_its_own_address():
    tree = make_device(make_lot((DEFAULT_ACCOUNT,))).tree
    assert "127.16.1.7" in tree.values()
    assert "SN-7" in tree.values()


_ACCOUNTS = st.builds(
    ServerAccount,
    st.sampled_from([None, 101, 102]),
    st.sampled_from(["coap://a", "coaps://a"]),
    security_mode=st.sampled_from([0, 3]),
    identity=st.sampled_from([b"", b"a", b"b"]),
    key=st.sampled_from([b"", b"k", b"l"]),
    server_key=st.sampled_from([b"", b"s"]),
    security_instance=st.integers(0, 2),
    server_instance=st.sampled_from([None, 0]),
    hold_off_s=st.sampled_from([0, 5]),
    account_timeout_s=st.sampled_from([0, 5]),
    sni=st.sampled_from([None, "name"]),
)


@given(_ACCOUNTS, _ACCOUNTS)
def test_accounts_are_of_one_kind_when_they_differ_in_keys_alone(
    one: ServerAccount, other: ServerAccount
) -> None:
    is_alike = _without_keys(one) == _without_keys(other)
    assert (_kinds([one]) == _kinds([other])) is is_alike


def test_devices_that_take_turns_keep_their_own_keys():
    keys = [b"key of 7", b"key of 8", b""]
    every = [(ServerAccount(101, "coaps://a", 0, b"lamp" if key else b"", key),) for key in keys]
    shared = make_lot(every[0])
    for accounts, key in [*zip(every, keys, strict=True)] * 2:
        for _ in range(2):
            [(account, _, _)] = shared.setting("lamp-7", 7, accounts).plan.servers
            assert account.key == key
