"""Links on real sockets, on both event loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from lwm2m.transport import (
    NotLoopback,
    UdpLink,
    open_many_addresses,
    open_udp,
)
from lwm2m.transport.many_addresses import PLACES_KEPT
from lwm2m.transport.udp import DATAGRAMS_PER_TURN, DATAGRAMS_PER_WAKE, SEND_QUEUE_MAX

if TYPE_CHECKING:
    from tests.lwm2m.transport.conftest import Run


class Inbox:
    """Keeps what a link received, and lets a test wait for it."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[bytes, Any]]] = []
        self._changed = asyncio.Event()

    def receive(self, datagrams: Iterable[tuple[bytes, Any]]) -> None:
        self.batches.append(list(datagrams))
        self._changed.set()

    @property
    def all(self) -> list[tuple[bytes, Any]]:
        return [found for batch in self.batches for found in batch]

    async def until(self, count: int) -> list[tuple[bytes, Any]]:
        """Wait for so many datagrams."""
        while len(self.all) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.all


async def _until(condition: Callable[[], bool], wake: Callable[[], Awaitable[None]]) -> None:
    while not condition():
        await wake()


def test_datagrams_go_there_and_back(run: Run) -> None:
    async def story() -> None:
        ours, theirs = Inbox(), Inbox()
        here = await open_udp("127.0.0.1", 0, ours.receive)
        there = await open_udp("127.0.0.1", 0, theirs.receive)
        here.send([(b"one", there.address), (b"two", there.address)])
        assert await theirs.until(2) == [(b"one", here.address), (b"two", here.address)]
        there.send([(b"back", here.address)])
        assert await ours.until(1) == [(b"back", there.address)]
        here.close()
        there.close()
        here.close()

    run(story())


def test_a_wake_up_takes_many_datagrams_in_small_turns(run: Run) -> None:
    async def story() -> None:
        inbox = Inbox()
        link = await open_udp("127.0.0.1", 0, inbox.receive)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(DATAGRAMS_PER_WAKE + 10):
                sender.sendto(b"x", link.address)
            await inbox.until(DATAGRAMS_PER_WAKE + 10)
        turns, rest = divmod(DATAGRAMS_PER_WAKE, DATAGRAMS_PER_TURN)
        sizes = [len(batch) for batch in inbox.batches]
        assert sizes == [*[DATAGRAMS_PER_TURN] * turns, rest, 10]
        link.close()

    run(story())


def test_what_the_kernel_dropped_is_counted(run: Run) -> None:
    async def story() -> None:
        link = await open_udp("127.0.0.1", 0, Inbox().receive)
        assert link.dropped_by_kernel == 0
        link._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(100):
                sender.sendto(bytes(500), link.address)
        assert 50 < link.dropped_by_kernel < 100
        link.close()
        assert link.dropped_by_kernel == 0

    run(story())


def test_a_datagram_that_cannot_leave_is_counted_and_the_next_one_leaves(run: Run) -> None:
    async def story() -> None:
        inbox = Inbox()
        link = await open_udp("127.0.0.1", 0, inbox.receive)
        link.send([(bytes(70_000), link.address), (b"fits", link.address)])
        assert await inbox.until(1) == [(b"fits", link.address)]
        assert link.errors == 1
        link.close()

    run(story())


def test_a_port_in_use_is_told() -> None:
    async def story() -> None:
        link = await open_udp("127.0.0.1", 0, Inbox().receive)
        with pytest.raises(OSError, match="in use"):
            await open_udp("127.0.0.1", link.address[1], Inbox().receive)
        link.close()

    asyncio.run(story())


class PairLink(UdpLink):
    """One end of a socket pair: it blocks when the other end does not read, as UDP seldom does."""

    def _send_one(self, data: bytes, peer: Any) -> None:
        self._socket.send(data)

    def _receive_one(self) -> tuple[bytes, Any]:
        return self._socket.recv(65_535), "peer"


def test_what_the_kernel_does_not_take_waits_in_order_and_too_much_is_dropped(run: Run) -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        theirs.setblocking(False)
        inbox = Inbox()
        loop = asyncio.get_running_loop()
        link = PairLink(ours, Inbox().receive, loop)
        sent = [b"%d" % number for number in range(1_000)]
        link.send([(data, "peer") for data in sent])
        assert link.unsent > 0
        reader = PairLink(theirs, inbox.receive, loop)
        assert [data for data, _ in await inbox.until(1_000)] == sent
        assert (link.unsent, link.dropped_unsent) == (0, 0)
        loop.remove_reader(theirs.fileno())
        link.send([(b"x", "peer")] * (SEND_QUEUE_MAX + 5_000))
        link.send([(b"x", "peer")] * 10)
        assert link.unsent == SEND_QUEUE_MAX
        assert link.dropped_unsent > 10
        link.close()
        reader.close()

    run(story())


def test_one_socket_speaks_from_any_loopback_address(run: Run) -> None:
    async def story() -> None:
        devices, servers = Inbox(), Inbox()
        server = await open_udp("127.0.0.1", 0, servers.receive)
        link = await open_many_addresses(devices.receive)
        host, port = server.address
        names = [f"127.{a}.{b}.9" for a in (1, 200) for b in (0, 255)]
        link.send([(name.encode(), (name, host, port)) for name in names])
        heard = await servers.until(4)
        assert heard == [(name.encode(), (name, link.port)) for name in names]
        server.send([(b"to " + data, peer) for data, peer in heard])
        answered = await devices.until(4)
        assert answered == [(b"to " + name.encode(), (name, host, port)) for name in names]
        link.close()
        server.close()

    run(story())


@pytest.mark.parametrize("local", ["10.0.0.1", "0.0.0.0", "not an address"])
def test_a_local_address_outside_the_loopback_network_is_refused(local: str) -> None:
    async def story() -> None:
        link = await open_many_addresses(Inbox().receive)
        with pytest.raises(NotLoopback):
            link.send([(b"x", (local, "127.0.0.1", 9))])
        link.close()

    asyncio.run(story())


def test_one_socket_remembers_few_of_the_many_that_it_has_spoken_with() -> None:
    async def story() -> None:
        link = await open_many_addresses(Inbox().receive)
        for port in range(1, 3 * PLACES_KEPT):
            place = port.to_bytes(2, "big") + bytes((127, 0, 0, 9))
            local = bytes((127, 0, port >> 8, port & 255))
            peer = link._make_peer(place, *local)
            assert peer == (f"127.0.{port >> 8}.{port & 255}", "127.0.0.9", port)
            assert place in link._make_envelope(peer)
            assert local in link._make_envelope(peer)
        assert len(link._heads) <= PLACES_KEPT
        assert len(link._places) <= PLACES_KEPT
        link.close()

    asyncio.run(story())


def test_a_closed_link_sends_nothing_and_does_not_mind() -> None:
    async def story() -> None:
        link: UdpLink = await open_udp("127.0.0.1", 0, Inbox().receive)
        address = link.address
        link.close()
        link.send([(b"x", address)])

    asyncio.run(story())
