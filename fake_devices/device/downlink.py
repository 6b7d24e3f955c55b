"""Carries out the requests of a device's servers on its objects (LwM2M Core §6.3, §6.1.7).

Pure: a request and a tree go in; the tree is changed and the answer comes out. What follows from a
change (a new registration, a connection) is for the device to decide; observations and attributes
are `observing`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from contracts.telemetry import ReadingValue
from fake_devices.device.composite import read_composite, write_composite
from fake_devices.device.discover import discover
from fake_devices.device.downlink_bootstrap import carry_out_bootstrap
from fake_devices.device.downlink_read import read
from fake_devices.device.downlink_target import (
    Caller,
    Done,
    Refused,
    code_of,
    resource_at,
    target_of,
)
from fake_devices.device.downlink_write import (
    create,
    delete,
    execute,
    write_replace,
    write_update,
)
from fake_devices.device.tree import CREATABLE_OBJECTS, ObjectTree
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import content_formats
from lwm2m.errors import LwM2mError
from lwm2m.objects import ObjectPath, Value
from lwm2m.reporting import UNCONTROLLED, AccessContext

__all__ = ["CREATABLE_OBJECTS", "Phase", "Served", "serve"]

Phase = Literal["managed", "bootstrap"]


class Served(msgspec.Struct, frozen=True, gc=False):
    """What a request did. `touched` are values or instances that changed, or the resource that was
    executed (none when refused); `value` is what was written, when it was one public value;
    `arguments` are an Execute's, by digit."""

    response: Response
    operation: str
    path: str
    touched: tuple[ObjectPath, ...] = ()
    value: ReadingValue | None = None
    arguments: tuple[tuple[int, str | None], ...] = ()


def serve(
    tree: ObjectTree,
    request: Request,
    *,
    access: AccessContext = UNCONTROLLED,
    phase: Phase = "managed",
) -> Served:
    """Carry one request out on `tree`, wholly or not at all. Never raises on bad input.

    `access` says which server asks; `phase` "bootstrap" that it is the bootstrap server, within a
    bootstrap.
    """
    operation = _NAMES.get(request.code, "read")
    path = "/" + "/".join(request.path)
    try:
        if phase == "bootstrap":
            operation, done = carry_out_bootstrap(tree, request)
            return Served(done.response, operation, path, done.touched)
        caller = Caller.of(tree, access)
        if request.code in _COMPOSITE:
            done = _COMPOSITE[request.code](caller, request)
            return Served(done.response, operation, path, done.touched)
        base = target_of(tree, request.path)
        operation, carry_out = _operation(tree, base, request)
        done = carry_out(caller, base, request)
    except Refused as refusal:
        return Served(Response(refusal.code), operation, path)
    except LwM2mError as error:
        return Served(Response(code_of(error)), operation, path)
    value = _public_value(tree, base) if operation == "write" else None
    return Served(done.response, operation, path, done.touched, value, done.arguments)


_CarryOut = Callable[[Caller, ObjectPath, Request], Done]

_COMPOSITE: Final = {codes.FETCH: read_composite, codes.IPATCH: write_composite}
_NAMES: Final = {
    codes.GET: "read",
    codes.PUT: "write",
    codes.POST: "write",
    codes.DELETE: "delete",
    codes.FETCH: "read_composite",
    codes.IPATCH: "write_composite",
}


def _operation(tree: ObjectTree, base: ObjectPath, request: Request) -> tuple[str, _CarryOut]:
    """What a request means, by method, target and format (LwM2M Core §6.3)."""
    if request.code == codes.GET:
        if request.accept == content_formats.LINK_FORMAT:
            return "discover", discover
        return "read", read
    if request.code == codes.PUT:
        if is_write_attributes(request):
            return "write_attributes", _not_implemented
        return "write", write_replace
    if request.code == codes.POST:
        return _post_operation(tree, base)
    if request.code == codes.DELETE:
        return "delete", delete
    return "read", _not_allowed


def is_write_attributes(request: Request) -> bool:
    """Whether a PUT attaches attributes: it has parameters and no payload (LwM2M Core §6.3.4)."""
    return bool(request.query) and not request.payload and request.content_format is None


def _post_operation(tree: ObjectTree, base: ObjectPath) -> tuple[str, _CarryOut]:
    """POST means Create, Write (partial) or Execute, by what it names."""
    if base.depth == 1:
        return "create", create
    if base.depth == 2:
        return "write", write_update
    resource = resource_at(tree, base)
    if resource.multiple and resource.is_writable and base.depth == 3:
        return "write", write_update
    return "execute", execute


def _not_implemented(caller: Caller, base: ObjectPath, request: Request) -> Done:
    raise Refused(codes.NOT_IMPLEMENTED)


def _not_allowed(caller: Caller, base: ObjectPath, request: Request) -> Done:
    raise Refused(codes.METHOD_NOT_ALLOWED)


def _public_value(tree: ObjectTree, base: ObjectPath) -> ReadingValue | None:
    if base.object_id in tree.template.creatable or base.depth < 3:
        return None
    value: Value | None = tree.get(base)
    return value if isinstance(value, str | int | float | bool) else None
