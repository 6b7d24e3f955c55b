"""Bootstrap with Eclipse Leshan: its servers and our device, its client and our servers."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.interop.cells import LESHAN_BOOTSTRAP_SERVER, LESHAN_BOOTSTRAPPED_CLIENT, NONE, PSK, Cell
from tests.interop.credentials import Credential
from tests.interop.fetch_leshan import VERSION
from tests.interop.leshan_peer import LeshanPeer
from tests.interop.ours import NotThereYet, OurDevice
from tests.interop.pairs import (
    SESSION,
    LeshanServers,
    OurServers,
    client_security,
    credential_of,
    uri_of,
)
from tests.interop.recording import Tape, recorded
from tests.interop.relay import Relay
from tests.interop.results import not_there_yet

pytestmark = [pytest.mark.leshan, pytest.mark.slow]

SHORT_SERVER_ID, LIFETIME_S = 123, 240
_numbers = itertools.count(1)
_LESHAN_MODES = {NONE: "NO_SEC", PSK: "PSK", "x509": "X509"}


def _account(credential: Credential | None, security: str) -> dict[str, Any]:
    """The account's keys in the words of Leshan's peer: hex."""
    if credential is None:
        return {"mode": _LESHAN_MODES[NONE]}
    found = {"mode": _LESHAN_MODES[security], "key": credential.key.hex()}
    if security == PSK:
        return found | {"identity": credential.identity}
    return found | {
        "certificate": credential.certificate.hex(),
        "server_certificate": credential.server_certificate.hex(),
    }


@pytest.mark.parametrize("cell", LESHAN_BOOTSTRAP_SERVER, ids=lambda cell: cell.name)
def test_leshans_bootstrap_server_brings_our_device_to_leshans_server(
    cell: Cell, leshan_servers: LeshanServers, tmp_path: Path
) -> None:
    bootstrap, bootstrap_ports = leshan_servers.bootstrap_server
    server, ports = leshan_servers.server
    credential = leshan_servers.credentials[cell.security]
    # Secured endpoints are known by name to both servers; an unsecured one may have any.
    endpoint = credential.endpoint if credential else f"bootstrapped-{next(_numbers)}-{SESSION}"
    port_name = "coap" if cell.security == NONE else "coaps"
    bootstrap.ask(
        "account",
        endpoint=endpoint,
        uri=uri_of(ports[port_name], cell.security),
        short_server_id=SHORT_SERVER_ID,
        lifetime_s=LIFETIME_S,
        format=cell.content_format,
        discover="discover" in cell.operation,
        delete=["/0", "/1"],
        security_instance=1,
        **_account(credential, cell.security),
    )
    relay = Relay(bootstrap_ports[port_name])
    name = f"{cell.operation} {cell.format_name}"
    before, before_server = bootstrap.lines_so_far, server.lines_so_far
    tape = Tape(relay) if cell.security == NONE else None
    with recorded(tape, peer="leshan", version=VERSION, role=cell.role, name=name):
        device = OurDevice(
            tmp_path,
            endpoint,
            credential,
            bootstrap_server=uri_of(relay.port, cell.security),
            bootstrap_format=cell.content_format,
        )
        try:
            bootstrap.until_event("bootstrapped", after=before, endpoint=endpoint)
            registered = server.until_event("registered", after=before_server, endpoint=endpoint)
            assert registered["lifetime_s"] == LIFETIME_S
            answer = server.ask("read", endpoint=endpoint, path="/1/0/0")
            assert answer["values"] == [["/1/0/0", "integer", SHORT_SERVER_ID]]
        finally:
            device.end()
            relay.close()


@pytest.mark.parametrize("cell", LESHAN_BOOTSTRAPPED_CLIENT, ids=lambda cell: cell.name)
def test_our_bootstrap_server_brings_leshans_client_to_our_server(
    cell: Cell, needs_leshan: None, our_servers: OurServers
) -> None:
    try:
        bootstrap = our_servers.bootstrap_server
        port_name = "coap" if cell.security == NONE else "coaps"
        port = bootstrap.port(port_name)
    except NotThereYet as missing:
        not_there_yet(str(missing))
    server = our_servers.server
    endpoint = f"leshan-bootstrapped-{next(_numbers)}-{SESSION}"
    credential = credential_of(endpoint, cell.security)
    if credential is not None:
        bootstrap.admit(credential)
        server.admit(credential)
    account: dict[str, Any] = {
        "short_server_id": SHORT_SERVER_ID,
        "uri": uri_of(server.port(port_name), cell.security),
        "lifetime_s": LIFETIME_S,
        "security": "nosec" if credential is None else cell.security,
    }
    if credential is not None:
        account["key"] = base64.b64encode(credential.key).decode()
        if cell.security == PSK:
            account["identity"] = credential.identity
        else:
            account["certificate"] = base64.b64encode(credential.certificate).decode()
            server_certificate = credential.server_certificate
            account["server_certificate"] = base64.b64encode(server_certificate).decode()
    bootstrap.put_entry(endpoint, {"accounts": [account], "format": cell.content_format})
    relay = Relay(port)
    after = server.frames_so_far
    tape = Tape(relay) if cell.security == NONE else None
    name = f"{cell.operation} {cell.format_name}"
    with recorded(tape, peer="leshan", version=VERSION, role="bootstrapped client", name=name):
        leshan = LeshanPeer(
            {
                "role": "client",
                "endpoint": endpoint,
                "uri": uri_of(relay.port, cell.security),
                "bootstrap": True,
                **client_security(credential),
            }
        )
        try:
            leshan.await_ready()
            leshan.until_event("bootstrapped")
            event = server.until_event("registered", endpoint, after=after)
            assert event.registration is not None
            assert event.registration.lifetime_s == LIFETIME_S
        finally:
            leshan.end()
            relay.close()
