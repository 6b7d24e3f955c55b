"""libcoap's programs: its client as a device at our server and as a server of our device, its
server asked by our CoAP client. Payloads are written by hand: libcoap knows no LwM2M."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import cbor2
import pytest

from lwm2m.coap import ExchangeFailed, Request, RequestReceived, Response, codes
from tests.interop import libcoap
from tests.interop.cells import (
    CBOR,
    LIBCOAP_CLIENT_OF_DEVICE,
    LIBCOAP_CLIENT_OF_SERVER,
    LIBCOAP_SERVER,
    LINK_FORMAT,
    NONE,
    OPAQUE,
    SENML_JSON,
    TEXT,
    TLV,
    Cell,
)
from tests.interop.credentials import Credential, psk
from tests.interop.libcoap import Asked, LibcoapServer
from tests.interop.our_coap import Client, client_of, free_port, run
from tests.interop.ours import LATITUDE, NotThereYet, OurDevice, triples
from tests.interop.pairs import SESSION, OurServers, credential_of, uri_of
from tests.interop.processes import TextProcess
from tests.interop.recording import Tape, recorded
from tests.interop.relay import Relay
from tests.interop.results import not_there_yet, peer_limit

pytestmark = [pytest.mark.libcoap, pytest.mark.slow]

_numbers = itertools.count(1)
_LINKS = b'</>;rt="oma.lwm2m";ct=112,</1/0>,</3/0>,</3303/0>'
MANUFACTURER = b"Lamplighter Simulated Devices"


# ---- its client as a device at our server ----


class AtServer:
    """libcoap's client, once per request, towards our server: always from the same port."""

    def __init__(
        self, servers: OurServers, security: str, directory: Path, port: int | None
    ) -> None:
        self.endpoint = f"libcoap-{security}-{next(_numbers)}-{SESSION}"
        self.server = servers.server
        self.credential = credential_of(self.endpoint, security)
        if self.credential is not None:
            self.server.admit(self.credential)
        own = self.server.port("coap" if security == NONE else "coaps")
        self.base = uri_of(port or own, security)
        self._file = directory / "body"
        # LwM2M Core §6.2.2: a device without security is known by its address.
        self._options = ["-a", "127.0.0.1", "-p", str(asyncio.run(free_port()))]

    def ask(self, path: str, method: str, **more: object) -> Asked:
        """One request."""
        return libcoap.ask(
            f"{self.base}{path}",
            method,
            body_file=self._file,
            options=self._options,
            credential=self.credential,
            **more,  # type: ignore[arg-type]  # the keywords of `libcoap.ask`
        )

    def register(self, links: bytes = _LINKS, version: str = "1.1") -> Asked:
        """Register."""
        query = f"ep={self.endpoint}&lt=300&lwm2m={version}&b=U"
        return self.ask(f"/rd?{query}", "post", payload=links, content_format=LINK_FORMAT)

    def location(self) -> str:
        """Register, and where that led."""
        found = self.register()
        assert found.code == "2.01", found
        return "/" + "/".join(found.responses[-1].options["Location-Path"])


def _register(device: AtServer, _: int | None) -> None:
    assert device.location().startswith("/rd/")
    event = device.server.until_event("registered", device.endpoint)
    assert event.registration is not None
    expected = "nosec" if device.credential is None else device.credential.mode
    assert event.registration.security.mode == expected


def _register_refused(device: AtServer, _: int | None) -> None:
    assert device.register(version="9.9").code == "4.12"


def _register_block_wise(device: AtServer, _: int | None) -> None:
    links = b",".join([_LINKS, *(b"</3303/%d>" % number for number in range(1, 200))])
    assert len(links) > 2_000
    assert device.register(links).code == "2.01"
    event = device.server.until_event("registered", device.endpoint)
    assert event.registration is not None
    assert len(event.registration.object_links) > 199


def _update(device: AtServer, _: int | None) -> None:
    location = device.location()
    after = device.server.frames_so_far
    assert device.ask(f"{location}?lt=444", "post").code == "2.04"
    event = device.server.until_event("updated", device.endpoint, after=after)
    assert event.registration is not None
    assert event.registration.lifetime_s == 444


def _update_of_nothing(device: AtServer, _: int | None) -> None:
    assert device.ask("/rd/nobody?lt=444", "post").code == "4.04"


def _send(device: AtServer, content_format: int | None) -> None:
    device.location()
    records = [{"bn": "/3303/0/", "n": "5700", "v": 21.5}]
    as_cbor = cbor2.dumps([{-2: "/3303/0/", 0: "5700", 2: 21.5}])
    payload = json.dumps(records).encode() if content_format == SENML_JSON else as_cbor
    after = device.server.frames_so_far
    found = device.ask("/dp", "post", payload=payload, content_format=content_format)
    assert found.code == "2.04", found
    event = device.server.until_event("send", device.endpoint, after=after)
    assert triples(event.values) == [("/3303/0/5700", "float", 21.5)]


def _de_register(device: AtServer, _: int | None) -> None:
    location = device.location()
    after = device.server.frames_so_far
    found = device.ask(location, "delete")
    assert found.code == "2.02", found
    device.server.until_event("deregistered", device.endpoint, after=after)


AT_SERVER: dict[str, Callable[[AtServer, int | None], None]] = {
    "register": _register,
    "register with a version that is refused": _register_refused,
    "register block-wise": _register_block_wise,
    "update": _update,
    "update of nothing that is registered": _update_of_nothing,
    "send": _send,
    "de-register": _de_register,
}


@pytest.mark.parametrize("cell", LIBCOAP_CLIENT_OF_SERVER, ids=lambda cell: cell.name)
def test_libcoaps_client_and_our_server_agree(
    cell: Cell, our_servers: OurServers, tmp_path: Path
) -> None:
    libcoap.needed("client", secure=cell.security != NONE)
    relay = Relay(our_servers.server.port()) if cell.security == NONE else None
    tape = None if relay is None else Tape(relay)
    name = f"{cell.operation} {cell.format_name}".strip()
    try:
        with recorded(tape, peer="libcoap", version=libcoap.version(), role="client", name=name):
            device = AtServer(our_servers, cell.security, tmp_path, relay.port if relay else None)
            AT_SERVER[cell.operation](device, cell.content_format)
    except NotThereYet as missing:
        not_there_yet(str(missing))
    finally:
        if relay is not None:
            relay.close()


# ---- its client as a server of our device ----


class KnownDevice(NamedTuple):
    """A device that registered at a port which is free again: libcoap's client takes it over."""

    address: tuple[str, int]
    server_port: int
    directory: Path


@pytest.fixture(scope="module")
def known_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnownDevice]:
    libcoap.needed("client")
    directory = tmp_path_factory.mktemp("libcoap")
    with ExitStack() as ends:
        yield asyncio.run(_await_registration(directory, ends))


async def _await_registration(directory: Path, ends: ExitStack) -> KnownDevice:
    registered: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()

    def answer(event: RequestReceived) -> Response:
        assert event.request.path == ("rd",)
        peer = event.peer
        assert isinstance(peer, tuple)
        if not registered.done():
            registered.set_result((str(peer[0]), int(peer[1])))
        return Response(codes.CREATED, location_path=("rd", "1"))

    async with client_of(0, answer=answer) as server:
        port = server.port
        device = OurDevice(
            directory,
            f"device-of-libcoap-{SESSION}",
            server=f"coap://127.0.0.1:{port}",
            addresses="own",
            # It must not say anything by itself meanwhile.
            lifetime_s=86_400,
        )
        ends.callback(device.end)
        address = await asyncio.wait_for(registered, 10)
        await server.sent()
    return KnownDevice(address, port, directory)


class AsServer:
    """libcoap's client, from the port of the device's server."""

    def __init__(self, device: KnownDevice) -> None:
        self._device = device
        self.uri = f"coap://{device.address[0]}:{device.address[1]}"
        self.options = ["-a", "127.0.0.1", "-p", str(device.server_port)]

    def ask(self, path: str, method: str = "get", **more: object) -> Asked:
        """One request."""
        file = self._device.directory / "body"
        return libcoap.ask(
            f"{self.uri}{path}",
            method,
            body_file=file,
            options=self.options,
            **more,  # type: ignore[arg-type]  # the keywords of `libcoap.ask`
        )

    def changed(self, path: str, method: str, **more: object) -> None:
        """One request that is answered 2.04."""
        found = self.ask(path, method, **more)
        assert found.code == "2.04", found

    def text(self, path: str) -> str:
        """One resource as text."""
        found = self.ask(path, accept=TEXT)
        assert found.code == "2.05", found
        return found.body.decode()


def read_resource(server: AsServer, content_format: int | None) -> None:
    found = server.ask("/3/0/0", accept=content_format)
    assert found.code == "2.05", found
    expected = {
        TEXT: MANUFACTURER,
        CBOR: b"\x78\x1d" + MANUFACTURER,
        TLV: b"\xc8\x00\x1d" + MANUFACTURER,
    }
    assert found.body == expected[content_format or 0]


def read_instance(server: AsServer, content_format: int | None) -> None:
    found = server.ask("/6/0", accept=content_format)
    assert found.code == "2.05", found
    if content_format == TLV:
        assert struct.pack(">d", LATITUDE) in found.body
        return
    is_json = content_format == SENML_JSON
    records = json.loads(found.body) if is_json else cbor2.loads(found.body)
    # RFC 8428 §6: the keys in CBOR.
    base, name, value = ("bn", "n", "v") if is_json else (-2, 0, 2)
    base_name, values = "", {}
    for record in records:
        base_name = record.get(base, base_name)
        values[base_name + record.get(name, "")] = record.get(value)
    assert values["/6/0/0"] == LATITUDE


def discover_object(server: AsServer, _: int | None) -> None:
    found = server.ask("/3", accept=LINK_FORMAT)
    assert found.code == "2.05", found
    assert found.body.startswith(b"</3>")
    assert b"</3/0/0>" in found.body


def write_resource(server: AsServer, content_format: int | None) -> None:
    level = 30 + next(_numbers) % 60
    payload = str(level).encode() if content_format == TEXT else cbor2.dumps(level)
    server.changed("/3416/0/1", "put", payload=payload, content_format=content_format)
    assert server.text("/3416/0/1") == str(level)


def write_attributes(server: AsServer, _: int | None) -> None:
    found = server.ask("/3416/0/1?pmin=1&pmax=600", "put")
    if found.code == "5.01":
        not_there_yet("Write-Attributes on the device is answered 5.01")
    assert found.code == "2.04", found
    links = server.ask("/3416/0/1", accept=LINK_FORMAT).body
    assert b"pmax=600" in links
    server.changed("/3416/0/1?pmin&pmax", "put")


def execute(server: AsServer, _: int | None) -> None:
    server.changed("/1/0/8", "post")
    assert server.ask("/3/0/0", "post").code == "4.05"


_PUBLICATION_JSON = (
    b'[{"bn":"/18831/0/","n":"0","vs":"</3416/0>"},{"n":"1","vlo":"18830:0"},'
    b'{"n":"2","vs":"by hand"},{"n":"3","v":1},{"n":"4","vb":false}]'
)
# An object instance with five resources, by the layout of LwM2M Core, TLV.
_PUBLICATION_TLV = b"".join(
    [
        b"\xc8\x00\x09</3416/0>",
        b"\xc4\x01" + struct.pack(">HH", 18830, 0),
        b"\xc7\x02by hand",
        b"\xc1\x03\x01",
        b"\xc1\x04\x00",
    ]
)


def create(server: AsServer, content_format: int | None) -> None:
    inner = _PUBLICATION_TLV
    as_tlv = b"\x08\x00" + bytes([len(inner)]) + inner
    payload = _PUBLICATION_JSON if content_format == SENML_JSON else as_tlv
    found = server.ask("/18831", "post", payload=payload, content_format=content_format)
    assert found.code == "2.01", found
    try:
        assert server.text("/18831/0/2") == "by hand"
        assert server.text("/18831/0/1") == "18830:0"
    finally:
        server.ask("/18831/0", "delete")


def delete(server: AsServer, _: int | None) -> None:
    server.ask("/18831", "post", payload=_PUBLICATION_JSON, content_format=SENML_JSON)
    found = server.ask("/18831/0", "delete")
    assert found.code == "2.02", found
    assert server.ask("/18831/0", accept=TLV).code == "4.04"


def read_composite(server: AsServer, content_format: int | None) -> None:
    payload = b'[{"n":"/3/0/0"},{"n":"/6/0/0"}]'
    found = server.ask("/", "fetch", payload=payload, content_format=110, accept=content_format)
    assert found.code == "2.05", found
    records = json.loads(found.body)
    assert MANUFACTURER.decode() in [each.get("vs") for each in records]
    assert LATITUDE in [each.get("v") for each in records]


def write_composite(server: AsServer, content_format: int | None) -> None:
    level = 20 + next(_numbers) % 60
    payload = b'[{"n":"/3416/0/1","v":%d},{"n":"/3419/0/1","v":7.5}]' % level
    server.changed("/", "ipatch", payload=payload, content_format=content_format)
    assert server.text("/3416/0/1") == str(level)
    assert server.text("/3419/0/1") == "7.5"


def observe_resource(server: AsServer, content_format: int | None) -> None:
    """With pmax 1 s the device notifies by itself; libcoap ends the observation."""
    found = server.ask("/3416/0/1?pmin=0&pmax=1", "put")
    if found.code == "5.01":
        not_there_yet("Write-Attributes on the device is answered 5.01")
    command = [libcoap.needed("client"), "-v", "7", "-s", "3", "-A", str(content_format)]
    watching = TextProcess([*command, *server.options, f"{server.uri}/3416/0/1"])
    try:

        def notified(_: str) -> bool:
            told = libcoap.told_in("\n".join(watching.lines))
            return sum("Observe" in each.options for each in told) >= 2

        watching.until(notified)
    finally:
        watching.terminate()
        server.changed("/3416/0/1?pmin&pmax", "put")


AS_SERVER: dict[str, Callable[[AsServer, int | None], None]] = {
    "read resource": read_resource,
    "read instance": read_instance,
    "discover object": discover_object,
    "write resource": write_resource,
    "write attributes": write_attributes,
    "execute": execute,
    "create": create,
    "delete": delete,
    "read composite": read_composite,
    "write composite": write_composite,
    "observe resource, notified": observe_resource,
}


@pytest.mark.parametrize("cell", LIBCOAP_CLIENT_OF_DEVICE, ids=lambda cell: cell.name)
def test_libcoaps_client_and_our_device_agree(cell: Cell, known_device: KnownDevice) -> None:
    AS_SERVER[cell.operation](AsServer(known_device), cell.content_format)


# ---- its server, asked by our CoAP client ----


async def _get(client: Client) -> None:
    found = await client.ask(Request(codes.GET, ("time",)))
    assert found.code == codes.CONTENT
    assert b":" in found.payload


async def _get_in_blocks(client: Client) -> None:
    found = await client.ask(Request(codes.GET, (".well-known", "core")))
    assert (found.code, found.content_format) == (codes.CONTENT, LINK_FORMAT)
    assert b"</example_data>" in found.payload


async def _put_in_blocks(client: Client) -> None:
    body = bytes(range(256)) * 12
    path = (f"big-{next(_numbers)}",)
    assert (await client.ask(Request(codes.PUT, path, payload=body))).code == codes.CREATED
    assert (await client.ask(Request(codes.GET, path))).payload == body


async def _put_and_delete(client: Client) -> None:
    put = Request(codes.PUT, ("small",), content_format=OPAQUE, payload=b"\0\xff")
    assert (await client.ask(put)).code == codes.CREATED
    found = await client.ask(Request(codes.GET, ("small",)))
    assert found.payload == b"\0\xff"
    assert (await client.ask(Request(codes.DELETE, ("small",)))).code == codes.DELETED
    assert (await client.ask(Request(codes.GET, ("small",)))).code == codes.NOT_FOUND


async def _separate(client: Client) -> None:
    found = await client.ask(Request(codes.GET, ("async",), ("1",)))
    assert (found.code, found.payload) == (codes.CONTENT, b"done")


async def _observe(client: Client) -> None:
    handle = client.send(Request(codes.GET, ("time",), observe=0))
    first = await client.next_response(handle)
    second = await client.next_response(handle)
    assert first.observe is not None
    assert second.observe is not None
    assert first.payload != second.payload
    ended = await client.next_response(client.end_observation(handle))
    assert (ended.code, ended.observe) == (codes.CONTENT, None)


async def _not_found(client: Client) -> None:
    assert (await client.ask(Request(codes.GET, ("nothing",)))).code == codes.NOT_FOUND


async def _critical_option(client: Client) -> None:
    handle = client.send(Request(codes.GET, ("time",), options=((65_001, b"x"),)))
    event = await client.next_event(handle)
    # RFC 7252 §5.4.1: an unknown critical option in a response makes it one to reject.
    assert isinstance(event, ExchangeFailed)
    assert event.reason == "malformed"
    peer_limit(
        "its 4.02 repeats the unknown critical option 65001, so our client has to reject the "
        "response (RFC 7252 §5.4.1)"
    )


OF_SERVER = {
    "GET": _get,
    "GET in blocks": _get_in_blocks,
    "PUT in blocks": _put_in_blocks,
    "PUT and DELETE": _put_and_delete,
    "separate response": _separate,
    "observe, notified, cancelled": _observe,
    "not found": _not_found,
    "critical option refused": _critical_option,
}


@pytest.fixture(scope="module")
def libcoap_server() -> Iterator[tuple[int, Credential]]:
    """libcoap's server: its UDP port, and its key for the port after it."""
    credential = psk("our-client")
    port = asyncio.run(free_port())
    server = LibcoapServer(port, key=credential.key.decode())
    yield port, credential
    server.end()


@pytest.mark.parametrize("cell", LIBCOAP_SERVER, ids=lambda cell: cell.name)
def test_our_coap_client_and_libcoaps_server_agree(
    cell: Cell, libcoap_server: tuple[int, Credential]
) -> None:
    port, credential = libcoap_server
    # Small blocks where the test is about them: libcoap's resources are short.
    block_size = 64 if "blocks" in cell.operation else 1024

    async def story() -> None:
        secure = cell.security != NONE
        own = (port + 1, credential) if secure else (port, None)
        async with client_of(*own, block_size=block_size) as client:
            await OF_SERVER[cell.operation](client)

    run(story)
