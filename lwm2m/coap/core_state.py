"""What the two halves of an endpoint share: peers, timers, handles, what is to be sent and told."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from lwm2m.coap.answers import AnswerMemory
from lwm2m.coap.events import DatagramRejected, Event, RejectionReason
from lwm2m.coap.message import RST, encode_header
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.peers import Chance, PeerTable
from lwm2m.coap.rate_limit import Refusals, RequestLimiter, ResetLimiter
from lwm2m.coap.reachability import Reachability
from lwm2m.coap.requests import HANDLED_CRITICAL
from lwm2m.coap.timers import TimerWheel

if TYPE_CHECKING:
    from lwm2m.coap.received_request import ReceivedRequest
    from lwm2m.coap.sent_request import SentRequest
    from lwm2m.coap.transfers import Transfer


class CoreState:
    """Plain shared fields; the rules are in `requester`, `responder` and `endpoint`."""

    __slots__ = (
        "_timeout_s",
        "_timeout_spread_s",
        "answers",
        "chance",
        "datagrams",
        "events",
        "handled_options",
        "lifetime_s",
        "limiter",
        "next_handle",
        "now",
        "observations",
        "parameters",
        "peers",
        "reachability",
        "resets",
        "timers",
    )

    def __init__(self, parameters: TransmissionParameters, draw: Callable[[int], bytes]) -> None:
        self.parameters = parameters
        self._timeout_s = parameters.ack_timeout_s
        longest_s = parameters.ack_timeout_s * parameters.ack_random_factor
        self._timeout_spread_s = (longest_s - parameters.ack_timeout_s) / 0xFFFF
        self.lifetime_s = parameters.exchange_lifetime_s
        self.chance = Chance(draw)
        self.peers = PeerTable(
            self.chance, self.lifetime_s, parameters.peers_max, parameters.validated_max
        )
        self.reachability = Reachability(parameters, self.peers, self.chance)
        self.timers: TimerWheel[SentRequest | ReceivedRequest | Transfer | Refusals] = TimerWheel()
        self.answers = AnswerMemory(parameters, self.peers)
        self.handled_options = HANDLED_CRITICAL | frozenset(parameters.critical_options)
        self.datagrams: list[tuple[bytes, Hashable]] = []
        self.events: list[Event] = []
        self.next_handle = 1
        self.limiter: RequestLimiter | None = None
        if RequestLimiter.is_needed(parameters):
            self.limiter = RequestLimiter(parameters, self.take_handle())
        self.resets = ResetLimiter(parameters)
        # Observations of all peers.
        self.observations = 0
        # The latest time seen, for calls that come without one.
        self.now = 0.0

    def take_handle(self) -> int:
        """A handle that was not given out before."""
        handle = self.next_handle
        self.next_handle = handle + 1
        return handle

    def reject(self, peer: Hashable, reason: RejectionReason, detail: str) -> None:
        """Tell that a datagram was not acted on."""
        self.events.append(DatagramRejected(peer, reason, detail))

    def send_empty(self, peer: Hashable, type_: int, message_id: int) -> bytes:
        """Send an ACK or RST, or a ping. Returns its bytes."""
        datagram = encode_header(type_, 0, message_id, b"")
        self.datagrams.append((datagram, peer))
        return datagram

    def send_reset(self, peer: Hashable, message_id: int) -> None:
        """Reject a message that cannot be processed, unless too many are."""
        if self.resets.admits(peer, self.now):
            self.send_empty(peer, RST, message_id)

    def first_timeout_s(self) -> float:
        """ACK_TIMEOUT times a factor by chance (RFC 7252 §4.2): spreads retries."""
        return self._timeout_s + self._timeout_spread_s * int.from_bytes(self.chance.take(2), "big")
