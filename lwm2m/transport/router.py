"""Several endpoints behind one interface: which one talks with a peer is decided by its type.

Datagrams, plain, DTLS or OSCORE, are one endpoint's; connections are another's. Handles of all are
kept apart, so that their user need not know which endpoint an exchange is of.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

import msgspec

from lwm2m.coap.events import Event, ExchangeFailed, RequestReceived, ResponseReceived
from lwm2m.coap.requests import Request, Response


class Exchanges(Protocol):
    """What `CoapEndpoint`, `OscoreEndpoint` and `ReliableEndpoint` have in common."""

    def send_request(self, peer: Hashable, request: Request, now: float) -> int:
        """See `CoapEndpoint.send_request`."""

    def respond(self, exchange: int, response: Response, now: float) -> None:
        """See `CoapEndpoint.respond`."""

    def notify(
        self, exchange: int, response: Response, now: float, *, confirmable: bool = False
    ) -> None:
        """See `CoapEndpoint.notify`."""

    def cancel(self, exchange: int, now: float | None = None) -> None:
        """See `CoapEndpoint.cancel`."""

    def end_observation(self, exchange: int, now: float) -> int:
        """See `CoapEndpoint.end_observation`."""

    def forget_peer(self, peer: Hashable, now: float | None = None) -> None:
        """See `CoapEndpoint.forget_peer`."""

    def events(self) -> list[Event]:
        """See `CoapEndpoint.events`."""

    def next_timer(self) -> float | None:
        """See `CoapEndpoint.next_timer`."""

    def handle_timer(self, now: float) -> None:
        """See `CoapEndpoint.handle_timer`."""


class EndpointRouter:
    """Endpoints as one. What is sent and received stays between each and its own driver."""

    __slots__ = ("_default", "_endpoints", "_of_type")

    def __init__(self, default: Exchanges, others: Sequence[tuple[type, Exchanges]] = ()) -> None:
        """`default` talks with every peer whose type, or a base of it, is not among `others`."""
        self._default = default
        self._endpoints = [default, *(endpoint for _, endpoint in others)]
        self._of_type = [(peer_type, number) for number, (peer_type, _) in enumerate(others, 1)]

    def send_request(self, peer: Hashable, request: Request, now: float) -> int:
        """See `CoapEndpoint.send_request`."""
        number = self._number_of(peer)
        return self._told(number, self._endpoints[number].send_request(peer, request, now))

    def respond(self, exchange: int, response: Response, now: float) -> None:
        """See `CoapEndpoint.respond`."""
        endpoint, own = self._owner(exchange)
        endpoint.respond(own, response, now)

    def notify(
        self, exchange: int, response: Response, now: float, *, confirmable: bool = False
    ) -> None:
        """See `CoapEndpoint.notify`."""
        endpoint, own = self._owner(exchange)
        endpoint.notify(own, response, now, confirmable=confirmable)

    def cancel(self, exchange: int, now: float | None = None) -> None:
        """See `CoapEndpoint.cancel`."""
        endpoint, own = self._owner(exchange)
        endpoint.cancel(own, now)

    def end_observation(self, exchange: int, now: float) -> int:
        """See `CoapEndpoint.end_observation`."""
        endpoint, own = self._owner(exchange)
        return self._told(exchange % len(self._endpoints), endpoint.end_observation(own, now))

    def forget_peer(self, peer: Hashable, now: float | None = None) -> None:
        """See `CoapEndpoint.forget_peer`."""
        self._endpoints[self._number_of(peer)].forget_peer(peer, now)

    def events(self) -> list[Event]:
        """See `CoapEndpoint.events`; in order for each endpoint."""
        found: list[Event] = []
        for number, endpoint in enumerate(self._endpoints):
            found += [self._renamed(number, event) for event in endpoint.events()]
        return found

    def next_timer(self) -> float | None:
        """See `CoapEndpoint.next_timer`."""
        times = [endpoint.next_timer() for endpoint in self._endpoints]
        return min((due for due in times if due is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """See `CoapEndpoint.handle_timer`."""
        for endpoint in self._endpoints:
            endpoint.handle_timer(now)

    def _number_of(self, peer: Hashable) -> int:
        for peer_type, number in self._of_type:
            if isinstance(peer, peer_type):
                return number
        return 0

    def _owner(self, exchange: int) -> tuple[Exchanges, int]:
        own, number = divmod(exchange, len(self._endpoints))
        return self._endpoints[number], own

    def _told(self, number: int, own: int) -> int:
        return own * len(self._endpoints) + number

    def _renamed(self, number: int, event: Event) -> Event:
        if isinstance(event, RequestReceived | ResponseReceived | ExchangeFailed):
            return msgspec.structs.replace(event, exchange=self._told(number, event.exchange))
        return event
