"""The load of `benchmarks.registrations`: endpoints that register and update, in one process.

Each endpoint has an address of its own out of 127.0.0.0/8 and its own message ids; all share one
socket. What is timed is from the intended start to the answer. Lean on purpose: what a loader takes
of two cores the server does not get.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from multiprocessing.connection import Connection

import msgspec
import uvloop

from benchmarks.child_process import Told, cpu_s, serve_pipe
from lwm2m.coap import CON, Request, codes, decode_message
from lwm2m.coap.plain import ACK_HEAD
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
_TOKEN_ENDS = 4 + _TOKEN_BYTES
# Message id and token; and how an acknowledgement with such a token begins.
_LABEL_BYTES = 2 + _TOKEN_BYTES
_TOKEN_BITS = 8 * _TOKEN_BYTES
_LABEL = slice(2, _TOKEN_ENDS)
_ACK_HEAD = ACK_HEAD + _TOKEN_BYTES
# How often is looked at what is unanswered.
_LOOK_EVERY_S = 0.1
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

    `began_ns` is when the first left, on the monotonic clock that all processes share. `lag_ms` is
    how far the loader was behind its intention, 99th percentile.
    """

    count: int
    began_ns: int
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
    """What each endpoint sends: encoded by the core once, and then only named and numbered.

    `label` is message id and token in one number, as they follow each other.
    """

    def __init__(self, lifetime_s: int) -> None:
        query = (f"ep={name_of(0)}", f"lt={lifetime_s}", "lwm2m=1.1", "b=U")
        request = Request(codes.POST, ("rd",), query, LINK_FORMAT, payload=LINKS)
        whole = encode_request(CON, 0, bytes(_TOKEN_BYTES), request)
        self._head = whole[:2]
        self._before, name, self._behind = whole[_TOKEN_ENDS:].partition(name_of(0).encode())
        assert name
        # By number: how the Update ends, once the endpoint knows where it is registered.
        self._updates: dict[int, bytes] = {}

    def register(self, number: int, label: int) -> bytes:
        """The Register of an endpoint."""
        return b"%b%b%blamp-%07d%b" % (
            self._head, label.to_bytes(_LABEL_BYTES, "big"), self._before, number, self._behind,
        )  # fmt: skip

    def update(self, number: int, label: int) -> bytes:
        """Its Update, which changes nothing. Raises `KeyError` when it is not registered."""
        return b"%b%b%b" % (
            self._head, label.to_bytes(_LABEL_BYTES, "big"), self._updates[number],
        )  # fmt: skip

    def note_created(self, number: int, answer: bytes) -> None:
        """It was registered where this answer says."""
        options = answer[_TOKEN_ENDS:]
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


def local_of(number: int) -> str:
    """An endpoint's address."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class Exchange(msgspec.Struct, gc=False, eq=False):
    """One request: what is sent, `times_sent`, and when to look again, in seconds of the loop, once
    it was first seen unanswered."""

    number: int
    label: bytes
    outgoing: tuple[bytes, LocalAndRemote]
    intended_ns: int = 0
    times_sent: int = 1
    due: float = 0.0


class Loader:
    """Carries out orders, one at a time. It knows of CoAP what it needs: confirmable requests with
    piggybacked answers, known by address, message id and token, sent again as RFC 7252 §4.2 has it.

    What can be made before the clock runs is: the requests of an order that is not repeated. What
    that costs is in `cpu_us` all the same.
    """

    def __init__(self, server: tuple[str, int], lifetime_s: int) -> None:
        self._server = server
        self._datagrams = Datagrams(lifetime_s)
        # Where each endpoint is, and whom it speaks with.
        self._peers: dict[int, LocalAndRemote] = {}
        self._loop = asyncio.get_running_loop()
        self.link: ManyAddressesLink | None = None
        self._order = Order(0, 0)
        # What is to be sent, in its order; and what is out, by message id and token, which is
        # unique among all endpoints.
        self._exchanges: Iterator[Exchange] = iter(())
        self._open: dict[bytes, Exchange] = {}
        # Each endpoint has one request in a pass over all: its message id.
        self._passes = 0
        self._tokens = 0
        self._begun = 0
        self._total = 0
        self._began_ns = 0
        self._looked_at = 0.0
        self._latencies_ns = array("q")
        self._lags_ns = array("q")
        # Registered by this order, to be noted when it is over.
        self._created: list[tuple[int, bytes]] = []
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
        made = self._make_all()
        self._exchanges = made if order.repeat_s else iter(list(made))
        self._began_ns = time.monotonic_ns()
        if not self._rate_per_s():
            self._begin(min(order.window, self._total), self._began_ns)
        self._tick()
        await self._ended
        wall_s = (time.monotonic_ns() - self._began_ns) / 1e9
        for number, data in self._created:
            self._datagrams.note_created(number, data)
        self._created.clear()
        return self._done(wall_s, cpu_s() - began_cpu)

    def receive(self, datagrams: Iterable[tuple[bytes, LocalAndRemote]]) -> None:
        """The link's callback."""
        now_ns = time.monotonic_ns()
        take, latencies_ns, created = self._open.pop, self._latencies_ns, self._created
        answered_before = len(latencies_ns)
        is_new = not self._order.updates
        expected = codes.CREATED if is_new else codes.CHANGED
        for data, peer in datagrams:
            exchange = take(data[_LABEL], None)
            if exchange is None:
                continue
            if data[0] != _ACK_HEAD or exchange.outgoing[1] != peer:
                self._open[exchange.label] = exchange
                continue
            latencies_ns.append(now_ns - exchange.intended_ns)
            if data[1] != expected:
                text = codes.code_text(data[1])
                self._refused[text] = self._refused.get(text, 0) + 1
            elif is_new:
                created.append((exchange.number, data))
        if not self._rate_per_s():
            answered = len(latencies_ns) - answered_before
            self._begin(min(answered, self._total - self._begun), now_ns)
        self._end_if_over()

    def _rate_per_s(self) -> float:
        order = self._order
        return order.count / order.every_s if order.repeat_s else order.rate_per_s

    def _tick(self) -> None:
        """What time brings: arrivals of an open-loop order, and what is sent again."""
        if self._rate_per_s():
            self._begin_due()
        now = self._loop.time()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            self._send_again(now)
        self._end_if_over()
        if self._ended is not None and not self._ended.done():
            self._loop.call_later(_TICK_S, self._tick)

    def _begin_due(self) -> None:
        """Open-loop: begin what is due, whatever is still unanswered."""
        now_ns = time.monotonic_ns()
        interval_ns = 1e9 / self._rate_per_s()
        due = min(self._total, int((now_ns - self._began_ns) / interval_ns) + 1)
        intended_ns = [
            self._began_ns + int(begun * interval_ns) for begun in range(self._begun, due)
        ]
        self._lags_ns.extend([now_ns - each for each in intended_ns])
        self._begin(len(intended_ns), now_ns, intended_ns)

    def _begin(self, count: int, now_ns: int, intended_ns: Sequence[int] = ()) -> None:
        """Send the next `count`, meant to be sent now, or each at its own time."""
        if not count:
            return
        self._begun += count
        exchanges = list(islice(self._exchanges, count))
        is_open = self._open
        for exchange, at_ns in zip(exchanges, intended_ns or repeat(now_ns), strict=False):
            exchange.intended_ns = at_ns
            is_open[exchange.label] = exchange
        self._send([exchange.outgoing for exchange in exchanges])

    def _make_all(self) -> Iterator[Exchange]:
        """The requests of the order, in its order, each made when it is asked for."""
        order, server, peers = self._order, self._server, self._peers
        make = self._datagrams.update if order.updates else self._datagrams.register
        first, count, token, passes = order.first, order.count, self._tokens, self._passes
        self._tokens += self._total
        self._passes += -(-self._total // count)
        for place in range(self._total):
            its_pass, number = divmod(place, count)
            number += first
            token += 1
            message_id = number + passes + its_pass + 1 & 0xFFFF
            datagram = make(number, message_id << _TOKEN_BITS | token)
            peer = peers.get(number)
            if peer is None:
                peer = peers[number] = (local_of(number), *server)
            yield Exchange(number, datagram[_LABEL], (datagram, peer))

    def _send(self, datagrams: list[tuple[bytes, LocalAndRemote]]) -> None:
        if datagrams and self.link is not None:
            self.link.send(datagrams)

    def _send_again(self, now: float) -> None:
        to_send = []
        for exchange in list(self._open.values()):
            if not exchange.due:
                # Nearly all are answered before they are looked at: none has its own time before.
                exchange.due = now + _ACK_TIMEOUT_S
            elif exchange.due <= now:
                if exchange.times_sent == _SENDS_MAX:
                    del self._open[exchange.label]
                    self._failed += 1
                    continue
                exchange.due = now + _ACK_TIMEOUT_S * 2**exchange.times_sent
                exchange.times_sent += 1
                self._retransmitted += 1
                to_send.append(exchange.outgoing)
        self._send(to_send)

    def _end_if_over(self) -> None:
        is_over = self._begun == self._total and not self._open
        if is_over and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _done(self, wall_s: float, cpu: float) -> Done:
        latencies, lags = sorted(self._latencies_ns), sorted(self._lags_ns) or [0]
        total = len(latencies)
        return Done(
            count=total + self._failed,
            began_ns=self._began_ns,
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
