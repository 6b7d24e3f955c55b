"""Commands whose values take more than one block, over a network that loses, and over kills."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from contracts.data_interface import Command, Value
from lwm2m.coap import codes
from tests.harness.lwm2m_server.world import LINKS, Killed, Point, World

_BROKER_LINKS = LINKS + b",</18831/0>"


def _create(world: World, endpoint: str, number: int, **fields: object) -> Command:
    certificate = bytes(range(256)) * (2 + number)
    values = [
        Value("/18830/0/0", "string", "mqtts://127.0.0.1:8883"),
        Value("/18830/0/1", "string", endpoint),
        Value("/18830/0/7", "opaque", b64encode(certificate).decode()),
        Value("/18830/0/8", "opaque", b64encode(certificate).decode()),
    ]
    return world.command(
        f"{endpoint}-{number}", endpoint, "create", "/18830/0", values=values, **fields
    )


@pytest.mark.parametrize("seed", range(6))
def test_every_large_create_ends_and_none_is_carried_out_twice(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, seed=seed, loss_ratio=0.3)
    devices = [world.device(f"lamp-{number}") for number in range(4)]
    bridge = world.bridge()
    for device in devices:
        device.register(links=_BROKER_LINKS)
    world.run_for(100.0)
    wanted = []
    for device in devices:
        for number in range(4):
            wanted.append(f"{device.endpoint}-{number}")
            bridge.send(_create(world, device.endpoint, number))
    world.run_for(590.0)
    outcomes = bridge.outcomes()
    assert sorted(outcomes) == sorted(wanted)
    for device in devices:
        bodies = [body for code, path, body, _ in device.done if path == "/18830"]
        assert len(bodies) == len(set(bodies))
        done = [
            one for one in wanted if one.startswith(device.endpoint) and outcomes[one].succeeded
        ]
        assert len(bodies) >= len(done)


def test_a_large_create_reaches_the_device_whole(tmp_path: Path) -> None:
    world = World(tmp_path)
    device, bridge = world.device("lamp-1"), world.bridge()
    device.register(links=_BROKER_LINKS)
    world.run_for(1.0)
    command = _create(world, "lamp-1", 3)
    bridge.send(command)
    bridge.send(world.command("after", "lamp-1"))
    world.run_for(1.0)
    [(code, path, body, _), (_, after, _, _)] = device.done
    assert (code, path, after) == (codes.POST, "/18830", "/3416/0/1")
    assert body.count(bytes(range(256))) == 10
    assert bridge.outcomes()[command.id].location == "/18830/0"


@pytest.mark.parametrize("point", list(Point))
def test_a_kill_between_the_blocks_of_a_create_has_none_carried_out_twice(
    tmp_path: Path, point: Point
) -> None:
    world = World(tmp_path)
    device, bridge = world.device("lamp-1"), world.bridge()
    device.register(links=_BROKER_LINKS)
    world.run_for(1.0)
    bridge.send(_create(world, "lamp-1", 3))
    world.run_for(0.015)  # the first block has come to the device, and its confirmation has not
    world.kill_at = point
    with pytest.raises(Killed):
        world.run_for(1.0)
    world.kill_at = None
    world.restart()
    bridge.connect()
    world.run_for(300.0)
    bridge.send(_create(world, "lamp-1", 3))
    world.run_for(10.0)
    assert bridge.outcomes()["lamp-1-3"].error.stage == "unknown"
    assert len([1 for code, *_ in device.done if code == codes.POST]) <= 1
