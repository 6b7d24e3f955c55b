"""An endpoint, a link and an event loop together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.testing import seeded_draw
from lwm2m.coap import (
    CoapEndpoint,
    DatagramRejected,
    Event,
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.transport import EndpointDriver, UdpLink, open_many_addresses, open_udp

if TYPE_CHECKING:
    from tests.lwm2m.transport.conftest import Run

_WITHIN_S = 60.0


class Party:
    """A driver whose events a test can wait for, and which answers requests when told how."""

    def __init__(
        self,
        answer: Callable[[RequestReceived], Response | None] | None = None,
        parameters: TransmissionParameters | None = None,
        seed: int = 1,
    ) -> None:
        endpoint = CoapEndpoint(parameters or TransmissionParameters(), seeded_draw(seed))
        self.driver = EndpointDriver(endpoint, self._handle)
        self.events: list[Event] = []
        self.requests: list[RequestReceived] = []
        self._answer = answer
        self._changed = asyncio.Event()

    async def listen(self, port: int = 0) -> UdpLink:
        """Open a UDP link on loopback."""
        link = await open_udp("127.0.0.1", port, self.driver.receive_datagrams)
        self.driver.attach(link)
        return link

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests.append(event)
                response = self._answer(event) if self._answer else None
                if response is not None:
                    self.driver.respond(event.exchange, response)
            else:
                self.events.append(event)
        self._changed.set()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until something that events bring about is so."""
        while not met():
            self._changed.clear()
            await self._changed.wait()


def _echo(event: RequestReceived) -> Response:
    return Response(codes.CONTENT, event.request.payload)


def test_an_exchange_over_loopback(run: Run) -> None:
    async def story() -> None:
        server, client = Party(_echo), Party(seed=2)
        there = await server.listen()
        await client.listen()
        handle = client.driver.send_request(
            there.address, Request(codes.POST, ("x",), payload=b"hello")
        )
        await client.until(lambda: bool(client.events))
        assert client.events == [
            ResponseReceived(there.address, handle, Response(codes.CONTENT, b"hello"))
        ]
        client.driver.close()
        server.driver.close()

    run(story())


def test_a_body_in_blocks_over_loopback(run: Run) -> None:
    async def story() -> None:
        server, client = Party(_echo), Party(seed=2)
        there = await server.listen()
        await client.listen()
        body = bytes(range(256)) * 10
        client.driver.send_request(there.address, Request(codes.PUT, ("x",), payload=body))
        await client.until(lambda: bool(client.events))
        [told] = client.events
        assert isinstance(told, ResponseReceived)
        assert told.response.payload == body
        client.driver.close()
        server.driver.close()

    run(story())


def test_a_server_that_comes_late_gets_the_retransmission(run: Run) -> None:
    async def story() -> None:
        parameters = TransmissionParameters(ack_timeout_s=0.05, max_retransmit=8)
        client, server = Party(parameters=parameters), Party(_echo, seed=2)
        placeholder = await server.listen()
        address = placeholder.address
        placeholder.close()
        await client.listen()
        client.driver.send_request(address, Request(codes.GET))
        lost = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.02, lost.set_result, None)
        await lost
        await server.listen(address[1])
        await client.until(lambda: bool(client.events))
        assert isinstance(client.events[0], ResponseReceived)
        client.driver.close()
        server.driver.close()

    run(story())


def test_a_late_answer_is_acknowledged_first_and_arrives(run: Run) -> None:
    async def story() -> None:
        quick = TransmissionParameters(acknowledgement_delay_s=0.02, ack_timeout_s=0.5)
        server, client = Party(parameters=quick), Party(seed=2)
        there = await server.listen()
        await client.listen()
        client.driver.send_request(there.address, Request(codes.GET))
        await server.until(lambda: bool(server.requests))
        acknowledged = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.1, acknowledged.set_result, None)
        await acknowledged
        server.driver.respond(server.requests[0].exchange, Response(codes.CONTENT, b"late"))
        await client.until(lambda: bool(client.events))
        assert isinstance(client.events[0], ResponseReceived)
        assert client.events[0].response.payload == b"late"
        client.driver.close()
        server.driver.close()

    run(story())


def test_nobody_there_is_a_timeout(run: Run) -> None:
    async def story() -> None:
        parameters = TransmissionParameters(ack_timeout_s=0.01, max_retransmit=1)
        client = Party(parameters=parameters)
        link = await client.listen()
        nobody = await open_udp("127.0.0.1", 0, lambda datagrams: None)
        address = nobody.address
        nobody.close()
        handle = client.driver.send_request(address, Request(codes.GET))
        await client.until(lambda: bool(client.events))
        assert client.events == [ExchangeFailed(address, handle, "timeout")]
        assert link.unsent == 0
        client.driver.close()

    run(story())


def test_a_hundred_devices_on_one_socket_are_a_hundred_peers(run: Run) -> None:
    async def story() -> None:
        server, fleet = Party(_echo), Party(seed=2)
        there = await server.listen()
        link = await open_many_addresses(fleet.driver.receive_datagrams)
        fleet.driver.attach(link)
        host, port = there.address
        for number in range(100):
            peer = (f"127.1.0.{number}", host, port)
            fleet.driver.send_request(peer, Request(codes.POST, payload=b"%d" % number))
        await fleet.until(lambda: len(fleet.events) == 100)
        answers = {e.peer: e.response.payload for e in fleet.events
                   if isinstance(e, ResponseReceived)}  # fmt: skip
        assert answers == {(f"127.1.0.{n}", host, port): b"%d" % n for n in range(100)}
        assert len({request.peer for request in server.requests}) == 100
        fleet.driver.close()
        server.driver.close()

    run(story())


def test_an_event_of_a_direct_call_is_told_at_the_end_of_the_turn(run: Run) -> None:
    async def story() -> None:
        client = Party()
        link = await client.listen()
        handle = client.driver.send_request(link.address, Request(codes.GET))
        client.driver.endpoint.cancel(handle)
        client.driver.flush_soon()
        await client.until(lambda: bool(client.events))
        assert client.events == [ExchangeFailed(link.address, handle, "cancelled")]
        client.driver.close()

    run(story())


def test_a_handler_that_fails_keeps_nothing_from_being_sent() -> None:
    async def story() -> None:
        def fail(event: RequestReceived) -> Response:
            raise RuntimeError("the application's fault")

        server, client = Party(fail), Party(seed=2)
        there = await server.listen()
        await client.listen()
        told: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
        client.driver.endpoint.ping(there.address, client.driver.now())
        client.driver.send_request(there.address, Request(codes.GET))
        await client.until(lambda: bool(client.events))
        [reset] = client.events
        assert isinstance(reset, DatagramRejected)
        assert reset.reason == "reset"
        assert told == ["the application's fault"]
        client.driver.close()
        server.driver.close()

    asyncio.run(asyncio.wait_for(story(), _WITHIN_S))
