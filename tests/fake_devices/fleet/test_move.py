"""Devices that are given another LwM2M server: they register there and refuse the old one."""

from __future__ import annotations

import asyncio

import pytest

from contracts.journal import DeviceRegistered
from fake_devices.fleet.arrivals import arrival_order
from fake_devices.fleet.commands import IllegalCommand, Move, Start, parse_command
from tests.fake_devices.fleet.test_load import URI, Rig, play

OTHER = "coap://127.0.0.1:5684"


def test_a_move_is_a_command_of_the_starter() -> None:
    line = b'{"move": {"positions": [0, 2], "server": "coap://127.0.0.1:5684"}}'
    assert parse_command(line, 3) == Move([0, 2], OTHER)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"move": {"positions": [3], "server": "coap://127.0.0.1:5684"}}', "position 3"),
        (b'{"move": {"positions": [0], "server": "nowhere"}}', "expected coap://host:port"),
    ],
)
def test_a_move_that_cannot_be_is_refused(line: bytes, reason: str) -> None:
    with pytest.raises(IllegalCommand, match=reason):
        parse_command(line, 3)


def test_a_device_that_moves_registers_at_the_other_server_and_no_longer_knows_the_old_one() -> (
    None
):
    async def story(rig: Rig) -> None:
        load = rig.load()
        load.start(Start(rate_per_s=100.0))
        # Seconds of the rig's own loop, whose time is virtual: nothing waits for them.
        await asyncio.sleep(1.0)
        load.move(Move([1], OTHER))
        await asyncio.sleep(1.0)

    rig = play(story, 3)
    # The devices file's second line, in the order in which the fleet switches them on.
    moved = list(arrival_order(range(3), rig.settings.seed)).index(1)
    for number, device in enumerate(rig.fleet.devices):
        registered = [r for r in rig.of(DeviceRegistered) if r.endpoint == device.endpoint]
        assert len(registered) == (2 if number == moved else 1)
        assert device.is_registered
        assert [each.uri for each in device.accounts] == [OTHER if number == moved else URI]
        assert (device.account_at(URI) is None) == (number == moved)
    assert rig.fleet.counts.registered == 3
