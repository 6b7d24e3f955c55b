"""Devices behind security sessions: who they are, and what a new session means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.data_interface import Security
from contracts.journal import DatagramRefused, HandshakeRefused
from harness.lwm2m_server.observations import ObservationState
from harness.lwm2m_server.writer import REFUSALS_RECORDED_MAX
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import Node, encode_payload
from lwm2m.objects import ObjectPath
from tests.harness.lwm2m_server.world import LINKS, MODELS, Bridge, Device, World

PACK = encode_payload(112, None, [Node(ObjectPath(3, 0, 9), 80)], MODELS)


def onboarded(tmp_path: Path, **options: Any) -> tuple[World, Bridge, Device]:
    world = World(tmp_path, **options)
    bridge = world.bridge()
    device = world.device("lamp-1")
    world.secure(device, "identity-1", endpoint_name="lamp-1")
    device.register(lifetime_s=3_600)
    world.run_for(1)
    return world, bridge, device


def at_another_address(world: World, device: Device) -> None:
    """The same device, its NAT having changed its mind."""
    del world.devices[device.address]
    del world.sessions[device.address]
    device.address = ("127.0.9.9", 40_000)
    world.devices[device.address] = device


@pytest.mark.parametrize("mode", ["psk", "x509", "oscore"])
def test_a_registration_says_how_and_as_whom_the_device_came(tmp_path: Path, mode: str) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    world.secure(device, "identity-1", endpoint_name="lamp-1", mode=mode)
    device.register()
    world.run_for(1)
    device.update()
    world.run_for(1)
    for event in bridge.events():
        assert event.registration is not None
        assert event.registration.security == Security(mode, "identity-1")  # type: ignore[arg-type] # one of the modes
        assert event.registration.address == "127.0.1.1:10000"


def test_another_endpoint_name_than_the_credentials_is_refused_and_counted(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-2")
    world.secure(device, "identity-1", endpoint_name="lamp-1")
    device.register()
    world.run_for(1)
    assert device.responses[-1].code == codes.BAD_REQUEST
    assert bridge.events() == []
    assert world.core.counters()["refused_identity_mismatch"] == 1
    (refused,) = world.observed.of(DatagramRefused)
    assert refused.reason == "identity_mismatch"


def test_the_credentials_name_a_device_that_does_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    world.secure(device, "identity-1", endpoint_name="lamp-1")
    query = ("lt=60", "lwm2m=1.1", "b=U")
    device.send(Request(codes.POST, ("rd",), query, 40, None, None, LINKS))
    world.run_for(1)
    assert [event.endpoint for event in bridge.events("registered")] == ["lamp-1"]


def test_without_security_nobody_takes_a_protected_registration(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    thief = world.device("lamp-1", 7)
    thief.register()
    world.run_for(1)
    thief.location = device.location
    thief.update()
    thief.deregister()
    thief.report(PACK)
    world.run_for(1)
    assert [one.code for one in thief.responses] == [
        codes.FORBIDDEN,
        codes.NOT_FOUND,
        codes.NOT_FOUND,
        codes.NOT_FOUND,
    ]
    assert [event.kind for event in bridge.events()] == ["registered"]


def test_without_security_nobody_registers_as_a_device_that_has_a_key(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    world.core.refuse_nosec_of({"lamp-1"}.__contains__)
    stranger, other = world.device("lamp-1", 7), world.device("lamp-2")
    stranger.register()
    other.register()
    world.run_for(1)
    assert [one.code for one in stranger.responses] == [codes.FORBIDDEN]
    assert [event.endpoint for event in bridge.events()] == ["lamp-2"]
    assert world.core.counters()["refused_keyed_without_security"] == 1


def test_another_identity_changes_nothing_of_a_registration(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    thief = world.device("lamp-9", 7)
    world.secure(thief, "identity-9", endpoint_name="lamp-9")
    thief.location = device.location
    thief.update()
    thief.deregister()
    thief.report(PACK)
    world.run_for(1)
    assert {one.code for one in thief.responses} == {codes.NOT_FOUND}
    assert [event.kind for event in bridge.events()] == ["registered"]


@pytest.mark.parametrize("from_another_address", [False, True])
def test_commands_follow_a_device_to_its_new_session_at_once(
    tmp_path: Path, from_another_address: bool
) -> None:
    world, bridge, device = onboarded(tmp_path)
    if from_another_address:
        at_another_address(world, device)
    world.secure(device, "identity-1", endpoint_name="lamp-1")
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded


@pytest.mark.parametrize("speaks", ["update", "report"])
def test_a_session_that_the_server_was_not_told_of_counts_from_its_first_message(
    tmp_path: Path, speaks: str
) -> None:
    world, bridge, device = onboarded(tmp_path)
    at_another_address(world, device)
    world.secure(device, "identity-1", endpoint_name="lamp-1", is_told=False)
    device.report(PACK) if speaks == "report" else device.update()
    world.run_for(1)
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded


def test_a_session_of_unbound_credentials_counts_from_its_first_message(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    world.secure(device, "identity-1")
    device.register()
    world.run_for(1)
    world.secure(device, "identity-1")
    device.update()
    world.run_for(1)
    device.report(PACK)
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded
    assert len(bridge.events("send")) == 1


def test_what_was_on_its_way_to_the_old_session_goes_over_the_new_one(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.hears = False
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(3)
    device.hears = True
    world.secure(device, "identity-1", endpoint_name="lamp-1")
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded
    assert len(device.done) == 1


def test_an_execute_on_its_way_to_the_old_session_is_unknown_and_not_sent_again(
    tmp_path: Path,
) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.hears = False
    bridge.send(world.command("c1", "lamp-1", "execute", "/3/0/4"))
    world.run_for(3)
    device.hears = True
    world.secure(device, "identity-1", endpoint_name="lamp-1")
    world.run_for(1)
    assert bridge.outcomes()["c1"].error.stage == "unknown"
    assert device.done == []


def test_while_a_device_has_no_session_its_commands_wait(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    gone = world.sessions[device.address]
    world.core.peer_gone(gone)
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(10)
    assert bridge.outcomes() == {}
    world.secure(device, "identity-1", endpoint_name="lamp-1")
    world.core.peer_gone(gone)  # told late, of the session before
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded


def test_observations_are_asked_for_again_in_the_new_session(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("o1", "lamp-1", "observe", "/3/0/9", format=0))
    world.run_for(1)
    world.secure(device, "identity-1", endpoint_name="lamp-1")
    world.run_for(1)
    (observation,) = world.core.observations()
    assert observation.state is ObservationState.HELD
    device.notify(Response(codes.CONTENT, b"41", 0, observe=2))
    world.run_for(1)
    assert {event.observation_id for event in bridge.events("notification")} == {"o1"}
    assert bridge.events("observation_ended") == []


def test_after_a_restart_nothing_is_sent_without_the_devices_security(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("o1", "lamp-1", "observe", "/3/0/9", format=0))
    world.run_for(1)
    device.hears = False
    bridge.send(world.command("c1", "lamp-1"))
    bridge.send(world.command("c2", "lamp-1", "execute", "/3/0/4"))
    world.run_for(1)
    sent = len(world.sent)
    world.restart()
    device.hears = True
    bridge.connect()
    world.run_for(10)
    assert len(world.sent) == sent
    assert bridge.outcomes().keys() == {"o1"}
    world.secure(device, "identity-1", endpoint_name="lamp-1")
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded
    assert bridge.outcomes()["c2"].succeeded, "it had not been sent"
    assert world.core.observations()[0].state is ObservationState.HELD
    thief = world.device("lamp-1", 7)
    thief.register()
    world.run_for(1)
    assert thief.responses[-1].code == codes.FORBIDDEN


def test_refused_handshakes_are_counted_and_recorded_to_a_bound(tmp_path: Path) -> None:
    world = World(tmp_path)
    for _ in range(REFUSALS_RECORDED_MAX + 50):
        world.core.refuse_handshake("unknown_identity", "127.0.0.9:1", "00ff")
    world.settle()
    counted = world.core.counters()["refused_handshake_unknown_identity"]
    assert counted == REFUSALS_RECORDED_MAX + 50
    records = world.observed.of(HandshakeRefused)
    assert len(records) == REFUSALS_RECORDED_MAX
    assert (records[0].reason, records[0].identity_hash) == ("unknown_identity", "00ff")
