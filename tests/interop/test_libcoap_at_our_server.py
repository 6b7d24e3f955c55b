"""libcoap's client as a device at our server. Payloads are written by hand: it knows no LwM2M."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest

from tests.interop import libcoap
from tests.interop.cells import LIBCOAP_CLIENT_OF_SERVER, LINK_FORMAT, NONE, SENML_JSON, Cell
from tests.interop.libcoap import Asked
from tests.interop.our_coap import free_port
from tests.interop.ours import NotThereYet, triples
from tests.interop.pairs import SESSION, OurServers, credential_of, uri_of
from tests.interop.recording import Tape, recorded
from tests.interop.relay import Relay
from tests.interop.results import not_there_yet

pytestmark = [pytest.mark.libcoap, pytest.mark.slow]

_numbers = itertools.count(1)
_LINKS = b'</>;rt="oma.lwm2m";ct=112,</1/0>,</3/0>,</3303/0>'


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
