"""How a DTLS endpoint behaves: every number of it, with its unit and where it comes from."""

from __future__ import annotations

import msgspec

from lwm2m.transport.dtls.records import DATAGRAM_BYTES_MAX
from lwm2m.transport.dtls.suites import DEFAULT_SUITES


class DtlsSettings(msgspec.Struct, frozen=True):
    """Times are seconds. Raises `ValueError` for values that cannot work."""

    suites: tuple[str, ...] = DEFAULT_SUITES
    """Cipher suites by their registered names, the preferred first; the server's order holds."""
    retransmit_timeout_s: float = 1.0
    """The first wait for the answer to a flight (RFC 6347 §4.2.4.1)."""
    retransmit_timeout_max_s: float = 60.0
    """Waits double up to this one (RFC 6347 §4.2.4.1)."""
    handshake_timeout_s: float = 60.0
    """A handshake not complete by then is given up. Own choice: five repetitions of a flight."""
    handshakes_max: int = 1_024
    """Handshakes under way. OpenSSL keeps about 76 KB for each of its own (certificates, tickets),
    so that all take 78 MB; one with a pre-shared key takes 2 KB, 13 KB at most. A server ignores
    further ClientHellos, a client lets further peers wait. Own choice."""
    handshake_idle_s: float = 5.0
    """A server that is at its limit drops its oldest handshake for a new one when its client has
    not got on for so long. Own choice: two repetitions of a flight."""
    sessions_max: int = 131_072
    """Sessions of a server; the one idle longest is closed for a new one. Own choice."""
    session_idle_s: float = 90_000.0
    """A server closes a session that was silent for so long. Own choice: LwM2M's default lifetime
    of a day (86,400 s) and an hour."""
    queue_per_peer_max: int = 8
    """Datagrams of a client that wait for one peer's handshake; more are dropped. Own choice."""
    datagram_bytes_max: int = DATAGRAM_BYTES_MAX
    """Flights are cut into datagrams of at most this size: IPv6's least MTU less headers."""
    cookie_lifetime_s: float = 60.0
    """How long a secret for cookies serves; a cookie is good for one to two of it. Own choice."""
    offers_resumption: bool = True
    """Whether a server gives out tickets (RFC 5077) and a client keeps and offers them."""
    resumes_psk: bool = False
    """Whether a client asks for tickets with pre-shared keys too. There a resumption spares no
    public-key operation, only a flight, and its ticket costs either side more than that saves:
    with tickets OpenSSL makes the handshake, without them it is made here in half the time."""
    ticket_lifetime_s: float = 86_400.0
    """How long a ticket may be used, by the system's clock. Own choice: a day."""

    def __post_init__(self) -> None:
        if not self.suites:
            raise ValueError("suites: at least one is needed")
        if not 0 < self.retransmit_timeout_s <= self.retransmit_timeout_max_s:
            raise ValueError("retransmit_timeout_s: above 0, at most retransmit_timeout_max_s")
        # RFC 6347 §4.1.1.1 has no least size; a certificate's fragments need some room.
        if not 256 <= self.datagram_bytes_max <= 16_384:
            raise ValueError("datagram_bytes_max: 256 to 16384")
        for name in ("handshakes_max", "sessions_max", "queue_per_peer_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1")
