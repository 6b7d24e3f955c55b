"""Two OSCORE endpoints on a simulated network, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from harness.testing import GOOD_NETWORK, NetworkConditions, SimulatedNetwork, seeded_draw
from lwm2m.coap import (
    Event,
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
)
from lwm2m.transport.oscore import (
    OscoreContexts,
    OscoreEndpoint,
    OscoreMaterial,
    OscorePeer,
    mirrored,
)

CLIENT = ("127.0.0.2", 40_000)
SERVER = ("127.0.0.1", 5_683)
MATERIAL = OscoreMaterial(bytes(range(16)), b"\x0a", b"\x0b", b"salt", endpoint_name="server")

Answer = Callable[[RequestReceived], Response | None]


class OscorePair:
    """A client and a server; `told` and `requests` are the client's and the server's events."""

    def __init__(
        self,
        answer: Answer,
        *,
        conditions: NetworkConditions = GOOD_NETWORK,
        parameters: TransmissionParameters | None = None,
        server_material: OscoreMaterial | None = None,
        allow_unprotected: bool = False,
        **server_state: Any,
    ) -> None:
        self.network = SimulatedNetwork(7, conditions)
        self.answer = answer
        self.told: list[Event] = []
        self.heard: list[Event] = []
        self._parameters = parameters or TransmissionParameters()
        contexts = OscoreContexts(seeded_draw(1))
        contexts.add(MATERIAL)
        self.client = OscoreEndpoint(self._parameters, contexts, seeded_draw(2))
        self.peer = contexts.peer(SERVER, MATERIAL.recipient_id)
        self._allow_unprotected = allow_unprotected
        self.server_material = server_material or mirrored(MATERIAL, "lamp")
        self.start_server(**server_state)
        self.network.attach(CLIENT, cast(Any, self.client), self.told.extend)

    def start_server(self, **state: Any) -> None:
        """Put a server there that knows nothing but its material, and this state."""
        contexts = OscoreContexts(seeded_draw(3))
        contexts.add(self.server_material, **state)
        self.server = OscoreEndpoint(
            self._parameters,
            contexts,
            seeded_draw(4),
            allow_unprotected=self._allow_unprotected,
        )
        self.network.attach(SERVER, cast(Any, self.server), self._handle)

    def _handle(self, events: list[Event]) -> None:
        self.heard += events
        for event in events:
            if isinstance(event, RequestReceived):
                response = self.answer(event)
                if response is not None:
                    self.server.respond(event.exchange, response, self.network.now)

    def ask(self, request: Request, peer: object = None) -> Response | str:
        """The response to a request, or the reason of its failure."""
        handle = self.send(request, peer)
        self.network.run(self.network.now + 300)
        for event in self.told:
            if isinstance(event, ResponseReceived) and event.exchange == handle:
                return event.response
            if isinstance(event, ExchangeFailed) and event.exchange == handle:
                return event.reason
        raise AssertionError("neither answered nor failed")

    def send(self, request: Request, peer: object = None) -> int:
        """Send a request; time passes in `run`."""
        return self.client.send_request(
            cast(OscorePeer, peer or self.peer), request, self.network.now
        )

    def run(self, seconds: float = 300.0) -> None:
        """Let time pass."""
        self.network.run(self.network.now + seconds)

    @property
    def requests(self) -> list[RequestReceived]:
        """The requests that the server's user got."""
        return [event for event in self.heard if isinstance(event, RequestReceived)]

    @property
    def responses(self) -> list[Response]:
        """The responses that the client's user got."""
        return [event.response for event in self.told if isinstance(event, ResponseReceived)]
