"""Our CoAP core with a socket, plain or by DTLS-PSK, as a client for one test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from lwm2m.coap import (
    CoapEndpoint,
    Event,
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
)
from lwm2m.transport import EndpointDriver, open_udp
from lwm2m.transport.dtls import DtlsClientLink, PskCredentials
from tests.interop.credentials import Credential

WITHIN_S = 60.0
Answer = Callable[[RequestReceived], Response]


class Client:
    """Asks one peer, one request at a time; answers its requests by `answer`."""

    def __init__(self, peer: tuple[str, int], block_size: int, answer: Answer | None) -> None:
        parameters = TransmissionParameters(block_size=block_size)
        self.driver = EndpointDriver(CoapEndpoint(parameters, os.urandom), self._handle)
        self.peer = peer
        # Our own port; 0 for a secured client, where nobody asks.
        self.port = 0
        self.requests: list[RequestReceived] = []
        self._answer = answer
        self._told: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()

    def send(self, request: Request) -> int:
        """Send a request; its handle."""
        return self.driver.send_request(self.peer, request)

    async def next_event(self, handle: int) -> Event:
        """What became of a request; what is told of others is dropped."""
        while True:
            exchange, event = await asyncio.wait_for(self._told.get(), WITHIN_S)
            if exchange == handle:
                return event

    async def next_response(self, handle: int) -> Response:
        """The next response to a request: its answer, or a notification."""
        event = await self.next_event(handle)
        assert isinstance(event, ResponseReceived), event
        return event.response

    def end_observation(self, handle: int) -> int:
        """Cancel an observation actively; the handle of the request that does it."""
        driver = self.driver
        cancelling = driver.endpoint.end_observation(handle, driver.now())
        driver.flush_soon()
        return cancelling

    async def sent(self) -> None:
        """Return when what was to be sent at the end of this turn of the loop has left."""
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turn.set_result, None)
        await turn

    async def ask(self, request: Request) -> Response:
        """The response to a request."""
        return await self.next_response(self.send(request))

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests.append(event)
                if self._answer is not None:
                    self.driver.respond(event.exchange, self._answer(event))
            elif isinstance(event, ResponseReceived | ExchangeFailed):
                self._told.put_nowait((event.exchange, event))


@asynccontextmanager
async def client_of(
    port: int,
    credential: Credential | None = None,
    *,
    block_size: int = 1024,
    answer: Answer | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[Client]:
    """A client of the server at a port."""
    client = Client((host, port), block_size, answer)
    if credential is None:
        link = await open_udp("127.0.0.1", 0, client.driver.receive_datagrams)
        client.port = link.address[1]
        client.driver.attach(link)
    else:
        client.driver.attach(await _dtls_link(client, credential))
    try:
        yield client
    finally:
        client.driver.close()


async def _dtls_link(client: Client, credential: Credential) -> DtlsClientLink:
    proof = PskCredentials(credential.identity, credential.key)
    link = DtlsClientLink(client.driver.receive_datagrams, lambda peer: proof)
    link.attach(await open_udp("127.0.0.1", 0, link.receive_datagrams))
    return link


def run(story: Callable[[], Coroutine[Any, Any, None]], within_s: float = 4 * WITHIN_S) -> None:
    """Run one story on a loop of its own, within a bound."""
    asyncio.run(asyncio.wait_for(story(), within_s))


async def free_port() -> int:
    """A UDP port that nobody has now, nor the one after it."""
    while True:
        first = await open_udp("127.0.0.1", 0, lambda datagrams: None)
        port = first.address[1]
        try:
            (await open_udp("127.0.0.1", port + 1, lambda datagrams: None)).close()
            return port
        except OSError:
            continue  # taken: try elsewhere
        finally:
            first.close()
