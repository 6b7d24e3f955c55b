"""Observations: begun, notified, ended, bounded, and over a restart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from contracts.data_interface import Value
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.observations import (
    ASKED_AT_ONCE_MAX,
    TRANSITIONS,
    Observation,
    ObservationEvent,
    ObservationState,
)
from lwm2m.coap import (
    NON,
    Message,
    Request,
    Response,
    codes,
    decode_message,
    encode_message,
    options,
)
from lwm2m.codecs import Node, encode_payload
from lwm2m.objects import ObjectPath
from tests.harness.lwm2m_server.world import MODELS, Bridge, Device, World

LEVEL = ObjectPath(3, 0, 9)


def level(number: int, sequence: int | None) -> Response:
    payload = encode_payload(112, LEVEL, [Node(LEVEL, number)], MODELS)
    return Response(codes.CONTENT, payload, 112, observe=sequence)


def onboarded(tmp_path: Path, **options: Any) -> tuple[World, Bridge, Device]:
    world = World(tmp_path, **options)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.answer = lambda request: level(50, 1 if request.observe == 0 else None)
    device.register(lifetime_s=3_600)
    world.run_for(1)
    return world, bridge, device


def observed(tmp_path: Path, **options: Any) -> tuple[World, Bridge, Device]:
    world, bridge, device = onboarded(tmp_path, **options)
    bridge.send(world.command("o1", "lamp-1", "observe", "/3/0/9"))
    world.run_for(1)
    assert bridge.outcomes()["o1"].succeeded
    return world, bridge, device


def flood(world: World, device: Device, token: bytes, numbers: Iterable[int]) -> None:
    """Notifications of a device that knows no measure."""
    for number in numbers:
        option = (options.OBSERVE, options.encode_uint(number))
        told = Message(NON, codes.CONTENT, number, token, (option,), b"7")
        world.inject(encode_message(told), device.address)
    world.settle()


def ends(bridge: Bridge) -> list[tuple[str | None, str | None]]:
    return [(event.observation_id, event.ended) for event in bridge.events("observation_ended")]


@pytest.mark.parametrize("state", ObservationState)
@pytest.mark.parametrize("event", ObservationEvent)
def test_every_cell_of_the_table_is_a_state_or_impossible(
    state: ObservationState, event: ObservationEvent
) -> None:
    observation = Observation(None, state, -1)  # type: ignore[arg-type] # only its state matters
    target = TRANSITIONS[state].get(event)
    if target is None:
        with pytest.raises(KeyError):
            observation.move(event)
    else:
        observation.move(event)
        assert observation.state is target


def test_an_observation_has_the_first_value_in_its_outcome_and_the_later_ones_as_events(
    tmp_path: Path,
) -> None:
    world, bridge, device = observed(tmp_path)
    outcome = bridge.outcomes()["o1"]
    assert outcome.observation_id == "o1"
    assert outcome.values == [Value("/3/0/9", "integer", 50)]
    (request,) = device.requests
    assert (request.code, request.path, request.observe, request.accept) == (
        codes.GET,
        ("3", "0", "9"),
        0,
        112,
    )
    device.notify(level(49, 2))
    device.notify(level(48, 3))
    world.run_for(1)
    told = bridge.events("notification")
    assert [(event.path, event.sequence, event.observation_id) for event in told] == [
        ("/3/0/9", 2, "o1"),
        ("/3/0/9", 3, "o1"),
    ]
    assert [event.values for event in told] == [
        [Value("/3/0/9", "integer", 49)],
        [Value("/3/0/9", "integer", 48)],
    ]
    assert told[0].registration_id == device.location[1]


def test_an_overtaken_notification_is_not_told(tmp_path: Path) -> None:
    world, bridge, device = observed(tmp_path)
    device.notify(level(48, 9))
    device.notify(level(49, 8))
    world.run_for(1)
    assert [event.sequence for event in bridge.events("notification")] == [9]


def test_a_notification_that_cannot_be_read_is_told_without_values(tmp_path: Path) -> None:
    world, bridge, device = observed(tmp_path)
    device.notify(Response(codes.CONTENT, b"\xff", 112, observe=2))
    world.run_for(1)
    (event,) = bridge.events("notification")
    assert event.values is None
    assert event.detail is not None
    assert event.detail.startswith("cannot be read")
    device.notify(level(48, 3))
    world.run_for(1)
    assert bridge.events("notification")[-1].values == [Value("/3/0/9", "integer", 48)]


def test_a_device_that_answers_without_observe_has_been_read_and_observes_nothing(
    tmp_path: Path,
) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answer = lambda request: level(50, None)
    bridge.send(world.command("o1", "lamp-1", "observe", "/3/0/9"))
    world.run_for(1)
    outcome = bridge.outcomes()["o1"]
    assert not outcome.succeeded
    assert outcome.is_unreadable
    assert (outcome.code, outcome.error.stage) == ("2.05", "coap")
    assert outcome.values == [Value("/3/0/9", "integer", 50)]
    assert world.core.observations() == []


def test_an_active_cancellation_asks_with_observe_1_and_the_same_token(tmp_path: Path) -> None:
    world, bridge, device = observed(tmp_path)
    bridge.send(world.command("c1", "lamp-1", "cancel_observation", "/3/0/9"))
    world.run_for(1)
    outcome = bridge.outcomes()["c1"]
    assert outcome.succeeded
    assert (outcome.code, outcome.local) == ("2.05", False)
    assert [request.observe for request in device.requests] == [0, 1]
    assert ends(bridge) == [("o1", "cancelled")]
    assert world.core.observations() == []


def test_a_passive_cancellation_answers_the_next_notification_by_reset(tmp_path: Path) -> None:
    world, bridge, device = observed(tmp_path)
    bridge.send(world.command("c1", "lamp-1", "cancel_observation", "/3/0/9", passive=True))
    world.run_for(1)
    outcome = bridge.outcomes()["c1"]
    assert outcome.succeeded
    assert (outcome.code, outcome.local) == (None, True)
    assert len(device.requests) == 1
    assert ends(bridge) == [("o1", "cancelled")]
    device.notify(level(49, 2))
    world.run_for(1)
    assert device.ended == ["reset"]
    assert bridge.events("notification") == []


def test_what_is_not_observed_cannot_be_cancelled(tmp_path: Path) -> None:
    world, bridge, _ = observed(tmp_path)
    bridge.send(world.command("c1", "lamp-1", "cancel_observation", "/3/0/10"))
    bridge.send(world.command("c2", "lamp-1", "cancel_observation", None, paths=["/3/0/9"]))
    world.run_for(1)
    assert [bridge.outcomes()[name].error.stage for name in ("c1", "c2")] == ["invalid"] * 2
    assert len(world.core.observations()) == 1


def test_a_second_observe_of_the_same_replaces_the_first(tmp_path: Path) -> None:
    world, bridge, device = observed(tmp_path)
    bridge.send(world.command("o2", "lamp-1", "observe", "/3/0/9"))
    world.run_for(1)
    assert ends(bridge) == [("o1", "replaced")]
    assert [one.command.id for one in world.core.observations()] == ["o2"]
    device.notify(level(49, 2), 0)
    device.notify(level(48, 3), 1)
    world.run_for(1)
    assert [event.observation_id for event in bridge.events("notification")] == ["o2"]
    assert device.ended == ["reset"]


def test_an_error_as_notification_ends_the_observation(tmp_path: Path) -> None:
    world, bridge, device = observed(tmp_path)
    device.notify(Response(codes.NOT_FOUND))
    world.run_for(1)
    assert ends(bridge) == [("o1", "refused")]
    assert bridge.events("observation_ended")[0].detail == "answered 4.04"
    assert world.core.observations() == []


@pytest.mark.parametrize("end", ["deregister", "register"])
def test_observations_end_with_their_registration(tmp_path: Path, end: str) -> None:
    world, bridge, device = observed(tmp_path)
    registration_id = device.location[1]
    getattr(device, end)()
    world.run_for(1)
    (event,) = bridge.events("observation_ended")
    assert (event.ended, event.registration_id) == ("registration_ended", registration_id)
    assert world.core.observations() == []
    device.notify(level(49, 2))
    world.run_for(1)
    assert bridge.events("notification") == []


def test_observe_parameters_go_to_1_2_devices_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    for name, version in (("new", "1.2"), ("old", "1.1")):
        device = world.device(name)
        device.answer = lambda request: level(50, 1)
        query = (f"ep={name}", "lt=60", f"lwm2m={version}")
        device.send(Request(codes.POST, ("rd",), query, 40, None, None, b"</3/0>"))
    world.run_for(1)
    attributes = {"pmin": "10", "pmax": "60", "con": "1"}
    for name in ("new", "old"):
        bridge.send(world.command(name, name, "observe", "/3/0/9", attributes=attributes))
    world.run_for(1)
    assert bridge.outcomes()["new"].succeeded
    assert bridge.outcomes()["old"].error.stage == "invalid"
    (new, _) = world.devices.values()
    assert new.requests[0].query == ("pmin=10", "pmax=60", "con=1")


@pytest.mark.parametrize("limit", ["observations_per_device_max", "observations_max"])
def test_observations_are_bounded_and_one_more_is_invalid(tmp_path: Path, limit: str) -> None:
    world, bridge, device = onboarded(tmp_path, limits=ServerLimits(**{limit: 2}))
    device.answer = lambda request: Response(codes.CONTENT, b"text", 0, observe=1)
    for number in range(3):
        bridge.send(world.command(f"o{number}", "lamp-1", "observe", f"/3/0/{number}"))
    world.run_for(1)
    assert bridge.outcomes()["o2"].error.stage == "invalid"
    assert len(world.core.observations()) == 2
    bridge.send(world.command("again", "lamp-1", "observe", "/3/0/1"))
    world.run_for(1)
    assert bridge.outcomes()["again"].succeeded, "it takes the place of the one before"


def test_a_storm_of_notifications_is_dropped_and_counted_while_nobody_reads(
    tmp_path: Path,
) -> None:
    world, bridge, device = observed(tmp_path, limits=ServerLimits(notifications_kept_max=20))
    bridge.acknowledges = False
    flood(world, device, decode_message(world.sent[-1][0]).token, range(2, 202))
    world.run_for(1)
    counters = world.core.counters()
    assert counters["events_kept"] <= 22
    assert counters["notifications_dropped"] > 100
    bridge.send(world.command("r1", "lamp-1", "read", "/3/0/9"))
    world.run_for(1)
    assert "r1" in bridge.outcomes(), "there is room for what counts more"


# ---- restart ----


def test_one_device_is_told_so_often_and_what_was_dropped_is_told_with_the_next(
    tmp_path: Path,
) -> None:
    limits = ServerLimits(notifications_per_device_per_s=1.0, notifications_per_device_burst=5)
    world, bridge, device = observed(tmp_path, limits=limits)
    token = decode_message(world.sent[-1][0]).token
    flood(world, device, token, range(2, 52))
    told = bridge.events("notification")
    assert len(told) == 5
    assert world.core.counters()["notifications_dropped"] == 45
    assert {event.dropped for event in told} == {None}
    world.run_for(2)
    flood(world, device, token, [99])
    assert [event.dropped for event in bridge.events("notification")[5:]] == [45]
    flood(world, device, token, [100])
    assert bridge.events("notification")[-1].dropped is None


def test_an_observation_that_ends_tells_what_was_dropped_of_it(tmp_path: Path) -> None:
    limits = ServerLimits(notifications_per_device_per_s=0.001, notifications_per_device_burst=1)
    world, bridge, device = observed(tmp_path, limits=limits)
    flood(world, device, decode_message(world.sent[-1][0]).token, range(2, 6))
    device.deregister()
    world.run_for(1)
    (ended,) = bridge.events("observation_ended")
    assert (ended.ended, ended.dropped) == ("registration_ended", 3)


def test_after_a_restart_the_server_asks_again_and_notifications_keep_flowing(
    tmp_path: Path,
) -> None:
    world, bridge, device = observed(tmp_path)
    world.restart()
    bridge.connect()
    world.run_for(1)
    assert [request.observe for request in device.requests] == [0, 0]
    assert [event.observation_id for event in bridge.events("notification")] == ["o1"]
    device.notify(level(49, 2))
    world.run_for(1)
    assert bridge.events("notification")[-1].values == [Value("/3/0/9", "integer", 49)]
    assert ends(bridge) == []
    device.notify(level(48, 3), 0)
    world.run_for(1)
    assert device.ended == ["reset"], "the token of before the restart is nobody's"


def test_an_observation_lives_through_a_compaction_and_two_restarts(tmp_path: Path) -> None:
    world, bridge, _ = observed(tmp_path)
    world.turn.compact()
    world.restart()
    world.restart()
    bridge.connect()
    world.run_for(1)
    assert [one.command.id for one in world.core.observations()] == ["o1"]
    assert world.core.observations()[0].state is ObservationState.HELD


def test_an_ended_observation_does_not_come_back(tmp_path: Path) -> None:
    world, bridge, _ = observed(tmp_path)
    bridge.send(world.command("c1", "lamp-1", "cancel_observation", "/3/0/9"))
    world.run_for(1)
    world.restart()
    assert world.core.observations() == []
    bridge.connect()
    bridge.send(world.command("o2", "lamp-1", "observe", "/3/0/9"))
    world.run_for(1)
    world.devices[next(iter(world.devices))].deregister()
    world.run_for(1)
    world.restart()
    assert world.core.observations() == []


def test_a_device_that_refuses_after_a_restart_has_its_observation_ended(tmp_path: Path) -> None:
    world, bridge, device = observed(tmp_path)
    world.die()
    device.answer = lambda request: Response(codes.NOT_FOUND)
    world.start()
    bridge.connect()
    world.run_for(1)
    assert ends(bridge) == [("o1", "refused")]


def test_a_device_that_is_silent_after_a_restart_is_asked_again_when_it_speaks(
    tmp_path: Path,
) -> None:
    world, bridge, device = observed(tmp_path)
    world.die()
    device.answers = False
    world.start()
    bridge.connect()
    world.run_for(300)
    assert world.core.observations()[0].state is ObservationState.LOST
    device.answers = True
    device.update()
    world.run_for(1)
    assert world.core.observations()[0].state is ObservationState.HELD
    assert ends(bridge) == []


def test_after_a_restart_only_so_many_devices_are_asked_at_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    count = ASKED_AT_ONCE_MAX + 20
    for number in range(count):
        device = world.device(f"lamp-{number}")
        device.answer = lambda request: level(50, 1)
        device.register()
    world.run_for(1)
    for number in range(count):
        bridge.send(world.command(f"o{number}", f"lamp-{number}", "observe", "/3/0/9"))
    world.run_for(1)
    world.restart()
    sent = len(world.sent)
    world._end_turn()
    assert len(world.sent) - sent == ASKED_AT_ONCE_MAX
    world.run_for(5)
    states = {one.state for one in world.core.observations()}
    assert states == {ObservationState.HELD}
