"""From what control cannot do to RFC 9457 answers that say what to do."""

from __future__ import annotations

import functools
import hashlib
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from city_platform.control.group_service import BeingAccepted
from city_platform.control.members import MembersUnavailable
from city_platform.control.requests import InvalidRequest
from city_platform.control.service import TooManyOpen, Unknown, UnknownDevice
from contracts.names import IllegalName
from runtime.http import BodyTooLarge, problem

IDEMPOTENCY_KEY: Final = "idempotency-key"
KEY_LENGTH_MAX: Final = 256
RETRY_AFTER_S: Final = 5

_UNKNOWN_ADVICE: Final = (
    "it is not in the device directory, and no server has announced it; nothing was sent. Compare"
    " the name, or import the device first"
)

Handler = Callable[[Request], Awaitable[Response]]


def answered(handler: Handler) -> Handler:
    """The handler, whose refusals become problems."""

    @functools.wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except IllegalName as error:
            return problem(422, "illegal endpoint name", str(error))
        except InvalidRequest as error:
            if request.method == "GET":
                return problem(400, "wrong query", str(error))
            return problem(422, "invalid command", str(error))
        except BodyTooLarge as error:
            return problem(413, "request too large", str(error))
        except Unknown as error:
            return problem(404, "unknown command", str(error))
        except UnknownDevice as error:
            return problem(
                404, "unknown device", f"nothing is known of {str(error)!r}: {_UNKNOWN_ADVICE}"
            )
        except BeingAccepted as error:
            return _later(409, "being accepted", f"{error}: ask again in a moment")
        except TooManyOpen as error:
            return _later(503, "too many open commands", f"{error}: try again when some have ended")
        except MembersUnavailable as error:
            return _later(503, "devices cannot be looked up now", f"{error}; nothing was sent")
        except sqlite3.Error as error:
            detail = f"{error}: nothing was changed; try again when the disk takes it"
            return _later(503, "commands cannot be kept now", detail)

    return answer


def key_of(request: Request) -> str | None:
    """The request's Idempotency-Key. Raises `InvalidRequest`."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not 0 < len(key) <= KEY_LENGTH_MAX:
        raise InvalidRequest("Idempotency-Key", f"must have 1 to {KEY_LENGTH_MAX} characters")
    return key


def id_for(prefix: str, *what: str) -> str:
    """The id of what was asked under a key: the same each time."""
    return f"{prefix}-" + hashlib.sha256("\0".join(what).encode()).hexdigest()[:32]


def used_before(what: str) -> Response:
    """The key belongs to another request."""
    return problem(409, "idempotency key used before", what)


def _later(status: int, title: str, detail: str) -> Response:
    answer = problem(status, title, detail)
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer
