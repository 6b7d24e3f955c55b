"""Reads the parameters of requests: each value checked, each refusal says what it may be."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from city_platform.identity.gate import caller_of
from city_platform.identity.operations import operation_named
from runtime.http import problem

TIME_MAX_US: Final = 2**63 - 1
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_PATH: Final = re.compile(r"/?\d{1,5}/\d{1,5}/\d{1,5}(?:/\d{1,5})?", re.ASCII)
_TEXT_LENGTH_MAX: Final = 256
_C = TypeVar("_C", bound=str)


class WrongQuery(ValueError):
    """A parameter cannot be understood; the text names it and what it may be."""


class Query:
    """The parameters of one request. Raises `WrongQuery` for those that are not `known`, and for
    one that is given twice."""

    def __init__(self, request: Request, known: Collection[str]) -> None:
        self._given: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name not in known:
                raise WrongQuery(
                    f"{name[:40]!r} is no parameter; there are {', '.join(sorted(known))}"
                )
            if name in self._given:
                raise WrongQuery(f"{name} is given twice")
            self._given[name] = value

    def text(self, name: str) -> str | None:
        """A text that can be printed, None when it is absent or empty."""
        value = self._given.get(name) or None
        if value is not None and (len(value) > _TEXT_LENGTH_MAX or not value.isprintable()):
            raise WrongQuery(f"{name} has at most {_TEXT_LENGTH_MAX} characters, all printable")
        return value

    def path(self, name: str) -> str | None:
        """A resource's path, with its leading slash."""
        value = self.text(name)
        if value is None:
            return None
        if not _PATH.fullmatch(value):
            raise WrongQuery(f"{name} is a resource's path, such as /3311/0/5851")
        return "/" + value.removeprefix("/")

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number in [least, most]."""
        found = self.optional_number(name, least, most)
        return default if found is None else found

    def optional_number(
        self, name: str, least: int = -TIME_MAX_US, most: int = TIME_MAX_US
    ) -> int | None:
        """The same, None when it is absent."""
        text = self._given.get(name, "")
        if not text:
            return None
        number = int(text) if _NUMBER.fullmatch(text) else None
        if number is None or not least <= number <= most:
            raise WrongQuery(f"{name} is a whole number from {least} to {most}")
        return number

    def seconds(self, name: str, default: float, most: float) -> float:
        """A time in seconds from 0."""
        text = self._given.get(name, "")
        try:
            found = float(text) if text else default
        except ValueError:
            found = -1.0
        if not 0 <= found <= most:
            raise WrongQuery(f"{name} is a number of seconds from 0 to {most:g}")
        return found

    def choices(self, name: str, known: Collection[_C]) -> list[_C] | None:
        """Some of the known words, with commas between them; None when it is absent."""
        text = self._given.get(name, "")
        if not text:
            return None
        found = [one for one in known if one in text.split(",")]
        if len(found) != len(set(text.split(","))):
            raise WrongQuery(f"{name} is one or more of {', '.join(known)}, with commas between")
        return found

    def choice(self, name: str, known: Collection[_C]) -> _C | None:
        """One of the known words."""
        found = self.choices(name, known)
        if found is not None and len(found) != 1:
            raise WrongQuery(f"{name} is one of {', '.join(known)}")
        return None if found is None else found[0]


def tenants_of(request: Request, operation: str, asked: str | None) -> Collection[str] | None:
    """The tenants that an answer may tell of, None: all. Another's is as one that is not there."""
    caller = caller_of(request)
    own = None if caller is None else caller.tenants_for(operation_named(operation))
    if asked is None:
        return own
    return (asked,) if own is None or asked in own else ()


def name_of_caller(request: Request) -> str:
    """Who asks, as the audit log calls them."""
    caller = caller_of(request)
    return "token" if caller is None else caller.name


def wrong_query(error: ValueError) -> Response:
    """The answer to a request that cannot be understood."""
    return problem(400, "wrong query", str(error))


def read_cursor(text: str | None, pattern: re.Pattern[str]) -> Mapping[str, str] | None:
    """The parts of a cursor, None when none is given. Raises `WrongQuery`."""
    if text is None:
        return None
    found = pattern.fullmatch(text)
    if found is None:
        raise WrongQuery("cursor is what the page before gave as next_cursor")
    return found.groupdict()
