"""Queue mode (LwM2M Core §6.5): commands wait for a device that sleeps, in order, for a while."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.data_interface import Holder, Value
from harness.lwm2m_server.config import ServerLimits
from lwm2m.coap import Response, codes
from lwm2m.codecs import Node, encode_payload
from lwm2m.objects import ObjectPath
from tests.harness.lwm2m_server.world import MODELS, Bridge, Device, World

AWAKE_S = 93


def onboarded(tmp_path: Path, **options: Any) -> tuple[World, Bridge, Device]:
    world = World(tmp_path, **options)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register("Q", lifetime_s=86_400)
    world.run_for(1)
    return world, bridge, device


def asleep(tmp_path: Path, **options: Any) -> tuple[World, Bridge, Device]:
    world, bridge, device = onboarded(tmp_path, **options)
    world.run_for(AWAKE_S)
    assert [event.kind for event in bridge.events()] == ["registered", "sleeping"]
    return world, bridge, device


def speaks_by_update(device: Device) -> None:
    device.update()


def speaks_by_register(device: Device) -> None:
    device.register("Q", lifetime_s=86_400)


def speaks_by_send(device: Device) -> None:
    path = ObjectPath(3, 0, 9)
    device.report(encode_payload(112, None, [Node(path, 80)], MODELS))


def kinds(bridge: Bridge) -> list[str]:
    return [event.kind for event in bridge.events()]


def test_a_device_is_told_to_sleep_and_wake(tmp_path: Path) -> None:
    world, bridge, device = asleep(tmp_path)
    device.update()
    world.run_for(1)
    assert kinds(bridge)[2:] == ["updated", "awake"]
    world.run_for(AWAKE_S - 2)
    assert kinds(bridge)[4:] == []
    world.run_for(2)
    assert kinds(bridge)[4:] == ["sleeping"]
    assert {event.registration_id for event in bridge.events()} == {device.location[1]}


def test_the_time_awake_is_configuration(tmp_path: Path) -> None:
    world, bridge, _ = onboarded(tmp_path, limits=ServerLimits(awake_s=22))
    world.run_for(20)
    assert kinds(bridge) == ["registered"]
    world.run_for(2)
    assert kinds(bridge) == ["registered", "sleeping"]


@pytest.mark.parametrize("speaks", [speaks_by_update, speaks_by_register, speaks_by_send])
def test_ets_109_a_read_waits_until_the_device_speaks(
    tmp_path: Path, speaks: Callable[[Device], None]
) -> None:
    world, bridge, device = asleep(tmp_path)
    bridge.send(world.command("r1", "lamp-1", "read", "/3/0/9"))
    world.run_for(60)
    assert device.done == []
    assert bridge.outcomes() == {}
    speaks(device)
    world.run_for(1)
    assert [path for _, path, _, _ in device.done] == ["/3/0/9"]
    assert bridge.outcomes()["r1"].succeeded
    assert device.responses[-1].code in (codes.CHANGED, codes.CREATED)


def test_a_notification_wakes_too(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("o1", "lamp-1", "observe", "/3/0/9", format=0))
    world.run_for(AWAKE_S + 2)
    bridge.send(world.command("r1", "lamp-1", "read", "/3/0/9", format=0))
    world.run_for(1)
    assert "r1" not in bridge.outcomes()
    device.notify(Response(codes.CONTENT, b"41", 0, observe=2))
    world.run_for(1)
    assert kinds(bridge)[-3:] == ["notification", "awake", "result"]
    assert bridge.outcomes()["r1"].succeeded


def test_what_waited_goes_out_one_at_a_time_and_in_order(tmp_path: Path) -> None:
    world, bridge, device = asleep(tmp_path)
    for number in range(5):
        value = [Value("/3416/0/1", "integer", number)]
        bridge.send(world.command(f"c{number}", "lamp-1", values=value, format=0))
    world.run_for(1)
    device.update()
    world.run_for(0.015)  # the Update is there, its answer and one request are on their way
    assert len(world.sent) == 3
    world.run_for(1)
    assert [payload for _, _, payload, _ in device.done] == [b"0", b"1", b"2", b"3", b"4"]
    assert list(bridge.outcomes()) == [f"c{number}" for number in range(5)]


def test_the_update_is_answered_before_anything_is_asked(tmp_path: Path) -> None:
    world, bridge, device = asleep(tmp_path)
    bridge.send(world.command("r1", "lamp-1", "read", "/3/0/9"))
    world.run_for(1)
    device.update()
    world.run_for(1)
    answer, request = [data[1] for data, _ in world.sent[-2:]]
    assert (answer, request) == (codes.CHANGED, codes.GET)


def test_a_repeated_id_waits_once(tmp_path: Path) -> None:
    world, bridge, device = asleep(tmp_path)
    command = world.command("c1", "lamp-1", "execute", "/3/0/4")
    for _ in range(3):
        bridge.send(command)
    device.update()
    world.run_for(1)
    assert len(device.done) == 1
    assert len(bridge.events("result")) == 1


def test_what_waits_too_long_expires_and_is_not_sent(tmp_path: Path) -> None:
    world, bridge, device = asleep(tmp_path)
    bridge.send(world.command("c1", "lamp-1", expires_in_s=10))
    world.run_for(11)
    assert bridge.outcomes()["c1"].error.stage == "expired"
    device.update()
    world.run_for(1)
    assert device.done == []


def test_what_waits_can_be_taken_back(tmp_path: Path) -> None:
    world, bridge, device = asleep(tmp_path)
    bridge.send(world.command("c1", "lamp-1"))
    bridge.send(world.command("c2", "lamp-1"))
    bridge.send(world.cancel("c1"))
    device.update()
    world.run_for(1)
    assert bridge.outcomes()["c1"].error.stage == "cancelled"
    assert bridge.outcomes()["c2"].succeeded
    assert len(device.done) == 1


def cut_off(tmp_path: Path, operation: Any, path: str) -> tuple[World, Bridge, Device]:
    """A request that its device does not hear, because it sleeps earlier than it should."""
    world, bridge, device = onboarded(tmp_path)
    device.hears = False
    bridge.send(world.command("c1", "lamp-1", operation, path, expires_in_s=3_600))
    world.run_for(120)
    assert kinds(bridge)[1] == "sleeping"
    return world, bridge, device


def test_a_write_that_sleep_cut_off_waits_again_and_is_done_after_the_wake(
    tmp_path: Path,
) -> None:
    world, bridge, device = cut_off(tmp_path, "write", "/3416/0/1")
    assert bridge.outcomes() == {}
    device.hears = True
    device.update()
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded
    assert len(device.done) == 1


@pytest.mark.parametrize(("operation", "path"), [("execute", "/3/0/4"), ("create", "/18831")])
def test_what_must_not_happen_twice_is_unknown_when_sleep_cuts_it_off(
    tmp_path: Path, operation: str, path: str
) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register("Q", lifetime_s=86_400)
    world.run_for(1)
    device.hears = False
    values = [] if operation == "create" else None
    bridge.send(world.command("c1", "lamp-1", operation, path, values=values))  # type: ignore[arg-type] # both are
    world.run_for(120)
    assert bridge.outcomes()["c1"].error.stage == "timeout"
    device.hears = True
    device.update()
    world.run_for(1)
    assert device.done == []


def test_what_was_cut_off_and_expires_may_have_happened(tmp_path: Path) -> None:
    world, bridge, _ = cut_off(tmp_path, "write", "/3416/0/1")
    world.run_for(3_600)
    outcome = bridge.outcomes()["c1"]
    assert outcome.error.stage == "timeout"
    assert "may have happened" in outcome.error.detail


def test_what_was_cut_off_waits_again_over_a_restart(tmp_path: Path) -> None:
    world, bridge, device = cut_off(tmp_path, "write", "/3416/0/1")
    world.turn.compact()
    world.restart()
    bridge.connect()
    world.run_for(5)
    assert bridge.outcomes() == {}
    device.hears = True
    device.update()
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded


def test_what_waits_when_the_registration_ends_is_told_as_failed(tmp_path: Path) -> None:
    world, bridge, device = asleep(tmp_path)
    bridge.send(world.command("c1", "lamp-1", expires_in_s=80_000))
    device.hears = False
    world.run_for(1)
    device.hears = True
    world.run_for(86_400)
    assert bridge.events("deregistered")[0].reason == "expired"
    assert bridge.outcomes()["c1"].error.stage == "expired"
    device.register("Q", lifetime_s=60)
    world.run_for(55)
    holder = Holder("s1", device.location[1])
    bridge.send(world.command("c2", "lamp-1", holder=holder))
    device.answers = False
    world.run_for(1)
    world.run_for(60)
    assert bridge.outcomes()["c2"].error.stage == "unknown"


def test_a_sleeping_device_whose_registration_expires_drops_what_waits(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register("Q", lifetime_s=200)
    world.run_for(100)
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(150)
    assert bridge.outcomes()["c1"].error.stage == "not_registered"
    assert device.done == []


def test_a_device_of_1_0_says_so_in_its_binding(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register(version="1.0", binding="UQ")
    world.run_for(1)
    (event,) = bridge.events("registered")
    assert event.registration is not None
    assert (event.registration.queue_mode, event.registration.binding) == (True, "U")


def test_an_update_can_end_queue_mode(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register(version="1.0", binding="UQ", lifetime_s=3_600)
    world.run_for(1)
    device.update("b=U")
    world.run_for(200)
    assert kinds(bridge) == ["registered", "updated"]
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded


@pytest.mark.parametrize("compacted", [False, True])
def test_who_sleeps_sleeps_on_after_a_restart_and_is_told_once(
    tmp_path: Path, compacted: bool
) -> None:
    world, bridge, device = asleep(tmp_path)
    bridge.send(world.command("c1", "lamp-1"))
    world.settle()
    if compacted:
        world.turn.compact()
    world.restart()
    bridge.connect()
    world.run_for(200)
    assert kinds(bridge) == ["registered", "sleeping"]
    assert device.done == []
    device.update()
    world.run_for(1)
    assert kinds(bridge)[2:] == ["updated", "awake", "result"]


def test_who_was_awake_at_a_restart_falls_asleep_in_time(tmp_path: Path) -> None:
    world, bridge, _ = onboarded(tmp_path)
    world.restart()
    bridge.connect()
    world.run_for(AWAKE_S - 2)
    assert kinds(bridge) == ["registered"]
    world.run_for(2)
    assert kinds(bridge) == ["registered", "sleeping"]
