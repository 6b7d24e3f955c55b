"""libcoap's client as a server of our device. Payloads are written by hand: it knows no LwM2M."""

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

from lwm2m.coap import RequestReceived, Response, codes
from tests.interop import libcoap
from tests.interop.cells import (
    CBOR,
    LIBCOAP_CLIENT_OF_DEVICE,
    LINK_FORMAT,
    SENML_JSON,
    TEXT,
    TLV,
    Cell,
)
from tests.interop.libcoap import Asked
from tests.interop.our_coap import client_of
from tests.interop.ours import LATITUDE, OurDevice
from tests.interop.pairs import SESSION
from tests.interop.processes import TextProcess
from tests.interop.results import not_there_yet
from tests.processes import WITHIN_S

pytestmark = [pytest.mark.libcoap, pytest.mark.slow]

pytestmark = [pytest.mark.libcoap, pytest.mark.slow]

_numbers = itertools.count(1)


MANUFACTURER = b"Lamplighter Simulated Devices"


class KnownDevice(NamedTuple):
    """A device that registered at a port which is free again: libcoap's client takes it over."""

    address: tuple[str, int]
    server_port: int
    directory: Path


@pytest.fixture(scope="module")
def known_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnownDevice]:
    yield from _known_device(tmp_path_factory)


@pytest.fixture(scope="module")
def restless_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnownDevice]:
    """One that may have something to say by itself.

    An Update goes to libcoap's client, if one runs just then; that answers 4.04, and the device,
    registered no longer, notifies nobody.
    """
    yield from _known_device(tmp_path_factory)


def _known_device(folders: pytest.TempPathFactory) -> Iterator[KnownDevice]:
    libcoap.needed("client")
    directory = folders.mktemp("libcoap")
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
            f"device-of-libcoap-{next(_numbers)}-{SESSION}",
            server=f"coap://127.0.0.1:{port}",
            addresses="own",
            # It must not say anything by itself meanwhile.
            lifetime_s=86_400,
        )
        ends.callback(device.end)
        address = await asyncio.wait_for(registered, WITHIN_S)
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
    """With pmax 1 s the device notifies by itself, soon; libcoap would watch for a minute."""
    found = server.ask("/3416/0/1?pmin=0&pmax=1", "put")
    if found.code == "5.01":
        not_there_yet("Write-Attributes on the device is answered 5.01")
    command = [libcoap.needed("client"), "-v", "7", "-s", "60", "-A", str(content_format)]
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


# What makes a device send an Update: the trigger of one, and other instances than before.
UPDATING = frozenset({"execute", "create", "delete"})


@pytest.mark.parametrize("cell", LIBCOAP_CLIENT_OF_DEVICE, ids=lambda cell: cell.name)
def test_libcoaps_client_and_our_device_agree(cell: Cell, request: pytest.FixtureRequest) -> None:
    name = "restless_device" if cell.operation in UPDATING else "known_device"
    device: KnownDevice = request.getfixturevalue(name)
    AS_SERVER[cell.operation](AsServer(device), cell.content_format)
