"""Who asks: a caller with roles by tenant, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from city_platform.identity.config import ALL_TENANTS, Role
from city_platform.identity.operations import OPERATIONS, ROLES, Operation, Scope
from contracts.names import is_tenant_name

CallerKind = Literal["user", "service"]

GROUP_LENGTH_MAX: Final = 192


class Grant(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """A role for a tenant; `*` is every tenant."""

    tenant: str
    role: Role


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `name` is what the audit log calls them, `subject` what the issuer does."""

    kind: CallerKind
    name: str
    subject: str
    grants: frozenset[Grant]

    def may(self, operation: Operation, tenant: str | None) -> bool:
        """Whether one of the roles allows it for this tenant; None is a tenant nobody knows."""
        if operation.scope is Scope.PUBLIC or operation.scope is Scope.SIGNED_IN:
            return True
        tenants = self.tenants_for(operation)
        return tenants is None or (tenant is not None and tenant in tenants)

    def tenants_for(self, operation: Operation) -> frozenset[str] | None:
        """The tenants for which a role allows it; None: all."""
        found = frozenset(one.tenant for one in self.grants if one.role in operation.roles)
        return None if ALL_TENANTS in found else found

    @property
    def operations(self) -> list[str]:
        """The names of what the caller may do, for some tenant at least."""
        return [one.name for one in OPERATIONS if self.may_somewhere(one)]

    def may_somewhere(self, operation: Operation) -> bool:
        """Whether there is a tenant for which it is allowed."""
        if operation.scope in (Scope.PUBLIC, Scope.SIGNED_IN):
            return True
        tenants = self.tenants_for(operation)
        if operation.scope is Scope.INSTALLATION:
            return tenants is None
        return tenants is None or bool(tenants)


def is_tenant(name: str) -> bool:
    """Whether a grant may name this tenant: `*`, or 1 to 128 of `[A-Za-z0-9_.-]`."""
    return name == ALL_TENANTS or is_tenant_name(name)


def group_of(grant: Grant) -> str:
    """The group that a token says a grant with: `<tenant>:<role>`."""
    return f"{grant.tenant}:{grant.role}"


def grants_from(groups: Iterable[str], own_tenant: str | None) -> frozenset[Grant]:
    """The grants that groups say; `own_tenant` is that of groups without one.

    Groups that mean nothing here are no grants: an issuer has groups for other programs. The role
    `service` is for tokens in files alone, and no issuer can give it.
    """
    return frozenset(grant for group in groups if (grant := _grant(group, own_tenant)) is not None)


def _grant(group: str, own_tenant: str | None) -> Grant | None:
    tenant, colon, name = group.rpartition(":")
    where = tenant if colon else own_tenant
    role = _ROLES_BY_NAME.get(name)
    if where is None or role is None or len(group) > GROUP_LENGTH_MAX or not is_tenant(where):
        return None
    if not colon and where == ALL_TENANTS:
        # A tenant claim is often the user's to edit: every tenant is said by a group alone.
        return None
    return Grant(where, role)


_ROLES_BY_NAME: Final[Mapping[str, Role]] = {role: role for role in ROLES if role != "service"}
