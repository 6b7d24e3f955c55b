"""A peer and ours that found each other: made once a session and kind of security."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from contracts.data_interface import Event, Outcome
from tests.interop.cells import NONE, PSK, X509
from tests.interop.credentials import Credential, authority, psk, server_pair, x509_credential
from tests.interop.leshan_peer import LeshanPeer, leshan_server
from tests.interop.ours import NotThereYet, OurBootstrapServer, OurDevice, OurServer
from tests.interop.processes import Line
from tests.interop.recording import Tape
from tests.interop.relay import Relay
from tests.interop.results import not_there_yet

T = TypeVar("T")
# So that sessions, and processes of one, never meet in a registry.
SESSION = secrets.token_hex(3)
# What our device sends unasked, once its server no longer mutes it.
_SENDS = {"send_paths": ["/3/0/0", "/3416/0/1"], "send_every_s": 0.5, "send_formats": [110, 112]}


class Made(Generic[T]):
    """Makes one thing a key, once; what failed once fails again at once, with the same reason."""

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make
        self._made: dict[str, T] = {}
        self._failed: dict[str, Exception] = {}

    def __call__(self, key: str) -> T:
        """The thing of this key; a feature of ours that it lacks skips the test."""
        if key not in self._made and key not in self._failed:
            try:
                self._made[key] = self._make(key)
            except Exception as error:  # kept, and raised by every test that needs the thing
                self._failed[key] = error
        failure = self._failed.get(key)
        if isinstance(failure, NotThereYet):
            not_there_yet(str(failure))
        if failure is not None:
            raise failure
        return self._made[key]


def credential_of(endpoint: str, security: str) -> Credential | None:
    """What a device with this name and kind of security has; None for none."""
    makers: dict[str, Callable[[str], Credential]] = {PSK: psk, X509: x509_credential}
    return None if security == NONE else makers[security](endpoint)


def uri_of(port: int, security: str) -> str:
    """Where a server listens."""
    return f"{'coap' if security == NONE else 'coaps'}://127.0.0.1:{port}"


class LeshanServers:
    """Leshan's two servers, and what they know: endpoints `device-KIND-SESSION`."""

    def __init__(self, ends: ExitStack) -> None:
        self._ends = ends
        self.credentials = {
            security: credential_of(f"device-{security}-{SESSION}", security)
            for security in (NONE, PSK, X509)
        }

    @cached_property
    def server(self) -> tuple[LeshanPeer, Line]:
        """The server, and its ports."""
        return self._start("server")

    @cached_property
    def bootstrap_server(self) -> tuple[LeshanPeer, Line]:
        """The bootstrap server, and its ports."""
        return self._start("bootstrap")

    def _start(self, role: str) -> tuple[LeshanPeer, Line]:
        psk_credential, certificate = self.credentials[PSK], self.credentials[X509]
        assert psk_credential is not None
        assert certificate is not None
        pair = server_pair()
        row = {
            "endpoint": psk_credential.endpoint,
            "identity": psk_credential.identity,
            "key": psk_credential.key.hex(),
        }
        peer = leshan_server(
            role=role,
            psk=[row],
            x509_endpoints=[certificate.endpoint],
            x509={
                "certificate": pair.certificate.hex(),
                "key": pair.key.hex(),
                "authority": authority().certificate.hex(),
            },
        )
        self._ends.callback(peer.end)
        return peer, peer.await_ready()


class OurServers:
    """Our server emulator and our bootstrap server, one each for all."""

    def __init__(self, directory: Path, ends: ExitStack) -> None:
        self._directory = directory
        self._ends = ends
        self._servers = Made(self._start_server)
        self._bootstrap_servers = Made(self._start_bootstrap_server)

    @property
    def server(self) -> OurServer:
        """The server, started when first asked for."""
        return self._servers("server")

    @property
    def bootstrap_server(self) -> OurBootstrapServer:
        """The bootstrap server, likewise."""
        return self._bootstrap_servers("bootstrap")

    def _start_server(self, name: str) -> OurServer:
        server = OurServer(self._directory / name)
        self._ends.callback(server.end)
        return server

    def _start_bootstrap_server(self, name: str) -> OurBootstrapServer:
        server = OurBootstrapServer(self._directory / name)
        self._ends.callback(server.end)
        return server


class DeviceAtLeshan:
    """Our device at Leshan's server. Plain CoAP goes through a relay, whose tape keeps it."""

    def __init__(
        self, servers: LeshanServers, directory: Path, security: str, ends: ExitStack
    ) -> None:
        self.endpoint = f"device-{security}-{SESSION}"
        self.leshan, ports = servers.server
        port = ports["coap" if security == NONE else "coaps"]
        self.tape: Tape | None = None
        if security == NONE:
            relay = Relay(port)
            ends.callback(relay.close)
            self.tape, port = Tape(relay), relay.port
        # A device of the same name may have been there before, by bootstrap.
        after = self.leshan.lines_so_far
        self.device = OurDevice(
            directory,
            self.endpoint,
            servers.credentials[security],
            server=uri_of(port, security),
            **_SENDS,
        )
        ends.callback(self.device.end)
        self.registered = self.leshan.until_event("registered", after=after, endpoint=self.endpoint)

    def ask(self, do: str, **fields: Any) -> Line:
        """Have Leshan carry an operation out on the device. Raises `PeerRefused`."""
        return self.leshan.ask(do, endpoint=self.endpoint, **fields)

    def until_event(self, kind: str, **fields: Any) -> Line:
        """An event of this device."""
        return self.leshan.until_event(kind, endpoint=self.endpoint, **fields)


class LeshanAtServer:
    """Leshan's client at our server. Plain CoAP goes through a relay, whose tape keeps it."""

    def __init__(self, servers: OurServers, security: str, ends: ExitStack) -> None:
        self.endpoint = f"leshan-{security}-{SESSION}"
        self.server = servers.server
        port = self.server.port("coap" if security == NONE else "coaps")
        self.tape: Tape | None = None
        if security == NONE:
            relay = Relay(port)
            ends.callback(relay.close)
            self.tape, port = Tape(relay), relay.port
        credential = credential_of(self.endpoint, security)
        if credential is not None:
            self.server.admit(credential)
        self.leshan = LeshanPeer(
            {
                "role": "client",
                "endpoint": self.endpoint,
                "uri": uri_of(port, security),
                "short_server_id": 101,
                **client_security(credential),
            }
        )
        ends.callback(self.leshan.end)
        self.leshan.await_ready()
        self.registered = self.server.until_event("registered", self.endpoint)
        # What it is told before it has had the answer would come too early for it.
        self.leshan.until_event("registered")

    def command(self, operation: str, **fields: Any) -> Outcome:
        """Have our server carry an operation out on Leshan's client."""
        return self.server.command(self.endpoint, operation, **fields)

    def until_event(self, kind: str, **fields: Any) -> Event:
        """An event of this client at our server."""
        return self.server.until_event(kind, self.endpoint, **fields)


def client_security(credential: Credential | None) -> dict[str, str]:
    """What Leshan's client is told of its keys."""
    if credential is None:
        return {"mode": "none"}
    if credential.mode == PSK:
        return {"mode": PSK, "identity": credential.identity, "key": credential.key.hex()}
    return {
        "mode": X509,
        "certificate": credential.certificate.hex(),
        "key": credential.key.hex(),
        "server_certificate": credential.server_certificate.hex(),
    }
