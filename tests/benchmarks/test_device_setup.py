"""What it takes to set a device up stays within its bound, counted and not timed."""

from __future__ import annotations

import asyncio

from benchmarks.device_setup import measure, setup_of
from fake_devices.device.uplink import UplinkState

# 10,900 when this was written, of which the CoAP core took a quarter.
STEPS_MAX = 13_000


def test_a_device_is_set_up_in_so_many_steps() -> None:
    found = asyncio.run(measure(10))
    assert found["devices"] == 10
    assert 5_000 < found["steps"] < STEPS_MAX


def test_what_is_measured_is_a_whole_setup() -> None:
    async def play() -> None:
        async with setup_of(10) as setup:
            setup.set_up(range(10))
            assert setup.codes == ["2.01"] * 20
            assert {each.uplink_state for each in setup.fleet.devices} == {UplinkState.CONNECTING}
            assert all(len(each.tree.instances_of(18831)) == 3 for each in setup.fleet.devices)

    asyncio.run(play())
