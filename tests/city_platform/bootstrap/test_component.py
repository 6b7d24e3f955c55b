"""The component between its rules, its stores and an MQTT client: what is acknowledged is kept."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from city_platform.bootstrap.component import BootstrapComponent
from city_platform.bootstrap.config import BootstrapConfig
from city_platform.bootstrap.decision import SendCredentials
from city_platform.bootstrap.documents import Documents
from city_platform.bootstrap.drives import DeviceStand, Drives, DriveTimes
from city_platform.bootstrap.stands import StandStore
from city_platform.broker_access import BrokerAccess
from city_platform.rules import RuleRunner, RunnerLimits, default_rules
from city_platform.stores.object_store import FileObjectStore, NewObject, credentials_name
from contracts.credentials import decode_sealed
from contracts.data_interface import Completes, Event, Registration, Security, encode
from mqtt.connection import InboundMessage
from mqtt.transport.client import MqttClient
from runtime.clock import SystemClock
from tests.city_platform.bridge.server_side import document
from tests.city_platform.test_sealing import identity
from tests.processes import WITHIN_S

SERVER = "north"
LAMPS = [f"lamp-{number}" for number in range(6)]


class Client:
    """Keeps what is published and acknowledged; the broker takes everything at once."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.connected.set()
        self.published: Counter[str] = Counter()
        self.acknowledged: list[int] = []
        self.moved = asyncio.Event()

    def publish(
        self, topic: str, payload: bytes, on_acknowledged: Callable[[], None] | None = None
    ) -> None:
        self.published[decode_sealed(payload).endpoint] += 1
        if on_acknowledged is not None:
            on_acknowledged()

    def acknowledge(self, message: InboundMessage) -> None:
        self.acknowledged.append(message.packet_id)
        self.moved.set()


class Faulty(Drives):
    """Cannot begin with one device, so many times."""

    failures = 0

    def begin(self, sends: SendCredentials, now_us: int) -> DeviceStand:
        """See `Drives`."""
        if sends.endpoint == LAMPS[2] and self.failures:
            self.failures -= 1
            raise RuntimeError("no such street")
        return super().begin(sends, now_us)


class Parts:
    """A component with files of its own."""

    def __init__(self, folder: Path) -> None:
        certificate, _, _ = identity()
        (folder / "pki").mkdir()
        (folder / "pki" / f"svc_bridge_{SERVER}.pem").write_bytes(certificate)
        broker = BrokerAccess("127.0.0.1:1", "ca.pem", "own.pem", "own.key")
        config = BootstrapConfig(
            broker=broker, objects_dir=str(folder / "objects"), pki_dir=str(folder / "pki"),
            state_dir=str(folder), token_file="none",
        )  # fmt: skip
        self.database = folder / "bootstrap.sqlite"
        self.objects = FileObjectStore(folder / "objects")
        self.documents = Documents(self.objects)
        self.stands = StandStore(self.database)
        self.drives = Faulty(DriveTimes(), lambda: 0.5)
        self.client = Client()
        component = BootstrapComponent(
            config, SystemClock(), self.documents, self.stands, self.drives, None
        )
        client = cast(MqttClient, self.client)
        component.use_client(client)
        self.runner = RuleRunner(
            client, default_rules("city_platform.bootstrap"), component.targets,
            limits=RunnerLimits(retry_s=0.001, retry_s_max=0.002),
        )  # fmt: skip
        self.told = 0

    def tell(self, kind: str, lamp: str, version: str | None = None) -> None:
        """An event of a device comes from the broker."""
        self.told += 1
        registration = Registration(
            registration_id="r1", endpoint=lamp, lifetime_s=60, lwm2m_version="1.1", binding="U",
            queue_mode=False, object_links=[], address="", security=Security("psk"),
            registered_at_us=1,
        )  # fmt: skip
        event = Event(
            server=SERVER, epoch="e", seq=self.told, kind=kind, endpoint=lamp, at_us=1,  # type: ignore[arg-type]  # one of the kinds
            registration_id="r1", registration=registration if kind == "registered" else None,
            completed=Completes("credentials", version) if version else None,
        )  # fmt: skip
        topic = f"lwm2m/{SERVER}/{lamp}/event/{kind}"
        self.runner.handle_message(
            InboundMessage(topic, encode(event), 1, self.told, False, False, 1)
        )

    async def until_acknowledged(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while len(self.client.acknowledged) < self.told:
                self.client.moved.clear()
                await self.client.moved.wait()

    def kept(self) -> dict[str, str]:
        """Where each device stands, as another connection to the database sees it."""
        with sqlite3.connect(self.database) as other:
            rows = other.execute("SELECT endpoint, stand FROM stands").fetchall()
        other.close()
        return dict(rows)

    async def close(self) -> None:
        await self.runner.close()
        await self.stands.close()
        await self.documents.close()
        self.objects.close()


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Parts], Awaitable[None]]], None]:
    def whole(story: Callable[[Parts], Awaitable[None]]) -> None:
        async def played() -> None:
            parts = Parts(tmp_path)
            await parts.objects.put(
                [NewObject(credentials_name(lamp), document(lamp), True) for lamp in LAMPS]
            )
            try:
                await story(parts)
            finally:
                await parts.close()

        asyncio.run(played())

    return whole


Play = Callable[[Callable[[Parts], Awaitable[None]]], None]


def test_what_was_acknowledged_is_kept_and_was_sent_once(play: Play) -> None:
    async def story(parts: Parts) -> None:
        for lamp in LAMPS:
            parts.tell("registered", lamp)
        parts.tell("registered", "lamp-nobody-knows")
        await parts.until_acknowledged()
        assert parts.kept() == dict.fromkeys(LAMPS, "pending")
        for lamp in LAMPS:
            parts.tell("bootstrap", lamp, "v1")
        await parts.until_acknowledged()
        assert parts.kept() == dict.fromkeys(LAMPS, "confirmed")
        assert parts.client.published == Counter(LAMPS)

    play(story)


def test_a_registration_that_is_told_again_is_kept_again_and_not_sent_again(play: Play) -> None:
    async def story(parts: Parts) -> None:
        parts.tell("registered", LAMPS[0])
        await parts.until_acknowledged()
        # As if its commit had been refused: only memory knows that it is under way.
        with sqlite3.connect(parts.database) as other:
            other.execute("DELETE FROM stands")
        other.close()
        parts.tell("registered", LAMPS[0])
        await parts.until_acknowledged()
        assert parts.kept() == {LAMPS[0]: "pending"}
        assert parts.client.published == Counter([LAMPS[0]])

    play(story)


def test_a_message_that_fails_is_tried_alone_and_holds_back_no_other_for_ever(play: Play) -> None:
    async def story(parts: Parts) -> None:
        parts.drives.failures = 3
        for lamp in LAMPS:
            parts.tell("registered", lamp)
        await parts.until_acknowledged()
        assert parts.kept() == dict.fromkeys(LAMPS, "pending")
        assert parts.client.published == Counter(LAMPS)
        assert parts.runner.counts["dead_letters"] == 0

    play(story)


def test_a_message_that_fails_for_ever_is_given_up_alone(play: Play) -> None:
    async def story(parts: Parts) -> None:
        parts.drives.failures = 1_000
        for lamp in LAMPS:
            parts.tell("registered", lamp)
        await parts.until_acknowledged()
        others = [lamp for lamp in LAMPS if lamp != LAMPS[2]]
        assert parts.kept() == dict.fromkeys(others, "pending")
        assert parts.client.published == Counter(others)
        assert parts.runner.counts["dead_letters"] == 1

    play(story)
