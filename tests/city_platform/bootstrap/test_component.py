"""The component between its rules, its stores and an MQTT client: what is acknowledged is kept."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from city_platform.bootstrap import component as component_module
from city_platform.bootstrap.component import BootstrapComponent, run
from city_platform.bootstrap.config import BootstrapConfig
from city_platform.bootstrap.decision import SendCredentials
from city_platform.bootstrap.documents import Documents
from city_platform.bootstrap.drives import DeviceStand, Drives, DriveTimes
from city_platform.bootstrap.stands import StandStore
from city_platform.broker_access import BrokerAccess
from city_platform.rules import RuleRunner, RunnerLimits, default_rules
from city_platform.stores.aws.errors import AwsRefused
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


def config_in(folder: Path) -> BootstrapConfig:
    return BootstrapConfig(
        broker=BrokerAccess("127.0.0.1:1", "ca.pem", "own.pem", "own.key"),
        objects_dir=str(folder / "objects"), pki_dir=str(folder / "pki"),
        state_dir=str(folder), token_file="none",
    )  # fmt: skip


def event_message(
    number: int, kind: str, lamp: str, version: str | None = None
) -> tuple[str, bytes]:
    """Its topic and payload."""
    registration = Registration(
        registration_id="r1", endpoint=lamp, lifetime_s=60, lwm2m_version="1.1", binding="U",
        queue_mode=False, object_links=[], address="", security=Security("psk"),
        registered_at_us=1,
    )  # fmt: skip
    event = Event(
        server=SERVER, epoch="e", seq=number, kind=kind, endpoint=lamp, at_us=1,  # type: ignore[arg-type]  # one of the kinds
        registration_id="r1", registration=registration if kind == "registered" else None,
        completed=Completes("credentials", version) if version else None,
    )  # fmt: skip
    return f"lwm2m/{SERVER}/{lamp}/event/{kind}", encode(event)


class Objects(FileObjectStore):
    """Fails while it is told to, and counts its reads."""

    failure: Exception | None = None
    reads = 0

    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """See `ObjectStore`."""
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return await super().get_many(names)


class Parts:
    """A component with files of its own."""

    def __init__(self, folder: Path) -> None:
        certificate, _, _ = identity()
        (folder / "pki").mkdir()
        (folder / "pki" / f"svc_bridge_{SERVER}.pem").write_bytes(certificate)
        config = config_in(folder)
        self.database = folder / "bootstrap.sqlite"
        self.objects = Objects(folder / "objects")
        self.documents = Documents(self.objects)
        self.stands = StandStore(self.database)
        self.drives = Faulty(DriveTimes(), lambda: 0.5)
        self.client = Client()
        self.component = component = BootstrapComponent(
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
        topic, payload = event_message(self.told, kind, lamp, version)
        self.runner.handle_message(InboundMessage(topic, payload, 1, self.told, False, False, 1))

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
        await self.documents.close()
        await self.stands.close()
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


def sends_to(lamp: str, version: str = "v1") -> SendCredentials:
    return SendCredentials(lamp, SERVER, "r1", version)


async def driven_again(parts: Parts, sends: Sequence[SendCredentials]) -> None:
    """As the driver does it."""
    async with asyncio.timeout(WITHIN_S):
        await parts.component._send_again(sends)


def test_the_driver_shares_no_failure_and_no_wait_of_registrations(play: Play) -> None:
    async def story(parts: Parts) -> None:
        parts.tell("registered", LAMPS[0])
        await parts.until_acknowledged()
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        failed.set_exception(sqlite3.OperationalError("database or disk is full"))
        reads = parts.objects.reads
        together = parts.documents.take(LAMPS[1], lambda _: failed)
        parts.documents.take(LAMPS[1], lambda _: never)
        await driven_again(parts, [sends_to(LAMPS[0])])
        assert parts.objects.reads == reads + 1
        assert parts.client.published[LAMPS[0]] == 2
        never.set_result(None)
        with pytest.raises(sqlite3.OperationalError):
            await together

    play(story)


def test_a_store_that_refuses_does_not_end_the_driver(play: Play) -> None:
    async def story(parts: Parts) -> None:
        parts.objects.failure = AwsRefused("S3", "GetObject", "AccessDenied", "no")
        await driven_again(parts, [sends_to(LAMPS[0])])
        assert parts.component.counts["store_failed"] == 1

    play(story)


def test_one_device_that_cannot_be_driven_ends_neither_the_driver_nor_another(play: Play) -> None:
    async def story(parts: Parts) -> None:
        for lamp in LAMPS:
            parts.tell("registered", lamp)
        await parts.until_acknowledged()
        parts.drives.failures = 1
        # Another version: it would begin anew, and cannot.
        await driven_again(parts, [sends_to(LAMPS[2], "v0"), sends_to(LAMPS[3])])
        assert parts.component.counts["drive_failed"] == 1
        assert parts.client.published == Counter(LAMPS) + Counter([LAMPS[3]])

    play(story)


def test_alone_is_answered_while_others_that_were_read_with_it_fail(play: Play) -> None:
    async def story(parts: Parts) -> None:
        def fail(_: bytes | None) -> None:
            raise KeyError("no such lamp")

        parts.drives.failures = 1
        parts.tell("registered", LAMPS[2])
        # In every read there is one that fails, until it is acknowledged.
        failing: list[asyncio.Future[None]] = []
        async with asyncio.timeout(WITHIN_S):
            while not parts.client.acknowledged:
                failing.append(parts.documents.take(LAMPS[1], fail))
                await asyncio.sleep(0.005)
        await asyncio.gather(*failing, return_exceptions=True)
        assert parts.kept() == {LAMPS[2]: "pending"}
        assert parts.runner.counts["retried"] == 1

    play(story)


def test_what_is_being_read_when_it_ends_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, _, _ = identity()
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / f"svc_bridge_{SERVER}.pem").write_bytes(certificate)

    async def serve_once(*parts: object) -> None:
        component = cast(BootstrapComponent, parts[3])
        component.use_client(cast(MqttClient, Client()))
        component.targets["registered"].accept(*event_message(1, "registered", LAMPS[0]))

    async def story() -> None:
        objects = FileObjectStore(tmp_path / "objects")
        await objects.put([NewObject(credentials_name(LAMPS[0]), document(LAMPS[0]), True)])
        objects.close()
        await run(config_in(tmp_path), SystemClock(), lambda _: None)
        stands = StandStore(tmp_path / "bootstrap.sqlite")
        assert [row.endpoint for row in await stands.load()] == [LAMPS[0]]
        await stands.close()

    monkeypatch.setattr(component_module, "_serve", serve_once)
    asyncio.run(story())
