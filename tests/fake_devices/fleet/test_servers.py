"""What servers do with a fleet: bootstrap it, observe it, find it asleep."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contracts.journal import DeviceRegistrationFailed
from fake_devices.device import device_models
from lwm2m.coap import Request, codes
from lwm2m.codecs import Node, encode_payload
from lwm2m.objects import ObjectPath, Value
from lwm2m.transport import open_udp
from tests.fake_devices.fleet.played_fleet import (
    DEVICES,
    KEY,
    Registry,
    of,
    play,
    until,
    write_devices,
)


def test_a_fleet_is_bootstrapped_and_registers_with_the_server_that_it_was_given(tmp_path):
    devices = write_devices(tmp_path / "devices", psk_identity="ignored", psk=KEY.hex())

    async def run():
        moved = asyncio.Event()
        server, boot = Registry(moved), Registry(moved)
        ports = []
        for each in (server, boot):
            link = await open_udp("127.0.0.1", 0, each.driver.receive_datagrams)
            each.driver.attach(link)
            ports.append(link.address[1])
        boot.steps = bootstrap_steps(f"coap://localhost:{ports[0]}")

        async def story(read):
            await until(moved, lambda: len(server.registered) == DEVICES)

        await play(
            tmp_path, story, moved,
            devices_file=devices, bootstrap_server=f"coap://127.0.0.1:{ports[1]}",
        )()  # fmt: skip
        server.driver.close()
        boot.driver.close()
        assert [each.path for each in boot.requests] == [("bs",)] * DEVICES
        assert boot.codes.count("2.04") == 3 * DEVICES

    asyncio.run(run())


def test_a_bootstrapped_server_that_nobody_knows_fails_and_the_devices_live_on(tmp_path):
    devices = write_devices(tmp_path / "devices")

    async def run():
        moved = asyncio.Event()
        boot = Registry(moved)
        link = await open_udp("127.0.0.1", 0, boot.driver.receive_datagrams)
        boot.driver.attach(link)
        boot.steps = bootstrap_steps("coap://nowhere.invalid")

        async def story(read):
            await until(moved, lambda: len(of(read(), DeviceRegistrationFailed)) >= DEVICES)

        await play(
            tmp_path, story, moved,
            devices_file=devices, bootstrap_server=f"coap://127.0.0.1:{link.address[1]}",
        )()  # fmt: skip
        boot.driver.close()

    asyncio.run(run())


@pytest.mark.slow
def test_what_a_server_observes_on_a_fleet_is_told_to_it(tmp_path):
    devices = write_devices(tmp_path / "devices")

    async def run():
        moved = asyncio.Event()
        server = Registry(moved)
        link = await open_udp("127.0.0.1", 0, server.driver.receive_datagrams)
        server.driver.attach(link)
        clock = ("3", "0", "13")
        server.steps = [
            Request(codes.PUT, clock, ("pmax=1",)),
            Request(codes.GET, clock, accept=0, observe=0),
        ]

        async def story(read):
            await until(moved, lambda: len(server.notified) >= 3 * DEVICES)

        await play(
            tmp_path, story, moved,
            devices_file=devices, server=f"coap://127.0.0.1:{link.address[1]}",
        )()  # fmt: skip
        server.driver.close()

    asyncio.run(run())


@pytest.mark.slow
def test_a_fleet_in_queue_mode_hears_nothing_while_it_sleeps(tmp_path):
    devices = write_devices(tmp_path / "devices")

    async def run():
        moved = asyncio.Event()
        server = Registry(moved)
        link = await open_udp("127.0.0.1", 0, server.driver.receive_datagrams)
        server.driver.attach(link)
        read_serial = Request(codes.GET, ("3", "0", "2"), accept=0)

        async def story(read):
            await until(moved, lambda: len(server.registered) == DEVICES)
            asleep = server.peers[0]
            await until(moved, lambda: server.driver.now() > server.last_heard + 1.0)
            server.driver.send_request(asleep, read_serial)
            # Half a lifetime later an Update wakes each, for a moment.
            await until(moved, lambda: any(update_of(server, asleep)))
            assert server.codes == []
            asked = 0

            def is_answered():
                """Whoever is awake is asked: one that is asked late sleeps again."""
                nonlocal asked
                for peer in list(update_of(server, asleep))[asked:]:
                    asked += 1
                    server.driver.send_request(peer, read_serial)
                return "2.05" in server.codes

            await until(moved, is_answered)

        await play(
            tmp_path, story, moved,
            devices_file=devices, server=f"coap://127.0.0.1:{link.address[1]}",
            queue_mode=True, awake_s=0.5, lifetime_s=8,
        )()  # fmt: skip
        server.driver.close()
        assert all("Q" in each.query for each in server.requests if each.path == ("rd",))

    asyncio.run(run())


def update_of(server: Registry, other: Any) -> Any:
    """The peers but one whose Updates came."""
    return (
        peer
        for peer, request in zip(server.peers, server.requests, strict=True)
        if request.path == ("rd", "1") and peer != other
    )


def bootstrap_steps(uri: str) -> list[Request]:
    """An account at `uri`, and Finish."""
    models = device_models()
    rows: dict[str, dict[int, Value]] = {
        "/0/1": {0: uri, 1: False, 2: 3, 3: b"", 4: b"", 5: b"", 10: 101},
        "/1/0": {0: 101, 1: 300, 6: True, 7: "U"},
    }
    steps = []
    for path, values in rows.items():
        base = ObjectPath.parse(path)
        nodes = [Node(base.child(number), value) for number, value in values.items()]
        payload = encode_payload(11542, base, nodes, models)
        steps.append(Request(codes.PUT, base.segments, content_format=11542, payload=payload))
    return [*steps, Request(codes.POST, ("bs",))]
