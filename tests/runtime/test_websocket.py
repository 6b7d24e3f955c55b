"""Both ends of runtime.websocket against each other, and against the websockets library's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
import websockets.asyncio.client
import websockets.asyncio.server
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from runtime.websocket import (
    WebSocketConnection,
    WebSocketLimits,
    connect_websocket,
    listen_websocket,
)
from tests.processes import WITHIN_S

PATH = "/v1/data"
TOKEN = "a-token-of-this-test"


class Recorder:
    """A user that keeps everything and lets tests wait for it."""

    def __init__(self) -> None:
        self.connection: WebSocketConnection | None = None
        self.texts: list[bytes] = []
        self.reason: str | None = None
        self._changed = asyncio.Event()

    def opened(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self._changed.set()

    def received(self, text: bytes) -> None:
        self.texts.append(text)
        self._changed.set()

    def closed(self, reason: str) -> None:
        assert self.reason is None, "closed is told once"
        self.reason = reason
        self._changed.set()

    async def until(self, condition: Callable[[Recorder], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def until_open(self) -> WebSocketConnection:
        await self.until(lambda user: user.connection is not None or user.reason is not None)
        assert self.connection is not None, self.reason
        return self.connection

    async def until_closed(self) -> str:
        await self.until(lambda user: user.reason is not None)
        assert self.reason is not None
        return self.reason


class Pair:
    """A listening server and the users it made."""

    def __init__(self, server: asyncio.Server, users: list[Recorder]) -> None:
        self.server = server
        self.users = users
        host, port = server.sockets[0].getsockname()[:2]
        self.url = f"ws://{host}:{port}{PATH}"
        self.clients: list[Recorder] = []

    async def down(self) -> None:
        """Leave no socket behind: uvloop waits for them for ever when it closes."""
        self.server.close()
        for user in [*self.users, *self.clients]:
            if user.reason is None and user.connection is not None:
                user.connection.abort()
                await user.until_closed()


async def listen(**options: Any) -> Pair:
    users: list[Recorder] = []

    def make() -> Recorder:
        users.append(Recorder())
        return users[-1]

    options = {"path": PATH, "token": TOKEN} | options
    return Pair(await listen_websocket("127.0.0.1", 0, make, **options), users)


async def connected(pair: Pair, **options: Any) -> tuple[Recorder, Recorder]:
    client = Recorder()
    pair.clients.append(client)
    await connect_websocket(pair.url, client, **{"token": TOKEN, **options})
    await client.until_open()
    await pair.users[-1].until_open()
    return client, pair.users[-1]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    return request.param  # type: ignore[no-any-return]  # pytest types it as Any


def test_texts_arrive_whole_and_in_order_both_ways(run: Callable[[Any], None]) -> None:
    async def story() -> None:
        pair = await listen()
        client, server = await connected(pair)
        texts = [b"", b"x" * 125, b"y" * 126, b"z" * 65_535, b"w" * 65_536, b"v" * 1_000_000]
        (await client.until_open()).send_all(texts)
        (await server.until_open()).send_all(texts)
        await client.until(lambda user: len(user.texts) == len(texts))
        await server.until(lambda user: len(user.texts) == len(texts))
        assert client.texts == texts
        assert server.texts == texts
        await pair.down()

    run(story())


def test_texts_of_one_turn_leave_in_one_write(run: Callable[[Any], None]) -> None:
    async def story() -> None:
        pair = await listen()
        client, server = await connected(pair)
        connection = await server.until_open()
        writes: list[bytes] = []
        transport = connection._transport
        assert transport is not None

        class Counting:
            def __getattr__(self, name: str) -> Any:
                return getattr(transport, name)

            def write(self, data: bytes) -> None:
                writes.append(data)
                transport.write(data)

        connection._transport = Counting()  # type: ignore[assignment]  # only counts writes
        for number in range(100):
            connection.send(b"%d" % number)
        await client.until(lambda user: len(user.texts) == 100)
        assert len(writes) == 1
        await pair.down()

    run(story())


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [(PATH, None, 401), (PATH, "another", 401), (PATH, "\u00e9", 401), ("/other", TOKEN, 404)],
)
def test_a_stranger_or_a_wrong_path_is_refused_with_the_reason(
    path: str, token: str | None, status: int
) -> None:
    async def story() -> None:
        pair = await listen()
        client = Recorder()
        url = pair.url.replace(PATH, path)
        try:
            await connect_websocket(url, client, token=token)
        except UnicodeEncodeError:
            return  # such a token cannot even be sent
        reason = await client.until_closed()
        assert client.connection is None
        assert reason.startswith(f"upgrade refused: {status}")
        assert (await pair.users[0].until_closed()).startswith(f"upgrade refused: {status}")
        assert TOKEN not in reason
        await pair.down()

    asyncio.run(story())


def test_what_is_no_websocket_is_refused_and_the_server_goes_on(
    run: Callable[[Any], None],
) -> None:
    async def story() -> None:
        pair = await listen()
        host, port = pair.server.sockets[0].getsockname()[:2]
        for request in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\r\n\r\n", b""):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(request)
            writer.write_eof()
            await reader.read()
            writer.close()
            await pair.users[-1].until_closed()
        await connected(pair)
        await pair.down()

    run(story())


def test_closing_tells_both_ends_why(run: Callable[[Any], None]) -> None:
    async def story() -> None:
        pair = await listen()
        client, server = await connected(pair)
        connection = await server.until_open()
        connection.send(b"last words")
        connection.close(1001, "a newer bridge took over")
        connection.send(b"too late")
        assert (
            await client.until_closed() == "closed by the other side: 1001 a newer bridge took over"
        )
        assert client.texts == [b"last words"]
        assert await server.until_closed() == "closed here: 1001 a newer bridge took over"
        await pair.down()

    run(story())


def test_a_connection_that_is_cut_is_told_once(run: Callable[[Any], None]) -> None:
    async def story() -> None:
        pair = await listen()
        client, server = await connected(pair)
        (await client.until_open()).abort()
        await server.until_closed()
        await client.until_closed()
        await pair.down()

    run(story())


def test_a_message_over_the_limit_closes_with_1009(run: Callable[[Any], None]) -> None:
    async def story() -> None:
        pair = await listen(limits=WebSocketLimits(message_bytes_max=1_000))
        client, server = await connected(pair)
        (await client.until_open()).send(b"x" * 1_001)
        assert "1009" in await client.until_closed()
        assert "exceeds limit of 1000 bytes" in await server.until_closed()
        assert server.texts == []
        await pair.down()

    run(story())


def test_a_slow_reader_fills_the_buffer_and_a_drained_one_is_told(
    run: Callable[[Any], None],
) -> None:
    async def story() -> None:
        limits = WebSocketLimits(write_bytes_high=65_536, write_bytes_low=1_024)
        pair = await listen(limits=limits)
        client, server = await connected(pair)
        connection = await server.until_open()
        drained = asyncio.Event()
        connection.on_drained = drained.set
        reader = await client.until_open()
        reader.pause_reading()
        sent = 0
        while not connection.is_full and sent < 100:
            connection.send(b"x" * 1_000_000)
            sent += 1
            await asyncio.sleep(0)
        assert connection.is_full
        assert connection.buffered_bytes > 65_536
        reader.resume_reading()
        async with asyncio.timeout(WITHIN_S):
            await drained.wait()
        assert not connection.is_full
        await client.until(lambda user: len(user.texts) == sent)
        await pair.down()

    run(story())


def test_who_never_reads_is_dropped(run: Callable[[Any], None]) -> None:
    async def story() -> None:
        pair = await listen(limits=WebSocketLimits(write_bytes_max=10_000_000))
        client, server = await connected(pair)
        (await client.until_open()).pause_reading()
        connection = await server.until_open()
        for _ in range(100):
            connection.send(b"x" * 1_000_000)
            await asyncio.sleep(0)
            if server.reason is not None:
                break
        assert await server.until_closed() == "the other side does not read"
        await pair.down()

    run(story())


@pytest.mark.slow
def test_a_silent_peer_is_given_up_and_one_that_answers_pings_is_not(
    run: Callable[[Any], None],
) -> None:
    async def story() -> None:
        # So long that one who answers does so in time also on a machine that has no time.
        limits = WebSocketLimits(keep_alive_s=1.0)
        pair = await listen(limits=limits)
        client, server = await connected(pair)
        mute, _ = await connected(pair)
        gone = pair.users[-1]
        (await mute.until_open()).pause_reading()
        assert await gone.until_closed() == "the other side is silent"
        assert server.reason is None
        assert client.reason is None
        await pair.down()

    run(story())


def test_a_handshake_that_never_ends_is_given_up(run: Callable[[Any], None]) -> None:
    async def story() -> None:
        pair = await listen(limits=WebSocketLimits(handshake_timeout_s=0.03))
        host, port = pair.server.sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        async with asyncio.timeout(WITHIN_S):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        assert await pair.users[0].until_closed() == "the handshake took too long"
        writer.close()
        await pair.down()

    run(story())


def test_nobody_listening_is_an_os_error() -> None:
    async def story() -> None:
        pair = await listen()
        pair.server.close()
        await pair.server.wait_closed()
        with pytest.raises(OSError):
            await connect_websocket(pair.url, Recorder())

    asyncio.run(story())


def test_the_server_speaks_with_the_librarys_client() -> None:
    async def story() -> None:
        pair = await listen()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with websockets.asyncio.client.connect(
            pair.url, additional_headers=headers, compression=None
        ) as client:
            await client.send(["in ", "three ", "pieces"])
            await client.send("whole")
            user = pair.users[0]
            await user.until(lambda user: len(user.texts) == 2)
            assert user.texts == [b"in three pieces", b"whole"]
            (await user.until_open()).send_all([b"one", b"y" * 70_000])
            assert await client.recv() == "one"
            assert await client.recv() == "y" * 70_000
            await asyncio.wait_for(await client.ping(), WITHIN_S)
            await client.send(b"binary is not taken")
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1003
        with pytest.raises(InvalidStatus):
            await websockets.asyncio.client.connect(pair.url)
        await pair.down()

    asyncio.run(story())


def test_the_client_speaks_with_the_librarys_server() -> None:
    async def story() -> None:
        async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
            assert connection.request is not None
            assert connection.request.headers["Authorization"] == f"Bearer {TOKEN}"
            async for text in connection:
                await connection.send([str(text), "!"])

        async with websockets.asyncio.server.serve(
            echo, "127.0.0.1", 0, compression=None
        ) as server:
            port = server.sockets[0].getsockname()[1]
            user = Recorder()
            await connect_websocket(f"ws://127.0.0.1:{port}{PATH}", user, token=TOKEN)
            (await user.until_open()).send("grün".encode())
            await user.until(lambda user: len(user.texts) == 1)
            assert user.texts == ["grün!".encode()]
        assert (await user.until_closed()).startswith("closed by the other side: 1001")

    asyncio.run(story())


def test_a_text_within_a_message_in_parts_breaks_the_protocol(run: Callable[[Any], None]) -> None:
    async def story() -> None:
        pair = await listen()
        client, server = await connected(pair)
        transport = (await server.until_open())._transport
        assert transport is not None
        first = Frame(Opcode.TEXT, b"", fin=False).serialize(mask=False)
        transport.write(first + Frame(Opcode.TEXT, b"another").serialize(mask=False))
        assert "protocol" in await client.until_closed()
        assert client.texts == []
        await pair.down()

    run(story())


def test_texts_that_come_with_the_handshakes_answer_are_heard(run: Callable[[Any], None]) -> None:
    async def story() -> None:
        key_end, texts = b"Sec-WebSocket-Key: ", [b"one", b"two"]

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(b"\r\n\r\n")
            key = request.partition(key_end)[2].partition(b"\r\n")[0].decode()
            answer = (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
            )
            frames = b"".join(Frame(Opcode.TEXT, each).serialize(mask=False) for each in texts)
            whole = answer.encode() + frames
            # The end of the headers in two pieces, and the last frame too.
            for begin, end in ((0, len(answer) - 2), (len(answer) - 2, -2), (-2, len(whole))):
                writer.write(whole[begin:end])
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()
            writer.close()

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        user = Recorder()
        connection = await connect_websocket(f"ws://127.0.0.1:{port}/", user)
        await user.until(lambda user: user.texts == texts)
        connection.abort()
        await user.until_closed()
        listener.close()

    run(story())


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_of_any_kind_after_the_handshake_only_end_the_connection(data: bytes) -> None:
    async def story() -> None:
        pair = await listen(limits=WebSocketLimits(close_timeout_s=0.05, keep_alive_s=0.05))
        client, server = await connected(pair)
        connection = await client.until_open()
        assert connection._transport is not None
        connection._transport.write(data)
        connection.abort()
        await server.until_closed()
        await pair.down()

    asyncio.run(story())
