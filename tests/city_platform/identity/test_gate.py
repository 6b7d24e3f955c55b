"""When an act that its handler begins is kept: with what is done, and before any answer leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from city_platform.group_commit import Statement
from city_platform.identity.gate import ACT, Act, CannotRecord, Gate
from city_platform.identity.operations import OperationTable
from city_platform.identity.wiring import own_caller
from runtime.http import problem

PATH = "/v1/devices/lamp-1/commands"
BEGUN: Statement = ("INSERT INTO acts", ())


class Book:
    """`Recorder` in memory: what happened, in its order."""

    def __init__(self, *, has_room: bool = True, takes: bool = True) -> None:
        self.told: list[Any] = []
        self.has_room = has_room
        self.takes = takes

    def open(self, act: Act) -> Page:
        if not self.has_room:
            raise CannotRecord("full")
        return Page(self)

    async def end(self, act_id: str, act: Act, status: int, reference: str) -> None:
        self.told.append(("ended", act.operation, act.device, status, reference))


class Page:
    """`OpenAct` of a `Book`."""

    id = "control:1"

    def __init__(self, book: Book) -> None:
        self.has_begun = False
        self._book = book

    async def begin(self) -> None:
        if not self._book.takes:
            raise CannotRecord("the disk takes nothing")
        self.has_begun = True
        self._book.told.append("begun")

    async def begin_with(self, keep: Callable[[Statement], Awaitable[None]]) -> None:
        await keep(BEGUN)
        self.has_begun = True


class Tenancy:
    """One tenant's devices."""

    async def tenant_of(self, endpoint: str) -> str | None:
        return "harbour"


class Nobody:
    """`Verifies` where only services come."""

    async def verify(self, token: str) -> Any:
        raise AssertionError(token)


Handler = Callable[[Scope, Book], Awaitable[Any]]


def asked(handler: Handler, book: Book, *, is_late: bool = True) -> httpx.Response:
    """The answer to a command when this handler is behind the gate."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = await handler(scope, book)
        book.told.append("answered")
        await answer(scope, receive, send)

    async def story() -> httpx.Response:
        caller = own_caller("control", ("controller",))
        late = ("issue_command",) if is_late else ()
        gate = Gate(
            app, OperationTable("control"), [("token", caller)], Nobody(), Tenancy(), book, late
        )
        transport = httpx.ASGITransport(gate)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post(PATH, headers={"Authorization": "Bearer token"})

    return asyncio.run(story())


async def keeps(scope: Scope, book: Book) -> Any:
    async def keep(begun: Statement) -> None:
        book.told.append(("kept", begun))

    if ACT in scope:
        await scope[ACT].begin_with(keep)
    answer = problem(202, "accepted")
    answer.headers["Location"] = "/v1/commands/cmd-7"
    return answer


async def refuses(scope: Scope, book: Book) -> Any:
    return problem(422, "invalid command")


ENDED = ("ended", "issue_command", "lamp-1", 202, "cmd-7")


def test_a_handler_begins_its_act_with_what_it_does() -> None:
    book = Book()
    assert asked(keeps, book).status_code == 202
    assert book.told == [("kept", BEGUN), "answered", ENDED]


def test_of_other_operations_the_act_begins_before_the_handler_is_called() -> None:
    book = Book()
    assert asked(keeps, book, is_late=False).status_code == 202
    assert book.told == ["begun", "answered", ENDED]


def test_an_act_that_nobody_began_begins_before_the_answer_leaves() -> None:
    book = Book()
    assert asked(refuses, book).status_code == 422
    assert book.told == ["answered", "begun", ("ended", "issue_command", "lamp-1", 422, "")]


def test_a_refusal_that_cannot_be_kept_does_not_leave() -> None:
    book = Book(takes=False)
    answer = asked(refuses, book)
    assert (answer.status_code, answer.json()["title"]) == (503, "cannot be audited")
    assert book.told == ["answered"]


@pytest.mark.parametrize("is_late", [False, True])
def test_without_room_for_its_act_nothing_is_done(is_late: bool) -> None:
    book = Book(has_room=False)
    assert asked(keeps, book, is_late=is_late).status_code == 503
    assert book.told == []
