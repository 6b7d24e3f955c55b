"""How an endpoint sends, waits and remembers: RFC 7252 §4.8 and the limits of this core."""

from __future__ import annotations

from typing import Literal

import msgspec

from lwm2m.coap.blocks import BLOCK_SIZES
from lwm2m.coap.message import TOKEN_BYTES_MAX

_AT_LEAST_1 = (
    "nstart", "pending_per_peer_max", "remembered_per_peer_max", "remembered_max", "peers_max",
    "payload_bytes_max", "transfers_per_peer_max", "non_notification_burst", "requests_burst",
    "requests_per_peer_burst",
)  # fmt: skip
_AT_LEAST_0 = (
    "max_latency_s", "acknowledgement_delay_s", "response_timeout_s", "peer_token_bytes_max",
    "transfer_bytes_max", "transfers_max", "transfer_lifetime_s", "queue_per_peer_max",
    "remembered_bytes_max", "non_notification_interval_s", "observations_per_peer_max",
    "observations_max", "requests_per_s", "requests_per_peer_per_s", "overload_max_age_s",
    "amplification_factor", "echo_lifetime_s", "validated_max", "resets_per_s",
    "resets_per_peer_per_s",
)  # fmt: skip
# A block of 16 bytes with its options, and 4.01 with Echo, have to fit.
_FLOOR_BYTES_MIN = 64


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
    """NSTART: outstanding requests per peer, and apart from them outstanding confirmable
    notifications; further ones wait (RFC 7252 §4.7, RFC 7641 §4.5.1)."""
    probing_rate_bytes_per_s: float = 1.0
    """PROBING_RATE: how fast non-confirmable requests go to a peer that does not answer them
    (RFC 7252 §4.7). An answer lifts it."""
    max_latency_s: float = 100.0
    """MAX_LATENCY: how long a datagram may be under way (RFC 7252 §4.8.2)."""
    acknowledgement_delay_s: float = 0.1
    """A request not answered by then gets an empty ACK and a separate response (§5.2.2). Own
    choice: a twentieth of ACK_TIMEOUT."""
    response_timeout_s: float = 93.0
    """How long to wait for a response after the empty ACK, or to a NON. RFC 7252 sets none; the
    default is its MAX_TRANSMIT_WAIT."""
    token_bytes: int = 4
    """Length of tokens: 32 random bits is RFC 7252 §5.3.1's least for peers on the Internet. Over 8
    they are extended tokens (RFC 8974), up to 65,804, which not every peer knows."""
    falls_back_to_short_tokens: bool = True
    """Whether a request whose extended token is answered by a reset, or by 4.00 without it, is
    repeated with one of 8 bytes, which that peer then gets always (RFC 8974 §2.2)."""
    peer_token_bytes_max: int = 256
    """Longest token of a peer's request; a longer one is answered 4.00 (RFC 8974 §2.2). Own
    choice: tokens are kept with what is remembered."""

    block_size: int = 1024
    """Largest block, in bytes, sent and asked for; a power of two, 16 to 1024 (RFC 7959 §2.2)."""
    payload_bytes_max: int = 65_536
    """Largest body of a request (answered 4.13 with Size1) and of a response. Own choice."""
    transfer_bytes_max: int = 16 * 1024 * 1024
    """Bytes of unfinished block-wise bodies in the endpoint: a new one beyond is answered 4.13
    (uploads) or sent without being kept for later blocks (downloads). Own choice."""
    transfers_per_peer_max: int = 4
    """Unfinished block-wise bodies of one peer; the oldest is dropped for a newer. Own choice."""
    transfers_max: int = 16_384
    """The same for all peers together; a new one beyond is treated as one beyond the bytes."""
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
    peers_max: int = 262_144
    """Peers known. Beyond, those are forgotten first that were asked longest ago and have nothing
    open: only the message ids used towards them are lost. Own choice."""

    non_notification_interval_s: float = 3.0
    """Non-confirmable notifications to one peer: on average one in this time, or one a round trip
    where that is known and shorter (RFC 7641 §4.5.1). One that comes too soon goes confirmably
    while the round trip is unknown, and else waits; a newer state replaces it."""
    non_notification_burst: int = 8
    """So many may go at once before that average is kept. Own choice."""
    observations_per_peer_max: int = 256
    """Observations of one peer; a further one is answered as a plain request (RFC 7641 §4.1). Own
    choice."""
    observations_max: int = 1_000_000
    """The same for all peers together."""

    requests_per_s: float = 0.0
    """New requests admitted from all peers together; what is more is answered 5.03 with Max-Age and
    does not reach the application. 0 admits all. Own choice."""
    requests_burst: int = 1_000
    """So many may come at once before that rate is kept."""
    requests_per_peer_per_s: float = 0.0
    """The same for each peer; 0 admits all."""
    requests_per_peer_burst: int = 20
    """So many of one peer may come at once before that rate is kept."""
    overload_max_age_s: int = 5
    """Max-Age of those 5.03: when the peer may try again (RFC 7252 §5.9.3.4)."""

    resets_per_s: int = 1_000
    """Resets that answer messages that cannot be processed, and pings, in each second; what is more
    is ignored silently, as RFC 7252 §4.2 allows, so that garbage takes no time from others. Own
    choice. `resets_withheld` of the endpoint counts the others."""
    resets_per_peer_per_s: int = 10
    """The same for each peer."""

    amplification_factor: float = 3.0
    """An answer to an address that has not been validated is at most this many times as long as
    its request (RFC 9175 §2.4); 0 limits nothing."""
    amplification_floor_bytes: int = 160
    """Answers up to this length are always given. Own choice: a block of 128 bytes fits."""
    amplification_answer: Literal["blocks", "echo"] = "blocks"
    """What is done about a longer one: "blocks" cuts it into smaller blocks, which any peer takes;
    "echo" answers GET and FETCH with 4.01 and Echo first (RFC 9175 §2.4), the others by blocks."""
    echo_lifetime_s: float = 60.0
    """How long an Echo value that was given out validates an address. Own choice."""
    validated_max: int = 65_536
    """Addresses remembered as validated after all else of them is forgotten. Own choice."""

    critical_options: tuple[int, ...] = ()
    """Critical options that the application acts on by itself, such as If-Match (1)."""

    def __post_init__(self) -> None:
        if self.block_size not in BLOCK_SIZES:
            raise ValueError(f"block_size is one of {BLOCK_SIZES}, not {self.block_size}")
        if not 1 <= self.token_bytes <= TOKEN_BYTES_MAX:
            raise ValueError(f"token_bytes is 1 to {TOKEN_BYTES_MAX}, not {self.token_bytes}")
        if self.ack_timeout_s <= 0 or self.ack_random_factor < 1 or self.max_retransmit < 0:
            raise ValueError("ack_timeout_s > 0, ack_random_factor >= 1, max_retransmit >= 0")
        for name in _AT_LEAST_1:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        for name in _AT_LEAST_0:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is not negative, not {getattr(self, name)}")
        if self.probing_rate_bytes_per_s <= 0:
            raise ValueError("probing_rate_bytes_per_s is above 0")
        if self.amplification_floor_bytes < _FLOOR_BYTES_MIN:
            raise ValueError(f"amplification_floor_bytes is at least {_FLOOR_BYTES_MIN}")

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
