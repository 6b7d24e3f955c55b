"""What aiocoap does as a device at our server, whatever carries its messages."""

from __future__ import annotations

import itertools
import json
from typing import Any, Protocol

import aiocoap  # type: ignore[import-untyped]  # it has no py.typed
import cbor2

from contracts.data_interface import Event
from tests.interop.aiocoap_peer import Got
from tests.interop.aiocoap_server_peer import LINKS
from tests.interop.cells import SENML_JSON
from tests.interop.ours import triples

_numbers = itertools.count(1)


class AtServer(Protocol):
    """A device of aiocoap, and our server that it registers at."""

    server: Any
    device: Any
    endpoint: str

    def register(self, links: bytes = LINKS) -> Got:
        """Register."""

    def registered(self) -> str:
        """Register; the location."""


def register(at: AtServer, _: int | None) -> None:
    assert at.registered().startswith("/rd/")


def register_block_wise(at: AtServer, _: int | None) -> None:
    links = b",".join([LINKS, *(b"</3303/%d>" % number for number in range(1, 250))])
    assert at.register(links).code == "2.01"
    event = at.server.until_event("registered", at.endpoint)
    assert event.registration is not None
    assert len(event.registration.object_links) > 249


def update(at: AtServer, _: int | None) -> None:
    location = at.registered()
    after = at.server.frames_so_far
    assert at.device.ask(aiocoap.POST, f"{location}?lt=555").code == "2.04"
    event = at.server.until_event("updated", at.endpoint, after=after)
    assert event.registration is not None
    assert event.registration.lifetime_s == 555
    assert at.device.ask(aiocoap.POST, "/rd/nobody").code == "4.04"


def send(at: AtServer, content_format: int | None) -> None:
    at.registered()
    as_json = json.dumps([{"bn": "/3/0/", "n": "9", "v": 88}]).encode()
    as_cbor = cbor2.dumps([{-2: "/3/0/", 0: "9", 2: 88}])
    payload = as_json if content_format == SENML_JSON else as_cbor
    after = at.server.frames_so_far
    assert at.device.ask(aiocoap.POST, "/dp", payload, content_format).code == "2.04"
    event = at.server.until_event("send", at.endpoint, after=after)
    assert triples(event.values) == [("/3/0/9", "integer", 88)]


def de_register(at: AtServer, _: int | None) -> None:
    location = at.registered()
    after = at.server.frames_so_far
    assert at.device.ask(aiocoap.DELETE, location).code == "2.02"
    at.server.until_event("deregistered", at.endpoint, after=after, reason="client")


def notified(at: AtServer) -> None:
    """The next change comes as a notification."""
    after, wanted = at.server.frames_so_far, f"changed {next(_numbers)}"
    at.device.change(wanted)

    def found(event: Event) -> bool:
        return triples(event.values) == [("/3/0/0", "string", wanted)]

    at.server.until(at.endpoint, "notification", found, after)


def asked_paths(payload: bytes) -> str:
    """The paths of a Read-Composite in SenML CBOR, one after the other."""
    return "".join(each.get(-2, "") + each.get(0, "") for each in cbor2.loads(payload))


def written_values(payload: bytes) -> dict[str, object]:
    """What a Write-Composite in SenML CBOR writes: numbers and texts by path."""
    found, base = {}, ""
    for record in cbor2.loads(payload):
        base = record.get(-2, base)
        found[base + record.get(0, "")] = record.get(2, record.get(3))
    return found
