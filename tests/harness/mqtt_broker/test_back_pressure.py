"""Full queues: who publishes waits for its acknowledgement, in order, and nothing is lost."""

from __future__ import annotations

import pytest

from mqtt.packets import Parser, PingReq, PingResp, PubAck, Publish
from tests.harness.mqtt_broker.core_world import (
    BRIDGE,
    CREDENTIALS,
    EVENT,
    HANDLER,
    Wire,
    World,
    acknowledged,
    payloads,
)


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
