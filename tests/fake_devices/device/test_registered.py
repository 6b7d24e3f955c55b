"""A registration that rests behaves as one that does not, and weighs less."""

from __future__ import annotations

import pytest

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
from fake_devices.device.registrar import AtRest
from fake_devices.devices import MODELS, DeviceIdentity
from lwm2m.coap import Request, Response, codes

SECURE = ServerAccount(101, "coaps://127.0.0.1:5684", 0, b"lamp-7", b"key of 7")
TWO = (DEFAULT_ACCOUNT, ServerAccount(102, "coap://127.0.0.2:5683"))
WHO = DeviceIdentity("lamp-7", "SN-7", "street_lamp", 52.1, 4.3, 7)
LIFETIME_S = 300


def at(second: float) -> Moment:
    return Moment(round(second * 1e9), 1_795_208_400_000_000 + round(second * 1e6))


def make(*accounts: ServerAccount) -> Device:
    settings = DeviceSettings(lifetime_s=LIFETIME_S)
    environment = Environment(settings, lambda record: None, lambda: 0.5, lambda: "boot")
    model, given = MODELS["street_lamp"], accounts or (DEFAULT_ACCOUNT,)
    template = make_template(model, WHO, 0.0, LIFETIME_S, device_models(), accounts=given)
    lot = Lot(
        environment, template, model, 0.0,
        lambda endpoint, number: WHO, lambda number: 0.5, lambda number: "127.16.1.7",
    )  # fmt: skip
    return Device.of_lot(lot, "lamp-7", 7, given)


def registered(device: Device, *location: str) -> Device:
    device.start(0, at(10))
    for sent in device.take_actions():
        response = Response(codes.CREATED, location_path=location or ("rd", "5a3f"))
        device.response_received(sent, response, at(10))
    return device


def rests(device: Device) -> bool:
    return isinstance(device._held_servers, AtRest)


@pytest.mark.parametrize("accounts", [(DEFAULT_ACCOUNT,), (SECURE,)], ids=["plain", "with a key"])
def test_updates_go_on_and_on(accounts: tuple[ServerAccount, ...]) -> None:
    device, now = registered(make(*accounts)), 10.0
    for _ in range(3):
        assert rests(device)
        assert device.is_registered
        due = device.next_timer()
        assert due == now + 207.0
        now = due + 0.5
        device.handle_timer(at(now))
        [update] = device.take_actions()
        assert (update.request.code, update.request.path) == (codes.POST, ("rd", "5a3f"))
        assert update.account.uri == accounts[0].uri
        assert update.account.key == accounts[0].key
        assert device.is_registered
        assert not rests(device)
        device.response_received(update, Response(codes.CHANGED), at(now))


def test_one_that_is_forgotten_registers_anew() -> None:
    device = registered(make())
    device.handle_timer(at(217))
    [update] = device.take_actions()
    device.response_received(update, Response(codes.NOT_FOUND), at(217))
    [register] = device.take_actions()
    assert register.request.path == ("rd",)
    assert not device.is_registered
    assert not rests(device)


def test_a_server_that_speaks_to_it_finds_all_of_it() -> None:
    device = registered(make())
    account = device.account_at(DEFAULT_ACCOUNT.uri)
    assert account is not None
    assert account.short_server_id == DEFAULT_ACCOUNT.short_server_id
    lifetime = Request(codes.PUT, ("1", "0", "1"), content_format=0, payload=b"1000")
    assert device.serve(lifetime, 1, 1, account, at(20)).code == codes.CHANGED
    [update] = device.take_actions()
    assert update.request.query == ("lt=1000",)
    device.response_received(update, Response(codes.CHANGED), at(20))
    # What was written is more than what it was born with.
    assert not rests(device)
    assert device.next_timer() == 20 + 907.0


def test_one_whose_values_were_looked_at_keeps_all() -> None:
    device = registered(make())
    account = device.account_at(DEFAULT_ACCOUNT.uri)
    assert device.serve(Request(codes.GET, ("3", "0")), 1, 1, account, at(20)).code == codes.CONTENT
    assert not rests(device)
    device.handle_timer(at(217))
    [update] = device.take_actions()
    device.response_received(update, Response(codes.CHANGED), at(217))
    assert not rests(device)
    assert device.is_registered


@pytest.mark.parametrize("location", [("rd", "5a3f", "x"), ("other", "5a3f")])
def test_where_it_is_registered_is_kept_whole(location: tuple[str, ...]) -> None:
    device = registered(make(), *location)
    device.handle_timer(at(217))
    [update] = device.take_actions()
    assert update.request.path == location


def test_several_registrations_do_not_rest() -> None:
    device = make(*TWO)
    device.start(0, at(10))
    for second in (10, 11):
        for sent in device.take_actions():
            created = Response(codes.CREATED, location_path=("rd", str(second)))
            device.response_received(sent, created, at(second))
    assert not rests(device)
    assert [each.uri for each in device.accounts] == [each.uri for each in TWO]


def test_a_power_cut_ends_a_rest() -> None:
    device = registered(make())
    device.lose_power(0, at(20))
    assert not device.is_registered
    assert device.next_timer() is None
    device.restore_power(0, at(30))
    assert [sent.request.path for sent in device.take_actions()] == [("rd",)]


def test_one_that_rests_ends_as_registered() -> None:
    records: list[object] = []
    device = registered(make())
    device.environment.record = records.append
    device.end(at(50))
    assert rests(device)
    assert records[0].state == "registered"  # type: ignore[attr-defined]  # the one record of an end
