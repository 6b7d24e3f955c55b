"""How fast a Register exchange is on our CoAP core, and on aiocoap, in the same run.

    python -m benchmarks.coap_core [--exchanges 60000] [--aiocoap-exchanges 3000]

Client and server are a process each, on loopback UDP without DTLS. On either library 20 requests
are outstanding at any time, each a Register with the same list of 13 objects, and each answer is
checked: its code, and its location, which the server makes of the endpoint name that it was asked
with, so that an answer which met another request's token or peer shows.

Ours: a fleet of 1,000 devices with an address each, in turn, on one socket. aiocoap has one request
under way towards a peer (NSTART, RFC 7252 §4.7): 20 client contexts, in one process, are 20 peers
with one each. Its requests name the address that its first one found, which spares it the parsing
of a URI and the resolving of a name each time.

Prints one JSON line: exchanges per second, CPU microseconds per exchange of either side and how
much of it the kernel took, and how many times less CPU ours takes, both sides together: on a
machine that others use as well, that is the figure to trust. `links` is what the same datagrams
cost on the same sockets and event loops without CoAP: system calls, and the links' own work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from benchmarks.child_process import END_S, ended, started
from benchmarks.registers import (
    DEVICES,
    LINKS,
    OBJECTS,
    PARAMETERS,
    Registers,
    answer_registers,
    device_name,
    local_address,
)
from lwm2m.transport import Link, open_many_addresses, open_udp
from runtime.tuning import tune_process

OUTSTANDING = 20
Result = dict[str, float]
Datagrams = Iterable[tuple[bytes, Any]]
# Of a Register and of its answer.
REQUEST_BYTES, ANSWER_BYTES = 183, 22


class WrongAnswer(Exception):
    """An answer that is not the one to its request."""


def _cpu_s() -> tuple[float, float]:
    """CPU of this process so far, and what of it was in the kernel."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_stime


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


# ---- ours ----


async def _serve_ours(pipe: Connection) -> None:
    driver = answer_registers()
    link = await open_udp("127.0.0.1", 0, driver.receive_datagrams)
    driver.attach(link)
    tune_process()
    await _until_told(pipe, link.address)


async def _ask_ours(server: tuple[str, int], pipe: Connection, exchanges: int) -> Result:
    registers = Registers(server, OUTSTANDING)
    link = await open_many_addresses(registers.driver.receive_datagrams)
    registers.driver.attach(link)
    tune_process()
    result = await _measure(lambda: registers.run(exchanges), exchanges, pipe)
    result["failed"] = registers.failed
    result["dropped_by_kernel"] = link.dropped_by_kernel
    registers.driver.close()
    return result


# ---- the links alone ----


async def _serve_links(pipe: Connection) -> None:
    def echo(datagrams: Datagrams) -> None:
        link.send([(data[:ANSWER_BYTES], peer) for data, peer in datagrams])

    link = await open_udp("127.0.0.1", 0, echo)
    tune_process()
    await _until_told(pipe, link.address)


async def _ask_links(server: tuple[str, int], pipe: Connection, exchanges: int) -> Result:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    datagram = bytes(REQUEST_BYTES)
    peers = [(local_address(number), *server) for number in range(DEVICES)]
    begun = ended = 0

    def send_more(count: int, through: Link) -> None:
        nonlocal begun
        more = range(begun, min(begun + count, exchanges))
        begun += len(more)
        through.send([(datagram, peers[number % DEVICES]) for number in more])

    def receive(datagrams: Datagrams) -> None:
        nonlocal ended
        count = sum(1 for _ in datagrams)
        ended += count
        send_more(count, link)
        if ended == exchanges:
            done.set_result(None)

    link = await open_many_addresses(receive)
    tune_process()

    async def story() -> None:
        send_more(OUTSTANDING, link)
        await done

    result = await _measure(story, exchanges, pipe)
    link.close()
    return result


# ---- aiocoap ----


async def _serve_theirs(pipe: Connection) -> None:
    import aiocoap
    from aiocoap import resource as coap_resource

    class Registry(coap_resource.Resource):  # type: ignore[misc]  # aiocoap has no types here
        async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
            name = request.opt.uri_query[0].removeprefix("ep=")
            answer = aiocoap.Message(code=aiocoap.CREATED)
            answer.opt.location_path = ("rd", name)
            return answer

    probe = await open_udp("127.0.0.1", 0, lambda datagrams: None)
    address = probe.address
    probe.close()
    site = coap_resource.Site()
    site.add_resource(["rd"], Registry())
    context = await aiocoap.Context.create_server_context(site, bind=address, transports=["udp6"])
    tune_process()
    await _until_told(pipe, address)
    await context.shutdown()


async def _ask_theirs(server: tuple[str, int], pipe: Connection, exchanges: int) -> Result:
    import aiocoap

    contexts = [
        await aiocoap.Context.create_client_context(transports=["udp6"]) for _ in range(OUTSTANDING)
    ]
    numbers = iter(range(exchanges))

    async def register(context: aiocoap.Context, number: int, remote: Any) -> Any:
        name = device_name(number % DEVICES)
        request = aiocoap.Message(code=aiocoap.POST, payload=LINKS, content_format=40)
        request.opt.uri_path = ("rd",)
        request.opt.uri_query = (f"ep={name}", *PARAMETERS)
        if remote is None:
            request.set_request_uri(f"coap://{server[0]}:{server[1]}/rd", set_uri_host=False)
            request.opt.uri_query = (f"ep={name}", *PARAMETERS)
        else:
            request.remote = remote
        response = await context.request(request).response
        if response.code != aiocoap.CREATED or response.opt.location_path != ("rd", name):
            raise WrongAnswer(f"{response.code} {response.opt.location_path} to {name}")
        return response.remote

    async def register_some(context: aiocoap.Context, remote: Any) -> None:
        for number in numbers:
            await register(context, number, remote)

    remotes = [await register(context, 0, None) for context in contexts]

    async def story() -> None:
        await asyncio.gather(*map(register_some, contexts, remotes))

    tune_process()
    result = await _measure(story, exchanges, pipe)
    for context in contexts:
        await context.shutdown()
    return result


# ---- measuring ----


def _cpu_of(pipe: Connection, when: str) -> tuple[float, float]:
    """What the server has used so far."""
    pipe.send(when)
    if not pipe.poll(END_S):
        raise TimeoutError(f"the server said nothing within {END_S:g} s")
    used_s, kernel_s = pipe.recv()
    return float(used_s), float(kernel_s)


async def _measure(story: Callable[[], Awaitable[None]], count: int, pipe: Connection) -> Result:
    server_before = _cpu_of(pipe, "before")
    client_before, begun = _cpu_s(), time.perf_counter()
    await story()
    wall_s, client = time.perf_counter() - begun, _cpu_s()
    server = _cpu_of(pipe, "after")

    def us_each(after: float, before: float) -> float:
        return round((after - before) / count * 1e6, 1)

    return {
        "exchanges": count,
        "exchanges_per_s": round(count / wall_s),
        "cpu_us": us_each(client[0] + server[0], client_before[0] + server_before[0]),
        "client_cpu_us": us_each(client[0], client_before[0]),
        "server_cpu_us": us_each(server[0], server_before[0]),
        "kernel_us": us_each(client[1] + server[1], client_before[1] + server_before[1]),
    }


SERVERS = {"ours": _serve_ours, "links": _serve_links, "aiocoap": _serve_theirs}
CLIENTS = {"ours": _ask_ours, "links": _ask_links, "aiocoap": _ask_theirs}


def _serve(which: str, pipe: Connection) -> None:
    uvloop.run(SERVERS[which](pipe))


def _run(which: str, exchanges: int) -> Result:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(which, theirs))
    server.start()
    try:
        return uvloop.run(CLIENTS[which](started(server, ours), ours, exchanges))
    finally:
        ended(server, 2)


def main() -> None:
    """Run all and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--exchanges", type=int, default=60_000, help="on our core")
    parser.add_argument("--aiocoap-exchanges", type=int, default=3_000)
    told = parser.parse_args()
    ours, theirs = _run("ours", told.exchanges), _run("aiocoap", told.aiocoap_exchanges)
    line = {
        "benchmark": "coap_core",
        "outstanding": OUTSTANDING,
        "objects": len(OBJECTS),
        "ours": ours,
        "links": _run("links", told.exchanges),
        "aiocoap": theirs,
        "times_as_fast": round(ours["exchanges_per_s"] / theirs["exchanges_per_s"], 1),
        "times_less_cpu": round(theirs["cpu_us"] / ours["cpu_us"], 1),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
