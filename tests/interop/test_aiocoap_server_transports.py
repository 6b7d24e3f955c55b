"""aiocoap as a device at our server over TCP, TLS and OSCORE: every operation, both ways."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import aiocoap  # type: ignore[import-untyped]  # it has no py.typed
import pytest

from contracts.data_interface import Event, Outcome
from tests.interop import aiocoap_at_server
from tests.interop.aiocoap_at_server import asked_paths, notified, written_values
from tests.interop.aiocoap_peer import WITHIN_S, Got
from tests.interop.aiocoap_server_peer import LINKS, ServerOfTransports, plain_context
from tests.interop.cells import AIOCOAP_TRANSPORTS_CLIENT, LINK_FORMAT, OSCORE, TCP, TLS, Cell
from tests.interop.ours import triples

pytestmark = pytest.mark.slow

_MODES = {OSCORE: "oscore", TCP: "nosec", TLS: "x509"}
_numbers = itertools.count(1)


class At:
    """A device of one kind of security at our server."""

    def __init__(self, servers: ServerOfTransports, security: str, ends: ExitStack) -> None:
        self.servers = servers
        self.server = servers.server
        self.security = security
        self.device = servers.device(security)
        self.endpoint = self.device.endpoint
        ends.callback(self.device.end)

    def register(self, links: bytes = LINKS, endpoint: str = "") -> Got:
        binding = "U" if self.security == OSCORE else "T"
        query = f"ep={endpoint or self.endpoint}&lt=300&lwm2m=1.1&b={binding}"
        return self.device.ask(aiocoap.POST, f"/rd?{query}", links, LINK_FORMAT)

    def registered(self) -> str:
        """Register; the location."""
        answer = self.register()
        assert answer.code == "2.01", answer
        event = self.server.until_event("registered", self.endpoint)
        assert event.registration is not None
        assert event.registration.security.mode == _MODES[self.security]
        return answer.location

    def operate(self, operation: str, expected: str, **fields: object) -> Outcome:
        """Have our server carry it out."""
        outcome = self.servers.operate(self.endpoint, operation, **fields)
        assert (outcome.code, outcome.error) == (expected, None), outcome
        return outcome


def _read(at: At, content_format: int | None) -> None:
    at.registered()
    outcome = at.operate("read", "2.05", path="/3/0/0", format=content_format)
    assert triples(outcome.values) == [("/3/0/0", "string", "aiocoap")]


def _write(at: At, content_format: int | None) -> None:
    at.registered()
    value = {"path": "/3/0/14", "type": "string", "value": "+02:00"}
    at.operate("write", "2.04", path="/3/0/14", values=[value], format=content_format)
    assert at.device.offset.text == "+02:00"


def _discover(at: At, _: int | None) -> None:
    at.registered()
    outcome = at.operate("discover", "2.05", path="/3")
    links = {link.path: link.attributes for link in outcome.links or ()}
    assert links == {"/3": {"ver": "1.1"}, "/3/0": {}, "/3/0/0": {}, "/3/0/4": {}}


def _execute(at: At, _: int | None) -> None:
    at.registered()
    at.operate("execute", "2.04", path="/3/0/4", arguments="1='two',3")
    assert at.device.executed.get(timeout=WITHIN_S).payload == b"1='two',3"


def _observe(at: At, content_format: int | None) -> None:
    at.registered()
    at.operate("observe", "2.05", path="/3/0/0", format=content_format)
    notified(at)
    notified(at)


def _cancel(at: At, _: int | None) -> None:
    at.registered()
    at.operate("observe", "2.05", path="/3/0/0")
    notified(at)
    outcome = at.servers.operate(at.endpoint, "cancel_observation", path="/3/0/0")
    assert outcome.error is None, outcome
    if at.security == OSCORE:
        # aiocoap matches a cancellation by its token, which a protected one has anew (RFC 8613
        # §4.1.3.5): it learns of it when its next notification is not wanted.
        at.device.change("unwanted")
    assert at.device.watched.left_alone.wait(WITHIN_S)


def _read_composite(at: At, content_format: int | None) -> None:
    at.registered()
    outcome = at.operate("read_composite", "2.05", paths=["/3/0/0", "/1"], format=content_format)
    assert triples(outcome.values) == [("/3/0/0", "string", "aiocoap")]
    got = at.device.root.asked.get(timeout=WITHIN_S)
    assert asked_paths(got.payload) == "/3/0/0/1"


def _write_composite(at: At, content_format: int | None) -> None:
    at.registered()
    values = [
        {"path": "/1/0/1", "type": "integer", "value": 77},
        {"path": "/3/0/14", "type": "string", "value": "+02:00"},
    ]
    at.operate("write_composite", "2.04", values=values, format=content_format)
    got = at.device.root.asked.get(timeout=WITHIN_S)
    assert written_values(got.payload) == {"/1/0/1": 77, "/3/0/14": "+02:00"}


def _observe_composite(at: At, content_format: int | None) -> None:
    at.registered()
    at.operate("observe_composite", "2.05", paths=["/3/0/0"], format=content_format)
    notified(at)
    notified(at)


DO: dict[str, Callable[[At, int | None], None]] = {
    "register": aiocoap_at_server.register,
    "register block-wise": aiocoap_at_server.register_block_wise,
    "update": aiocoap_at_server.update,
    "send": aiocoap_at_server.send,
    "read resource": _read,
    "write resource": _write,
    "discover object": _discover,
    "execute with arguments": _execute,
    "observe resource, notified": _observe,
    "cancel observation, active": _cancel,
    "read composite": _read_composite,
    "write composite": _write_composite,
    "observe composite, notified": _observe_composite,
    "de-register": aiocoap_at_server.de_register,
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerOfTransports]:
    """Our server with all its addresses."""
    found = ServerOfTransports(tmp_path_factory.mktemp("transports"))
    yield found
    found.server.end()


@pytest.mark.parametrize(
    "cell", [pytest.param(cell, id=cell.name) for cell in AIOCOAP_TRANSPORTS_CLIENT]
)
def test_aiocoap_and_our_server_agree_over_every_transport(
    cell: Cell, servers: ServerOfTransports
) -> None:
    with ExitStack() as ends:
        DO[cell.operation](At(servers, cell.security, ends), cell.content_format)


@pytest.mark.parametrize("security", [OSCORE, TLS])
def test_a_device_registers_under_no_name_but_the_proven_one(
    security: str, servers: ServerOfTransports
) -> None:
    with ExitStack() as ends:
        at = At(servers, security, ends)
        assert at.register(endpoint="somebody-else").code == "4.00"
        at.registered()


def test_a_device_with_an_oscore_context_does_not_register_without_it(
    servers: ServerOfTransports,
) -> None:
    with ExitStack() as ends:
        at = At(servers, OSCORE, ends)
        plain = plain_context()
        ends.callback(plain.end)
        refused = servers.counters().get("refused_unprotected", 0)
        uri = f"{servers.base(OSCORE)}/rd?ep={at.endpoint}&lt=300&lwm2m=1.1"
        asked = aiocoap.Message(code=aiocoap.POST, uri=uri, payload=LINKS, content_format=40)
        assert plain.call(plain.request(asked)).code == "4.03"
        assert servers.counters()["refused_unprotected"] == refused + 1
        at.registered()
        at.operate("read", "2.05", path="/3/0/0")


@pytest.mark.parametrize("security", [TCP, TLS])
def test_what_is_asked_while_a_connection_is_lost_waits_for_the_next(
    security: str, servers: ServerOfTransports
) -> None:
    with ExitStack() as ends:
        at = At(servers, security, ends)
        location = at.registered()
        at.device.cut()
        # The server notices by the end of the connection, or by this request's.
        number = at.servers.ask_later(at.endpoint, "read", path="/3/0/0")
        if security == TLS:
            assert at.device.ask(aiocoap.POST, location).code == "2.04"
        else:
            # Without security nothing but its connection says that it is the one that registered.
            assert at.device.ask(aiocoap.POST, location).code == "4.04"
            assert at.register().code == "2.01"

        def found(event: Event) -> bool:
            return event.result is not None and event.result.id == number

        event = at.server.until(at.endpoint, "result", found)
        assert event.result is not None
        assert event.result.code == "2.05"
