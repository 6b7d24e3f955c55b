"""Two ends of a CoAP connection over TCP, and one end to feed with bytes by hand."""

from __future__ import annotations

from harness.testing import seeded_draw
from lwm2m.coap import (
    DatagramRejected,
    Event,
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
)
from lwm2m.transport.peers import NOSEC
from lwm2m.transport.reliable import ReliableEndpoint, ReliablePeer


class Side:
    """One end of a connection; `told` are its events."""

    def __init__(self, parameters: TransmissionParameters, port: int) -> None:
        self.endpoint = ReliableEndpoint(parameters, seeded_draw(port))
        self.peer = ReliablePeer("127.0.0.1", port, NOSEC)
        self.told: list[Event] = []
        self.closed = False

    @property
    def requests(self) -> list[RequestReceived]:
        """The requests it got."""
        return [event for event in self.told if isinstance(event, RequestReceived)]

    @property
    def responses(self) -> list[Response]:
        """The responses it got."""
        return [event.response for event in self.told if isinstance(event, ResponseReceived)]

    @property
    def failures(self) -> list[str]:
        """Why its exchanges failed."""
        return [event.reason for event in self.told if isinstance(event, ExchangeFailed)]

    @property
    def rejections(self) -> list[str]:
        """What it did not act on."""
        return [event.detail for event in self.told if isinstance(event, DatagramRejected)]


class Pair:
    """Two ends, and the bytes between them in pieces of `piece` bytes."""

    def __init__(
        self,
        client: TransmissionParameters | None = None,
        server: TransmissionParameters | None = None,
        *,
        piece: int = 100_000,
    ) -> None:
        self.client = Side(client or TransmissionParameters(), 1)
        self.server = Side(server or TransmissionParameters(), 2)
        self.piece = piece
        self.now = 0.0
        for side in (self.client, self.server):
            side.endpoint.connect(side.peer, self.now)
        self.settle()

    def settle(self) -> None:
        """Carry bytes until there are none; servers answer nothing by themselves."""
        busy = True
        while busy:
            busy = self._carry(self.client, self.server) | self._carry(self.server, self.client)

    def _carry(self, source: Side, target: Side) -> bool:
        if source.endpoint.is_behind:
            source.endpoint.read_behind(self.now)
        source.told += source.endpoint.events()
        output = source.endpoint.take_output()
        for _, data in output:
            for start in range(0, len(data), self.piece):
                part = data[start : start + self.piece]
                target.endpoint.receive_bytes(target.peer, part, self.now)
        source.told += source.endpoint.events()
        for peer in source.endpoint.take_closing():
            source.closed = True
            source.endpoint.disconnect(peer, self.now)
            target.endpoint.disconnect(target.peer, self.now)
        target.told += target.endpoint.events()
        return bool(output) or source.endpoint.is_behind or target.endpoint.is_behind

    def ask(self, request: Request, answer: Response | None = None) -> int:
        """Ask the server; it answers so."""
        handle = self.client.endpoint.send_request(self.client.peer, request, self.now)
        before = len(self.server.requests)
        self.settle()
        if answer is not None:
            received = self.server.requests[before]
            self.server.endpoint.respond(received.exchange, answer, self.now)
            self.settle()
        return handle


def raw(parameters: TransmissionParameters | None = None) -> Side:
    """A server to feed with bytes by hand; its own CSM is taken off."""
    side = Side(parameters or TransmissionParameters(), 2)
    side.endpoint.connect(side.peer, 0.0)
    side.endpoint.take_output()
    return side


def feed(side: Side, data: bytes) -> bytes:
    """What a side says to bytes."""
    side.endpoint.receive_bytes(side.peer, data, 0.0)
    side.told += side.endpoint.events()
    return b"".join(part for _, part in side.endpoint.take_output())
