"""Gates: the server stands still at a named point until it is killed or let go."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.lwm2m_server.gates import (
    COMMAND_SENT,
    CREDENTIALS_RECEIVED,
    BadGateOrder,
    decode_order,
)
from tests.harness.lwm2m_server.world import Bridge, Device, World


def onboarded(tmp_path: Path) -> tuple[World, Bridge, Device]:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(1)
    return world, bridge, device


def order(world: World, line: bytes) -> None:
    world.core.gates.order(decode_order(line))
    world.core.open_gate()


def test_the_nth_credentials_command_is_swallowed_and_the_bridge_hears_nothing(
    tmp_path: Path,
) -> None:
    world, bridge, device = onboarded(tmp_path)
    order(world, b'{"arm": {"point": "credentials_received_not_written", "occurrence": 2}}')
    for number in range(1, 4):
        bridge.send(world.command(f"c{number}", "lamp-1", issued_by="credentials"))
    world.device("lamp-2").register()
    frames = len(bridge.frames)
    world.run_for(2)
    assert world.said == [{"gate": CREDENTIALS_RECEIVED, "endpoint": "lamp-1"}]
    assert len(device.done) == 1
    assert len(bridge.frames) == frames
    bridge.disconnect()
    bridge.connect()
    world.run_for(2)
    assert "c1" in bridge.outcomes()
    assert "c2" not in bridge.outcomes()
    assert len(bridge.events("registered")) == 2


def test_a_command_that_was_sent_gets_no_answer_while_the_gate_holds(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    order(world, b'{"arm": {"point": "command_sent_no_outcome", "occurrence": 1}}')
    bridge.send(world.command("a1", "lamp-1", issued_by="credentials"))
    world.run_for(1)
    assert bridge.outcomes()["a1"].succeeded
    bridge.send(world.command("c1", "lamp-1", issued_by="control"))
    world.run_for(1)
    assert world.said == [{"gate": COMMAND_SENT, "endpoint": "lamp-1"}]
    assert len(device.done) == 2
    assert "c1" not in bridge.outcomes()
    world.restart()
    bridge.connect()
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded
    assert len(device.done) == 2


@pytest.mark.parametrize("point", [COMMAND_SENT, CREDENTIALS_RECEIVED])
def test_a_gate_that_is_let_go_takes_what_came_meanwhile(tmp_path: Path, point: str) -> None:
    world, bridge, _ = onboarded(tmp_path)
    order(world, b'{"arm": {"point": "%b"}}' % point.encode())
    issuer = "credentials" if point == CREDENTIALS_RECEIVED else "control"
    bridge.send(world.command("c1", "lamp-1", issued_by=issuer))
    bridge.send(world.command("c2", "lamp-1", issued_by=issuer))
    world.run_for(1)
    assert bridge.outcomes() == {}
    order(world, b'{"release": "%b"}' % point.encode())
    world.run_for(30)
    assert bridge.outcomes()["c2"].succeeded
    assert ("c1" in bridge.outcomes()) == (point == COMMAND_SENT)


def test_a_newer_bridge_opens_the_gate(tmp_path: Path) -> None:
    world, bridge, _ = onboarded(tmp_path)
    order(world, b'{"arm": {"point": "command_sent_no_outcome"}}')
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(1)
    newer = world.bridge()
    world.run_for(30)
    assert newer.outcomes()["c1"].succeeded


def test_a_held_bridge_cannot_fill_the_memory(tmp_path: Path) -> None:
    world, bridge, _ = onboarded(tmp_path)
    order(world, b'{"arm": {"point": "command_sent_no_outcome"}}')
    bridge.send(world.command("c1", "lamp-1"))
    for _ in range(10_001):
        bridge.send_text(b"{}")
    world.settle()
    assert world.closes[0][0] == 1013


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_a_line_that_is_no_order_is_refused(line: bytes) -> None:
    with contextlib.suppress(BadGateOrder):
        decode_order(line)
