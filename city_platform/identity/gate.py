"""The gate before a component's HTTP interface: who asks, may they, and what is kept of it.

It knows the operations of the component by the table, and nothing of what they do. What is not in
the table is not let through. Handlers find the caller by `caller_of(request)`.
"""

from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from city_platform.group_commit import Statement
from city_platform.identity.callers import Caller
from city_platform.identity.claims import TokenFault, TokenRefused
from city_platform.identity.operations import HEALTH_PATHS, Match, OperationTable
from city_platform.identity.operations import Scope as TenantScope
from city_platform.store_errors import store_problem
from runtime.http import problem

ANSWER_BYTES_MAX: Final = 4_194_304
# Where in the ASGI scope handlers find the caller.
CALLER: Final = "caller"
# Where they find whose the device in the path is.
TENANT: Final = "tenant"
# Where those of `late_acts` find the act that they begin.
ACT: Final = "act"


class Verifies(Protocol):
    """What tells whose a token is."""

    async def verify(self, token: str) -> Caller:
        """Whose it is. Raises `TokenRefused`."""


class Tenancy(Protocol):
    """Whose a device is."""

    async def tenant_of(self, endpoint: str) -> str | None:
        """The tenant; None when the device is not known."""


class Act(NamedTuple):
    """One request that is audited."""

    operation: str
    who: str
    tenant: str
    device: str
    reference: str = ""


class OpenAct(Protocol):
    """An act that may have begun. What cannot be kept must not be done."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def has_begun(self) -> bool:
        """Whether it is kept that it begins."""

    async def begin(self) -> None:
        """Keep that it begins. Raises `CannotRecord`."""

    async def begin_with(self, keep: Callable[[Statement], Awaitable[None]]) -> None:
        """The same by `keep`, which commits a statement with what is done. Raises what it does."""


class Recorder(Protocol):
    """Keeps acts."""

    def open(self, act: Act) -> OpenAct:
        """An act that has not begun. Raises `CannotRecord` when there is no room for it."""

    async def end(self, act_id: str, act: Act, status: int, reference: str) -> None:
        """Keep how it ended: the HTTP status, and what its answer refers to."""


class CannotRecord(Exception):
    """An act cannot be kept now."""


class Gate:
    """Lets through what the table of roles allows. `services` are programs' tokens.

    An act begins before its handler is called. Handlers of the operations in `late_acts` find it in
    their scope and begin it in one commit with what they do, and before they do anything else; it
    begins at the latest before an answer leaves.
    """

    def __init__(
        self,
        app: ASGIApp,
        table: OperationTable,
        services: Sequence[tuple[str, Caller]],
        verifier: Verifies,
        tenancy: Tenancy,
        recorder: Recorder | None,
        late_acts: Collection[str] = (),
    ) -> None:
        self._app = app
        self._table = table
        self._services = [(token.encode(), caller) for token, caller in services]
        self._verifier = verifier
        self._tenancy = tenancy
        self._recorder = recorder
        self._late_acts = frozenset(late_acts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        match = self._table.find(scope["method"], scope["path"])
        if match is not None and match.operation.scope is TenantScope.PUBLIC:
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._authenticate(scope)
        except TokenRefused as error:
            await _not_signed_in(error)(scope, receive, send)
            return
        if match is None:
            await self._unknown(scope)(scope, receive, send)
            return
        await self._authorise(match, caller, scope, receive, send)

    async def _authenticate(self, scope: Scope) -> Caller:
        token = _bearer(scope)
        given = token.encode()
        found: Caller | None = None
        for expected, caller in self._services:
            # Every one is compared: how long it takes tells nothing.
            if hmac.compare_digest(given, expected):
                found = caller
        return found or await self._verifier.verify(token)

    async def _authorise(
        self, match: Match, caller: Caller, scope: Scope, receive: Receive, send: Send
    ) -> None:
        operation = match.operation
        try:
            tenant = await self._tenant(match, scope)
        except sqlite3.OperationalError as error:
            await store_problem(error)(scope, receive, send)
            return
        names = match.names
        act = Act(
            operation.name, caller.name, tenant or "",
            device=names.get("endpoint", ""),
            reference=next((each for name, each in names.items() if name != "endpoint"), ""),
        )  # fmt: skip
        if not self._is_allowed(match, caller, tenant):
            if operation.is_audited:
                await self._record_denied(act)
            await _denied(match, caller)(scope, receive, send)
            return
        scope[CALLER] = caller
        scope[TENANT] = tenant
        if operation.scope is TenantScope.ANSWER:
            await self._through_answer(match, caller, scope, receive, send)
        elif operation.is_audited and self._recorder is not None:
            await self._through_recorded(self._recorder, act, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _tenant(self, match: Match, scope: Scope) -> str | None:
        if match.operation.scope is TenantScope.QUERY:
            named = QueryParams(scope.get("query_string", b"")).getlist("tenant")
            # Of two a handler might take the other one.
            return named[0] if len(named) == 1 else None
        if match.operation.scope is not TenantScope.DEVICE:
            return None
        return await self._tenancy.tenant_of(match.names["endpoint"])

    def _is_allowed(self, match: Match, caller: Caller, tenant: str | None) -> bool:
        if match.operation.scope in (TenantScope.DEVICE, TenantScope.QUERY):
            return caller.may(match.operation, tenant)
        return caller.may_somewhere(match.operation)

    async def _through_recorded(
        self, recorder: Recorder, act: Act, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            begun = recorder.open(act)
            if act.operation in self._late_acts:
                scope[ACT] = begun
            else:
                await begun.begin()
        except CannotRecord as error:
            await _not_audited(error)(scope, receive, send)
            return
        watch = _Watch(scope, receive, send, begun)
        try:
            await self._app(scope, receive, watch)
        finally:
            if begun.has_begun:
                await recorder.end(begun.id, act, watch.status, watch.reference)

    async def _record_denied(self, act: Act) -> None:
        if self._recorder is None:
            return
        try:
            begun = self._recorder.open(act)
            await begun.begin()
            await self._recorder.end(begun.id, act, 403, "")
        except CannotRecord:
            # It was refused all the same; the counters of the outbox tell.
            return

    async def _through_answer(
        self, match: Match, caller: Caller, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Whose the device is, is known when the answer names it; until then nothing leaves."""
        held = _Held()
        await self._app(scope, receive, held)
        if held.status == 200:
            endpoint = _endpoint_in(held.body)
            tenant = None if endpoint is None else await self._tenancy.tenant_of(endpoint)
            if not caller.may(match.operation, tenant):
                await _denied(match, caller)(scope, receive, send)
                return
        for message in held.messages:
            await send(message)

    def _unknown(self, scope: Scope) -> Response:
        methods = self._table.methods(scope["path"])
        if not methods:
            return problem(404, "no such operation", f"{scope['method']} {scope['path'][:200]}")
        answer = problem(405, "wrong method", f"it has {', '.join(methods)}")
        answer.headers["Allow"] = ", ".join(methods)
        return answer


def caller_of(request: Request) -> Caller | None:
    """Who asks, as the gate found out; None where no gate is."""
    found = request.scope.get(CALLER)
    return found if isinstance(found, Caller) else None


def _bearer(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, credentials = (given[0] if len(given) == 1 else b"").partition(b" ")
    # RFC 9110 §11.1: the scheme is case-insensitive.
    if scheme.lower() != b"bearer" or not credentials.strip():
        raise TokenRefused(TokenFault.MISSING)
    try:
        return credentials.strip().decode("ascii")
    except UnicodeDecodeError:
        raise TokenRefused(TokenFault.MALFORMED) from None


def _not_signed_in(error: TokenRefused) -> Response:
    answer = problem(401, "not signed in", str(error))
    # RFC 6750 §3: no error code when no token was sent at all.
    is_missing = error.fault is TokenFault.MISSING
    answer.headers["WWW-Authenticate"] = "Bearer" if is_missing else 'Bearer error="invalid_token"'
    return answer


def _denied(match: Match, caller: Caller) -> Response:
    operation = match.operation
    roles = " or ".join(operation.roles) or "nobody's"
    if operation.scope is TenantScope.INSTALLATION:
        where = " for all tenants"
    elif operation.scope is TenantScope.QUERY:
        where = " for the tenant that ?tenant= names, or for all tenants when it names none"
    elif caller.may_somewhere(operation):
        # The same for a device of another tenant and for none: which of them is not theirs to know.
        where = " for the tenant whose device this is, if there is such a device"
    else:
        where = ""
    return problem(403, "not allowed", f"{operation.name} needs the role {roles}{where}")


def _not_audited(error: CannotRecord) -> Response:
    return problem(503, "cannot be audited", f"{error}: try again later")


def _endpoint_in(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Named).endpoint
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class _Named(msgspec.Struct, frozen=True):
    endpoint: str


class _Watch:
    """Passes an answer on once its act has begun; remembers its status and what its `Location`
    names."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, act: OpenAct) -> None:
        self.status = 500
        self.reference = ""
        self._scope, self._receive, self._send = scope, receive, send
        self._act = act
        self._is_replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            location = _header(message.get("headers", ()), b"location")
            self.reference = location.rpartition(b"/")[2].decode("latin-1")
            if not self._act.has_begun:
                await self._begin()
        if not self._is_replaced:
            await self._send(message)

    async def _begin(self) -> None:
        try:
            await self._act.begin()
        except CannotRecord as error:
            # Whoever was to begin it refused, and has done nothing.
            self._is_replaced = True
            await _not_audited(error)(self._scope, self._receive, self._send)


class _Held:
    """Keeps an answer back."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status = 500
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self._parts.append(message.get("body", b""))
            self._size += len(self._parts[-1])
            if self._size > ANSWER_BYTES_MAX:
                raise ValueError("an answer that is looked into is larger than may be")
        self.messages.append(message)


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    return next((value for name, value in headers if name == wanted), b"")
