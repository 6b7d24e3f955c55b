"""The load of `benchmarks.registrations`: endpoints that register and update, in one process.

Each endpoint has an address of its own out of 127.0.0.0/8 and its own message ids; all share one
socket. What is timed is from the intended start to the answer. Lean on purpose: what a loader takes
of two cores the server does not get.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection

import msgspec
import uvloop

from benchmarks.child_process import Told, cpu_s, serve_pipe
from lwm2m.coap import CON, Request, codes, decode_message
from lwm2m.coap.requests import encode_request
from lwm2m.transport import LocalAndRemote, ManyAddressesLink, open_many_addresses
from runtime.tuning import tune_process

# What a street lamp of the built-in models lists.
LINKS = (
    b'</>;rt="oma.lwm2m";ct="60 110 112 11542 11543",</1/0>,</3/0>,</4/0>,</6/0>,</3311/0>,'
    b"</3301/0>,</3416/0>,</3417/0>,</3418/0>"
)
LINK_FORMAT = 40
# So many Registers fit the smallest buffer that a system gives a socket.
WINDOW_DEFAULT = 64
# "rd" as the first option of an answer's location, and of a request's path.
_LOCATION_RD, _PATH_RD = b"\x82rd", b"\xb2rd"
_TICK_S = 0.001
_TOKEN_BYTES = 5
# RFC 7252 §4.8; without the random factor, because these are loopback's few losses.
_ACK_TIMEOUT_S = 2.0
_SENDS_MAX = 5


class Order(msgspec.Struct, frozen=True):
    """What the loader is asked to do next: one request of each of `count` endpoints from `first`.

    `rate_per_s` is open-loop; 0 keeps `window` exchanges under way. `updates` instead of
    registrations; with `repeat_s` each endpoint updates evenly again and again for so long, once
    every `every_s`.
    """

    first: int
    count: int
    updates: bool = False
    window: int = WINDOW_DEFAULT
    rate_per_s: float = 0.0
    repeat_s: float = 0.0
    every_s: float = 0.0


class Done(msgspec.Struct, frozen=True):
    """What became of it. `refused` counts answers by code, `failed` exchanges without one.

    `lag_ms` is how far the loader was behind its intention, 99th percentile.
    """

    count: int
    wall_s: float
    cpu_us: float
    refused: dict[str, int]
    failed: int
    retransmitted: int
    socket_drops: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    lag_ms: float


class Datagrams:
    """What each endpoint sends: encoded by the core once, and then only named and numbered."""

    def __init__(self, lifetime_s: int) -> None:
        query = (f"ep={name_of(0)}", f"lt={lifetime_s}", "lwm2m=1.1", "b=U")
        request = Request(codes.POST, ("rd",), query, LINK_FORMAT, payload=LINKS)
        whole = encode_request(CON, 0, bytes(_TOKEN_BYTES), request)
        self._head = whole[:2]
        self._before, name, self._behind = whole[4 + _TOKEN_BYTES :].partition(name_of(0).encode())
        assert name
        # By number: how the Update ends, once the endpoint knows where it is registered.
        self._updates: dict[int, bytes] = {}

    def register(self, number: int, message_id: int, token: bytes) -> bytes:
        """The Register of an endpoint."""
        return b"%b%b%b%b%b%b" % (
            self._head, message_id.to_bytes(2, "big"), token,
            self._before, name_of(number).encode(), self._behind,
        )  # fmt: skip

    def update(self, number: int, message_id: int, token: bytes) -> bytes:
        """Its Update, which changes nothing. Raises `KeyError` when it is not registered."""
        return b"%b%b%b%b" % (
            self._head, message_id.to_bytes(2, "big"), token, self._updates[number],
        )  # fmt: skip

    def note_created(self, number: int, answer: bytes) -> None:
        """It was registered where this answer says."""
        options = answer[4 + _TOKEN_BYTES :]
        if options.startswith(_LOCATION_RD) and options[3] < 13 and len(options) == 4 + options[3]:
            # The Update names the same two segments, by an option of another number.
            self._updates[number] = _PATH_RD + options[len(_LOCATION_RD) :]
            return
        found = decode_message(answer).options
        self.note_location(number, tuple(value.decode() for kind, value in found if kind == 8))

    def note_location(self, number: int, path: tuple[str, ...]) -> None:
        """It was registered there."""
        request = Request(codes.POST, path)
        self._updates[number] = encode_request(CON, 0, b"", request)[4:]


def name_of(number: int) -> str:
    """An endpoint's name; all are of one length."""
    return f"lamp-{number:07d}"


class Exchange(msgspec.Struct, gc=False, eq=False):
    """One request that is not answered yet."""

    number: int
    intended_ns: int
    datagram: bytes
    peer: LocalAndRemote
    times_sent: int = 1


class Loader:
    """Carries out orders, one at a time. It knows of CoAP what it needs: confirmable requests with
    piggybacked answers, told apart by token and address, sent again as RFC 7252 §4.2 has it."""

    def __init__(self, server: tuple[str, int], lifetime_s: int) -> None:
        self._server = server
        self._datagrams = Datagrams(lifetime_s)
        self._loop = asyncio.get_running_loop()
        self.link: ManyAddressesLink | None = None
        self._order = Order(0, 0)
        # By token, which is unique among all endpoints here.
        self._open: dict[bytes, Exchange] = {}
        # When to look again at an exchange: each wait has a queue of its own, in order of time.
        self._waits: list[deque[tuple[float, bytes]]] = [deque() for _ in range(_SENDS_MAX)]
        self._tokens = 0
        self._message_ids: dict[int, int] = {}
        self._peers: dict[int, LocalAndRemote] = {}
        self._begun = 0
        self._total = 0
        self._began_ns = 0
        self._latencies_ns = array("q")
        self._lags_ns = array("q")
        self._refused: dict[str, int] = {}
        self._failed = 0
        self._retransmitted = 0
        self._ended: asyncio.Future[None] | None = None

    async def carry_out(self, order: Order) -> Done:
        """Do it; returns when each request has been answered or given up."""
        self._order = order
        self._begun = 0
        self._total = order.count
        if order.repeat_s:
            self._total = round(order.count * order.repeat_s / order.every_s)
        self._latencies_ns, self._lags_ns = array("q"), array("q")
        self._refused, self._failed, self._retransmitted = {}, 0, 0
        self._ended = self._loop.create_future()
        began_cpu = cpu_s()
        self._began_ns = time.monotonic_ns()
        if not self._rate_per_s():
            first = min(order.window, self._total)
            self._send([self._begin(self._began_ns) for _ in range(first)])
        self._tick()
        await self._ended
        return self._done(cpu_s() - began_cpu)

    def receive(self, datagrams: Sequence[tuple[bytes, LocalAndRemote]]) -> None:
        """The link's callback."""
        now_ns = time.monotonic_ns()
        is_windowed = not self._rate_per_s()
        to_send = []
        for data, peer in datagrams:
            exchange = self._open.get(data[4 : 4 + _TOKEN_BYTES])
            if exchange is None or exchange.peer != peer:
                continue
            del self._open[data[4 : 4 + _TOKEN_BYTES]]
            self._note_answer(exchange, data, now_ns)
            if is_windowed and self._begun < self._total:
                to_send.append(self._begin(now_ns))
        self._send(to_send)
        self._end_if_over()

    def _rate_per_s(self) -> float:
        order = self._order
        return order.count / order.every_s if order.repeat_s else order.rate_per_s

    def _tick(self) -> None:
        """What time brings: arrivals of an open-loop order, and what is sent again."""
        if self._rate_per_s():
            self._send(self._begin_due())
        self._send_again()
        self._end_if_over()
        if self._ended is not None and not self._ended.done():
            self._loop.call_later(_TICK_S, self._tick)

    def _begin_due(self) -> list[tuple[bytes, LocalAndRemote]]:
        """Open-loop: begin what is due, whatever is still unanswered."""
        now_ns = time.monotonic_ns()
        interval_ns = 1e9 / self._rate_per_s()
        due = min(self._total, int((now_ns - self._began_ns) / interval_ns) + 1)
        found = []
        while self._begun < due:
            intended_ns = self._began_ns + int(self._begun * interval_ns)
            self._lags_ns.append(now_ns - intended_ns)
            found.append(self._begin(intended_ns))
        return found

    def _begin(self, intended_ns: int) -> tuple[bytes, LocalAndRemote]:
        order = self._order
        number = order.first + self._begun % order.count
        self._begun += 1
        self._tokens += 1
        token = self._tokens.to_bytes(_TOKEN_BYTES, "big")
        message_id = self._message_ids[number] = self._message_ids.get(number, number) + 1 & 0xFFFF
        make = self._datagrams.update if order.updates else self._datagrams.register
        peer = self._peers.get(number) or self._make_peer(number)
        datagram = make(number, message_id, token)
        self._open[token] = Exchange(number, intended_ns, datagram, peer)
        self._waits[0].append((self._loop.time() + _ACK_TIMEOUT_S, token))
        return datagram, peer

    def _make_peer(self, number: int) -> LocalAndRemote:
        local = f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        peer = self._peers[number] = (local, *self._server)
        return peer

    def _send(self, datagrams: list[tuple[bytes, LocalAndRemote]]) -> None:
        if datagrams and self.link is not None:
            self.link.send(datagrams)

    def _send_again(self) -> None:
        now = self._loop.time()
        to_send = []
        for waits in self._waits:
            while waits and (waits[0][0] <= now or waits[0][1] not in self._open):
                exchange = self._open.get(token := waits.popleft()[1])
                if exchange is None:
                    continue
                if exchange.times_sent == _SENDS_MAX:
                    del self._open[token]
                    self._failed += 1
                    continue
                wait_s = _ACK_TIMEOUT_S * 2**exchange.times_sent
                self._waits[exchange.times_sent].append((now + wait_s, token))
                exchange.times_sent += 1
                self._retransmitted += 1
                to_send.append((exchange.datagram, exchange.peer))
        self._send(to_send)

    def _end_if_over(self) -> None:
        is_over = self._begun == self._total and not self._open
        if is_over and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _note_answer(self, exchange: Exchange, data: bytes, now_ns: int) -> None:
        self._latencies_ns.append(now_ns - exchange.intended_ns)
        code = data[1]
        if code == codes.CREATED:
            self._datagrams.note_created(exchange.number, data)
        elif code != codes.CHANGED:
            text = codes.code_text(code)
            self._refused[text] = self._refused.get(text, 0) + 1

    def _done(self, cpu: float) -> Done:
        wall_s = (time.monotonic_ns() - self._began_ns) / 1e9
        latencies, lags = sorted(self._latencies_ns), sorted(self._lags_ns) or [0]
        total = len(latencies)
        return Done(
            count=total + self._failed,
            wall_s=wall_s,
            cpu_us=cpu / total * 1e6,
            refused=self._refused,
            failed=self._failed,
            retransmitted=self._retransmitted,
            socket_drops=0,
            p50_ms=latencies[total // 2] / 1e6,
            p99_ms=latencies[int(total * 0.99)] / 1e6,
            max_ms=latencies[-1] / 1e6,
            lag_ms=lags[int(len(lags) * 0.99)] / 1e6,
        )


async def _obey(pipe: Connection, server: tuple[str, int], lifetime_s: int) -> None:
    loader = Loader(server, lifetime_s)
    link = loader.link = await open_many_addresses(loader.receive)
    tune_process()

    async def carry_out(told: Told) -> object:
        dropped = link.dropped_by_kernel
        done = await loader.carry_out(msgspec.convert(told, Order))
        return msgspec.to_builtins(
            msgspec.structs.replace(done, socket_drops=link.dropped_by_kernel - dropped)
        )

    await serve_pipe(pipe, carry_out)
    link.close()


def load(pipe: Connection, server: tuple[str, int], lifetime_s: int) -> None:
    """The process: answers each `Order` that comes on the pipe with `Done`, None ends it."""
    uvloop.run(_obey(pipe, server, lifetime_s))
