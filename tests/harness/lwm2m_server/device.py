"""A client of the server in virtual time: registers, and does what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.testing import seeded_draw
from lwm2m.coap import (
    CoapEndpoint,
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)

if TYPE_CHECKING:
    from tests.harness.lwm2m_server.world import World

SERVER = ("127.0.0.1", 5683)
LINKS = b"</1/0>,</3/0>,</3416/0>"


class Device:
    """A client at one address: registers, and does what it is asked."""

    def __init__(self, world: World, endpoint: str, address: tuple[str, int], seed: int) -> None:
        self.world = world
        self.endpoint = endpoint
        self.address = address
        self.coap = CoapEndpoint(TransmissionParameters(), seeded_draw(seed))
        self.responses: list[Response] = []
        # What it carried out: (code, path, payload, message id). Duplicates never come here.
        self.done: list[tuple[int, str, bytes, int]] = []
        self.location: tuple[str, ...] = ()
        # Requests whose answers make it what it observes: the last one with observe 0.
        self.observed_by: list[int] = []
        self.requests: list[Request] = []
        # The notifications' ends that it was told: why.
        self.ended: list[str] = []
        self.answers = True
        # Whether datagrams reach it.
        self.hears = True
        self.answer: Callable[[Request], Response] = _obey

    def send(self, request: Request) -> None:
        self.coap.send_request(SERVER, request, self.world.clock.now_s)

    def register(
        self,
        *query: str,
        links: bytes = LINKS,
        lifetime_s: int = 60,
        version: str = "1.1",
        binding: str = "U",
    ) -> None:
        arguments = (
            f"ep={self.endpoint}",
            f"lt={lifetime_s}",
            f"lwm2m={version}",
            f"b={binding}",
            *query,
        )
        self.send(Request(codes.POST, ("rd",), arguments, 40, None, None, links))

    def notify(self, response: Response, number: int = -1) -> None:
        """Notify whoever observes by the request `number` of those with observe 0."""
        self.coap.notify(self.observed_by[number], response, self.world.clock.now_s)

    def report(self, payload: bytes, content_format: int = 112) -> None:
        """LwM2M Send."""
        self.send(Request(codes.POST, ("dp",), (), content_format, None, None, payload))

    def update(self, *query: str, links: bytes = b"") -> None:
        self.send(Request(codes.POST, self.location, query, None, None, None, links))

    def deregister(self) -> None:
        self.send(Request(codes.DELETE, self.location))

    def settle(self) -> None:
        for event in self.coap.events():
            if isinstance(event, RequestReceived):
                self._serve(event)
            elif isinstance(event, ResponseReceived):
                self.responses.append(event.response)
                if event.response.code == codes.CREATED:
                    self.location = event.response.location_path
            elif isinstance(event, ExchangeFailed):
                self.ended.append(event.reason)

    def _serve(self, event: RequestReceived) -> None:
        request = event.request
        path = "/" + "/".join(request.path)
        self.done.append((request.code, path, request.payload, event.message_id))
        self.requests.append(request)
        if request.observe == 0:
            self.observed_by.append(event.exchange)
        if self.answers:
            self.coap.respond(event.exchange, self.answer(request), self.world.clock.now_s)


def _obey(request: Request) -> Response:
    if request.code == codes.GET and request.observe == 0:
        return Response(codes.CONTENT, b"42", 0, observe=1)
    if request.code == codes.GET:
        return Response(codes.CONTENT, b"42", 0)
    if request.code == codes.DELETE:
        return Response(codes.DELETED)
    if request.code == codes.POST and len(request.path) == 1:
        return Response(codes.CREATED, location_path=(*request.path, "0"))
    return Response(codes.CHANGED)
