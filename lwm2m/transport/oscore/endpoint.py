"""A CoAP endpoint whose peers may be protected by OSCORE: the methods and events of `CoapEndpoint`.

Transmission, duplicates, outer blocks and the freshness of notifications stay the core's; what is
protected, whole bodies inside and who the peer is are decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

import msgspec

from lwm2m.coap import CoapEndpoint, codes
from lwm2m.coap.blocks import BLOCK_SIZES
from lwm2m.coap.events import (
    DatagramRejected,
    Event,
    ExchangeFailed,
    RequestReceived,
    ResponseReceived,
)
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.requests import Request, Response
from lwm2m.transport.oscore.contexts import (
    OSCORE,
    OscoreContexts,
    OscorePeer,
    oscore_parameters,
)
from lwm2m.transport.oscore.exchanges import ProtectedExchanges
from lwm2m.transport.oscore.messages import oscore_option
from lwm2m.transport.whole_bodies import WholeBodies

# Tag, code, options and payload marker have to fit beside an inner block into one outer message.
_OVERHEAD_BYTES = 128


class OscoreEndpoint:
    """Protected and, if allowed, plain exchanges over one `CoapEndpoint` of its own.

    Requests to an `OscorePeer` are protected; a request that came protected has an `OscorePeer`.
    Handles are of one space for both.
    """

    __slots__ = ("_allow_unprotected", "_below", "_bodies", "_events", "_exchanges", "_now",
                 "contexts")  # fmt: skip

    def __init__(
        self,
        parameters: TransmissionParameters,
        contexts: OscoreContexts,
        draw: Callable[[int], bytes],
        *,
        allow_unprotected: bool = False,
        below: CoapEndpoint | None = None,
    ) -> None:
        """`allow_unprotected` lets plain requests of peers through; else they are answered 4.01.

        `below` is an endpoint with these parameters that is in use already: its exchanges go on
        under their handles.
        """
        self.contexts = contexts
        if below is None:
            below = CoapEndpoint(oscore_parameters(parameters), draw)
        else:
            below.handle_option(OSCORE)
        self._below = below
        self._exchanges = ProtectedExchanges(self._below, contexts, parameters.critical_options)
        inner_size = _inner_block_size(parameters.block_size)
        inner = msgspec.structs.replace(parameters, block_size=inner_size)
        self._bodies = WholeBodies(self._exchanges, inner, draw, lambda peer: inner_size)
        self._allow_unprotected = allow_unprotected
        self._events: list[Event] = []
        self._now = 0.0

    # ---- as CoapEndpoint ----

    def receive_datagram(self, data: bytes, peer: Hashable, now: float) -> None:
        """See `CoapEndpoint.receive_datagram`."""
        self.receive_datagrams(((data, peer),), now)

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]], now: float) -> None:
        """See `CoapEndpoint.receive_datagrams`."""
        self._below.receive_datagrams(datagrams, now)
        self._take_events(now)

    def send_request(self, peer: Hashable, request: Request, now: float) -> int:
        """See `CoapEndpoint.send_request`; may also raise `SequenceExhausted`."""
        if isinstance(peer, OscorePeer):
            return self._bodies.send_request(peer, request, now)
        return self._below.send_request(peer, request, now)

    def respond(self, exchange: int, response: Response, now: float) -> None:
        """See `CoapEndpoint.respond`."""
        if self._bodies.owns(exchange):
            self._bodies.respond(exchange, response, now)
        else:
            self._below.respond(exchange, response, now)

    def notify(
        self, exchange: int, response: Response, now: float, *, confirmable: bool = False
    ) -> None:
        """See `CoapEndpoint.notify`."""
        owner = self._bodies if self._bodies.owns(exchange) else self._below
        owner.notify(exchange, response, now, confirmable=confirmable)

    def cancel(self, exchange: int, now: float | None = None) -> None:
        """See `CoapEndpoint.cancel`."""
        # A block-wise request is known by its first message, which may be long done with below.
        self._bodies.cancel(exchange, now)
        self._take_events(self._now if now is None else now)

    def end_observation(self, exchange: int, now: float) -> int:
        """See `CoapEndpoint.end_observation`."""
        if self._bodies.owns(exchange):
            return self._bodies.end_observation(exchange, now)
        return self._below.end_observation(exchange, now)

    def resume_exchange(
        self, peer: Hashable, datagram: bytes, first_sent_at: float, now: float
    ) -> int:
        """See `CoapEndpoint.resume_exchange`; raises `ValueError` for a protected peer: what opened
        its response is not kept over a restart."""
        if isinstance(peer, OscorePeer):
            raise ValueError("a protected exchange cannot be resumed")
        return self._below.resume_exchange(peer, datagram, first_sent_at, now)

    def reserve_message_ids(self, peer: Hashable, after: int, now: float | None = None) -> None:
        """See `CoapEndpoint.reserve_message_ids`."""
        self._below.reserve_message_ids(_address(peer), after, now)

    def datagram_of(self, exchange: int) -> bytes | None:
        """See `CoapEndpoint.datagram_of`; None for a protected one."""
        return None if self._bodies.owns(exchange) else self._below.datagram_of(exchange)

    def message_id_of(self, exchange: int) -> int | None:
        """See `CoapEndpoint.message_id_of`."""
        current = self._exchanges.current(self._bodies.current(exchange))
        return self._below.message_id_of(exchange if current is None else current)

    def ping(self, peer: Hashable, now: float) -> None:
        """See `CoapEndpoint.ping`; the peer's address answers, whoever holds the keys."""
        self._below.ping(_address(peer), now)

    def events(self) -> list[Event]:
        """See `CoapEndpoint.events`."""
        self._take_events(self._now)
        found, self._events = self._events, []
        return found

    def datagrams_to_send(self) -> list[tuple[bytes, Hashable]]:
        """See `CoapEndpoint.datagrams_to_send`; addresses are the link's."""
        return self._below.datagrams_to_send()

    def next_timer(self) -> float | None:
        """See `CoapEndpoint.next_timer`."""
        times = (self._below.next_timer(), self._bodies.next_timer())
        return min((due for due in times if due is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """See `CoapEndpoint.handle_timer`."""
        self._below.handle_timer(now)
        self._bodies.handle_timer(now)
        self._take_events(now)

    def validate_peer(self, peer: Hashable) -> None:
        """See `CoapEndpoint.validate_peer`."""
        self._below.validate_peer(_address(peer))

    def forget_peer(self, peer: Hashable, now: float | None = None) -> None:
        """See `CoapEndpoint.forget_peer`; of an `OscorePeer`, all that its address has open."""
        self._below.forget_peer(_address(peer), now)
        self._bodies.forget_peer(peer)
        self._take_events(self._now if now is None else now)

    @property
    def peers_known(self) -> int:
        """See `CoapEndpoint.peers_known`."""
        return self._below.peers_known

    @property
    def messages_remembered(self) -> int:
        """See `CoapEndpoint.messages_remembered`."""
        return self._below.messages_remembered

    @property
    def refused(self) -> Mapping[str, int]:
        """How many messages were refused, by reason: replayed, undecipherable, unknown_context,
        malformed, freshness_unknown, unprotected, unprotected_error, response."""
        return self._exchanges.refused

    # ---- inside ----

    def _take_events(self, now: float) -> None:
        self._now = now
        # What is done about an event may make others: an answer that is refused, a next block.
        while events := self._below.events():
            for event in events:
                self._take_event(event, now)

    def _take_event(self, event: Event, now: float) -> None:
        if isinstance(event, RequestReceived):
            told = self._take_request(event, now)
        elif isinstance(event, ResponseReceived) and self._exchanges.is_answer(event.exchange):
            told = self._exchanges.take_response(event, now)
        elif isinstance(event, ExchangeFailed) and self._exchanges.is_answer(event.exchange):
            told = self._exchanges.take_failure(event)
        else:
            self._events.append(event)
            return
        for protected in told:
            self._events += self._bodies.take_event(protected, now)

    def _take_request(self, event: RequestReceived, now: float) -> list[Event]:
        option = oscore_option(event.request.options)
        if option is not None:
            return self._exchanges.take_request(event, option, now)
        if self._allow_unprotected:
            self._events.append(event)
            return []
        self._exchanges.refused["unprotected"] += 1
        self._below.respond(event.exchange, Response(codes.UNAUTHORIZED), now)
        return [DatagramRejected(event.peer, "unexpected", "an unprotected request")]


def _inner_block_size(outer_size: int) -> int:
    fitting = [size for size in BLOCK_SIZES if size + _OVERHEAD_BYTES <= outer_size]
    return fitting[-1] if fitting else BLOCK_SIZES[0]


def _address(peer: Hashable) -> Hashable:
    return peer.address if isinstance(peer, OscorePeer) else peer
