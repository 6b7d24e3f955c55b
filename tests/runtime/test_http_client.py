"""The HTTP client against the HTTP server that every component uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from runtime.http import PortInUse, bind, json_response, make_app, problem, serving
from runtime.http_client import ConnectionLost, HttpClient, HttpError


class Body(msgspec.Struct):
    """What the test server answers."""

    text: str
    size: int = 0


async def _echo(request: Request) -> Response:
    data = await request.body()
    return json_response(Body(text=request.method, size=len(data)))


async def _refuse(request: Request) -> Response:
    return problem(409, "already there", "choose another name")


async def _count(request: Request) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b'{"text": "line %d"}\n' % number

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def _port(request: Request) -> Response:
    assert request.client is not None
    return json_response(Body(text="from", size=request.client.port))


async def _health(request: Request) -> Response:
    return json_response({"ok": True})


ROUTES = [
    Route("/echo", _echo, methods=["GET", "POST"]),
    Route("/refuse", _refuse),
    Route("/lines", _count),
    Route("/port", _port),
    Route("/healthz", _health),
]


def test_bodies_go_both_ways_on_one_connection() -> None:
    async def story() -> None:
        async with serving(make_app(ROUTES, "secret"), bind("127.0.0.1", 0)) as address:
            client = HttpClient(address, "secret")
            for size in (0, 10, 300_000):
                answer = await client.send("POST", "/echo", b"x" * size, Body)
                assert answer == Body("POST", size)
            assert (await client.get("/echo", Body)).text == "GET"
            await client.close()

    asyncio.run(story())


def test_a_streamed_body_is_sent_in_chunks() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"y" * 1000

    async def story() -> None:
        async with serving(make_app(ROUTES, None), bind("127.0.0.1", 0)) as address:
            client = HttpClient(address)
            assert (await client.send("POST", "/echo", chunks(), Body)).size == 5000
            await client.close()

    asyncio.run(story())


def test_a_problem_is_raised_with_its_text() -> None:
    async def story() -> None:
        async with serving(make_app(ROUTES, None), bind("127.0.0.1", 0)) as address:
            client = HttpClient(address)
            with pytest.raises(HttpError, match="choose another name") as caught:
                await client.get("/refuse", Body)
            assert caught.value.status == 409
            await client.close()

    asyncio.run(story())


@pytest.mark.parametrize("token", [None, "", "wrong", "secre", "secrets"])
def test_a_missing_or_wrong_token_is_refused(token: str | None) -> None:
    async def story() -> None:
        async with serving(make_app(ROUTES, "secret"), bind("127.0.0.1", 0)) as address:
            client = HttpClient(address, token)
            with pytest.raises(HttpError) as caught:
                await client.get("/echo", Body)
            assert caught.value.status in (400, 401)
            await client.close()

    asyncio.run(story())


def test_health_needs_no_token() -> None:
    async def story() -> None:
        async with serving(make_app(ROUTES, "secret"), bind("127.0.0.1", 0)) as address:
            client = HttpClient(address)
            assert await client.get("/healthz", dict[str, bool]) == {"ok": True}
            await client.close()

    asyncio.run(story())


def test_lines_arrive_as_they_are_sent() -> None:
    async def story() -> None:
        async with serving(make_app(ROUTES, None), bind("127.0.0.1", 0)) as address:
            found = [line async for line in HttpClient(address).lines("/lines")]
            assert [msgspec.json.decode(line)["text"] for line in found] == [
                "line 0",
                "line 1",
                "line 2",
            ]

    asyncio.run(story())


def test_a_port_in_use_is_said_with_what_to_do() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match="choose another port"):
            bind("127.0.0.1", port)


def test_nobody_listening_is_an_os_error() -> None:
    async def story() -> None:
        with bind("127.0.0.1", 0) as probe:
            port = probe.getsockname()[1]
        with pytest.raises(OSError):
            await HttpClient(f"127.0.0.1:{port}").get("/echo", Body)

    asyncio.run(story())


def test_a_server_that_hangs_up_is_a_lost_connection() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionLost):
            await HttpClient(f"127.0.0.1:{port}").get("/echo", Body)
        server.close()

    asyncio.run(story())


def test_requests_of_one_client_share_its_connection() -> None:
    async def story() -> None:
        async with serving(make_app(ROUTES, None), bind("127.0.0.1", 0)) as address:
            client = HttpClient(address)
            ports = {(await client.get("/port", Body)).size for _ in range(5)}
            await client.close()
            assert len(ports) == 1

    asyncio.run(story())
