"""Fleets with pre-shared keys and certificates register over DTLS, on real sockets."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from contracts.journal import DeviceRegistered, DeviceRegistrationFailed
from lwm2m.transport.dtls import ServerCredentials, open_dtls_server
from tests.fake_devices.fleet.played_fleet import (
    DEVICES,
    KEY,
    Registry,
    of,
    pem_of,
    play,
    until,
    write_devices,
)


@pytest.mark.parametrize("addresses", ["shared", "own"])
@pytest.mark.slow
def test_a_fleet_with_pre_shared_keys_registers_over_dtls(tmp_path, addresses):
    devices = write_devices(
        tmp_path / "devices", psk_identity=lambda name: f"id-{name}", psk=KEY.hex()
    )

    async def run():
        moved = asyncio.Event()
        registry = Registry(moved)
        credentials = ServerCredentials(key_of=lambda identity: (identity.removeprefix("id-"), KEY))
        link = await open_dtls_server(
            "127.0.0.1", 0, registry.driver.receive_datagrams, credentials
        )
        registry.driver.attach(link)

        async def story(read):
            await until(moved, lambda: len(registry.registered) == DEVICES)
            await until(moved, lambda: len(of(read(), DeviceRegistered)) == DEVICES)

        await play(
            tmp_path, story, moved,
            devices_file=devices, server=f"coaps://127.0.0.1:{link.address[1]}",
            addresses=addresses,
        )()  # fmt: skip
        registry.driver.close()
        assert sorted(registry.registered) == [f"ep=lamp-{n}" for n in range(DEVICES)]

    asyncio.run(run())
    assert KEY.hex() not in (tmp_path / "fleet.jsonl").read_text()


@pytest.mark.slow
def test_a_fleet_with_certificates_registers_over_dtls(tmp_path, authority):
    pairs = {
        f"lamp-{n}": pem_of(authority.issue(f"lamp-{n}"), tmp_path, f"lamp-{n}")
        for n in range(DEVICES)
    }
    devices = write_devices(
        tmp_path / "devices",
        certificate=lambda name: pairs[name]["certificate"],
        key=lambda name: pairs[name]["key"],
    )
    anchors = tmp_path / "anchors.pem"
    anchors.write_text(ssl.DER_cert_to_PEM_cert(authority.certificate))
    own = authority.issue("server", ("127.0.0.1",))

    async def run():
        moved = asyncio.Event()
        registry = Registry(moved)
        credentials = ServerCredentials(
            certificate_chain=(own.certificate,),
            private_key=own.key,
            trust_anchors=(authority.certificate,),
        )
        link = await open_dtls_server(
            "127.0.0.1", 0, registry.driver.receive_datagrams, credentials
        )
        registry.driver.attach(link)

        async def story(read):
            await until(moved, lambda: len(registry.registered) == DEVICES)

        await play(
            tmp_path, story, moved,
            devices_file=devices, server=f"coaps://127.0.0.1:{link.address[1]}",
            trust_anchor_file=str(anchors),
        )()  # fmt: skip
        registry.driver.close()

    asyncio.run(run())


def test_a_server_that_refuses_the_identity_is_told_to_the_device_at_once(tmp_path):
    devices = write_devices(tmp_path / "devices", psk_identity="nobody", psk=KEY.hex())

    async def run():
        moved = asyncio.Event()
        registry = Registry(moved)
        credentials = ServerCredentials(key_of=lambda identity: None)
        link = await open_dtls_server(
            "127.0.0.1", 0, registry.driver.receive_datagrams, credentials
        )
        registry.driver.attach(link)

        async def story(read):
            await until(moved, lambda: len(of(read(), DeviceRegistrationFailed)) >= DEVICES)

        await play(
            tmp_path, story, moved,
            devices_file=devices, server=f"coaps://127.0.0.1:{link.address[1]}",
        )()  # fmt: skip
        registry.driver.close()
        assert registry.requests == []

    asyncio.run(run())
