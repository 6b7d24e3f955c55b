"""The server's CoAP sockets: plain, DTLS or both, as one link."""

from __future__ import annotations

import errno
import hashlib
import logging
import socket
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from harness.lwm2m_server.config import Listen, SecureListen, TlsListen
from harness.lwm2m_server.devices import address_text, peer_text
from lwm2m.transport import UdpLink, open_udp
from lwm2m.transport.link import Link
from lwm2m.transport.peers import SecurePeer
from lwm2m.transport.tracing import Wrap
from lwm2m.transport.udp import DATAGRAMS_PER_WAKE
from runtime.component import ConfigError
from runtime.http import PortInUse

if TYPE_CHECKING:
    from lwm2m.transport.dtls import DtlsServerLink, KeyOf

_log = logging.getLogger(__name__)
_HASH_BYTES = 8
REFUSALS_TOLD_MAX = 20
_IDENTITY_SHOWN_MAX = 64


class Receiver(Protocol):
    """Who gets what the sockets tell."""

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]]) -> None:
        """Datagrams came, on whichever socket."""

    def peer_established(self, peer: SecurePeer) -> None:
        """A session is there."""

    def peer_gone(self, peer: SecurePeer) -> None:
        """A session has ended."""

    def refuse_handshake(self, reason: str, address: str, identity: str | None) -> None:
        """A session was refused."""


class Listeners:
    """The open sockets; a peer's kind says which one its datagrams leave by.

    `wrap` may put something between a link and its user, such as a trace.
    """

    def __init__(self) -> None:
        self._plain: UdpLink | None = None
        self._secure: DtlsServerLink | None = None
        self._plain_out: Link | None = None
        self._secure_out: Link | None = None

    async def open_plain(
        self, listen: Listen, receiver: Receiver, wrap: Wrap, buffer_bytes: int = 0
    ) -> str:
        """Listen for CoAP without security; returns the address. The kernel keeps at least
        `buffer_bytes` of what is not taken yet, if the system permits. Raises `PortInUse`."""
        receive, wrap_link = wrap(receiver.receive_datagrams)
        try:
            self._plain = await open_udp(listen.host, listen.port, receive)
        except OSError as error:
            raise port_in_use(listen, error) from error
        self._plain.enlarge_receive_buffer(buffer_bytes)
        # They are answered once a turn of the loop, when what they made is on disk.
        self._plain.datagrams_per_turn = DATAGRAMS_PER_WAKE
        self._plain_out = wrap_link(self._plain)
        return address_text(self._plain.address)

    async def open_secure(
        self,
        listen: SecureListen,
        receiver: Receiver,
        key_of: KeyOf,
        unix_time_s: Callable[[], float],
        wrap: Wrap,
    ) -> str:
        """Listen for CoAP over DTLS. Raises `PortInUse` and `ConfigError`."""
        # OpenSSL is loaded only where it is wanted: it takes a tenth of a second.
        from harness.lwm2m_server.secure_listen import read_credentials, settings_of
        from lwm2m.transport.dtls import UnusableCredentials, open_dtls_server

        def closed(peer: SecurePeer, reason: str) -> None:
            receiver.peer_gone(peer)

        def refused(address: Hashable, reason: str, identity: str | None) -> None:
            receiver.refuse_handshake(reason, peer_text(address), identity)

        receive, wrap_link = wrap(receiver.receive_datagrams)
        credentials = read_credentials(listen, key_of)
        try:
            self._secure = await open_dtls_server(
                listen.host,
                listen.port,
                receive,
                credentials,
                settings=settings_of(listen),
                established=receiver.peer_established,
                closed=closed,
                refused=refused,
                unix_time_s=unix_time_s,
            )
        except UnusableCredentials as error:
            raise ConfigError(f"coaps: {error}") from None
        except OSError as error:
            raise port_in_use(listen, error) from error
        self._secure_out = wrap_link(self._secure)
        return address_text(self._secure.address)

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        """Send each by the socket of its peer; what has none is dropped."""
        if self._secure_out is None:
            if self._plain_out is not None:
                self._plain_out.send(datagrams)
            return
        plain = [one for one in datagrams if not isinstance(one[1], SecurePeer)]
        secure = [one for one in datagrams if isinstance(one[1], SecurePeer)]
        if plain and self._plain_out is not None:
            self._plain_out.send(plain)
        if secure:
            self._secure_out.send(secure)

    def counters(self) -> dict[str, int]:
        """What the sockets lost, and what the DTLS socket counted, by name."""
        found = {"socket_drops": self.socket_drops}
        if self._secure is not None:
            counted = self._secure.counters.as_dict().items()
            found |= {f"dtls_{name}": count for name, count in counted}
        return found

    @property
    def socket_drops(self) -> int:
        """Datagrams that came or went while a buffer was full."""
        links: list[Any] = [self._plain]
        if self._secure is not None:
            links.append(self._secure.beneath)
        return sum(
            link.dropped_by_kernel + link.dropped_unsent for link in links if link is not None
        )

    def close(self) -> None:
        """Close the sockets; sessions end with close_notify."""
        for link in (self._secure, self._plain):
            if link is not None:
                link.close()


def hash_of(identity: str | None) -> str:
    """An identity as it may be recorded: enough to find it, if one knows it."""
    if identity is None:
        return ""
    return hashlib.sha256(identity.encode(errors="replace")).hexdigest()[: 2 * _HASH_BYTES]


def shown_identity(identity: str) -> str:
    """An identity for a person to read: anybody may send any, so that it is cut short and can do
    nothing to a terminal."""
    plain = "".join(letter if letter.isprintable() else "·" for letter in identity)
    cut = plain if len(plain) <= _IDENTITY_SHOWN_MAX else plain[:_IDENTITY_SHOWN_MAX] + "…"
    return f'"{cut}"'


def port_in_use(
    listen: Listen | SecureListen | TlsListen, error: OSError
) -> PortInUse | ConfigError:
    """What to say when a port is taken, or the address is none of this machine."""
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return ConfigError(
            f"cannot listen on {listen.host}: it is no address of this machine; choose one of its "
            "own, such as 127.0.0.1, or 0.0.0.0 for all"
        )
    return PortInUse(
        error.errno,
        f"cannot listen on {listen.host}:{listen.port} ({error.strerror}): choose another port",
    )


class RefusalLog:
    """Says in the log which DTLS handshakes were refused, and why: the first ones of each reason,
    because anybody can make more."""

    def __init__(self) -> None:
        self._told: Counter[str] = Counter()

    def tell(self, address: str, reason: str, identity: str | None = None) -> None:
        """A handshake with `address`, which said to be `identity`, was refused."""
        self._told[reason] += 1
        if self._told[reason] <= REFUSALS_TOLD_MAX:
            who = "" if identity is None else f" (identity {shown_identity(identity)})"
            _log.info("refused a DTLS session with %s: %s%s", address, reason, who)
        if self._told[reason] == REFUSALS_TOLD_MAX:
            _log.info("further sessions refused as %s are only counted", reason)
