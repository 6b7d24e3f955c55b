"""Turns what goes wrong while a request is answered into the problem that the caller sees."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from city_platform.ingestion.intake import IntakeFull
from city_platform.ingestion.pipeline import PASSING
from city_platform.ingestion.queries import WrongQuery, wrong_query
from city_platform.ingestion.spool import SpoolFull
from city_platform.stores.telemetry_queries import QueryTooLarge
from runtime.http import BodyTooLarge, problem

_S = TypeVar("_S")
_Handler = Callable[[_S, Request], Awaitable[Response]]


def answering(handler: _Handler[_S]) -> _Handler[_S]:
    """The handler, with a problem for each of the errors that requests and stores raise."""

    @wraps(handler)
    async def answered(self: _S, request: Request) -> Response:
        try:
            return await handler(self, request)
        except WrongQuery as error:
            return wrong_query(error)
        except QueryTooLarge as error:
            return problem(422, "too much to read", str(error))
        except BodyTooLarge as error:
            return problem(413, "request too large", str(error))
        except (IntakeFull, SpoolFull) as error:
            return _later("nothing is taken just now", error)
        except PASSING as error:
            return _later("the store cannot be used just now", error)

    return answered


def _later(title: str, error: Exception) -> Response:
    answer = problem(503, title, f"{error}: try again later")
    answer.headers["Retry-After"] = "5"
    return answer
