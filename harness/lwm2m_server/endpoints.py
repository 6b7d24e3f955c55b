"""Which protocol endpoint talks with which peer, so that the core need not know what there is.

Datagrams (plain, DTLS, OSCORE) go through one endpoint; other transports bring an endpoint of their
own and the type of its peers. Unlike `EndpointRouter` it leaves events as they are: one is made per
datagram.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Protocol

from lwm2m.coap import Event, Request, Response
from lwm2m.transport.router import Exchanges

# Handles of endpoint n are its own times this, plus n.
_ENDPOINTS_MAX: Final = 8


class DatagramEndpoint(Exchanges, Protocol):
    """What the endpoint of the datagram sockets has to be: `CoapEndpoint`, or one around it."""

    def receive_datagram(self, data: bytes, peer: Hashable, now: float) -> None:
        """See `CoapEndpoint.receive_datagram`."""

    def datagrams_to_send(self) -> list[tuple[bytes, Hashable]]:
        """See `CoapEndpoint.datagrams_to_send`."""

    def validate_peer(self, peer: Hashable) -> None:
        """See `CoapEndpoint.validate_peer`."""

    def resume_exchange(
        self, peer: Hashable, datagram: bytes, first_sent_at: float, now: float
    ) -> int:
        """See `CoapEndpoint.resume_exchange`."""

    def reserve_message_ids(self, peer: Hashable, after: int, now: float | None = None) -> None:
        """See `CoapEndpoint.reserve_message_ids`."""

    def datagram_of(self, exchange: int) -> bytes | None:
        """See `CoapEndpoint.datagram_of`."""

    def message_id_of(self, exchange: int) -> int | None:
        """See `CoapEndpoint.message_id_of`."""


class Endpoints:
    """All endpoints of one server, as one: handles are unique among them."""

    def __init__(self, datagrams: DatagramEndpoint) -> None:
        self.datagrams = datagrams
        self._all: list[Exchanges] = [datagrams]
        self._numbers: list[tuple[type, int]] = []

    def add(self, peer_type: type, endpoint: Exchanges) -> None:
        """Talk with peers of this type through `endpoint`, whose driver sends what it has to.

        What it sends must not leave before the turn's records are on disk.
        """
        if len(self._all) >= _ENDPOINTS_MAX:
            raise ValueError(f"at most {_ENDPOINTS_MAX} endpoints")
        self._numbers.append((peer_type, len(self._all)))
        self._all.append(endpoint)

    def replace_datagrams(self, endpoint: DatagramEndpoint) -> None:
        """Use another endpoint for datagrams: one around the old one, with the same handles."""
        self.datagrams = self._all[0] = endpoint

    def numbered(self, number: int) -> Exchanges:
        """The endpoint that an event came from."""
        return self._all[number]

    @staticmethod
    def exchange_of(number: int, handle: int) -> int:
        """The exchange, unique among all endpoints, that endpoint `number` calls `handle`."""
        return handle * _ENDPOINTS_MAX + number

    def send_request(self, peer: Hashable, request: Request, now: float) -> int:
        """See `CoapEndpoint.send_request`."""
        number = self._number_of(peer)
        return self.exchange_of(number, self._all[number].send_request(peer, request, now))

    def respond(self, exchange: int, response: Response, now: float) -> None:
        """See `CoapEndpoint.respond`."""
        handle, number = divmod(exchange, _ENDPOINTS_MAX)
        self._all[number].respond(handle, response, now)

    def cancel(self, exchange: int, now: float) -> None:
        """See `CoapEndpoint.cancel`."""
        handle, number = divmod(exchange, _ENDPOINTS_MAX)
        self._all[number].cancel(handle, now)

    def end_observation(self, exchange: int, now: float) -> int:
        """See `CoapEndpoint.end_observation`."""
        handle, number = divmod(exchange, _ENDPOINTS_MAX)
        return self.exchange_of(number, self._all[number].end_observation(handle, now))

    def validate_peer(self, peer: Hashable) -> None:
        """See `CoapEndpoint.validate_peer`; a connection needs none."""
        if self._number_of(peer) == 0:
            self.datagrams.validate_peer(peer)

    def forget_peer(self, peer: Hashable, now: float) -> None:
        """See `CoapEndpoint.forget_peer`."""
        self._all[self._number_of(peer)].forget_peer(peer, now)

    def resume_exchange(
        self, peer: Hashable, datagram: bytes, first_sent_at: float, now: float
    ) -> int:
        """See `CoapEndpoint.resume_exchange`; of datagrams only."""
        return self.exchange_of(
            0, self.datagrams.resume_exchange(peer, datagram, first_sent_at, now)
        )

    def message_id_of(self, exchange: int) -> int | None:
        """See `CoapEndpoint.message_id_of`; None where messages have none."""
        handle, number = divmod(exchange, _ENDPOINTS_MAX)
        return None if number else self.datagrams.message_id_of(handle)

    def datagram_of(self, exchange: int) -> bytes | None:
        """See `CoapEndpoint.datagram_of`; None where there are no datagrams."""
        handle, number = divmod(exchange, _ENDPOINTS_MAX)
        return None if number else self.datagrams.datagram_of(handle)

    def events(self) -> list[tuple[int, list[Event]]]:
        """What happened since the last call, by endpoint: (its number, its events); empty when
        nothing did."""
        events = self.datagrams.events()
        found = [(0, events)] if events else []
        for number in range(1, len(self._all)):
            events = self._all[number].events()
            if events:
                found.append((number, events))
        return found

    def next_timer(self) -> float | None:
        """See `CoapEndpoint.next_timer`."""
        due = self.datagrams.next_timer()
        for endpoint in self._all[1:]:
            other = endpoint.next_timer()
            due = other if due is None or (other is not None and other < due) else due
        return due

    def handle_timer(self, now: float) -> None:
        """See `CoapEndpoint.handle_timer`."""
        for endpoint in self._all:
            endpoint.handle_timer(now)

    def _number_of(self, peer: Hashable) -> int:
        for peer_type, number in self._numbers:
            if isinstance(peer, peer_type):
                return number
        return 0
