"""What tests ask of the broker: to hold a bridge at a gate, and to spoil the third pack."""

from __future__ import annotations

from typing import Any

import cbor2
from hypothesis import given
from hypothesis import strategies as st

from contracts.topics import Topics
from harness.mqtt_broker.steps import Arm, Both, Defect, DefectKind, Gates, Tamper, altered
from mqtt.packets import Publish
from tests.harness.mqtt_broker.core_world import (
    BRIDGE,
    EVENT,
    HANDLER,
    World,
    acknowledged,
    payloads,
)

# ---- gates ----


class Gated(World):
    """A bridge that publishes events, and gates; `said` is what the bench is told."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.gates = Gates(Topics(), lambda line: self.said.append(dict(line)))
        super().__init__(self.gates)
        self.reader_wire = self.reader("lwm2m/+/+/event/+", HANDLER)
        self.bridge = self.client(BRIDGE)
        self.bridge.received()


def test_a_gate_holds_the_bridge_before_its_event_is_published() -> None:
    world = Gated()
    world.gates.arm(Arm("event_received_not_published", 2))
    world.publish(world.bridge, EVENT, 1)
    assert not world.bridge.is_held
    world.publish(world.bridge, EVENT, 2)
    assert world.bridge.is_held
    assert world.said == [{"gate": "event_received_not_published", "endpoint": "e"}]
    assert payloads(world.reader_wire.received()) == [1]
    assert acknowledged(world.bridge.received()) == [1]
    world.gates.release("event_received_not_published")
    assert not world.bridge.is_held
    assert payloads(world.reader_wire.received()) == [2]
    assert acknowledged(world.bridge.received()) == [2]


def test_a_gate_holds_the_bridge_before_its_acknowledgement() -> None:
    world = Gated()
    world.gates.arm(Arm("event_published_not_acknowledged", 1))
    world.publish(world.bridge, EVENT, 1)
    assert payloads(world.reader_wire.received()) == [1]
    assert acknowledged(world.bridge.received()) == []
    world.gates.release("event_published_not_acknowledged")
    assert acknowledged(world.bridge.received()) == [1]


def test_released_at_one_gate_an_event_may_be_held_at_the_next() -> None:
    world = Gated()
    world.gates.arm(Arm("event_received_not_published", 1))
    world.publish(world.bridge, EVENT, 1)
    world.gates.arm(Arm("event_published_not_acknowledged", 1))
    world.gates.release("event_received_not_published")
    assert world.bridge.is_held
    world.gates.release("event_published_not_acknowledged")
    assert not world.bridge.is_held
    assert acknowledged(world.bridge.received()) == [1]


def test_the_held_bridge_that_was_killed_publishes_again_on_its_next_connection() -> None:
    world = Gated()
    world.gates.arm(Arm("event_received_not_published", 1))
    world.publish(world.bridge, EVENT, 1)
    successor = world.client(BRIDGE)
    assert world.bridge.ended == "taken over"
    world.gates.release("event_received_not_published")
    assert payloads(world.reader_wire.received()) == []
    world.publish(successor, EVENT, 1)
    assert payloads(world.reader_wire.received()) == [1]


# ---- planted defects ----


def pack(value: float) -> bytes:
    return cbor2.dumps([{-2: "e", 0: "3311/0/5850", 4: True}, {0: "3303/0/5700", 2: value}])


def run_defect(kind: DefectKind) -> tuple[list[Publish], list[int], list[dict[str, Any]]]:
    """What the reader got, which packs were acknowledged, and what was said, of four packs."""
    said: list[dict[str, Any]] = []
    tamper = Tamper(Defect(kind, after=3), Topics(), lambda line: said.append(dict(line)))
    world = World(Both(tamper, Gates(Topics(), said.append)))  # type: ignore[arg-type]  # no gates
    reader = world.reader("devices/+/state", "svc:ingestion")
    lamps = [world.client("lamp-0"), world.client("lamp-1")]
    acks: list[int] = []
    for number in range(1, 5):
        name = f"lamp-{number % 2}"
        packet = Publish(f"devices/{name}/state", pack(number), 1, number)
        world.broker.receive(lamps[number % 2], packet)
        acks += acknowledged(lamps[number % 2].received())
    return [one for one in reader.received() if isinstance(one, Publish)], acks, said


def values(messages: list[Publish]) -> list[float]:
    return [cbor2.loads(message.payload)[1][2] for message in messages]


def test_lose_one_loses_the_third_pack_and_acknowledges_it() -> None:
    messages, acks, said = run_defect("lose_one")
    assert values(messages) == [1, 2, 4]
    assert acks == [1, 2, 3, 4]
    assert said == [{"defect": "lose_one", "endpoint": "lamp-1"}]


def test_duplicate_one_delivers_the_third_pack_twice() -> None:
    messages, acks, said = run_defect("duplicate_one")
    assert values(messages) == [1, 2, 3, 3, 4]
    assert acks == [1, 2, 3, 4]
    assert said == [{"defect": "duplicate_one", "endpoint": "lamp-1"}]


def test_alter_value_changes_one_number_of_the_third_pack() -> None:
    messages, _, said = run_defect("alter_value")
    assert values(messages) == [1, 2, 4, 4]
    assert said == [{"defect": "alter_value", "endpoint": "lamp-1"}]


def test_misroute_one_delivers_the_third_pack_as_another_devices() -> None:
    messages, _, said = run_defect("misroute_one")
    assert [message.topic for message in messages][2] == "devices/lamp-0/state"
    assert said == [{"defect": "misroute_one", "endpoint": "lamp-1"}]


def test_skip_ack_delivers_the_third_pack_and_keeps_silent() -> None:
    messages, acks, said = run_defect("skip_ack")
    assert values(messages) == [1, 2, 3, 4]
    assert acks == [1, 2, 4]
    assert said == [{"defect": "skip_ack", "endpoint": "lamp-1"}]


@given(st.binary(max_size=60) | st.builds(cbor2.dumps, st.lists(st.integers() | st.text())))
def test_what_is_no_pack_is_not_altered(payload: bytes) -> None:
    assert altered(payload) is None or payload
