"""A device of the kit on real sockets: it bootstraps, reports, and is told things by a thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fake_devices import kit
from fake_devices.device import device_models
from lwm2m.objects import builtin_models
from lwm2m.transport.tracing import MessageReader, TracedMessage, traced
from tests.fake_devices.fleet.conftest import Authority, StubBroker, StubServer, World

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("platform")


@pytest.fixture
def world(authority: Authority, tmp_path: Path) -> World:
    folder = tmp_path / "pki"
    folder.mkdir()
    return World(authority, device_models(), folder)


class Site:
    """A server, a broker, and what the device said to the server."""

    def __init__(self, world: World, broker: StubBroker, server: StubServer) -> None:
        self.world = world
        self.broker = broker
        self.uri = f"coap://127.0.0.1:{server.port}"
        self.said: list[TracedMessage] = []
        self.wrap = traced(MessageReader(builtin_models(), lambda path: False), self._tell)

    def _tell(self, message: TracedMessage) -> None:
        if message.sent:
            self.said.append(message)
            self.world.moved.set()

    async def until_sent(self, text: str) -> None:
        """Wait until the device has sent a message with `text` in its values."""
        await self.world.until(
            lambda: any(text in line for each in self.said for line in each.content)
        )


@contextlib.asynccontextmanager
async def running(world: World, device: kit.Device) -> AsyncIterator[Site]:
    """`device` on its site, connected."""
    async with world.broker_up(world.broker_context()) as broker:

        def account(endpoint: str) -> dict[int, object]:
            keys = world.authority.issue(endpoint)
            return world.account_values(broker.port, endpoint, keys, world.authority.certificate)

        async with world.server_up(account) as server:  # type: ignore[arg-type] # values by number
            site = Site(world, broker, server)
            task = asyncio.ensure_future(device.serve(site.uri, device.line(), wrap=site.wrap))
            try:
                await world.until(lambda: device.is_connected or task.done())
                yield site
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def make_device() -> kit.Device:
    device = kit.Device("room-1", report_every_s=0.1)
    device.add("/3303/0", {5700: 21.5, 5701: "Cel"}, reports=[5700])
    return device


def test_a_device_bootstraps_reports_and_sends_from_a_thread(world: World) -> None:
    async def story() -> None:
        device = make_device()
        connected: list[str] = []
        device.on_connected(lambda: connected.append("yes"))
        async with running(world, device) as site:
            assert connected == ["yes"]
            await world.until(lambda: len(site.broker.published) >= 2)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, device.set, "/3303/0/5700", 30.25)
            await loop.run_in_executor(None, device.send, "/3303/0/5700")
            await site.until_sent("/3303/0/5700  Sensor Value = 30.25")
        with pytest.raises(kit.NotRunning):
            device.send("/3303/0/5700")

    asyncio.run(story())


def test_a_device_that_runs_takes_no_more_declarations(world: World) -> None:
    async def story() -> None:
        device = make_device()
        device.bind("/3303/0/5750", "room")
        measured = 1.0
        device.add("/3304/0", {5700: lambda: measured})
        async with running(world, device):
            with pytest.raises(kit.IllegalDeclaration, match="room-1 runs: declare everything"):
                device.add("/3303/1", {5700: 1.0})
            for path, text in (
                ("/3304/0/5700", "a function measures it"),
                ("/3303/7/5700", "add /3303/7 before the device runs"),
                ("/3303/0/5700/1", "has no resource instances"),
            ):
                with pytest.raises(kit.IllegalDeclaration, match=text):
                    device.set(path, 1.0)

    asyncio.run(story())


def test_measuring_and_sending_at_once_sends_what_was_measured(world: World) -> None:
    async def story() -> None:
        device = kit.Device("room-1", report_every_s=60.0)
        measured = 1.0
        device.add("/3303/0", {5700: lambda: measured})
        async with running(world, device) as site:
            measured = 7.5
            device.measure()
            device.send("/3303/0")
            await site.until_sent("/3303/0/5700  Sensor Value = 7.5")

    asyncio.run(story())


def test_a_device_without_credentials_for_a_secure_server_says_so() -> None:
    device = make_device()
    with pytest.raises(Exception, match="needs psk_identity and psk, or certificate and key"):
        asyncio.run(device.serve("coaps://127.0.0.1:5684", device.line()))
