"""How fast a Register exchange is on our CoAP core, and on aiocoap, in the same run.

    python -m benchmarks.coap_core [--exchanges 60000] [--aiocoap-exchanges 1500]

Client and server are a process each and talk over loopback UDP. Ours: a fleet of 1,000 devices on
one socket, a window of 64 exchanges. aiocoap: one client context, a window of 64, of which it has
one under way at a time (NSTART, RFC 7252 §4.7). Prints one JSON line: exchanges per second, CPU
microseconds per exchange of either side, and how many times less CPU ours takes, both sides
together: on a machine that others use as well, that is the figure to trust.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import uvloop

from lwm2m.coap import (
    CoapEndpoint,
    Event,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.transport import EndpointDriver, open_many_addresses, open_udp

DEVICES = 1_000
WINDOW = 64
LINKS = b",".join(b"</%d/0>" % number for number in (1, 3, 4, 6, 3311, 3301, 3416, 3417, 3418))
CREATED = Response(codes.CREATED, location_path=("rd", "abcd"))
Result = dict[str, float]


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _tune_collector() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _until_told(pipe: Connection, address: tuple[str, int]) -> None:
    """Say where we are, then on the first word how much CPU we used, twice: before and after."""
    loop = asyncio.get_running_loop()
    pipe.send(address)
    for _ in range(2):
        told = loop.create_future()
        loop.add_reader(pipe.fileno(), told.set_result, None)
        await told
        loop.remove_reader(pipe.fileno())
        pipe.recv()
        pipe.send(_cpu_s())


async def _serve_ours(pipe: Connection) -> None:
    def answer(events: list[Event]) -> None:
        now = driver.now()
        for event in events:
            if isinstance(event, RequestReceived):
                endpoint.respond(event.exchange, CREATED, now)

    endpoint = CoapEndpoint(TransmissionParameters(), os.urandom)
    driver = EndpointDriver(endpoint, answer)
    link = await open_udp("127.0.0.1", 0, driver.receive_datagrams)
    driver.attach(link)
    _tune_collector()
    await _until_told(pipe, link.address)


class Fleet:
    """Registers device after device, `WINDOW` exchanges at a time."""

    def __init__(self, server: tuple[str, int], exchanges: int) -> None:
        self._server = server
        self._exchanges = exchanges
        self.endpoint = CoapEndpoint(TransmissionParameters(), os.urandom)
        self.driver = EndpointDriver(self.endpoint, self._handle)
        self._begun = 0
        self._ended = 0
        self.failed = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Open the window."""
        for _ in range(WINDOW):
            self._register(self.driver.now())
        self.driver.flush_soon()

    def _register(self, now: float) -> None:
        number = self._begun % DEVICES
        self._begun += 1
        peer = (f"127.1.{number >> 8}.{number & 255}", *self._server)
        query = (f"ep=lamp-{number:06d}", "lt=86400", "lwm2m=1.1", "b=U")
        self.endpoint.send_request(
            peer, Request(codes.POST, ("rd",), query, 40, payload=LINKS), now
        )

    def _handle(self, events: list[Event]) -> None:
        now = self.driver.now()
        for event in events:
            self.failed += not isinstance(event, ResponseReceived)
            self._ended += 1
            if self._begun < self._exchanges:
                self._register(now)
        if self._ended == self._exchanges and not self.done.done():
            self.done.set_result(None)


async def _ask_ours(server: tuple[str, int], pipe: Connection, exchanges: int) -> Result:
    fleet = Fleet(server, exchanges)
    link = await open_many_addresses(fleet.driver.receive_datagrams)
    fleet.driver.attach(link)
    _tune_collector()

    async def story() -> None:
        fleet.start()
        await fleet.done

    result = await _measure(story, exchanges, pipe)
    result["failed"] = fleet.failed
    result["dropped_by_kernel"] = link.dropped_by_kernel
    fleet.driver.close()
    return result


async def _serve_theirs(pipe: Connection) -> None:
    import aiocoap
    from aiocoap import resource as coap_resource

    class Registry(coap_resource.Resource):  # type: ignore[misc]  # aiocoap has no types here
        async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
            answer = aiocoap.Message(code=aiocoap.CREATED)
            answer.opt.location_path = ("rd", "abcd")
            return answer

    probe = await open_udp("127.0.0.1", 0, lambda datagrams: None)
    address = probe.address
    probe.close()
    site = coap_resource.Site()
    site.add_resource(["rd"], Registry())
    context = await aiocoap.Context.create_server_context(site, bind=address, transports=["udp6"])
    _tune_collector()
    await _until_told(pipe, address)
    await context.shutdown()


async def _ask_theirs(server: tuple[str, int], pipe: Connection, exchanges: int) -> Result:
    import aiocoap

    context = await aiocoap.Context.create_client_context(transports=["udp6"])
    numbers = iter(range(exchanges))
    uri = f"coap://{server[0]}:{server[1]}/rd?lt=86400&lwm2m=1.1&b=U&ep=lamp-"

    async def register_some() -> None:
        for number in numbers:
            request = aiocoap.Message(
                code=aiocoap.POST, uri=f"{uri}{number:06d}", payload=LINKS, content_format=40
            )
            assert (await context.request(request).response).code == aiocoap.CREATED

    async def story() -> None:
        await asyncio.gather(*(register_some() for _ in range(WINDOW)))

    _tune_collector()
    result = await _measure(story, exchanges, pipe)
    await context.shutdown()
    return result


async def _measure(story: Callable[[], object], count: int, pipe: Connection) -> Result:
    pipe.send("before")
    server_before = pipe.recv()
    cpu, begun = _cpu_s(), time.perf_counter()
    await story()  # type: ignore[misc]  # a coroutine function
    wall_s, cpu = time.perf_counter() - begun, _cpu_s() - cpu
    pipe.send("after")
    server_cpu = pipe.recv() - server_before
    return {
        "exchanges": count,
        "exchanges_per_s": round(count / wall_s),
        "client_cpu_us": round(cpu / count * 1e6, 1),
        "server_cpu_us": round(server_cpu / count * 1e6, 1),
    }


def _cpu_us(result: Result) -> float:
    return result["client_cpu_us"] + result["server_cpu_us"]


def _serve(which: str, pipe: Connection) -> None:
    uvloop.run(_serve_ours(pipe) if which == "ours" else _serve_theirs(pipe))


def _run(which: str, exchanges: int) -> Result:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(which, theirs))
    server.start()
    try:
        address = ours.recv()
        ask = _ask_ours if which == "ours" else _ask_theirs
        return uvloop.run(ask(address, ours, exchanges))
    finally:
        server.join(timeout=2)
        server.kill()


def main() -> None:
    """Run both and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--exchanges", type=int, default=60_000, help="on our core")
    parser.add_argument("--aiocoap-exchanges", type=int, default=1_500)
    told = parser.parse_args()
    ours, theirs = _run("ours", told.exchanges), _run("aiocoap", told.aiocoap_exchanges)
    line = {
        "benchmark": "coap_core",
        "ours": ours,
        "aiocoap": theirs,
        "times_as_fast": round(ours["exchanges_per_s"] / theirs["exchanges_per_s"], 1),
        "times_less_cpu": round(_cpu_us(theirs) / _cpu_us(ours), 1),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
