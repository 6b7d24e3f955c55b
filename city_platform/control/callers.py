"""Who asks, and for which tenants, as the gate before the routes found out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from starlette.requests import Request

from city_platform.control.rows import ISSUED_BY
from city_platform.group_commit import Statement

NAME_LENGTH_MAX: Final = 128
# What bridges keep for themselves: a person of that name is told from it.
_RESERVED: Final = frozenset({"credentials", ISSUED_BY})


def issuer_of(request: Request) -> str:
    """Who is told to have issued a command. Where no gate is, it is control."""
    if "caller" not in request.scope:
        return ISSUED_BY
    # Imported now: who has no gate does not pay for it.
    from city_platform.identity.gate import caller_of

    caller = caller_of(request)
    name = "" if caller is None else caller.name[:NAME_LENGTH_MAX]
    return f"user:{name}" if not name or name in _RESERVED else name


class Begins(Protocol):
    """The act of a request, which the audit log tells: kept with the command that it asks for."""

    async def begin_with(self, keep: Callable[[Statement], Awaitable[None]]) -> None:
        """Begin it by `keep`, which commits a statement with more. Raises what that does."""


def act_of(request: Request) -> Begins | None:
    """The act that the request's handler begins; None where nothing is audited."""
    act: Begins | None = request.scope.get("act")
    return act


def tenant_of_device(request: Request) -> str | None:
    """Whose the device in the path is, as the gate found out; None where nobody has."""
    found = request.scope.get("tenant")
    return found if isinstance(found, str) else None


def tenants_of(request: Request, operation: str) -> tuple[str, ...] | None:
    """The tenants for which the caller may do it; None: all, as where no gate is."""
    if "caller" not in request.scope:
        return None
    from city_platform.identity.gate import caller_of
    from city_platform.identity.operations import operation_named

    caller = caller_of(request)
    if caller is None:
        return ()
    tenants = caller.tenants_for(operation_named(operation))
    return None if tenants is None else tuple(sorted(tenants))


def may_see(tenant: str, tenants: tuple[str, ...] | None) -> bool:
    """Whether what is of this tenant is there for somebody with these."""
    return tenants is None or tenant in tenants
