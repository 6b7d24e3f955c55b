"""Presence on Lambda follows connections as the ingestion component does, against an emulated
account."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from city_platform.aws.envelopes import Published
from city_platform.aws.presence import TRIES_MAX, follow_presence
from city_platform.presence import DevicePresence, PresenceState
from city_platform.stores.aws.errors import AwsUnavailable
from city_platform.stores.aws.tables import Item
from city_platform.stores.aws.telemetry_items import presence_from, presence_item, presence_key
from contracts.presence import PresenceCause, PresenceMessage, encode_presence
from tests.city_platform.aws.test_entry_points import Tell, Watched, tell

__all__ = ["tell"]
pytestmark = [pytest.mark.moto, pytest.mark.slow]

LAMP = "lamp-1"


def lifecycle(kind: str, version: int, endpoint: str = LAMP, at_ms: int = 1_000) -> Published:
    """A message as AWS IoT Core's developer guide shows it, by way of the rule."""
    told = {
        "clientId": endpoint,
        "timestamp": at_ms,
        "eventType": kind,
        "sessionIdentifier": "a4666d2a7d844ae4ac5d7b38c9cb7967",
        "principalIdentifier": "12345678901234567890123456789012",
        "versionNumber": version,
    }
    return Published(
        f"$aws/events/presence/{kind}/{endpoint}", msgspec.json.encode(told), received_ms=at_ms
    )


def connected(version: int, endpoint: str = LAMP) -> Published:
    return lifecycle("connected", version, endpoint)


def born(connection: int, cause: PresenceCause = "birth", endpoint: str = LAMP) -> Published:
    """A device's own word of its connection."""
    message = PresenceMessage(cause=cause, boot="b1", connection=connection, began_us=1)
    return Published(f"devices/{endpoint}/presence", encode_presence(message), received_ms=2_000)


async def kept(city: Watched) -> tuple[DevicePresence, int]:
    return presence_from(await city.telemetry.get(*presence_key(LAMP)) or {})


def test_a_device_is_online_and_offline_as_the_broker_tells_in_whatever_order(tell: Tell) -> None:
    async def story(city: Watched) -> None:
        online = {"followed": LAMP, "state": "online"}
        assert await follow_presence(connected(3), city) == online
        # That of the connection before came late.
        late = lifecycle("disconnected", 2, at_ms=2_000)
        assert await follow_presence(late, city) == {"ignored": "old_connection"}
        ended = lifecycle("disconnected", 3, at_ms=3_000)
        assert await follow_presence(ended, city) == {"followed": LAMP, "state": "offline"}
        known, revision = await kept(city)
        assert (known.state, known.since_us, known.version) == (PresenceState.OFFLINE, 3_000_000, 3)
        assert revision == 2

    tell(story)


def test_the_devices_own_word_counts_beside_the_brokers_and_a_late_will_does_not(
    tell: Tell,
) -> None:
    async def story(city: Watched) -> None:
        for published in (connected(1), born(1), born(2)):
            assert (await follow_presence(published, city))["state"] == "online"
        assert await follow_presence(born(1, "will"), city) == {"ignored": "old_connection"}
        gone = await follow_presence(born(2, "good_bye"), city)
        assert gone == {"followed": LAMP, "state": "offline"}
        item = await city.telemetry.get(*presence_key(LAMP))
        assert item is not None
        assert (item["presence"], item["tenant"]) == ("offline", "harbour")

    tell(story)


def test_what_is_no_devices_connection_is_kept_nowhere(tell: Tell) -> None:
    wrong = connected(1)
    cases: dict[str, Published] = {
        "malformed": msgspec.structs.replace(wrong, payload=b"\xff"),
        "another_topic": msgspec.structs.replace(wrong, topic="devices/lamp-1/state"),
        "unknown_device": connected(1, "svc:bridge:north"),
    }
    another = msgspec.structs.replace(wrong, topic="$aws/events/presence/connected/lamp-2")

    async def story(city: Watched) -> None:
        for reason, published in cases.items():
            assert await follow_presence(published, city) == {"ignored": reason}
        assert await follow_presence(another, city) == {"ignored": "malformed"}
        assert await kept(city) == (DevicePresence(), 0)

    tell(story)


class Busy:
    """A table in which somebody else writes before everybody who wants to."""

    def __init__(self, inner: Any, times: int) -> None:
        self._inner = inner
        self._left = times

    async def get(self, pk: str, sk: str) -> Item | None:
        found: Item | None = await self._inner.get(pk, sk)
        return found

    async def put_if(self, item: Item, condition: str, values: Any) -> Item | None:
        if self._left:
            self._left -= 1
            there = await self._inner.get(*presence_key(LAMP)) or {}
            _, revision = presence_from(there)
            other = DevicePresence(PresenceState.OFFLINE, 1, version=-1)
            await self._inner.put_many([presence_item(LAMP, "harbour", other, revision + 1)])
        found: Item | None = await self._inner.put_if(item, condition, values)
        return found


@pytest.mark.parametrize("times", [1, TRIES_MAX])
def test_who_was_slower_follows_from_what_the_faster_one_has_written(
    tell: Tell, times: int
) -> None:
    async def story(city: Watched) -> None:
        inner, city.telemetry = city.telemetry, Busy(city.telemetry, times)  # type: ignore[assignment]  # as much of a table as is used
        if times == TRIES_MAX:
            with pytest.raises(AwsUnavailable, match="others wrote the presence of lamp-1"):
                await follow_presence(connected(4), city)
            return
        assert (await follow_presence(connected(4), city))["state"] == "online"
        city.telemetry = inner
        known, revision = await kept(city)
        assert (known.state, known.version, revision) == (PresenceState.ONLINE, 4, times + 1)

    tell(story)


def test_two_that_have_one_device_at_hand_at_a_time_lose_no_word(tell: Tell) -> None:
    async def story(city: Watched) -> None:
        told = [connected(version) for version in range(1, 5)]
        await asyncio.gather(*(follow_presence(one, city) for one in told))
        known, _ = await kept(city)
        assert (known.state, known.version) == (PresenceState.ONLINE, 4)

    tell(story)
