"""Connections over real sockets take turns: one that floods the server stops nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
import uvloop

from harness.testing import seeded_draw
from lwm2m.coap import RequestReceived, Response, TransmissionParameters, codes
from lwm2m.transport.reliable import ReliableEndpoint, TcpDriver, encode_frame, open_tcp_server
from lwm2m.transport.reliable.exchanges import MESSAGES_PER_TURN
from lwm2m.transport.reliable.signaling import PING, PONG, settings_message, signaling_message
from tests.processes import WITHIN_S

PINGS = 20_000


class Server:
    """Answers every request with 2.05."""

    def __init__(self) -> None:
        endpoint = ReliableEndpoint(TransmissionParameters(), seeded_draw(1))
        self.turns = 0
        self.driver = TcpDriver(endpoint, self._turn)

    def _turn(self) -> None:
        self.turns += 1
        for event in self.driver.events():
            if isinstance(event, RequestReceived):
                self.driver.respond(event.exchange, Response(codes.CONTENT))


async def flooded() -> None:
    server = Server()
    listening = await open_tcp_server("127.0.0.1", 0, server.driver)
    greedy = await asyncio.open_connection(*listening.address)
    modest = await asyncio.open_connection(*listening.address)
    try:
        greedy[1].write(settings_message(2_000) + signaling_message(PING) * PINGS)
        modest[1].write(settings_message(2_000) + encode_frame(codes.GET, b"m", b""))
        said = len(settings_message(TransmissionParameters().payload_bytes_max + 4_096))
        async with asyncio.timeout(WITHIN_S):
            answer = encode_frame(codes.CONTENT, b"m", b"")
            assert (await modest[0].readexactly(said + len(answer))).endswith(answer)
            # Nothing of what the other one sent is forgotten.
            pongs = await greedy[0].readexactly(said + PINGS * len(signaling_message(PONG)))
        assert pongs[said:] == signaling_message(PONG) * PINGS
        assert server.turns > PINGS // MESSAGES_PER_TURN
    finally:
        for _, writer in (greedy, modest):
            writer.close()
        listening.close()
        server.driver.close()
        with contextlib.suppress(ConnectionError):
            await greedy[1].wait_closed()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_flood_of_pings_is_answered_in_turns_and_others_between(
    run: Callable[[object], None],
) -> None:
    run(flooded())
