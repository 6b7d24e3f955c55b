"""Which names an endpoint, a tenant and a principal may have."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from contracts.errors import ContractError

ENDPOINT_NAME_LENGTH_MAX = 128
SERVICE_PREFIX = "svc:"

_NAME = re.compile(r"[A-Za-z0-9:_-]{1,128}", re.ASCII)
# Part of the names of groups (`tenant/group`) and of grants (`tenant:role`).
_TENANT = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
# A bridge, or one of its further connections.
_BRIDGE = re.compile(r"bridge(-([2-9]|[1-9][0-9]))?", re.ASCII)

PrincipalKind = Literal["device", "bridge", "bootstrap", "ingestion", "control", "audit", "tap"]


class Principal(NamedTuple):
    """Who is behind a certificate: `identity` is its common name, `server` only a bridge has."""

    kind: PrincipalKind
    identity: str
    server: str = ""


class IllegalName(ContractError):
    """A name that cannot be a topic level, a file name and a thing name at once."""


def is_endpoint_name(name: str) -> bool:
    """Whether `name` may be a device's: 1 to 128 of `[A-Za-z0-9:_-]`, and not a service's."""
    return _NAME.fullmatch(name) is not None and not name.startswith(SERVICE_PREFIX)


def check_endpoint_name(name: str) -> str:
    """Return `name` when it may be an endpoint name. Raises `IllegalName` with the reason."""
    if is_endpoint_name(name):
        return name
    if name.startswith(SERVICE_PREFIX):
        raise IllegalName(
            f"{name[:40]!r}: names that begin with {SERVICE_PREFIX!r} are the platform's own"
        )
    raise IllegalName(
        f"{name[:40]!r}: an endpoint name has 1 to {ENDPOINT_NAME_LENGTH_MAX} "
        "letters, digits, ':', '_' or '-'"
    )


def is_tenant_name(name: str) -> bool:
    """Whether `name` may be a tenant's: 1 to 128 of `[A-Za-z0-9_.-]`."""
    return _TENANT.fullmatch(name) is not None


def check_server_name(name: str) -> str:
    """Return `name` when it may name an LwM2M server: the same letters as an endpoint's."""
    return check_endpoint_name(name)


def service_identity(kind: PrincipalKind, server: str = "") -> str:
    """The certificate identity (and MQTT client id) of one of the platform's own services."""
    return f"{SERVICE_PREFIX}{kind}:{server}" if server else f"{SERVICE_PREFIX}{kind}"


def bridge_identity(server: str, connection: int = 1) -> str:
    """The identity of a bridge's n-th connection to the broker; the first has the bridge's own."""
    number = "" if connection == 1 else f"-{connection}"
    return f"{SERVICE_PREFIX}bridge{number}:{server}"


def principal_of(identity: str) -> Principal:
    """Who has this certificate identity. Raises `IllegalName` for one that nobody may have."""
    if not identity.startswith(SERVICE_PREFIX):
        return Principal("device", check_endpoint_name(identity))
    match identity.removeprefix(SERVICE_PREFIX).split(":", 1):
        case [name, server] if _BRIDGE.fullmatch(name) and _NAME.fullmatch(server):
            return Principal("bridge", identity, server)
        case ["bootstrap" | "ingestion" | "control" | "audit" | "tap" as kind]:
            return Principal(kind, identity)
    raise IllegalName(f"{identity[:60]!r} is not one of the platform's services")
