"""How an endpoint sends, waits and remembers: RFC 7252 §4.8 and the limits of this core."""

from __future__ import annotations

import msgspec

from lwm2m.coap.blocks import BLOCK_SIZES


class TransmissionParameters(msgspec.Struct, frozen=True):
    """Every number of an endpoint's behaviour. Times are seconds.

    Raises `ValueError` (at once, not in use) for values that cannot work.
    """

    ack_timeout_s: float = 2.0
    """ACK_TIMEOUT: the shortest wait before the first retransmission (RFC 7252 §4.8)."""
    ack_random_factor: float = 1.5
    """ACK_RANDOM_FACTOR: the first wait is up to this many times longer (RFC 7252 §4.8)."""
    max_retransmit: int = 4
    """MAX_RETRANSMIT: retransmissions of a CON before it is given up (RFC 7252 §4.8)."""
    nstart: int = 1
    """NSTART: outstanding requests per peer; further ones wait (RFC 7252 §4.7)."""
    max_latency_s: float = 100.0
    """MAX_LATENCY: how long a datagram may be under way (RFC 7252 §4.8.2)."""
    acknowledgement_delay_s: float = 0.1
    """A request not answered by then gets an empty ACK and a separate response (§5.2.2). Own
    choice: a twentieth of ACK_TIMEOUT."""
    response_timeout_s: float = 93.0
    """How long to wait for a response after the empty ACK, or to a NON. RFC 7252 sets none; the
    default is its MAX_TRANSMIT_WAIT."""
    token_bytes: int = 4
    """Length of tokens: 32 random bits is RFC 7252 §5.3.1's least for peers on the Internet."""

    block_size: int = 1024
    """Largest block, in bytes, sent and asked for; a power of two, 16 to 1024 (RFC 7959 §2.2)."""
    payload_bytes_max: int = 65_536
    """Largest body of a request (answered 4.13 with Size1) and of a response. Own choice."""
    transfer_bytes_max: int = 16 * 1024 * 1024
    """Bytes of unfinished block-wise bodies in the endpoint: a new one beyond is answered 4.13
    (uploads) or sent without being kept for later blocks (downloads). Own choice."""
    transfers_per_peer_max: int = 4
    """Unfinished block-wise bodies of one peer; the oldest is dropped for a newer. Own choice."""
    transfer_lifetime_s: float = 247.0
    """How long an unfinished body waits for its next block; EXCHANGE_LIFETIME."""

    queue_per_peer_max: int = 64
    """Requests that wait for NSTART; more raise `PeerQueueFull`. Own choice."""
    pending_per_peer_max: int = 64
    """Requests of one peer that the application has not answered: the next is dropped as if lost,
    so that the peer sends it again later. Own choice."""
    remembered_per_peer_max: int = 64
    """Messages of one peer kept for EXCHANGE_LIFETIME to recognise duplicates. Beyond, the oldest
    answered one is forgotten first: with NSTART 1 its retransmission is long past. Own choice."""
    remembered_max: int = 262_144
    """The same for all peers together. Beyond, the oldest answered one of all is forgotten."""
    remembered_bytes_max: int = 64 * 1024 * 1024
    """Bytes of the cached answers of all peers together; beyond, likewise."""
    critical_options: tuple[int, ...] = ()
    """Critical options that the application acts on by itself, such as If-Match (1)."""

    def __post_init__(self) -> None:
        if self.block_size not in BLOCK_SIZES:
            raise ValueError(f"block_size is one of {BLOCK_SIZES}, not {self.block_size}")
        if not 1 <= self.token_bytes <= 8:
            raise ValueError(f"token_bytes is 1 to 8, not {self.token_bytes}")
        if self.ack_timeout_s <= 0 or self.ack_random_factor < 1 or self.max_retransmit < 0:
            raise ValueError("ack_timeout_s > 0, ack_random_factor >= 1, max_retransmit >= 0")
        if min(self.nstart, self.pending_per_peer_max, self.remembered_per_peer_max) < 1:
            raise ValueError("nstart and the limits per peer are at least 1")
        if self.remembered_max < 1 or self.payload_bytes_max < 1:
            raise ValueError("remembered_max and payload_bytes_max are at least 1")

    @property
    def max_transmit_span_s(self) -> float:
        """MAX_TRANSMIT_SPAN: first transmission to last retransmission (§4.8.2); 45 s."""
        return self.ack_timeout_s * ((1 << self.max_retransmit) - 1) * self.ack_random_factor

    @property
    def max_transmit_wait_s(self) -> float:
        """MAX_TRANSMIT_WAIT: first transmission to giving up (§4.8.2); 93 s."""
        waits = (2 << self.max_retransmit) - 1
        return self.ack_timeout_s * waits * self.ack_random_factor

    @property
    def exchange_lifetime_s(self) -> float:
        """EXCHANGE_LIFETIME: until a message id may be used again (§4.8.2); 247 s."""
        return self.max_transmit_span_s + 2 * self.max_latency_s + self.ack_timeout_s

    @property
    def non_lifetime_s(self) -> float:
        """NON_LIFETIME: the same for non-confirmable messages (§4.8.2); 145 s."""
        return self.max_transmit_span_s + self.max_latency_s
