"""Correlation ids: taken from a request or drawn, answered, and there for the log."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.correlation import Correlated, correlation_id, taken_from
from runtime.http import bind, make_app, serving
from tests.processes import WITHIN_S

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-request-id": "a-1.b_2:c"}, "a-1.b_2:c"),
        ({"x-request-id": " padded "}, "padded"),
        # The example of W3C Trace Context §3.2.
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
        ({"traceparent": f"01-{TRACE}-00f067aa0ba902b7-01-more"}, TRACE),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "x-request-id": "mine"}, "mine"),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "x-request-id": "not one"}, TRACE),
    ],
)
def test_a_request_s_id_is_taken(headers: dict[str, str], expected: str) -> None:
    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert taken_from(given) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-request-id": ""},
        {"x-request-id": "x" * 129},
        {"x-request-id": 'a"b'},
        {"x-request-id": "a b"},
        {"x-request-id": "a\x1b[31m"},
        {"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"},
        {"traceparent": f"ff-{TRACE}-00f067aa0ba902b7-01"},
        {"traceparent": f"00-{TRACE.upper()}-00f067aa0ba902b7-01"},
        {"traceparent": "00-short-1-1"},
    ],
)
def test_what_could_be_no_id_is_not_taken(headers: dict[str, str]) -> None:
    assert taken_from([(name.encode(), value.encode()) for name, value in headers.items()]) == ""


def test_each_request_has_its_own_id_in_handler_and_answer() -> None:
    begun = asyncio.Event

    async def story() -> None:
        both, waiting = begun(), []

        async def told(request: Request) -> Response:
            # Two at one time: neither sees the other's.
            waiting.append(correlation_id())
            if len(waiting) == 2:
                both.set()
            await both.wait()
            return Response(correlation_id())

        app = Correlated(make_app([Route("/", told)], None), lambda size: b"\xab" * size)
        async with (
            serving(app, bind("127.0.0.1", 0)) as address,
            httpx.AsyncClient(base_url=f"http://{address}", timeout=WITHIN_S) as client,
        ):
            mine, drawn = await asyncio.gather(
                client.get("/", headers={"X-Request-Id": "mine"}), client.get("/")
            )
            refused = await client.get("/nowhere")
        assert mine.text == mine.headers["x-request-id"] == "mine"
        assert drawn.text == drawn.headers["x-request-id"] == "abababababababab-1"
        assert refused.headers["x-request-id"] == "abababababababab-2"
        assert correlation_id() == ""

    asyncio.run(story())


def test_an_answer_that_was_passed_on_has_one_id() -> None:
    async def story() -> None:
        async def told(request: Request) -> Response:
            return Response(headers={"X-Request-Id": "of-another"})

        app = Correlated(make_app([Route("/", told)], None), bytes)
        async with (
            serving(app, bind("127.0.0.1", 0)) as address,
            httpx.AsyncClient(base_url=f"http://{address}", timeout=WITHIN_S) as client,
        ):
            answer = await client.get("/", headers={"X-Request-Id": "mine"})
        assert answer.headers.get_list("x-request-id") == ["mine"]

    asyncio.run(story())
