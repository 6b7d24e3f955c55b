"""The broker's core without sockets: ends of connections, subscriptions, policy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.names import Principal
from contracts.policy import Policy
from contracts.topics import filter_matches
from harness.mqtt_broker.session import Session
from harness.mqtt_broker.subscriptions import Subscriptions
from mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    Publish,
    PubRel,
    SubAck,
    Subscribe,
    Will,
)
from tests.harness.mqtt_broker.core_world import (
    BRIDGE,
    CREDENTIALS,
    EVENT,
    HANDLER,
    Wire,
    World,
    payloads,
)

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


# ---- planted defects ----


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
