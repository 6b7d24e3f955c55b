"""Datagrams sent and received by the batch, on real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from lwm2m.transport import open_many_addresses, open_udp
from lwm2m.transport.batches import AVAILABLE, NAME, SLOTS, Incoming, Outgoing
from lwm2m.transport.udp import SEND_QUEUE_MAX, BatchedLink, BatchedUdpLink, make_name, read_place

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="batches need 64-bit Linux")

_WITHIN_S = 60.0
_PLACE = struct.Struct("=2x6s8x")
# struct cmsghdr and struct in_pktinfo: of use is the destination.
_CONTROL = struct.Struct("=24x4s4x")
_IP_PKTINFO = 8


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """A bound UDP socket that does not block."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    """Another one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def _send(sender: socket.socket, datagrams: list[tuple[bytes, Any]]) -> tuple[int, int]:
    bodies = [data for data, _ in datagrams]
    return Outgoing().send(sender.fileno(), bodies, [make_name(*peer) for _, peer in datagrams])


def _receive_all(incoming: Incoming, sock: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    while batch := incoming.receive(sock.fileno())[0]:
        found += batch
    return found


@pytest.mark.parametrize("count", [1, SLOTS, SLOTS + 1, 3 * SLOTS])
def test_any_number_leaves_in_order(
    sender: socket.socket, receiver: socket.socket, count: int
) -> None:
    sent = [b"%d" % number * (number % 7) for number in range(count)]
    datagrams = [(data, receiver.getsockname()) for data in sent]
    assert _send(sender, datagrams) == (count, 0)
    assert _receive_all(Incoming(), receiver) == sent


def test_batches_of_other_lengths_follow_each_other_whole(
    sender: socket.socket, receiver: socket.socket
) -> None:
    outgoing, incoming = Outgoing(), Incoming()
    name = make_name(*receiver.getsockname())
    for lengths in ([3, 5, 3], [3, 5], [3, 5, 4, 1], [5, 3], [3, 5, 3], []):
        sent = [os.urandom(length) for length in lengths]
        assert outgoing.send(sender.fileno(), sent, [name] * len(sent)) == (len(sent), 0)
        assert _receive_all(incoming, receiver) == sent


def test_a_batch_names_the_sender_of_each_datagram(
    sender: socket.socket, receiver: socket.socket
) -> None:
    sender.sendto(b"one", receiver.getsockname())
    receiver.sendto(b"two", receiver.getsockname())
    found, envelopes = Incoming().receive(receiver.fileno())
    assert found == [b"one", b"two"]
    assert [read_place(*_PLACE.unpack(envelope)) for envelope in envelopes] == [
        sender.getsockname(),
        receiver.getsockname(),
    ]


@pytest.mark.parametrize("size", [65_508, 70_000, SLOTS * 65_536 + 1])
def test_what_cannot_leave_is_counted_and_its_neighbours_leave(
    sender: socket.socket, receiver: socket.socket, size: int
) -> None:
    here = receiver.getsockname()
    datagrams = [(b"before", here), (bytes(size), here), (b"lost", ("a name", 1)), (b"after", here)]
    assert _send(sender, datagrams) == (4, 2)
    assert _receive_all(Incoming(), receiver) == [b"before", b"after"]


def test_the_longest_datagrams_pass_whole(sender: socket.socket, receiver: socket.socket) -> None:
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sent = [os.urandom(65_507) for _ in range(2)]
    _send(sender, [(data, receiver.getsockname()) for data in sent])
    assert _receive_all(Incoming(), receiver) == sent


def test_ancillary_data_is_not_taken_from_the_datagram_before(
    sender: socket.socket, receiver: socket.socket
) -> None:
    incoming = Incoming(_CONTROL.size)

    def destination() -> bytes:
        sender.sendto(b"x", receiver.getsockname())
        _, [envelope] = incoming.receive(receiver.fileno())
        return bytes(_CONTROL.unpack(envelope[NAME.size :])[0])

    receiver.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    assert destination() == bytes((127, 0, 0, 1))
    receiver.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 0)
    assert destination() == bytes(4)
    receiver.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    assert destination() == bytes((127, 0, 0, 1))


def test_receiving_tells_what_is_wrong_with_the_socket() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock,
        pytest.raises(OSError, match="connected"),
    ):
        Incoming().receive(sock.fileno())


class _Inbox:
    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self._changed = asyncio.Event()

    def receive(self, datagrams: list[tuple[bytes, Any]]) -> None:
        self.received += datagrams
        self._changed.set()

    async def until(self, count: int) -> list[tuple[bytes, Any]]:
        async with asyncio.timeout(_WITHIN_S):
            while len(self.received) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.received


class _AbstractNameLink(BatchedLink):
    """Over UNIX datagrams, which block when the receiver does not read, as UDP here does not."""

    def __init__(self, sock: socket.socket, inbox: _Inbox) -> None:
        super().__init__(sock, inbox.receive, asyncio.get_running_loop(), _PLACE)

    def _make_envelope(self, peer: bytes) -> bytes:
        return struct.pack("=H14s", socket.AF_UNIX, peer)

    def _make_peer(self, *envelope: bytes) -> str:
        return "peer"


def _open_unix(name: bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(name)
    return sock


def test_what_the_kernel_does_not_take_waits_in_order_and_too_much_is_dropped() -> None:
    async def story() -> None:
        names = [b"\0" + os.urandom(6).hex().encode() + end for end in (b"a", b"b")]
        inbox = _Inbox()
        link = _AbstractNameLink(_open_unix(names[0]), _Inbox())
        theirs = _open_unix(names[1])
        sent = [b"%d" % number for number in range(1_000)]
        link.send([(data, names[1]) for data in sent])
        assert 900 < link.unsent < 1_000
        reader = _AbstractNameLink(theirs, inbox)
        assert [data for data, _ in await inbox.until(1_000)] == sent
        assert (link.unsent, link.dropped_unsent, link.errors) == (0, 0, 0)
        asyncio.get_running_loop().remove_reader(theirs.fileno())
        link.send([(b"x", names[1])] * (SEND_QUEUE_MAX + 5_000))
        link.send([(b"x", names[1])] * 10)
        assert link.unsent == SEND_QUEUE_MAX
        assert link.dropped_unsent > 10
        link.close()
        reader.close()

    asyncio.run(story())


def test_links_of_one_thread_do_not_disturb_each_other() -> None:
    async def story() -> None:
        there = _Inbox()
        server = await open_udp("127.0.0.1", 0, there.receive)
        inboxes = [_Inbox() for _ in range(3)]
        plain = [await open_udp("127.0.0.1", 0, inbox.receive) for inbox in inboxes[:2]]
        many = await open_many_addresses(inboxes[2].receive)
        for link in plain:
            link.send([(b"%d" % number, server.address) for number in range(5)])
        many.send([(b"many", (f"127.9.9.{number}", *server.address)) for number in range(5)])
        heard = await there.until(15)
        server.send(heard)
        for inbox, link in zip(inboxes, plain, strict=False):
            assert await inbox.until(5) == [(b"%d" % number, server.address) for number in range(5)]
            link.close()
        assert await inboxes[2].until(5) == [
            (b"many", (f"127.9.9.{number}", *server.address)) for number in range(5)
        ]
        many.close()
        server.close()

    asyncio.run(story())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_over_ipv6_datagrams_go_one_by_one() -> None:
    async def story() -> None:
        inbox = _Inbox()
        try:
            link = await open_udp("::1", 0, inbox.receive)
        except OSError as error:
            pytest.skip(f"no ::1 here: {error}")
        assert not isinstance(link, BatchedUdpLink)
        link.send([(b"%d" % number, link.address) for number in range(5)])
        heard = await inbox.until(5)
        assert heard == [(b"%d" % number, link.address) for number in range(5)]
        link.close()

    asyncio.run(story())


def test_more_addresses_than_are_kept_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lwm2m.transport.udp._ADDRESSES_KEPT", 4)

    async def story() -> None:
        inbox = _Inbox()
        server = await open_udp("127.0.0.1", 0, inbox.receive)
        link = await open_many_addresses(_Inbox().receive)
        for _ in range(2):
            for number in range(10):
                link.send([(b"x", (f"127.0.1.{number}", *server.address))])
        heard = await inbox.until(20)
        assert [peer for _, peer in heard] == [
            (f"127.0.1.{number}", link.port) for number in range(10)
        ] * 2
        link.close()
        server.close()

    asyncio.run(story())
