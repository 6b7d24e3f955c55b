"""The CoAP endpoint of all devices, driven by the event loop, with notifications."""

from __future__ import annotations

from collections.abc import Hashable

from lwm2m.coap import Response
from lwm2m.transport import EndpointDriver


class FleetDriver(EndpointDriver):
    """An `EndpointDriver` that also notifies, cancels and forgets; see `CoapEndpoint`."""

    def notify(self, exchange: int, response: Response, *, confirmable: bool) -> None:
        """See `CoapEndpoint.notify`."""
        self.endpoint.notify(exchange, response, self.now(), confirmable=confirmable)
        self.flush_soon()

    def cancel(self, exchange: int) -> None:
        """See `CoapEndpoint.cancel`."""
        self.endpoint.cancel(exchange, self.now())
        self.flush_soon()

    def forget_peer(self, peer: Hashable) -> None:
        """See `CoapEndpoint.forget_peer`."""
        self.endpoint.forget_peer(peer, self.now())
        self.flush_soon()
