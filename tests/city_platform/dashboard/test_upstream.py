"""Requests to a component: what is passed on, tried again, and told when it goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.dashboard.upstream import Upstream, UpstreamUnavailable
from runtime.http import bind, json_response, make_app, problem, serving
from tests.processes import WITHIN_S


async def echo(request: Request) -> Response:
    return json_response(
        {
            "method": request.method,
            "query": str(request.query_params),
            "body": (await request.body()).decode(),
            "authorization": request.headers.get("authorization"),
        }
    )


async def refuse(request: Request) -> Response:
    return problem(413, "too large", "at once, without reading")


@contextlib.asynccontextmanager
async def component(requests_max: int = 64, within_s: float = 30.0) -> AsyncIterator[Upstream]:
    routes = [
        Route("/echo", echo, methods=["GET", "POST"]),
        Route("/refuse", refuse, methods=["POST"]),
    ]
    async with serving(make_app(routes, None), bind("127.0.0.1", 0)) as address:
        upstream = Upstream("thing", address, requests_max=requests_max, within_s=within_s)
        try:
            yield upstream
        finally:
            upstream.close()


def story(tell: Callable[[Upstream], Awaitable[None]], **changes: int) -> None:
    async def whole() -> None:
        async with component(**changes) as upstream:
            await tell(upstream)

    asyncio.run(whole())


def test_requests_side_by_side_get_their_own_answers() -> None:
    async def tell(upstream: Upstream) -> None:
        answers = await asyncio.gather(
            *(upstream.ask("GET", f"/echo?n={n}", token=f"t{n}") for n in range(40))
        )
        for number, answer in enumerate(answers):
            assert f'"n={number}"'.encode() in answer.body
            assert f'"Bearer t{number}"'.encode() in answer.body

    story(tell, requests_max=4)


def test_a_streamed_body_arrives_whole_and_an_error_is_an_answer() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d," % number

    async def tell(upstream: Upstream) -> None:
        async with upstream.request("POST", "/echo", body=pieces()) as answer:
            assert b"97,98,99," in await answer.read()
        assert (await upstream.ask("GET", "/missing")).status == 404

    story(tell)


def test_an_answer_that_comes_before_the_body_is_sent_ends_the_sending() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)

    async def tell(upstream: Upstream) -> None:
        async with asyncio.timeout(WITHIN_S):
            async with upstream.request("POST", "/refuse", body=endless()) as answer:
                assert answer.status == 413

    story(tell)


@pytest.mark.parametrize(
    "reply",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"HTTP/1.1 2"],
)
def test_a_component_that_breaks_http_is_told_by_name(reply: bytes) -> None:
    async def whole() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with server:
            upstream = Upstream("thing", f"{host}:{port}")
            with pytest.raises(UpstreamUnavailable, match="thing"):
                await upstream.ask("GET", "/")

    asyncio.run(whole())


def test_nobody_there_and_no_answer_in_time_are_told_by_name() -> None:
    async def whole() -> None:
        listener = bind("127.0.0.1", 0)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        # It is connected to and never answers.
        with pytest.raises(UpstreamUnavailable, match="thing did not answer"):
            await Upstream("thing", address, within_s=0.05).ask("GET", "/")
        listener.close()
        with pytest.raises(UpstreamUnavailable, match="thing cannot be reached"):
            await Upstream("thing", address).ask("GET", "/")

    asyncio.run(whole())


def test_a_header_cannot_bring_another_header() -> None:
    async def tell(upstream: Upstream) -> None:
        with pytest.raises(UpstreamUnavailable, match="line break"):
            async with upstream.request("GET", "/echo", headers={"Accept": "a\r\nX-Evil: 1"}):
                pass

    story(tell)


def test_a_cancelled_request_frees_its_turn() -> None:
    async def tell(upstream: Upstream) -> None:
        for _ in range(20):
            task = asyncio.ensure_future(upstream.ask("GET", "/echo"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await upstream.ask("GET", "/echo")).status == 200

    story(tell, requests_max=1)
