"""A bridge with several MQTT connections: nothing lost and nothing out of order when one breaks."""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from city_platform.provisioning.pki import open_pki
from contracts.data_interface import decode_event
from contracts.names import bridge_identity
from contracts.topics import Topics, fill
from mqtt.connection import InboundMessage
from mqtt.transport import MqttClient, client_tls
from runtime.clock import SystemClock
from tests.city_platform.together.installation import (
    Installation,
    installation,
    until,
)

pytestmark = pytest.mark.slow

DEVICES = 40
FURTHER = [bridge_identity("north", number) for number in (2, 3)]


def files(parts: Installation, identity: str) -> dict[str, str]:
    stem = parts.folder / "pki" / identity.replace(":", "_")
    return {
        "ca_file": str(parts.folder / "pki" / "ca.pem"),
        "certificate_file": f"{stem}.pem",
        "key_file": f"{stem}.key",
    }


def client(parts: Installation, identity: str, **more: Any) -> MqttClient:
    host, _, port = parts.mqtt.rpartition(":")
    return MqttClient(
        client_id=identity,
        address=(host, int(port)),
        tls=client_tls(*files(parts, identity).values()),
        clock=SystemClock(),
        chance=random.Random(0).random,
        **more,
    )


def test_a_connection_that_breaks_holds_up_only_its_own_devices_and_loses_nothing(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        open_pki(tmp_path / "pki", FURTHER, ["127.0.0.1"], SystemClock().wall_us(), os.urandom)
        async with installation(tmp_path, "embedded") as (parts, server):
            heard: defaultdict[str, list[int]] = defaultdict(list)

            def arrived(message: InboundMessage) -> None:
                found = decode_event(message.payload)
                if not message.duplicate:
                    heard[found.endpoint].append(found.seq)
                reader.acknowledge(message)

            topic = fill(Topics().event, kind="registered")
            reader = client(
                parts, "svc:control", subscriptions=[(topic, 1)], on_message=arrived
            )  # fmt: skip
            tasks = [asyncio.ensure_future(reader.run())]
            await reader.connected.wait()
            accesses = [{"address": parts.mqtt, **files(parts, one)} for one in FURTHER]
            await parts.start(
                "bridge:north",
                data_interface=server.address,
                more_connections=[msgspec.to_builtins(one) for one in accesses],
            )
            for turn in range(6):
                for number in range(DEVICES):
                    server.register(f"lamp-{number}")
                if turn == 2:
                    # Another client of the same identity ends the bridge's second connection;
                    # the bridge comes back and ends that one's.
                    intruder = client(parts, FURTHER[0], backoff_s_min=60, backoff_s_max=60)
                    tasks.append(asyncio.ensure_future(intruder.run()))
                    await intruder.connected.wait()
            await until(lambda: server.acknowledged == server.newest)
            await until(lambda: sum(map(len, heard.values())) >= 6 * DEVICES)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for seqs in heard.values():
                assert sorted(set(seqs)) == list(dict.fromkeys(seqs)), "in order, but for repeats"
                assert len(set(seqs)) == 6

    uvloop.run(story())
