"""Two CoAP endpoints that talk over a simulated network in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable

from lwm2m.coap import (
    CoapEndpoint,
    Event,
    Request,
    RequestReceived,
    Response,
    TransmissionParameters,
)
from lwm2m.transport.simulated import GOOD_NETWORK, NetworkConditions, SimulatedNetwork

Answer = Callable[[RequestReceived], Response | None]


def seeded_draw(seed: int) -> Callable[[int], bytes]:
    """A source of chance for an endpoint: the same seed gives the same bytes."""
    return random.Random(seed).randbytes


class ConnectedPair:
    """A client and a server endpoint on one network; `answer` decides what the server says.

    An `answer` of None leaves the request unanswered: `server.respond` it later. `client_events`
    and `requests` keep what was told, in order.
    """

    CLIENT: Hashable = ("127.0.0.2", 40_000)
    SERVER: Hashable = ("127.0.0.1", 5_683)

    def __init__(
        self,
        answer: Answer,
        *,
        seed: int = 1,
        conditions: NetworkConditions = GOOD_NETWORK,
        client_parameters: TransmissionParameters | None = None,
        server_parameters: TransmissionParameters | None = None,
    ) -> None:
        self.network = SimulatedNetwork(seed, conditions)
        self._answer = answer
        self._seed = seed
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []
        self.requests: list[RequestReceived] = []
        self.client = self._attach_client(client_parameters or TransmissionParameters(), seed)
        self.server = CoapEndpoint(
            server_parameters or TransmissionParameters(), seeded_draw(seed + 1_000_000)
        )
        self.network.attach(self.SERVER, self.server, self._handle_server_events)

    def request(self, request: Request) -> int:
        """Send a request from client to server; time passes in `run`."""
        return self.client.send_request(self.SERVER, request, self.network.now)

    def run(self, until: float | None = None) -> None:
        """Let time pass: until virtual second `until`, or until both have forgotten everything."""
        self.network.run(until)

    def run_for(self, seconds: float) -> None:
        """Let some time pass."""
        self.network.run(self.network.now + seconds)

    def restart_client(self, parameters: TransmissionParameters | None = None) -> None:
        """Replace the client by a new incarnation at the same address that knows nothing."""
        self._seed += 1
        self.client = self._attach_client(parameters or TransmissionParameters(), self._seed)

    def _attach_client(self, parameters: TransmissionParameters, seed: int) -> CoapEndpoint:
        client = CoapEndpoint(parameters, seeded_draw(seed))
        self.network.attach(self.CLIENT, client, self.client_events.extend)
        return client

    def _handle_server_events(self, events: list[Event]) -> None:
        self.server_events += events
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests.append(event)
                response = self._answer(event)
                if response is not None:
                    self.server.respond(event.exchange, response, self.network.now)
