"""The broker's core without sockets: flow control, ends, take-over, policy; gates and defects."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.names import Principal
from contracts.policy import Policy
from contracts.topics import Topics, filter_matches
from harness.mqtt_broker.core import Broker, BrokerLimits, Steps
from harness.mqtt_broker.session import Session
from harness.mqtt_broker.steps import Arm, Both, Defect, DefectKind, Gates, Tamper, altered
from harness.mqtt_broker.subscriptions import Subscriptions
from mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    Parser,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    PubRel,
    SubAck,
    Subscribe,
    Will,
)

BRIDGE, HANDLER = "svc:bridge:s1", "svc:bootstrap"
CREDENTIALS = "lwm2m/s1/e/credentials"
EVENT = "lwm2m/s1/e/event/registered"


class Wire:
    """A connection whose client reads all at once, unless it is told to be slow."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.is_held = self.is_paused = self.is_slow = False
        self.ended = ""
        self.broker: Broker | None = None
        self._sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self._sent.append(data)

    def room(self) -> int:
        return 0 if self.is_slow or self.is_held else 1_000_000

    def end(self, reason: str) -> None:
        if not self.ended:
            self.ended = reason
            assert self.broker is not None
            self.broker.lost(self, reason)

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def hold(self) -> None:
        self.is_held = True

    def unhold(self) -> None:
        self.is_held = False

    def received(self) -> list[Packet]:
        """What the client got since the last call."""
        packets = Parser().receive_bytes(b"".join(self._sent))
        self._sent.clear()
        return packets


class World:
    """A broker with clients."""

    def __init__(self, steps: Steps | None = None, **limits: Any) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.broker = Broker(
            Topics(),
            BrokerLimits(**limits),
            lambda identity, event, reason: self.seen.append((identity, event, reason)),
            steps,
        )

    def client(self, identity: str, *, clean: bool = True, will: Will | None = None) -> Wire:
        wire = Wire()
        wire.broker = self.broker
        packet = Connect(client_id=identity, clean_session=clean, will=will)
        self.broker.connect(wire, packet, identity)
        return wire

    def reader(self, topic_filter: str, identity: str = BRIDGE, *, clean: bool = False) -> Wire:
        wire = self.client(identity, clean=clean)
        self.broker.receive(wire, Subscribe(1, ((topic_filter, 1),)))
        connack, *rest = wire.received()
        assert isinstance(connack, ConnAck)
        assert rest[-1:] == [SubAck(1, (1,))]
        return wire

    def publish(self, wire: Wire, topic: str, *numbers: int, qos: int = 1) -> None:
        for number in numbers:
            self.broker.receive(wire, Publish(topic, b"%d" % number, qos, number if qos else 0))


def payloads(packets: list[Packet]) -> list[int]:
    return [int(packet.payload) for packet in packets if isinstance(packet, Publish)]


def acknowledged(packets: list[Packet]) -> list[int]:
    return [packet.packet_id for packet in packets if isinstance(packet, PubAck)]


# ---- back-pressure ----


def full_world() -> tuple[World, Wire, Wire]:
    world = World(in_flight_max=2, waiting_max=4, held_back_bytes_max=1_000)
    reader, writer = world.reader("lwm2m/s1/+/credentials"), world.client(HANDLER)
    writer.received()
    return world, reader, writer


def test_a_publisher_to_a_full_queue_waits_for_its_acknowledgement() -> None:
    world, _, writer = full_world()
    world.publish(writer, CREDENTIALS, *range(1, 9))
    assert acknowledged(writer.received()) == [1, 2, 3, 4, 5, 6]


def test_a_waiting_publisher_is_still_heard_for_a_while() -> None:
    world, _, writer = full_world()
    world.publish(writer, CREDENTIALS, *range(1, 9))
    writer.received()
    world.broker.receive(writer, PingReq())
    assert writer.received() == [PingResp()]
    assert not writer.is_paused
    world.publish(writer, CREDENTIALS, *range(9, 20))
    assert writer.is_paused


def test_waiting_publishers_go_on_in_order_once_the_reader_acknowledges() -> None:
    world, reader, writer = full_world()
    world.publish(writer, CREDENTIALS, *range(1, 31))
    assert writer.is_paused
    got: list[int] = []
    while messages := [one for one in reader.received() if isinstance(one, Publish)]:
        got += payloads([*messages])
        for message in messages:
            world.broker.receive(reader, PubAck(message.packet_id))
    assert got == list(range(1, 31))
    assert acknowledged(writer.received()) == list(range(1, 31))
    assert not writer.is_paused


def test_two_clients_with_full_queues_of_each_other_do_not_block_each_other() -> None:
    world = World(in_flight_max=1, waiting_max=1)
    bridge = world.reader("lwm2m/s1/+/credentials")
    handler = world.reader("lwm2m/+/+/event/+", HANDLER)
    world.publish(bridge, EVENT, *range(1, 11))
    world.publish(handler, CREDENTIALS, *range(1, 11))
    got: dict[str, list[int]] = {"bridge": [], "handler": []}
    for _ in range(100):
        for name, wire in (("bridge", bridge), ("handler", handler)):
            for packet in wire.received():
                if isinstance(packet, Publish):
                    got[name].append(int(packet.payload))
                    world.broker.receive(wire, PubAck(packet.packet_id))
    assert got == {"bridge": list(range(1, 11)), "handler": list(range(1, 11))}


def test_bytes_fill_a_queue_too() -> None:
    world = World(in_flight_max=1, waiting_bytes_max=100)
    reader, writer = world.reader("lwm2m/s1/+/credentials"), world.client(HANDLER)
    for number in range(1, 6):
        world.broker.receive(writer, Publish(CREDENTIALS, bytes(60), 1, number))
    assert acknowledged(writer.received()) == [1, 2, 3]
    for _ in range(5):
        for message in reader.received():
            assert isinstance(message, Publish)
            world.broker.receive(reader, PubAck(message.packet_id))
    assert acknowledged(writer.received()) == [4, 5]


def test_publishers_go_on_when_the_full_session_ends() -> None:
    world = World(in_flight_max=1, waiting_max=1)
    reader = world.reader("lwm2m/s1/+/credentials", clean=True)
    writer = world.client(HANDLER)
    world.publish(writer, CREDENTIALS, 1, 2, 3, 4)
    reader.end("gone")
    assert acknowledged(writer.received()) == [1, 2, 3, 4]


@pytest.mark.slow
def test_hundreds_of_waiting_publishers_are_released_without_deep_recursion() -> None:
    world = World(in_flight_max=1, waiting_max=1)
    reader = world.reader("devices/+/state", "svc:tap")
    lamps = [world.client(f"lamp-{number}") for number in range(2_000)]
    for number, lamp in enumerate(lamps):
        world.publish(lamp, f"devices/lamp-{number}/state", number + 1)
    got = 0
    while messages := [one for one in reader.received() if isinstance(one, Publish)]:
        got += len(messages)
        for message in messages:
            world.broker.receive(reader, PubAck(message.packet_id))
    assert got == len(lamps)


def test_a_slow_reader_gets_its_messages_when_there_is_room() -> None:
    world = World()
    reader, writer = world.reader("lwm2m/s1/+/credentials"), world.client(HANDLER)
    reader.is_slow = True
    world.publish(writer, CREDENTIALS, 1, 2)
    assert reader.received() == []
    reader.is_slow = False
    world.broker.room_again(reader)
    assert payloads(reader.received()) == [1, 2]


def test_repetitions_wait_for_room_and_come_before_what_is_new() -> None:
    world = World()
    reader, writer = world.reader("lwm2m/s1/+/credentials"), world.client(HANDLER)
    world.publish(writer, CREDENTIALS, 1, 2)
    reader.end("gone")
    world.publish(writer, CREDENTIALS, 3)
    session = world.broker._sessions[BRIDGE]
    session.repeat()
    (first,), (second,) = session.take_to_send(1), session.take_to_send(1)
    (third,) = session.take_to_send(1)
    packets = Parser().receive_bytes(first + second + third)
    assert payloads(packets) == [1, 2, 3]
    assert [one.duplicate for one in packets if isinstance(one, Publish)] == [True, True, False]


# ---- ends ----


def test_nothing_is_taken_from_a_client_after_its_end() -> None:
    world = World()
    reader, writer = world.reader("lwm2m/s1/+/credentials"), world.client(HANDLER)
    world.broker.receive(writer, PubRel(1))
    assert "PubRel" in writer.ended
    world.publish(writer, CREDENTIALS, 1)
    assert payloads(reader.received()) == []


@pytest.mark.parametrize(
    "packet",
    [
        Publish(CREDENTIALS, b"", 2, 1),
        Publish(CREDENTIALS, b"", 1, 1, retain=True),
        Publish("lwm2m/s1/e/command", b"", 1, 1),
        Connect(client_id=HANDLER),
    ],
    ids=["qos 2", "retain", "beyond policy", "second connect"],
)
def test_a_violation_ends_the_connection_and_is_counted(packet: Packet) -> None:
    world = World()
    writer = world.client(HANDLER)
    world.broker.receive(writer, packet)
    assert writer.ended
    assert world.broker.counts["violations"] == 1
    assert world.seen[-1][:2] == (HANDLER, "disconnected")


@pytest.mark.parametrize(
    "will",
    [Will("lwm2m/s2/e/event/x", b""), Will(EVENT, b"", 2), Will(EVENT, b"", 1, True)],
    ids=["another's topic", "qos 2", "retain"],
)
def test_a_will_beyond_the_policy_is_refused(will: Will) -> None:
    world = World()
    wire = world.client(BRIDGE, will=will)
    assert wire.received() == [ConnAck(session_present=False, return_code=5)]
    assert world.seen == [(BRIDGE, "refused", "will beyond policy")]


def test_a_taken_over_connection_leaves_its_will() -> None:
    world = World()
    reader = world.reader("lwm2m/+/+/event/+", HANDLER)
    first = world.client(BRIDGE, will=Will(EVENT, b"7", 1))
    world.client(BRIDGE)
    assert first.ended == "taken over"
    assert payloads(reader.received()) == [7]
    assert [seen[1] for seen in world.seen if seen[0] == BRIDGE] == [
        "connected",
        "disconnected",
        "connected",
    ]


def test_disconnect_removes_the_will() -> None:
    world = World()
    reader = world.reader("lwm2m/+/+/event/+", HANDLER)
    world.broker.receive(world.client(BRIDGE, will=Will(EVENT, b"7", 1)), Disconnect())
    assert payloads(reader.received()) == []


def test_another_protocol_level_is_told_so() -> None:
    world, wire = World(), Wire()
    wire.broker = world.broker
    world.broker.connect(wire, Connect(client_id="", protocol_level=5), BRIDGE)
    assert wire.received() == [ConnAck(session_present=False, return_code=1)]


def test_messages_of_qos_0_are_for_those_who_are_there() -> None:
    world = World()
    reader, writer = world.reader("lwm2m/s1/+/credentials"), world.client(HANDLER)
    world.publish(writer, CREDENTIALS, 1, qos=0)
    assert payloads(reader.received()) == [1]
    reader.end("gone")
    world.publish(writer, CREDENTIALS, 2, qos=0)
    assert payloads(world.client(BRIDGE, clean=False).received()) == []


# ---- subscriptions ----


def test_filters_that_are_none_and_too_many_filters_are_refused() -> None:
    world = World(subscriptions_max=1)
    tap = world.client("svc:tap")
    wanted = (("devices/a+b/state", 1), ("devices/+/state", 2), ("devices/+/alarm", 1))
    world.broker.receive(tap, Subscribe(9, wanted))
    assert tap.received()[1:] == [SubAck(9, (0x80, 1, 0x80))]


def test_overlapping_filters_deliver_once_at_the_highest_qos() -> None:
    world = World()
    tap, lamp = world.client("svc:tap"), world.client("lamp-1")
    world.broker.receive(tap, Subscribe(1, (("devices/+/state", 0), ("devices/lamp-1/state", 1))))
    tap.received()
    world.publish(lamp, "devices/lamp-1/state", 1)
    (message,) = tap.received()
    assert isinstance(message, Publish)
    assert message.qos == 1


LEVELS = st.sampled_from(["a", "b", "", "$s"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.builds(
    lambda levels, tail: "/".join([*levels, *tail]),
    st.lists(st.sampled_from(["a", "b", "", "$s", "+"]), min_size=1, max_size=4),
    st.sampled_from([[], ["#"]]),
).filter(bool)


@settings(max_examples=200, deadline=None)
@given(st.lists(FILTERS, max_size=6), st.lists(FILTERS, max_size=2), TOPICS)
def test_the_tree_of_filters_agrees_with_matching_one_by_one(
    filters: list[str], removed: list[str], topic: str
) -> None:
    tree: Subscriptions[str] = Subscriptions()
    for number, each in enumerate([*filters, *removed]):
        tree.add(each, f"{number}", 1)
    tree.match(topic)  # what is remembered must be forgotten
    for number, each in enumerate(removed, len(filters)):
        tree.remove(each, f"{number}")
    expected = {f"{n}" for n, each in enumerate(filters) if filter_matches(each, topic)}
    assert {name for name, _ in tree.match(topic)} == expected


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


FILTER_LEVEL = st.sampled_from(["a", "b.c", "+", "$SYS", ""])
TOPIC_LEVEL = st.sampled_from(["a", "b.c", "bxc", "$SYS", "", "\n"])


@given(
    filters=st.lists(
        st.builds(
            lambda levels, end: "/".join(levels) + end,
            st.lists(FILTER_LEVEL, min_size=1, max_size=3),
            st.sampled_from(["", "/#"]),
        ),
        max_size=3,
    ),
    topic=st.lists(TOPIC_LEVEL, min_size=1, max_size=4).map("/".join),
)
@settings(deadline=None)
def test_a_session_may_publish_what_its_policy_says(filters: list[str], topic: str) -> None:
    policy = Policy(publish=tuple(filters))
    session = Session(Principal("device", "lamp-1"), policy, 10)
    assert session.may_publish(topic) is policy.may_publish(topic)
