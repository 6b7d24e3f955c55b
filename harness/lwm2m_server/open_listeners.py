"""Opens the sockets that a configuration asks for, of the LwM2M and of the bootstrap server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from harness.lwm2m_server.config import Listen, SecureListen, TlsListen
from harness.lwm2m_server.listeners import Listeners, Receiver
from harness.lwm2m_server.security_store import SecurityStore
from lwm2m.coap import TransmissionParameters
from lwm2m.transport.tracing import Wrap
from runtime.clock import Clock
from runtime.component import ConfigError

if TYPE_CHECKING:
    from harness.lwm2m_server.reliable_listen import ReliableListeners


class ListenConfig(Protocol):
    """Where to listen."""

    @property
    def coap(self) -> Listen | None: ...
    @property
    def coaps(self) -> SecureListen | None: ...
    @property
    def coap_tcp(self) -> Listen | None: ...
    @property
    def coaps_tcp(self) -> TlsListen | None: ...


class ConnectionBounds(Protocol):
    """How many connections there may be."""

    @property
    def connections_max(self) -> int: ...
    @property
    def connections_half_open_max(self) -> int: ...


class ListeningServer(Receiver, Protocol):
    """A server that has both kinds of sockets."""

    def handle_events(self) -> None:
        """See `ConnectionReceiver`."""

    @property
    def listeners(self) -> Listeners: ...

    def mount(self, connections: ReliableListeners) -> None:
        """Speak over connections too; closing them is the server's."""


def check_listeners(config: ListenConfig) -> None:
    """Raise `ConfigError` when nobody could reach the server."""
    if not any((config.coap, config.coaps, config.coap_tcp, config.coaps_tcp)):
        raise ConfigError(
            "neither coap nor coaps, coap_tcp nor coaps_tcp: no device could reach this server"
        )


async def open_listeners(
    config: ListenConfig,
    server: ListeningServer,
    store: SecurityStore,
    clock: Clock,
    wrap: Wrap,
    *,
    parameters: TransmissionParameters,
    bounds: ConnectionBounds,
    receive_buffer_bytes: int = 0,
) -> dict[str, str]:
    """Listen; the addresses by scheme. See `Listeners.open_plain` for the buffer. Raises
    `PortInUse` and `ConfigError`."""
    listeners = server.listeners
    addresses: dict[str, str] = {}
    if config.coap is not None:
        addresses["coap"] = await listeners.open_plain(
            config.coap, server, wrap, receive_buffer_bytes
        )
    if config.coaps is not None:
        addresses["coaps"] = await listeners.open_secure(
            config.coaps, server, store.key_of, _seconds_of(clock), wrap
        )
    if config.coap_tcp is None and config.coaps_tcp is None:
        return addresses
    # TCP and TLS are loaded only where they are wanted.
    from harness.lwm2m_server.reliable_listen import ReliableListeners

    connections = ReliableListeners(
        parameters,
        server,
        connections_max=bounds.connections_max,
        half_open_max=bounds.connections_half_open_max,
    )
    server.mount(connections)
    if config.coap_tcp is not None:
        addresses["coap+tcp"] = await connections.open_plain(config.coap_tcp)
    if config.coaps_tcp is not None:
        addresses["coaps+tcp"] = await connections.open_tls(config.coaps_tcp)
    return addresses


def _seconds_of(clock: Clock) -> Callable[[], float]:
    return lambda: clock.wall_us() / 1e6
