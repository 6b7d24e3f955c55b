"""The server's TCP and TLS sockets: one endpoint and one driver for both.

What leaves waits for the end of the server's turn, when its records are on disk.
"""

from __future__ import annotations

import secrets
import ssl
from typing import Protocol

from contracts.names import is_endpoint_name
from harness.lwm2m_server.config import Listen, TlsListen
from harness.lwm2m_server.devices import address_text
from harness.lwm2m_server.listeners import port_in_use
from lwm2m.coap import TransmissionParameters
from lwm2m.transport.peers import SecurePeer
from lwm2m.transport.reliable import (
    ConnectionLimits,
    ReliableEndpoint,
    TcpDriver,
    TcpServer,
    TlsFiles,
    open_tcp_server,
)
from runtime.component import ConfigError


class ConnectionReceiver(Protocol):
    """Who gets what connections tell."""

    def handle_events(self) -> None:
        """Something came or was due: events are there, or output."""

    def peer_established(self, peer: SecurePeer) -> None:
        """A connection is open."""

    def peer_gone(self, peer: SecurePeer) -> None:
        """A connection has ended."""


class ReliableListeners:
    """Listens for CoAP over TCP and TLS. Its `endpoint` is to be mounted for `ReliablePeer`s."""

    def __init__(
        self,
        parameters: TransmissionParameters,
        receiver: ConnectionReceiver,
        *,
        connections_max: int,
        half_open_max: int,
    ) -> None:
        self.endpoint = ReliableEndpoint(parameters, secrets.token_bytes)
        self._servers: list[TcpServer] = []
        self._driver = TcpDriver(
            self.endpoint,
            receiver.handle_events,
            limits=ConnectionLimits(connections_max=connections_max, half_open_max=half_open_max),
            flushes_itself=False,
            established=receiver.peer_established,
            closed=receiver.peer_gone,
        )

    async def open_plain(self, listen: Listen) -> str:
        """Listen for `coap+tcp`; returns the address. Raises `PortInUse`."""
        return await self._open(listen, None)

    async def open_tls(self, listen: TlsListen) -> str:
        """Listen for `coaps+tcp`; returns the address. Raises `PortInUse` and `ConfigError`."""
        # As for DTLS: OpenSSL's bindings are loaded only where they are wanted.
        from harness.lwm2m_server.secure_listen import check_files

        check_files(listen)
        files = TlsFiles(
            certificate_file=listen.certificate_file,
            key_file=listen.private_key_file,
            trusted_file=listen.trust_anchors_file,
        )
        try:
            files.server_context()
        except ssl.SSLError as error:
            raise ConfigError(
                f"coaps_tcp: {listen.private_key_file} is not the key of "
                f"{listen.certificate_file} ({error.reason})"
            ) from None
        return await self._open(listen, files)

    def flush(self) -> None:
        """Let what is to be written leave: the turn's records are on disk."""
        self._driver.flush()

    def counters(self) -> dict[str, int]:
        """How many connections there are, and how many were not let in."""
        return {
            "connections": self.endpoint.peers_known,
            "connections_half_open": self._driver.half_open,
            "connections_refused": self._driver.refused,
        }

    def close(self) -> None:
        """Accept no more, and cut what there is."""
        for server in self._servers:
            server.close()
        self._driver.close()

    async def _open(self, listen: Listen | TlsListen, files: TlsFiles | None) -> str:
        try:
            server = await open_tcp_server(
                listen.host, listen.port, self._driver, tls=files, bind_name=_endpoint_name_of
            )
        except OSError as error:
            raise port_in_use(listen, error) from error
        self._servers.append(server)
        return address_text(server.address)


def _endpoint_name_of(identity: str) -> str | None:
    return identity if is_endpoint_name(identity) else None
