"""The client on a real loop, against a scripted broker of plain TCP and against nobody."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import pytest

from mqtt import InboundMessage, QueueFull
from mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    Parser,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    encode,
)
from mqtt.tls import ClientContext, ClientEnd, TlsFailed, UnusableCredentials
from mqtt.transport import MqttClient
from mqtt.transport.client import failure_reason
from runtime.clock import SystemClock

WITHIN_S = 60.0


class Peer:
    """The broker's end of one connection, moved by the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._parser = Parser()
        self._packets: list[Packet] = []
        self.reads = 0

    async def read(self) -> Packet | None:
        """The next packet, None at the end of the connection."""
        while not self._packets:
            data = await self._reader.read(65_536)
            if not data:
                return None
            self.reads += 1
            self._packets += self._parser.receive_bytes(data)
        return self._packets.pop(0)

    async def accept(self) -> Connect:
        """Let the client in, without subscriptions."""
        packet = await self.read()
        assert isinstance(packet, Connect)
        self.send(ConnAck(False, 0))
        return packet

    async def accept_subscriber(self, *codes: int) -> Subscribe:
        """Let the client in and answer its SUBSCRIBE."""
        await self.accept()
        packet = await self.read()
        assert isinstance(packet, Subscribe)
        self.send(SubAck(packet.packet_id, codes))
        return packet

    async def publishes(self, count: int) -> list[Publish]:
        """The next packets, all PUBLISH."""
        found = [await self.read() for _ in range(count)]
        assert all(isinstance(packet, Publish) for packet in found)
        return found  # type: ignore[return-value]  # asserted above

    def send(self, *packets: Packet) -> None:
        self._writer.write(b"".join(map(encode, packets)))

    def cut(self) -> None:
        self._writer.transport.abort()


class ScriptedBroker:
    """A listener whose connections a test takes one by one."""

    def __init__(self) -> None:
        self.address = ("127.0.0.1", 0)
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._all: list[Peer] = []

    async def peer(self) -> Peer:
        """The next connection."""
        return await self._peers.get()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedBroker]:
        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = Peer(reader, writer)
            self._all.append(peer)
            self._peers.put_nowait(peer)

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        self.address = server.sockets[0].getsockname()[:2]
        try:
            yield self
        finally:
            server.close()
            for peer in self._all:
                peer.cut()


@contextlib.asynccontextmanager
async def running(client: MqttClient) -> AsyncIterator[MqttClient]:
    task = asyncio.ensure_future(client.run())
    try:
        yield client
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def client_of(address: tuple[str, int], **fields: Any) -> MqttClient:
    chance = itertools.cycle((0.0, 0.5, 0.9))
    settings = {"tls": None, "backoff_s_min": 0.001, "backoff_s_max": 0.01} | fields
    return MqttClient(
        client_id="c",
        address=address,
        clock=SystemClock(),
        chance=lambda: next(chance),
        **settings,
    )


def story(play: Callable[[ScriptedBroker], Awaitable[None]]) -> None:
    """Play against a scripted broker, within bounds."""

    async def bounded() -> None:
        async with asyncio.timeout(WITHIN_S), ScriptedBroker().serving() as broker:
            await play(broker)

    asyncio.run(bounded())


class Told:
    """What a client told, and a way to await it."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self._changed = asyncio.Event()

    def __call__(self, line: Any = None) -> None:
        self.lines.append(line)
        self._changed.set()

    async def until(self, count: int) -> list[Any]:
        while len(self.lines) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.lines


def test_it_is_connected_once_all_subscriptions_are_granted() -> None:
    async def play(broker: ScriptedBroker) -> None:
        told = Told()
        client = client_of(broker.address, subscriptions=[("a/+", 1)], on_connected=told)
        async with running(client):
            peer = await broker.peer()
            connect = await peer.accept()
            assert (connect.client_id, connect.clean_session) == ("c", True)
            assert await peer.read() == Subscribe(1, (("a/+", 1),))
            assert not client.connected.is_set()
            peer.send(SubAck(1, (1,)))
            await client.connected.wait()
            assert told.lines == [None]

    story(play)


def test_a_refused_subscription_is_told_and_tried_again() -> None:
    async def play(broker: ScriptedBroker) -> None:
        told = Told()
        client = client_of(broker.address, subscriptions=[("a", 1), ("#", 1)], on_disconnected=told)
        async with running(client):
            await (await broker.peer()).accept_subscriber(1, 0x80)
            assert await told.until(1) == ["refused: may not read #"]
            await (await broker.peer()).accept_subscriber(1, 1)
            await client.connected.wait()

    story(play)


def test_messages_of_one_turn_leave_in_one_write() -> None:
    async def play(broker: ScriptedBroker) -> None:
        client = client_of(broker.address)
        async with running(client):
            peer = await broker.peer()
            await peer.accept()
            await client.connected.wait()
            before = peer.reads
            for n in range(20):
                client.publish("t", bytes((n,)))
            packets = await peer.publishes(20)
            assert [packet.payload[0] for packet in packets] == list(range(20))
            assert peer.reads == before + 1

    story(play)


def test_unacknowledged_messages_are_sent_again_with_dup_after_a_reconnect() -> None:
    async def play(broker: ScriptedBroker) -> None:
        acknowledged = Told()
        client = client_of(broker.address)
        async with running(client):
            peer = await broker.peer()
            await peer.accept()
            for name in (b"1", b"2"):
                client.publish("t", name, 1, lambda name=name: acknowledged(name))  # type: ignore[misc]  # bound now
            first, second = await peer.publishes(2)
            peer.send(PubAck(first.packet_id))
            await acknowledged.until(1)
            peer.cut()
            peer = await broker.peer()
            await peer.accept()
            (again,) = await peer.publishes(1)
            assert again == Publish("t", b"2", 1, second.packet_id, duplicate=True)
            peer.send(PubAck(again.packet_id))
            assert await acknowledged.until(2) == [b"1", b"2"]
            assert client.outstanding == 0

    story(play)


def test_messages_wait_for_a_connection_and_the_queue_is_bounded() -> None:
    async def play(broker: ScriptedBroker) -> None:
        client = client_of(broker.address, inflight_max=1, queue_max=2)
        client.publish("t", b"1")
        client.publish("t", b"2")
        with pytest.raises(QueueFull):
            client.publish("t", b"3")
        async with running(client):
            peer = await broker.peer()
            await peer.accept()
            (packet,) = await peer.publishes(1)
            peer.send(PubAck(packet.packet_id))
            (packet,) = await peer.publishes(1)
            assert packet.payload == b"2"

    story(play)


def test_a_message_is_acknowledged_only_when_the_reader_says_so() -> None:
    async def play(broker: ScriptedBroker) -> None:
        got = Told()
        client = client_of(broker.address, subscriptions=[("a", 1)], on_message=got)
        async with running(client):
            peer = await broker.peer()
            await peer.accept_subscriber(1)
            peer.send(Publish("a", b"x", 1, 9))
            (message,) = await got.until(1)
            assert (message.topic, message.payload) == ("a", b"x")
            client.publish("t", b"", qos=0)
            assert await peer.read() == Publish("t", b"")  # and no PUBACK before it
            client.acknowledge(message)
            assert await peer.read() == PubAck(9)

    story(play)


def test_what_comes_alone_is_read_at_once_and_what_follows_by_the_handful() -> None:
    async def play(broker: ScriptedBroker) -> None:
        got = Told()
        client = client_of(broker.address, subscriptions=[("a", 1)], on_message=got, gather_s=0.001)
        async with running(client):
            peer = await broker.peer()
            await peer.accept_subscriber(1)
            for packet_id in range(1, 51):
                peer.send(Publish("a", b"x", 1, packet_id))
                await asyncio.sleep(0)
            for message in await got.until(50):
                client.acknowledge(message)
            assert [await peer.read() for _ in range(50)] == [PubAck(n) for n in range(1, 51)]
            client.gather_s = 3_600.0
            peer.send(Publish("a", b"first", 1, 51))
            await got.until(51)
            peer.send(Publish("a", b"second", 1, 52))
            client.publish("t", b"", qos=0)
            assert await peer.read() == Publish("t", b"")
            assert len(got.lines) == 51
        assert await peer.read() == Disconnect()

    story(play)


def test_a_reader_that_raises_loses_neither_connection_nor_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play(broker: ScriptedBroker) -> None:
        seen: list[InboundMessage] = []

        def read(message: InboundMessage) -> None:
            seen.append(message)
            if len(seen) == 1:
                raise RuntimeError("no room")
            client.acknowledge(message)

        client = client_of(
            broker.address, clean_session=False, subscriptions=[("a", 1)], on_message=read
        )
        async with running(client):
            peer = await broker.peer()
            await peer.accept_subscriber(1)
            peer.send(Publish("a", b"x", 1, 9), Publish("a", b"y", 0))
            client.publish("t", b"")
            assert isinstance(await peer.read(), Publish)
            peer.cut()
            peer = await broker.peer()
            await peer.accept_subscriber(1)
            assert isinstance(await peer.read(), Publish)
            peer.send(Publish("a", b"x", 1, 9, duplicate=True))
            assert await peer.read() == PubAck(9)

    story(play)
    assert "could not be handled" in caplog.text


def test_a_callback_that_raises_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def play(broker: ScriptedBroker) -> None:
        told = Told()

        def fail() -> None:
            raise RuntimeError("no")

        client = client_of(broker.address)
        async with running(client):
            peer = await broker.peer()
            await peer.accept()
            client.publish("t", b"", 1, fail)
            client.publish("t", b"", 1, told)
            peer.send(*[PubAck(packet.packet_id) for packet in await peer.publishes(2)])
            await told.until(1)

    story(play)
    assert "an acknowledgement could not be handled" in caplog.text


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((ConnAck(False, 5),), "refused: bad identity"),
        ((ConnAck(False, 2),), "refused: bad client id"),
        ((PubAck(1),), "protocol error: PubAck in connecting"),
    ],
)
def test_it_says_why_it_was_not_let_in_and_tries_again(
    answer: Iterable[Packet], reason: str
) -> None:
    async def play(broker: ScriptedBroker) -> None:
        told = Told()
        client = client_of(broker.address, on_disconnected=told)
        async with running(client):
            peer = await broker.peer()
            await peer.read()
            peer.send(*answer)
            assert await told.until(1) == [reason]
            await (await broker.peer()).accept()
            await client.connected.wait()

    story(play)


def test_a_broker_that_answers_nothing_is_given_up() -> None:
    async def play(broker: ScriptedBroker) -> None:
        told = Told()
        client = client_of(broker.address, on_disconnected=told, connect_timeout_s=0.05)
        async with running(client):
            assert await told.until(1) == ["no CONNACK within 0.05 s"]

    story(play)


@pytest.mark.slow
def test_a_broker_that_falls_silent_is_given_up() -> None:
    async def play(broker: ScriptedBroker) -> None:
        told = Told()
        client = client_of(broker.address, on_disconnected=told, keep_alive_s=1)
        async with running(client):
            await (await broker.peer()).accept()
            assert await told.until(1) == ["no answer to a PINGREQ within 0.5 s"]

    story(play)


def test_nobody_listening_is_told_at_each_attempt() -> None:
    async def play(broker: ScriptedBroker) -> None:
        told = Told()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            client = client_of(unused.getsockname(), on_disconnected=told)
            async with running(client):
                lines = await told.until(3)
        assert set(lines) == {"unreachable: nobody listens there"}

    story(play)


@pytest.mark.slow
def test_reconnects_back_off_and_a_short_connection_does_not_reset_that() -> None:
    async def play(broker: ScriptedBroker) -> None:
        drawn: list[float] = []

        def chance() -> float:
            drawn.append(asyncio.get_running_loop().time())
            return 1.0

        client = MqttClient(
            client_id="c",
            address=broker.address,
            tls=None,
            clock=SystemClock(),
            chance=chance,
            backoff_s_min=0.01,
            backoff_s_max=5.0,
        )
        async with running(client):
            for _ in range(5):
                peer = await broker.peer()
                await peer.accept()
                await client.connected.wait()
                peer.cut()
        waits = [later - earlier for earlier, later in itertools.pairwise(drawn)]
        # At least 20, 40, 80 ms, whatever the machine adds.
        assert all(wait >= 0.019 * 2**n for n, wait in enumerate(waits)), waits

    story(play)


def test_cancelling_says_good_bye() -> None:
    async def play(broker: ScriptedBroker) -> None:
        client = client_of(broker.address)
        async with running(client):
            peer = await broker.peer()
            await peer.accept()
            await client.connected.wait()
            client.publish("t", b"last")
        (packet,) = await peer.publishes(1)
        assert packet.payload == b"last"
        assert await peer.read() == Disconnect()
        assert await peer.read() is None
        assert not client.connected.is_set()

    story(play)


def test_tls_that_cannot_even_begin_is_a_failed_attempt() -> None:
    class Broken(ClientContext):
        def open(self, *_: object, **__: object) -> ClientEnd:
            raise TlsFailed("TLS handshake failed: no ciphers available")

    async def play(broker: ScriptedBroker) -> None:
        told = Told()
        client = client_of(broker.address, on_disconnected=told, tls=Broken([]))
        async with running(client):
            assert set(await told.until(2)) == {"TLS handshake failed: no ciphers available"}

    story(play)


def test_cancelling_between_tcp_and_tls_ends_tcp() -> None:
    async def play(broker: ScriptedBroker) -> None:
        client = client_of(broker.address, tls=ClientContext([]), connect_timeout_s=1_000.0)
        async with running(client):
            peer = await broker.peer()
            assert await peer._reader.read(65_536)  # a ClientHello, which nobody answers
        with contextlib.suppress(ConnectionResetError):
            assert await peer._reader.read(65_536) == b""

    story(play)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TlsFailed("TLS failed: tlsv13 alert certificate required"), "TLS failed: "),
        (
            TlsFailed("TLS handshake failed: certificate verify failed: certificate has expired"),
            "server not trusted: certificate has expired",
        ),
        (UnusableCredentials("the key is not the certificate's"), "TLS is not possible: the key"),
        (ConnectionResetError(), "lost: reset by the broker"),
        (OSError("no route"), "unreachable: no route"),
    ],
)
def test_failures_are_told_in_one_line(error: Exception, reason: str) -> None:
    assert failure_reason(error).startswith(reason)
    assert "\n" not in failure_reason(error)
