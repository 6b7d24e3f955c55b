"""What the HTTP server of every component takes from a peer before a request is whole."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime import http
from runtime.http import HEAD_BYTES_MAX, bind, json_response, make_app, serving
from tests.processes import WITHIN_S

HEAD = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def _echo(request: Request) -> Response:
    return json_response({"bytes": len(await request.body())})


def talk(work: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]) -> bytes:
    """What `work` got over one connection to a server."""

    async def scenario() -> bytes:
        app = make_app([Route("/echo", _echo, methods=["GET", "POST"])], token=None)
        async with asyncio.timeout(WITHIN_S), serving(app, bind("127.0.0.1", 0)) as address:
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                return await work(reader, writer)
            finally:
                writer.close()

    return asyncio.run(scenario())


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server closes; what a reset takes away is not there."""
    found = b""
    try:
        while piece := await reader.read(65_536):
            found += piece
    except ConnectionError:
        pass
    return found


def test_a_header_that_does_not_end_is_refused_and_the_connection_closed() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"X: " + b"a" * HEAD_BYTES_MAX)
        return await until_closed(reader)

    answer = talk(work)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"status":431' in answer


def test_a_peer_cannot_send_more_header_than_that_however_long_it_tries() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"X: ")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"a" * 1_000_000)
                await writer.drain()
        return b""

    talk(work)


@pytest.mark.parametrize("start", [b"GET /" + b"a" * HEAD_BYTES_MAX, b"\r\n" * HEAD_BYTES_MAX])
def test_neither_does_an_address_end_or_the_space_before_a_request(start: bytes) -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(start)
        return await until_closed(reader)

    assert b" 200 " not in talk(work)


def test_trailers_and_chunk_extensions_that_do_not_end_close_the_connection() -> None:
    for endless in (b"0\r\nX: " + b"a" * 2 * HEAD_BYTES_MAX, b"5;" + b"a" * 2 * HEAD_BYTES_MAX):

        async def work(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endless: bytes = endless
        ) -> bytes:
            writer.write(CHUNKED + b"1\r\nx\r\n" + endless)
            return await until_closed(reader)

        assert b" 200 " not in talk(work)


def test_a_head_that_drips_is_given_up_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEAD_WITHIN_S", 0.05)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD)
        return await until_closed(reader)

    assert talk(work).startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_asks_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEAD_WITHIN_S", 0.05)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        return await until_closed(reader)

    assert talk(work).startswith(b"HTTP/1.1 408 ")


def test_a_long_body_and_a_head_of_just_the_allowed_size_are_taken() -> None:
    body = b"b" * 3_000_000
    start = b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3000000\r\nX: "
    filler = b"a" * (HEAD_BYTES_MAX - len(start) - 4)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(start + filler + b"\r\n\r\n" + body)
        return await until_closed(reader)

    assert talk(work).endswith(b'{"bytes":3000000}')


def test_the_time_for_a_head_begins_anew_with_the_next_request() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        found = b""
        for _ in range(3):
            writer.write(CHUNKED + b"1\r\nx\r\n0\r\n\r\n")
            found += await reader.readuntil(b"}")
        return found

    assert talk(work).count(b'{"bytes":1}') == 3


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\n",
    ],
    ids=["tls", "http2", "two_lengths", "length_and_chunks", "no_chunk"],
)
def test_what_is_no_http_is_answered_with_a_problem_and_the_end(sent: bytes) -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(sent)
        return await until_closed(reader)

    answer = talk(work)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert answer.count(b"HTTP/1.1 400") == 1


@pytest.mark.parametrize("start", [CHUNKED + b"5\r\nabc", HEAD + b"Content-Length: 5\r\n\r\nabc"])
def test_a_body_that_stands_still_is_given_up(
    monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(http, "BODY_IDLE_S", 0.05)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(start)
        return await until_closed(reader)

    answer = talk(work)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    assert answer.count(b"HTTP/1.1 4") == 1


async def _fails(request: Request) -> Response:
    raise {"lookup": LookupError("no such lamp"), "other": ValueError("of ours")}[
        request.path_params["what"]
    ]


async def _not_found(request: Request, error: Exception) -> Response:
    return http.problem(404, "not found", str(error))


@pytest.mark.parametrize("is_lane", [False, True], ids=["route", "lane"])
def test_a_lane_answers_as_its_route_does(is_lane: bool) -> None:
    async def story() -> list[tuple[int, str, str]]:
        routes = [
            Route("/fails/{what}", _fails, methods=["POST"]),
            Route("/echo", _echo, methods=["POST"]),
        ]
        lanes = routes if is_lane else []
        app = make_app(routes, "token", {LookupError: _not_found}, lanes)
        # As a server does, the transport passes on what the application could not answer.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        found = []
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            client.headers["Authorization"] = "Bearer token"
            for method, path, token in (
                ("POST", "/echo", "token"),
                ("POST", "/echo", "wrong"),
                ("GET", "/echo", "token"),
                ("POST", "/fails/lookup", "token"),
                ("POST", "/fails/other", "token"),
                ("POST", "/other", "token"),
            ):
                headers = {"Authorization": f"Bearer {token}"}
                answer = await client.request(method, path, content=b"abc", headers=headers)
                found.append((answer.status_code, answer.headers["content-type"], answer.text))
        return found

    found = asyncio.run(story())
    assert [status for status, _, _ in found] == [200, 401, 405, 404, 500, 404]
    assert found[0][1:] == ("application/json", '{"bytes":3}')
    assert all(kind == "application/problem+json" for _, kind, _ in found[1:])
    assert "no such lamp" in found[3][2]


def test_what_a_lane_cannot_answer_is_raised_for_the_servers_log() -> None:
    async def story() -> None:
        route = Route("/fails/{what}", _fails, methods=["POST"])
        transport = httpx.ASGITransport(make_app([route], None, None, [route]))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await client.post("/fails/other")

    with pytest.raises(ValueError, match="of ours"):
        asyncio.run(story())
