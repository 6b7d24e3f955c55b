"""Fleets with credentials: DTLS on real sockets, bootstrap servers, and what files must be like."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from contracts.journal import DeviceRegistered, DeviceRegistrationFailed, Record
from fake_devices.device import ServerAccount, device_models
from fake_devices.fleet import FleetConfig, run_fleet
from fake_devices.fleet.addresses import SharedPeers
from fake_devices.fleet.config import read_devices
from fake_devices.fleet.credentials import account_of, credentials_for, read_trust_anchors
from fake_devices.fleet.peers import PeerBook, UnusableAddress
from lwm2m.coap import (
    CoapEndpoint,
    Event,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.codecs import Node, encode_payload
from lwm2m.objects import ObjectPath, Value
from lwm2m.transport import EndpointDriver, open_udp
from lwm2m.transport.dtls import (
    PskCredentials,
    ServerCredentials,
    X509Credentials,
    open_dtls_server,
)
from runtime.clock import SystemClock
from runtime.component import ConfigError

DEVICES = 4
KEY = bytes(range(16))


def write_devices(path: Path, **credentials: Any) -> str:
    """A devices file; `credentials` are values or functions of the endpoint name."""
    lines = []
    for number in range(DEVICES):
        name = f"lamp-{number}"
        line: dict[str, Any] = {
            "endpoint": name, "serial": f"S{number}", "model": "street_lamp",
            "latitude": 52.0, "longitude": 4.0,
        }  # fmt: skip
        line |= {key: each(name) if callable(each) else each for key, each in credentials.items()}
        lines.append(json.dumps(line))
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return str(path)


class Registry:
    """A server that accepts every Register; `steps` is what it asks of who asked it anything."""

    def __init__(self, moved: asyncio.Event) -> None:
        self._moved = moved
        self.requests: list[Request] = []
        self.registered: list[str] = []
        self.codes: list[str] = []
        self.notified: list[bytes] = []
        self.steps: list[Request] = []
        self.peers: list[Any] = []
        self.last_heard = 0.0
        self._left: dict[Any, list[Request]] = {}
        endpoint = CoapEndpoint(TransmissionParameters(), random.Random(5).randbytes)
        self.driver = EndpointDriver(endpoint, self._handle)

    def _handle(self, events: list[Event]) -> None:
        self._moved.set()
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests.append(event.request)
                self.peers.append(event.peer)
                self.last_heard = self.driver.now()
                created = event.request.path == ("rd",)
                if created:
                    self.registered.append(event.request.query[0])
                response = Response(
                    codes.CREATED if created else codes.CHANGED,
                    location_path=("rd", "1") if created else (),
                )
                self.driver.respond(event.exchange, response)
                self._left.setdefault(event.peer, list(self.steps))
            elif isinstance(event, ResponseReceived):
                self.codes.append(codes.code_text(event.response.code))
                if event.response.observe is not None:
                    self.notified.append(event.response.payload)
            left = self._left.get(event.peer)
            if left:
                self.driver.send_request(event.peer, left.pop(0))


def play(
    tmp_path: Path,
    story: Callable[[list[Record]], Awaitable[None]],
    moved: asyncio.Event,
    **config: Any,
) -> Callable[[], Awaitable[None]]:
    """Run a fleet until `story`, which sees its records so far, is over."""
    journal = tmp_path / "fleet.jsonl"

    async def run() -> None:
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def say():
            while (line := await lines.get()) is not None:
                yield line

        settings = FleetConfig(seed=7, journal_file=str(journal), progress_every_s=0.02, **config)
        fleet = asyncio.create_task(
            run_fleet(settings, SystemClock(), lambda _: None, say(), lambda _: moved.set())
        )
        lines.put_nowait(b'{"start": {"rate_per_s": 1000}}')
        try:
            await story(lambda: read_journal(journal))
        finally:
            lines.put_nowait(None)
            await fleet

    return run


def read_journal(path: Path) -> list[Record]:
    if not path.exists():
        return []
    decoder = msgspec.json.Decoder(Record)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]


async def until(moved: asyncio.Event, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            moved.clear()
            await moved.wait()


def pem_of(keys: Any, folder: Path, name: str) -> dict[str, str]:
    """The two PEM files of a certificate and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_text(ssl.DER_cert_to_PEM_cert(keys.certificate))
    loaded = serialization.load_der_private_key(keys.key, None)
    key.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key.chmod(0o600)
    return {"certificate": str(certificate), "key": str(key)}


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
            await until(moved, lambda: server.driver.now() > server.last_heard + 0.4)
            server.driver.send_request(asleep, read_serial)
            # Half a lifetime later an Update wakes each, for a moment.
            await until(moved, lambda: any(update_of(server, asleep)))
            assert server.codes == []
            server.driver.send_request(next(update_of(server, asleep)), read_serial)
            await until(moved, lambda: "2.05" in server.codes)

        await play(
            tmp_path, story, moved,
            devices_file=devices, server=f"coap://127.0.0.1:{link.address[1]}",
            queue_mode=True, awake_s=0.2, lifetime_s=4,
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


def of(records, kind):
    return [record for record in records if isinstance(record, kind)]


# ---- files ----


def test_a_devices_file_with_keys_must_be_its_owners_alone(tmp_path):
    path = Path(write_devices(tmp_path / "devices", psk_identity="x", psk="00"))
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="0600"):
        read_devices(path)


@pytest.mark.parametrize(
    ("credentials", "why"),
    [
        ({}, "needs psk_identity"),
        ({"psk_identity": "x", "psk": "xyz"}, "not hexadecimal"),
        ({"psk_identity": "x", "psk": ""}, "empty"),
        ({"certificate": "/nowhere/c", "key": "/nowhere/k"}, "cannot read"),
    ],
)
def test_credentials_that_cannot_be_used_are_named(tmp_path, credentials, why):
    (line, *_) = read_devices(Path(write_devices(tmp_path / "devices", **credentials)))
    with pytest.raises(ConfigError, match=why) as error:
        account_of(line, "coaps://127.0.0.1", 101)
    assert "xyz" not in str(error.value)


def test_a_key_file_that_others_may_read_is_refused(tmp_path, authority):
    pair = pem_of(authority.issue("lamp"), tmp_path, "lamp")
    Path(pair["key"]).chmod(0o644)
    (line, *_) = read_devices(Path(write_devices(tmp_path / "devices", **pair)))
    with pytest.raises(ConfigError, match="0600"):
        account_of(line, "coaps://127.0.0.1", 101)


def test_a_key_of_another_certificate_is_refused(tmp_path, authority):
    pair = pem_of(authority.issue("lamp"), tmp_path, "lamp")
    other = pem_of(authority.issue("other"), tmp_path, "other")
    mixed = {"certificate": pair["certificate"], "key": other["key"]}
    (line, *_) = read_devices(Path(write_devices(tmp_path / "devices", **mixed)))
    with pytest.raises(ConfigError, match="does not belong to the certificate"):
        account_of(line, "coaps://127.0.0.1", 101)


def test_files_that_are_no_pem_are_named(tmp_path):
    path = tmp_path / "file"
    path.write_text("nonsense")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="not PEM"):
        read_trust_anchors(path)
    (line, *_) = read_devices(
        Path(write_devices(tmp_path / "devices", certificate=str(path), key=str(path)))
    )
    with pytest.raises(ConfigError, match="not PEM"):
        account_of(line, "coaps://127.0.0.1", 101)


def test_no_repr_shows_a_key(tmp_path):
    (line, *_) = read_devices(
        Path(write_devices(tmp_path / "devices", psk_identity="x", psk=KEY.hex()))
    )
    account = account_of(line, "coaps://127.0.0.1", 101)
    assert account.key == KEY
    assert KEY.hex() not in repr(line) + repr(account) + repr(KEY in [repr(account)])


def test_accounts_become_credentials_or_nothing():
    psk = ServerAccount(1, "coaps://s", 0, b"lamp", KEY)
    assert credentials_for(psk, ()) == PskCredentials("lamp", KEY)
    x509 = ServerAccount(1, "coaps://s.example", 2, b"certificate", b"key", b"server")
    assert credentials_for(x509, ()) == X509Credentials(
        (b"certificate",), b"key", server_name="s.example", server_key=b"server"
    )
    unusable = [
        ServerAccount(1, "coaps://s", 0, b"\xff", KEY),
        ServerAccount(1, "coaps://s", 0, b"lamp", b""),
        ServerAccount(1, "coaps://s", 2, b"certificate", b"key"),
    ]
    assert [credentials_for(each, ()) for each in unusable] == [None] * 3


# ---- peers ----


def book(*, is_shared: bool = True) -> PeerBook:
    peers = SharedPeers("127.0.0.1", 5683, 2)
    return PeerBook("coap://main:5683", "127.0.0.1", peers, is_shared=is_shared)


def test_the_main_server_has_one_peer_for_each_device():
    peers = book()
    account = ServerAccount(1, "coap://main:5683")
    assert peers.find(1, account) == ("127.16.1.2", "127.0.0.1", 5683)
    assert peers.number_of(("127.16.1.2", "127.0.0.1", 5683)) == 1
    assert peers.has_one_server
    assert not peers.is_secure(peers.peers[0])


def test_another_server_is_a_further_peer_of_the_same_device():
    peers = book()
    account = ServerAccount(2, "coaps://127.0.0.9:7000")
    peer = peers.find(1, account)
    assert peer == ("127.16.1.2", "127.0.0.9", 7000)
    assert (peers.number_of(peer), peers.uri_of(peer)) == (1, "coaps://127.0.0.9:7000")
    assert peers.is_secure(peer)
    assert not peers.has_one_server
    assert peers.account_of(peer) is account


def test_addresses_that_cannot_be_reached_are_told():
    with pytest.raises(UnusableAddress):
        book().find(0, ServerAccount(2, "coap+tcp://127.0.0.1"))
    with pytest.raises(UnusableAddress):
        book().find(0, ServerAccount(2, "coap://192.0.2.1"))
    assert book(is_shared=False).find(0, ServerAccount(2, "coap://192.0.2.1")) is not None


def test_a_name_is_resolved_before_it_is_a_peer():
    peers = book()
    account = ServerAccount(2, "coap://localhost:7000")
    assert peers.find(0, account) is None
    asyncio.run(peers.resolve(account))
    assert peers.find(0, account) is not None


def test_a_name_that_nobody_knows_is_unusable():
    with pytest.raises(UnusableAddress):
        asyncio.run(book().resolve(ServerAccount(2, "coap://nowhere.invalid")))
