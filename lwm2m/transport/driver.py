"""Joins a pure CoAP endpoint with a link and an event loop.

Datagrams of one turn of the loop leave together at its end; one loop timer serves the endpoint's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable

from lwm2m.coap import CoapEndpoint, Event, Request, Response
from lwm2m.transport.link import Link

HandleEvents = Callable[[list[Event]], None]


class EndpointDriver:
    """Feeds an endpoint and hands its events, as lists, to a callback.

    Make it, open a link with `receive_datagrams`, then `attach` the link. After calling the
    endpoint directly, call `flush_soon`; `send_request` and `respond` here do that by themselves.
    """

    def __init__(
        self,
        endpoint: CoapEndpoint,
        handle_events: HandleEvents,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._handle_events = handle_events
        self._loop = loop or asyncio.get_running_loop()
        self._link: Link | None = None
        self._flush_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def attach(self, link: Link) -> None:
        """Send through this link from now on."""
        self._link = link
        self.flush_soon()

    def now(self) -> float:
        """The time that the endpoint lives in: the loop's, in seconds."""
        return self._loop.time()

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]]) -> None:
        """The link's callback."""
        # What is to be sent leaves below, in this turn, also when a handler of events fails.
        self._flush_scheduled = True
        now = self._loop.time()
        try:
            self.endpoint.receive_datagrams(datagrams, now)
            self._tell_events()
        finally:
            self._flush()

    def send_request(self, peer: Hashable, request: Request) -> int:
        """See `CoapEndpoint.send_request`."""
        handle = self.endpoint.send_request(peer, request, self._loop.time())
        self.flush_soon()
        return handle

    def respond(self, exchange: int, response: Response) -> None:
        """See `CoapEndpoint.respond`."""
        self.endpoint.respond(exchange, response, self._loop.time())
        self.flush_soon()

    def flush_soon(self) -> None:
        """Send what the endpoint has, and set its timer, at the end of this turn of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Stop the timer and close the link. Nothing is told to peers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._link is not None:
            self._link.close()
            self._link = None

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._link is None:
            return
        datagrams = self.endpoint.datagrams_to_send()
        if datagrams:
            self._link.send(datagrams)
        self._set_timer()
        # Events that the application's own calls caused, such as a cancelled exchange.
        self._tell_events()

    def _tell_events(self) -> None:
        events = self.endpoint.events()
        if events:
            self.flush_soon()
            self._handle_events(events)

    def _set_timer(self) -> None:
        due = self.endpoint.next_timer()
        if due is None or (self._timer is not None and self._timer_at <= due):
            # Firing early is harmless; setting a loop timer anew for each exchange is not.
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.flush_soon()
        self.endpoint.handle_timer(self._loop.time())
        self._tell_events()
