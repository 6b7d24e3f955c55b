"""What the broker tells of its clients' connections, and that ingestion makes presence of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from city_platform.ingestion.component import of_devices
from city_platform.presence import UNHEARD, PresenceState, follow, read_told
from contracts.presence import decode_lifecycle
from contracts.topics import Topics
from harness.mqtt_broker.core import Broker, BrokerLimits
from harness.mqtt_broker.lifecycle import AWAY_MAX, FORGOTTEN_US, Lifecycle
from harness.mqtt_broker.session import Message
from mqtt.packets import Disconnect
from tests.city_platform.audit.logs import NOW_US, HandClock
from tests.harness.mqtt_broker.world import Authority, Target, broker_process

TOPICS = Topics()


def told(message: Message | None) -> dict[str, Any]:
    assert message is not None
    body: dict[str, Any] = json.loads(message.payload)
    assert message.topic == f"$aws/events/presence/{body['eventType']}/{body['clientId']}"
    assert message.qos == 1
    return body


def test_a_pair_has_one_version_and_the_next_a_higher_one() -> None:
    lifecycle = Lifecycle(TOPICS, HandClock().wall_us)
    came = told(lifecycle.tell("lamp-1", "connected", ""))
    assert came == {
        "clientId": "lamp-1", "timestamp": NOW_US // 1_000, "eventType": "connected",
        "principalIdentifier": "lamp-1", "versionNumber": 0,
    }  # fmt: skip
    went = told(lifecycle.tell("lamp-1", "disconnected", "connection lost"))
    assert (went["versionNumber"], went["clientInitiatedDisconnect"]) == (0, False)
    assert told(lifecycle.tell("lamp-1", "connected", ""))["versionNumber"] == 1
    assert told(lifecycle.tell("lamp-2", "connected", ""))["versionNumber"] == 0
    assert lifecycle.tell("lamp-3", "refused", "no known identity") is None


def test_it_begins_anew_with_who_was_away_for_an_hour() -> None:
    clock = HandClock()
    lifecycle = Lifecycle(TOPICS, clock.wall_us)
    for _ in range(3):
        lifecycle.tell("lamp-1", "connected", "")
        lifecycle.tell("lamp-1", "disconnected", "")
    clock.move(FORGOTTEN_US / 1e6)
    assert told(lifecycle.tell("lamp-1", "connected", ""))["versionNumber"] == 0


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("client disconnected", "CLIENT_INITIATED_DISCONNECT"),
        ("taken over", "DUPLICATE_CLIENTID"),
        ("silent for too long", "MQTT_KEEP_ALIVE_TIMEOUT"),
        ("certificate revoked", "AUTH_ERROR"),
        ("connection lost", "CONNECTION_LOST"),
        ("QoS 2 is not offered", "CLIENT_ERROR"),
    ],
)
def test_why_it_ended_is_said_in_the_words_of_aws(reason: str, word: str) -> None:
    lifecycle = Lifecycle(TOPICS, HandClock().wall_us)
    body = told(lifecycle.tell("lamp-1", "disconnected", reason))
    assert body["disconnectReason"] == word
    assert body["clientInitiatedDisconnect"] is (reason == "client disconnected")


def test_what_is_remembered_of_who_is_away_is_bounded() -> None:
    lifecycle = Lifecycle(TOPICS, HandClock().wall_us)
    for number in range(AWAY_MAX + 10):
        lifecycle.tell(f"lamp-{number}", "connected", "")
        lifecycle.tell(f"lamp-{number}", "disconnected", "")
    assert len(vars(lifecycle)["_away"]) == AWAY_MAX
    assert vars(lifecycle)["_here"] == {}


def test_the_platform_makes_presence_of_it() -> None:
    clock = HandClock()
    lifecycle = Lifecycle(TOPICS, clock.wall_us)
    known, states = UNHEARD, []
    for event in ("connected", "disconnected", "connected"):
        message = lifecycle.tell("lamp-1", event, "")  # type: ignore[arg-type] # of the tuple
        assert message is not None
        found = read_told(TOPICS, message.topic, message.payload)
        assert found is not None
        known = follow(known, found, clock.wall_us())
        states.append(known.state)
    assert states == [PresenceState.ONLINE, PresenceState.OFFLINE, PresenceState.ONLINE]


def test_ingestion_takes_those_of_devices_alone() -> None:
    taken = []

    async def accept(topic: str, payload: bytes) -> None:
        taken.append(topic)

    async def story() -> None:
        take = of_devices(TOPICS, accept)
        for client in ("lamp-1", "svc:bridge:north", "svc:ingestion", "svc-like-lamp"):
            done = take(f"$aws/events/presence/connected/{client}", b"{}")
            if done is not None:
                await done

    asyncio.run(story())
    assert [topic.rpartition("/")[2] for topic in taken] == ["lamp-1", "svc-like-lamp"]


def test_nobody_waits_for_what_the_broker_itself_has_to_say() -> None:
    broker = Broker(TOPICS, BrokerLimits(), lambda *_: None)
    broker.announce(Message("$aws/events/presence/connected/lamp-1", b"{}", 1))
    assert broker.counts["not_announced"] == 0


@pytest.mark.slow
def test_the_broker_announces_who_comes_and_goes_to_who_may_hear_it(
    pki: Authority, tmp_path: Path
) -> None:
    with broker_process(pki, tmp_path, lifecycle_events=True) as broker:
        target = Target("embedded", broker, pki)
        everything = "$aws/events/presence/+/+"
        with target.client("svc:ingestion") as reader, target.client("svc:audit") as other:
            assert reader.subscribe(everything) == (1,)
            assert other.subscribe(everything) == (0x80,)
            with target.client("lamp-1") as first, target.client("lamp-1") as second:
                second.send(Disconnect())
                assert first.is_closed()
                found = [decode_lifecycle(reader.message().payload) for _ in range(4)]
        assert [(one.event_type, one.version_number) for one in found] == [
            ("connected", 0), ("disconnected", 0), ("connected", 1), ("disconnected", 1),
        ]  # fmt: skip
        assert [one.disconnect_reason for one in found] == [
            None, "DUPLICATE_CLIENTID", None, "CLIENT_INITIATED_DISCONNECT",
        ]  # fmt: skip


@pytest.mark.slow
def test_a_broker_that_is_not_told_to_announces_nothing(pki: Authority, tmp_path: Path) -> None:
    with broker_process(pki, tmp_path) as broker:
        target = Target("embedded", broker, pki)
        with target.client("svc:ingestion") as reader:
            reader.subscribe("$aws/events/presence/+/+", "devices/+/state")
            with target.client("lamp-1") as lamp:
                lamp.publish("devices/lamp-1/state", b"first")
            assert reader.message().topic == "devices/lamp-1/state"
