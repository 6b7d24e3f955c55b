"""What lists are asked for, and where the next page begins."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final, get_args

from city_platform.control.requests import InvalidRequest
from city_platform.control.rows import CommandRow
from city_platform.control.store import CommandQuery
from contracts.api import CommandState
from contracts.names import is_endpoint_name

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
_ID: Final = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_WHOLE: Final = re.compile(r"[0-9]{1,17}", re.ASCII)

Pairs = Sequence[tuple[str, str]]


def read_query(items: Pairs, endpoint: str | None = None) -> CommandQuery:
    """The question of `GET /v1/commands`, or of a device's. Raises `InvalidRequest`."""
    more = () if endpoint is not None else ("device",)
    given = _once(items, ("state", "from_us", "to_us", "limit", "cursor", *more))
    if "device" in given:
        endpoint = given["device"]
        if not is_endpoint_name(endpoint):
            raise InvalidRequest("device", f"{endpoint[:40]!r} is no endpoint name")
    return CommandQuery(
        endpoint=endpoint,
        state=_state(given),
        from_us=_whole(given, "from_us"),
        to_us=_whole(given, "to_us"),
        before=_before(given),
        limit=_limit(given),
    )


def read_page(items: Pairs) -> tuple[tuple[int, str] | None, int]:
    """Behind which (time, id), and how many. Raises `InvalidRequest`."""
    given = _once(items, ("limit", "cursor"))
    return _before(given), _limit(given)


def read_members_page(items: Pairs) -> tuple[CommandState | None, str, int]:
    """In which state, behind which id, and how many. Raises `InvalidRequest`."""
    given = _once(items, ("state", "limit", "cursor"))
    after = ""
    if "cursor" in given:
        after = _decoded(given["cursor"])
        if not _ID.fullmatch(after):
            raise _bad_cursor()
    return _state(given), after, _limit(given)


def cursor_of_time(at_us: int, row_id: str) -> str:
    """The cursor of the page behind what began then."""
    return _encoded(f"{at_us}:{row_id}")


def cursor_of_member(row: CommandRow) -> str:
    """The cursor of the page behind a member of a group command."""
    return _encoded(row.id)


def _once(items: Pairs, known: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in items:
        if name not in known:
            raise InvalidRequest(name[:40], f"unknown; known are {', '.join(sorted(known))}")
        if name in given:
            raise InvalidRequest(name, "is there twice")
        given[name] = value
    return given


def _state(given: dict[str, str]) -> CommandState | None:
    if "state" not in given:
        return None
    states: tuple[CommandState, ...] = get_args(CommandState)
    for state in states:
        if state == given["state"]:
            return state
    raise InvalidRequest("state", f"must be one of {', '.join(states)}")


def _whole(given: dict[str, str], name: str) -> int | None:
    if name not in given:
        return None
    if not _WHOLE.fullmatch(given[name]):
        raise InvalidRequest(name, "must be Unix microseconds")
    return int(given[name])


def _limit(given: dict[str, str]) -> int:
    text = given.get("limit", str(LIMIT_DEFAULT))
    if not _WHOLE.fullmatch(text) or not 0 < int(text) <= LIMIT_MAX:
        raise InvalidRequest("limit", f"must be a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def _before(given: dict[str, str]) -> tuple[int, str] | None:
    if "cursor" not in given:
        return None
    at_us, colon, row_id = _decoded(given["cursor"]).partition(":")
    if not colon or not _WHOLE.fullmatch(at_us) or not _ID.fullmatch(row_id):
        raise _bad_cursor()
    return int(at_us), row_id


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, b"-_", validate=True).decode("ascii")
    except (UnicodeError, binascii.Error):
        raise _bad_cursor() from None


def _bad_cursor() -> InvalidRequest:
    return InvalidRequest("cursor", "is none of ours: take next_cursor of the page before")
