"""Two servers and their bridges on one broker: claims on one device, losses, and presence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from city_platform.presence import UNHEARD, DevicePresence, PresenceState, follow, read_told
from city_platform.provisioning.pki import open_pki
from contracts.api import CommandRecord, CommandRequest
from contracts.bridge_status import BridgeList, BridgeStanding
from contracts.data_interface import Command, Value, encode
from contracts.presence import PresenceCause, PresenceMessage, encode_presence
from contracts.topics import Topics
from mqtt.connection import InboundMessage
from mqtt.packets import Will
from mqtt.transport import MqttClient, client_tls
from runtime.clock import SystemClock
from tests.city_platform.together.installation import Installation, installation, until
from tests.city_platform.together.scripted_server import ScriptedServer
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow

LAMP = "lamp-1"
Story = Callable[[Installation, ScriptedServer, ScriptedServer], Awaitable[None]]


def tell(folder: Path, story: Story) -> None:
    """Run a story with control and a bridge beside each of two servers."""

    async def whole() -> None:
        async with installation(folder, "embedded") as (parts, north):
            south = await parts.open_server("south")
            await parts.start("control")
            for server in (north, south):
                await start_bridge(parts, server)
            await story(parts, north, south)

    uvloop.run(whole())


async def start_bridge(parts: Installation, server: ScriptedServer) -> None:
    await parts.start(f"bridge:{server.name}", data_interface=server.address)


async def bridges(parts: Installation) -> dict[str, BridgeStanding]:
    found = await parts.http("control").get("/v1/bridges", BridgeList)
    return {bridge.server: bridge for bridge in found.bridges}


async def until_shown(parts: Installation, server: str, **wanted: Any) -> BridgeStanding:
    """Wait until control shows a bridge so."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = (await bridges(parts)).get(server)
            if found and all(getattr(found, name) == value for name, value in wanted.items()):
                return found
            await asyncio.sleep(0.02)


async def dim(parts: Installation, level: int) -> CommandRecord:
    request = CommandRequest(
        operation="write",
        path="/3416/0/1",
        values=[Value("/3416/0/1", "integer", level)],
        expires_in_s=120,
    )
    return await parts.http("control").post(f"/v1/devices/{LAMP}/commands", request, CommandRecord)


def ids(server: ScriptedServer) -> list[str]:
    """The commands that the server's lamp carried out."""
    return [one[0] for one in server.devices[LAMP].done]


def test_a_device_that_moves_is_followed_and_its_old_bridge_told(tmp_path: Path) -> None:
    async def story(parts: Installation, north: ScriptedServer, south: ScriptedServer) -> None:
        north.register(LAMP, registered_at_us=1_000)
        await until_shown(parts, "north", devices_held=1)
        first = await dim(parts, 20)
        await until(lambda: ids(north) == [first.id])
        south.register(LAMP, registered_at_us=2_000)
        await until_shown(parts, "south", devices_held=1)
        second = await dim(parts, 30)
        await until(lambda: ids(south) == [second.id])
        assert ids(north) == [first.id]
        # Both servers still have it; only one bridge passes on what all bridges hear.
        await until_settled(parts)
        await say_to_all(parts, "shared-1")
        await until(lambda: "shared-1" in ids(south))
        assert "shared-1" not in ids(north)

    tell(tmp_path, story)


def test_a_restarted_bridge_does_not_win_a_device_back_that_has_moved(tmp_path: Path) -> None:
    async def story(parts: Installation, north: ScriptedServer, south: ScriptedServer) -> None:
        north.register(LAMP, registered_at_us=1_000)
        south.register(LAMP, registered_at_us=2_000)
        await until_shown(parts, "south", devices_held=1)
        await parts.kill("bridge:north")
        await start_bridge(parts, north)
        # Its snapshot has the lamp again, under the registration that was overtaken.
        await until_shown(parts, "north", state="live", devices_held=0, restarts=1)
        await until_settled(parts)
        command = await dim(parts, 30)
        await say_to_all(parts, "shared-1")
        await until(lambda: ids(south) == [command.id, "shared-1"])
        assert ids(north) == []

    tell(tmp_path, story)


def test_the_later_registration_counts_in_whatever_order_bridges_tell(tmp_path: Path) -> None:
    async def story(parts: Installation, north: ScriptedServer, south: ScriptedServer) -> None:
        south.register(LAMP, registered_at_us=2_000)
        await until_shown(parts, "south", devices_held=1)
        north.register(LAMP, registered_at_us=1_000)
        await until_settled(parts)
        command = await dim(parts, 30)
        await until(lambda: ids(south) == [command.id])
        assert ids(north) == []

    tell(tmp_path, story)


def test_a_bridge_that_stops_says_so_and_one_that_is_lost_is_shown_lost(tmp_path: Path) -> None:
    async def story(parts: Installation, north: ScriptedServer, south: ScriptedServer) -> None:
        north.register(LAMP)
        live = await until_shown(parts, "north", state="live", devices_held=1)
        assert live.load is not None
        await until_shown(parts, "south", state="live", devices_held=0)
        await parts.kill("bridge:south")
        assert (await until_shown(parts, "south", state="stopped")).load is None
        # Another client of the bridge's identity ends its connection without a good-bye.
        async with client(parts, "svc:bridge:north"):
            await until_shown(parts, "north", state="lost")
        back = await until_shown(parts, "north", state="live")
        assert back.restarts == 0

    tell(tmp_path, story)


def test_a_bridge_without_its_server_says_that_it_is_connecting(tmp_path: Path) -> None:
    async def story(parts: Installation, north: ScriptedServer, south: ScriptedServer) -> None:
        await until_shown(parts, "north", state="live")
        await north.close()
        await until_shown(parts, "north", state="connecting")

    tell(tmp_path, story)


def test_births_wills_and_good_byes_of_devices_make_states(tmp_path: Path) -> None:
    topics, known = Topics(), {LAMP: UNHEARD}
    topic = f"devices/{LAMP}/presence"

    def message(cause: PresenceCause, connection: int) -> bytes:
        return encode_presence(
            PresenceMessage(cause=cause, boot="b1", connection=connection, began_us=1)
        )

    def heard(received: InboundMessage) -> None:
        told = read_told(topics, received.topic, received.payload)
        assert told is not None
        known[told.endpoint] = follow(known[told.endpoint], told, 1)

    async def story(parts: Installation, *_: ScriptedServer) -> None:
        open_pki(
            tmp_path / "pki", [LAMP, "svc:ingestion"], ["127.0.0.1"], SystemClock().wall_us(),
            os.urandom,
        )  # fmt: skip
        state: Callable[[], DevicePresence] = lambda: known[LAMP]  # noqa: E731  # of this moment
        async with client(parts, "svc:ingestion", subscriptions=[(topic, 1)], on_message=heard):
            for connection, ends_well in ((1, True), (2, False)):
                will = Will(topic, message("will", connection), qos=1)
                async with client(parts, LAMP, will=will) as device:
                    device.publish(topic, message("birth", connection))
                    await until(lambda: state().state is PresenceState.ONLINE)
                    if ends_well:
                        device.publish(topic, message("good_bye", connection))
                        await until(lambda: not device.outstanding)  # awaited here
                    else:
                        # Another connection of the same device: the broker drops this one.
                        async with client(parts, LAMP):
                            await until(lambda: state().state is PresenceState.OFFLINE)
                await until(lambda: state().state is PresenceState.OFFLINE)

    tell(tmp_path, story)


async def until_settled(parts: Installation) -> None:
    """Until an overtaken bridge has the notice: what control publishes to it comes in order."""
    async with asyncio.timeout(WITHIN_S):
        client = parts.http("control")
        while not (await client.get("/v1/counts", dict[str, int])).get("registrations_overtaken"):  # noqa: ASYNC110  # HTTP
            await asyncio.sleep(0.02)


async def say_to_all(parts: Installation, command_id: str) -> None:
    """Publish a command that names no holder, as an operator's own program would."""
    command = Command(
        id=command_id,
        endpoint=LAMP,
        operation="write",
        expires_at_us=SystemClock().wall_us() + 120_000_000,
        path="/3416/0/1",
        values=[Value("/3416/0/1", "integer", 5)],
    )
    await parts.kill("control")
    async with client(parts, "svc:control") as publisher:
        publisher.publish(f"lwm2m/{LAMP}/command", encode(command))
        await until(lambda: not publisher.outstanding)


@contextlib.asynccontextmanager
async def client(parts: Installation, identity: str, **more: Any) -> AsyncIterator[MqttClient]:
    """A connected client with an identity's certificate."""
    host, _, port = parts.mqtt.rpartition(":")
    stem = parts.folder / "pki" / identity.replace(":", "_")
    found = MqttClient(
        client_id=identity,
        address=(host, int(port)),
        tls=client_tls(parts.folder / "pki" / "ca.pem", f"{stem}.pem", f"{stem}.key"),
        clock=SystemClock(),
        chance=random.Random(0).random,
        backoff_s_min=30.0,
        backoff_s_max=60.0,
        **more,
    )
    running = asyncio.ensure_future(found.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            await found.connected.wait()
        yield found
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
