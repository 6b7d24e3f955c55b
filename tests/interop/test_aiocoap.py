"""aiocoap as a device at our server, and as a server of our device; over UDP and DTLS-PSK.

Its OSCORE and TCP, and its client and server against our bare CoAP core, are tested in
tests/lwm2m/transport.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]  # it has no py.typed
import cbor2
import pytest

from contracts.data_interface import Outcome
from tests.interop import aiocoap_at_server
from tests.interop.aiocoap_at_server import asked_paths, notified, written_values
from tests.interop.aiocoap_peer import WITHIN_S, AiocoapDevice, AiocoapServer, Got
from tests.interop.aiocoap_server_peer import LINKS
from tests.interop.cells import (
    AIOCOAP_CLIENT,
    AIOCOAP_SERVER,
    CBOR,
    LINK_FORMAT,
    NONE,
    PSK,
    SENML_JSON,
    TEXT,
    TLV,
    Cell,
)
from tests.interop.our_coap import free_port, run
from tests.interop.ours import LATITUDE, LIFETIME_S, NotThereYet, OurDevice, OurServer, triples
from tests.interop.pairs import SESSION, Made, OurServers, credential_of, uri_of
from tests.interop.results import not_there_yet, peer_limit

pytestmark = [
    pytest.mark.slow,
    # DTLSSocket tells its end to objects that are half gone, and says so; it does no harm.
    pytest.mark.filterwarnings("ignore:DTLS module did not shut down:UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_numbers = itertools.count(1)
MANUFACTURER = "Lamplighter Simulated Devices"


def _with_security(cells: list[Cell]) -> list[object]:
    """Secured cells need the DTLSSocket package, which is told by a marker."""
    return [
        pytest.param(
            cell, id=cell.name, marks=[pytest.mark.tinydtls] if cell.security == PSK else []
        )
        for cell in cells
    ]


def _needs_tinydtls(cell: Cell) -> None:
    if cell.security == PSK:
        pytest.importorskip("DTLSSocket", reason="aiocoap's DTLS: no DTLSSocket (`peers` extra)")


# ---- as a device at our server ----


class AtServer:
    """aiocoap registered at our server."""

    def __init__(self, servers: OurServers, security: str, ends: ExitStack) -> None:
        self.server: OurServer = servers.server
        self.endpoint = f"aiocoap-{security}-{next(_numbers)}-{SESSION}"
        credential = credential_of(self.endpoint, security)
        if credential is not None:
            self.server.admit(credential)
        port = self.server.port("coap" if security == NONE else "coaps")
        self.device = AiocoapDevice(self.endpoint, port, credential)
        ends.callback(self.device.end)

    def register(self, links: bytes = LINKS) -> Got:
        """Register."""
        path = f"/rd?ep={self.endpoint}&lt=300&lwm2m=1.1&b=U"
        return self.device.ask(aiocoap.POST, path, links, LINK_FORMAT)

    def registered(self) -> str:
        """Register; the location."""
        answer = self.register()
        assert answer.code == "2.01", answer
        self.server.until_event("registered", self.endpoint)
        return answer.location

    def command(self, operation: str, expected: str, **fields: Any) -> Outcome:
        """Have our server carry it out."""
        self.registered()
        outcome = self.server.command(self.endpoint, operation, **fields)
        assert (outcome.code, outcome.error) == (expected, None), outcome
        return outcome


def _read_of_it(at: AtServer, content_format: int | None) -> None:
    outcome = at.command("read", "2.05", path="/3/0/0", format=content_format)
    assert triples(outcome.values) == [("/3/0/0", "string", "aiocoap")]


def _write_to_it(at: AtServer, content_format: int | None) -> None:
    value = {"path": "/3/0/14", "type": "string", "value": "x"}
    at.registered()
    outcome = at.server.command(
        at.endpoint, "write", path="/3/0/14", values=[value], format=content_format
    )
    # aiocoap serves nothing there: what comes back is its own answer.
    assert outcome.code == "4.04", outcome


def _discover_of_it(at: AtServer, _: int | None) -> None:
    outcome = at.command("discover", "2.05", path="/3")
    assert outcome.links is not None
    links = {link.path: link.attributes for link in outcome.links}
    assert links == {"/3": {"ver": "1.1"}, "/3/0": {}, "/3/0/0": {}, "/3/0/4": {}}


def _execute_of_it(at: AtServer, _: int | None) -> None:
    at.command("execute", "2.04", path="/3/0/4", arguments="1='two',3")
    got = at.device.executed.get(timeout=WITHIN_S)
    assert got.payload == b"1='two',3"


def _observe_of_it(at: AtServer, content_format: int | None) -> None:
    at.command("observe", "2.05", path="/3/0/0", format=content_format)
    notified(at)


def _cancel_of_it(at: AtServer, _: int | None) -> None:
    at.command("observe", "2.05", path="/3/0/0")
    notified(at)
    outcome = at.server.command(at.endpoint, "cancel_observation", path="/3/0/0")
    assert outcome.error is None, outcome
    assert at.device.name.observers == 0


def _read_composite_of_it(at: AtServer, content_format: int | None) -> None:
    outcome = at.command("read_composite", "2.05", paths=["/3/0/0", "/1"], format=content_format)
    assert triples(outcome.values) == [("/3/0/0", "string", "aiocoap")]
    got = at.device.composites.get(timeout=WITHIN_S)
    assert asked_paths(got.payload) == "/3/0/0/1"


def _write_composite_to_it(at: AtServer, content_format: int | None) -> None:
    values = [
        {"path": "/1/0/1", "type": "integer", "value": 77},
        {"path": "/3/0/14", "type": "string", "value": "+02:00"},
    ]
    at.command("write_composite", "2.04", values=values, format=content_format)
    got = at.device.composites.get(timeout=WITHIN_S)
    assert written_values(got.payload) == {"/1/0/1": 77, "/3/0/14": "+02:00"}


AT_SERVER: dict[str, Callable[[AtServer, int | None], None]] = {
    "register": aiocoap_at_server.register,
    "register block-wise": aiocoap_at_server.register_block_wise,
    "update": aiocoap_at_server.update,
    "send": aiocoap_at_server.send,
    "read resource": _read_of_it,
    "write resource": _write_to_it,
    "discover object": _discover_of_it,
    "execute with arguments": _execute_of_it,
    "observe resource, notified": _observe_of_it,
    "cancel observation, active": _cancel_of_it,
    "read composite": _read_composite_of_it,
    "write composite": _write_composite_to_it,
    "de-register": aiocoap_at_server.de_register,
}


@pytest.mark.parametrize("cell", _with_security(AIOCOAP_CLIENT))
def test_aiocoap_as_a_device_and_our_server_agree(cell: Cell, our_servers: OurServers) -> None:
    _needs_tinydtls(cell)
    with ExitStack() as ends:
        try:
            at = AtServer(our_servers, cell.security, ends)
            AT_SERVER[cell.operation](at, cell.content_format)
        except NotThereYet as missing:
            not_there_yet(str(missing))


# ---- as a server of our device ----


class OfDevice:
    """aiocoap with our device registered."""

    def __init__(self, directory: Path, security: str, ends: ExitStack) -> None:
        ports: list[int] = []

        async def find_port() -> None:
            ports.append(await free_port())

        run(find_port)
        endpoint = f"device-of-aiocoap-{security}-{SESSION}"
        credential = credential_of(endpoint, security)
        self.server = AiocoapServer(ports[0], credential)
        ends.callback(self.server.end)
        # aiocoap listens for DTLS on the port after the one that it is given.
        port = ports[0] if credential is None else ports[0] + 1
        self.device = OurDevice(
            directory, endpoint, credential, server=uri_of(port, security), addresses="own"
        )
        ends.callback(self.device.end)
        self.registered = self.server.registered.get(timeout=WITHIN_S)
        self.endpoint = endpoint

    def ask(self, method: object, path: str, payload: bytes = b"", **formats: int | None) -> Got:
        """One request to the device."""
        return self.server.ask(method, path, payload, **formats)

    def changed(
        self, method: object, path: str, payload: bytes = b"", **formats: int | None
    ) -> None:
        """One that is answered 2.04."""
        answer = self.ask(method, path, payload, **formats)
        assert answer.code == "2.04", answer

    def text(self, path: str) -> str:
        """One resource as text."""
        answer = self.ask(aiocoap.GET, path, accept=TEXT)
        assert answer.code == "2.05", answer
        return answer.payload.decode()


def register(of: OfDevice, _: int | None) -> None:
    assert f"ep={of.endpoint}" in of.registered.query
    assert f"lt={LIFETIME_S}" in of.registered.query
    assert of.registered.content_format == LINK_FORMAT
    assert b"</3416/0>" in of.registered.payload


def update(of: OfDevice, _: int | None) -> None:
    of.changed(aiocoap.POST, "/1/0/8")
    of.server.updated.get(timeout=WITHIN_S)


def read_resource(of: OfDevice, content_format: int | None) -> None:
    answer = of.ask(aiocoap.GET, "/3/0/0", accept=content_format)
    assert (answer.code, answer.content_format) == ("2.05", content_format)
    found = cbor2.loads(answer.payload) if content_format == CBOR else answer.payload.decode()
    assert found == MANUFACTURER


def read_instance(of: OfDevice, content_format: int | None) -> None:
    answer = of.ask(aiocoap.GET, "/6/0", accept=content_format)
    assert (answer.code, answer.content_format) == ("2.05", content_format)
    if content_format == TLV:
        assert struct.pack(">d", LATITUDE) in answer.payload
    elif content_format == SENML_JSON:
        assert LATITUDE in [record.get("v") for record in json.loads(answer.payload)]
    else:
        assert LATITUDE in [record.get(2) for record in cbor2.loads(answer.payload)]


def discover_object(of: OfDevice, _: int | None) -> None:
    answer = of.ask(aiocoap.GET, "/3", accept=LINK_FORMAT)
    assert (answer.code, answer.content_format) == ("2.05", LINK_FORMAT)
    assert b"</3/0/0>" in answer.payload


def write_resource(of: OfDevice, content_format: int | None) -> None:
    level = 20 + next(_numbers) % 70
    payload = str(level).encode() if content_format == TEXT else cbor2.dumps(level)
    of.changed(aiocoap.PUT, "/3416/0/1", payload, content_format=content_format)
    assert of.text("/3416/0/1") == str(level)


def write_attributes(of: OfDevice, _: int | None) -> None:
    of.changed(aiocoap.PUT, "/3416/0/1?pmin=1&pmax=700")
    assert b"pmax=700" in of.ask(aiocoap.GET, "/3416/0/1", accept=LINK_FORMAT).payload
    of.changed(aiocoap.PUT, "/3416/0/1?pmin&pmax")


def execute(of: OfDevice, _: int | None) -> None:
    of.changed(aiocoap.POST, "/1/0/8")
    of.server.updated.get(timeout=WITHIN_S)
    assert of.ask(aiocoap.POST, "/3/0/0").code == "4.05"


_PUBLICATION = (
    b'[{"bn":"/18831/0/","n":"0","vs":"</3416/0>"},{"n":"1","vlo":"18830:0"},'
    b'{"n":"2","vs":"by hand"},{"n":"3","v":1},{"n":"4","vb":false}]'
)


def create(of: OfDevice, content_format: int | None) -> None:
    answer = of.ask(aiocoap.POST, "/18831", _PUBLICATION, content_format=content_format)
    assert answer.code == "2.01", answer
    assert of.text("/18831/0/2") == "by hand"
    of.ask(aiocoap.DELETE, "/18831/0")


def delete(of: OfDevice, _: int | None) -> None:
    of.ask(aiocoap.POST, "/18831", _PUBLICATION, content_format=SENML_JSON)
    assert of.ask(aiocoap.DELETE, "/18831/0").code == "2.02"
    assert of.ask(aiocoap.GET, "/18831/0", accept=TLV).code == "4.04"


def read_composite(of: OfDevice, content_format: int | None) -> None:
    paths = b'[{"n":"/3/0/0"},{"n":"/6/0/0"}]'
    answer = of.ask(aiocoap.FETCH, "/", paths, content_format=content_format, accept=content_format)
    assert answer.code == "2.05", answer
    assert {MANUFACTURER, LATITUDE} <= {
        record.get("vs", record.get("v")) for record in json.loads(answer.payload)
    }


def write_composite(of: OfDevice, content_format: int | None) -> None:
    level = 20 + next(_numbers) % 70
    payload = b'[{"n":"/3416/0/1","v":%d},{"n":"/3419/0/1","v":8.5}]' % level
    of.changed(aiocoap.iPATCH, "/", payload, content_format=content_format)
    assert (of.text("/3416/0/1"), of.text("/3419/0/1")) == (str(level), "8.5")


def observe_resource(of: OfDevice, content_format: int | None) -> None:
    assert content_format is not None
    observation = of.server.observe("/3416/0/1", content_format)
    assert (observation.first.code, observation.first.observe is None) == ("2.05", False)
    level = str((int(observation.first.payload) + 9) % 100)
    of.changed(aiocoap.PUT, "/3416/0/1", level.encode(), content_format=TEXT)
    notification = observation.notified.get(timeout=WITHIN_S)
    assert notification.payload.decode() == level
    observation.cancel()


def cancel_actively(of: OfDevice, _: int | None) -> None:
    observation = of.server.observe("/3416/0/1", TEXT)
    observation.cancel()
    level = str((int(of.text("/3416/0/1")) + 9) % 100)
    of.changed(aiocoap.PUT, "/3416/0/1", level.encode(), content_format=TEXT)
    # What comes after anything that the change would have caused.
    of.text("/3416/0/1")
    of.text("/3416/0/1")
    assert observation.notified.empty()


OF_DEVICE: dict[str, Callable[[OfDevice, int | None], None]] = {
    "register": register,
    "update": update,
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
    "cancel observation, active": cancel_actively,
}


@pytest.fixture(scope="session")
def devices_of_aiocoap(tmp_path_factory: pytest.TempPathFactory, ends: ExitStack) -> Made[OfDevice]:
    directory = tmp_path_factory.mktemp("aiocoap")
    return Made(lambda security: OfDevice(directory, security, ends))


@pytest.mark.parametrize("cell", _with_security(AIOCOAP_SERVER))
def test_aiocoap_as_a_server_and_our_device_agree(
    cell: Cell, devices_of_aiocoap: Made[OfDevice]
) -> None:
    _needs_tinydtls(cell)
    try:
        OF_DEVICE[cell.operation](devices_of_aiocoap(cell.security), cell.content_format)
    except aiocoap.error.NoRequestInterface as error:
        if cell.security == NONE:
            raise
        peer_limit(f"its DTLS server sends no requests of its own: {error!r}")
