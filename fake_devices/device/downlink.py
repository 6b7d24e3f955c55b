"""Carries out the requests of a device's server on its objects (LwM2M Core §6.3).

Pure: a request and a tree go in; the tree is changed and the answer comes out. What follows from a
change (a new registration, a connection) is for the device to decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from contracts.telemetry import ReadingValue
from fake_devices.device.account import BROKER_OBJECT, PUBLICATION_OBJECT
from fake_devices.device.tree import ObjectTree
from fake_devices.devices import Changes
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import Node, content_formats, decode_payload, encode_payload, link_format
from lwm2m.errors import (
    IllegalPath,
    InvalidValue,
    LwM2mError,
    MalformedPayload,
    OperationNotAllowed,
    UnsupportedContentFormat,
)
from lwm2m.objects import (
    ID_MAX,
    ObjectPath,
    ResourceModel,
    Value,
    check_operation,
    check_path,
    check_value,
    missing_mandatory,
)

# Never told to a server outside bootstrap (LwM2M Core §6.1.7): Security, OSCORE, COSE.
_BOOTSTRAP_OBJECTS: Final = frozenset({0, 21, 23})
# Instances of these can be created and deleted; all others are soldered in.
CREATABLE_OBJECTS: Final = (BROKER_OBJECT, PUBLICATION_OBJECT)
_INSTANCES_PER_OBJECT_MAX: Final = 16
# LwM2M Core §6.3.5: digits, each with a quoted value if any, separated by commas.
_ARGUMENTS: Final = re.compile(rb"[0-9](='[^']*')?(,[0-9](='[^']*')?)*")


class Served(msgspec.Struct, frozen=True, gc=False):
    """What a request did. `touched` are values or instances that changed (none when refused);
    `value` is what was written, when it was one public value."""

    response: Response
    operation: str
    path: str
    touched: tuple[ObjectPath, ...] = ()
    value: ReadingValue | None = None


class _Refused(Exception):
    """Answer with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(codes.code_text(code))
        self.code = code


def serve(tree: ObjectTree, request: Request) -> Served:
    """Carry one request out on `tree`, wholly or not at all. Never raises on bad input."""
    operation, carry_out = _OPERATIONS.get(request.code, ("read_composite", _not_implemented))
    path = "/" + "/".join(request.path)
    try:
        base = _target(tree, request)
        if request.code == codes.GET and request.accept == content_formats.LINK_FORMAT:
            operation, carry_out = "discover", _discover
        elif request.code == codes.POST:
            operation, carry_out = _post_operation(tree, base)
        elif request.code == codes.PUT and not request.payload and request.query:
            operation, carry_out = "write_attributes", _not_implemented
        response, touched = carry_out(tree, base, request)
    except _Refused as refusal:
        return Served(Response(refusal.code), operation, path)
    except LwM2mError as error:
        return Served(Response(_code_of(error)), operation, path)
    value = _public_value(tree, base) if operation == "write" else None
    return Served(response, operation, path, touched, value)


def _target(tree: ObjectTree, request: Request) -> ObjectPath:
    if not 1 <= len(request.path) <= 4 or request.path == ("",):
        raise _Refused(codes.METHOD_NOT_ALLOWED)
    try:
        base = ObjectPath.of_segments(request.path)
        check_path(tree.template.models, base)
    except IllegalPath:
        raise _Refused(codes.NOT_FOUND) from None
    if base.object_id in _BOOTSTRAP_OBJECTS:
        raise _Refused(codes.UNAUTHORIZED)
    if not _has_object(tree, base.object_id):
        raise _Refused(codes.NOT_FOUND)
    if base.depth == 1:
        return base
    if base.instance not in tree.instances:
        raise _Refused(codes.NOT_FOUND)
    if base.depth > 2 and base.resource_id not in tree.template.models[base.object_id].resources:
        raise _Refused(codes.NOT_FOUND)
    return base


def _has_object(tree: ObjectTree, object_id: int) -> bool:
    return object_id in CREATABLE_OBJECTS or any(
        instance.object_id == object_id for instance in tree.instances
    )


# ---- read, discover ----


def _read(tree: ObjectTree, base: ObjectPath, request: Request) -> tuple[Response, _Touched]:
    models = tree.template.models
    if base.depth > 2:
        check_operation(_resource(tree, base), "R")
    nodes = [
        Node(path, tree[path])
        for path in tree.values_beneath(base)
        if _resource(tree, path).is_readable
    ]
    if base.depth > 2 and not nodes:
        raise _Refused(codes.NOT_FOUND)
    wanted = content_formats.SENML_CBOR if request.accept is None else request.accept
    try:
        payload = encode_payload(wanted, base, nodes, models)
    except (UnsupportedContentFormat, IllegalPath):
        # No such format, or one for single values and this is not one.
        raise _Refused(codes.NOT_ACCEPTABLE) from None
    return Response(codes.CONTENT, payload, wanted), ()


def _discover(tree: ObjectTree, base: ObjectPath, request: Request) -> tuple[Response, _Touched]:
    if base.depth > 3:
        raise _Refused(codes.METHOD_NOT_ALLOWED)
    if base.depth == 3 and not _supports(tree, base):
        raise _Refused(codes.NOT_FOUND)
    links = [_link(tree, path) for path in _discoverable(tree, base)]
    payload = link_format.encode(links)
    return Response(codes.CONTENT, payload, content_formats.LINK_FORMAT), ()


def _discoverable(tree: ObjectTree, base: ObjectPath) -> list[ObjectPath]:
    instances = [each for each in tree.instances_of(base.object_id) if _meets(each, base)]
    found = [base.object] if base.depth == 1 else []
    for instance in instances:
        if base.depth < 3:
            found.append(instance)
        found += [each for each in _resources(tree, instance) if base.contains(each)]
    return found


def _meets(instance: ObjectPath, base: ObjectPath) -> bool:
    return base.depth == 1 or base.instance == instance


def _resources(tree: ObjectTree, instance: ObjectPath) -> list[ObjectPath]:
    valued = {path.resource for path in tree.values_beneath(instance)}
    executable = {path for path in tree.template.executable if instance.contains(path)}
    return sorted(valued | executable)


def _link(tree: ObjectTree, path: ObjectPath) -> link_format.Link:
    attributes: dict[str, str] = {}
    version = tree.template.models[path.object_id].version
    if path.depth == 1 and version != "1.0":
        attributes["ver"] = version
    elif path.depth == 3 and _resource(tree, path).multiple:
        attributes["dim"] = str(len(tree.values_beneath(path)))
    return link_format.Link(str(path), attributes)


# ---- write ----


def _write_replace(
    tree: ObjectTree, base: ObjectPath, request: Request
) -> tuple[Response, _Touched]:
    if base.depth == 1:
        raise _Refused(codes.METHOD_NOT_ALLOWED)
    changes = _decode_changes(tree, base, request)
    stale = [path for path in _writable_beneath(tree, base) if path not in changes]
    if base.depth == 2:
        given = {path.resource_id for path in changes if path.resource_id is not None}
        if missing_mandatory(tree.template.models[base.object_id], given):
            raise _Refused(codes.BAD_REQUEST)
    elif base.depth == 3 and not changes:
        raise _Refused(codes.BAD_REQUEST)
    tree.remove(stale)
    tree.apply(changes)
    return Response(codes.CHANGED), (*changes, *stale)


def _write_update(
    tree: ObjectTree, base: ObjectPath, request: Request
) -> tuple[Response, _Touched]:
    changes = _decode_changes(tree, base, request)
    tree.apply(changes)
    return Response(codes.CHANGED), tuple(changes)


def _decode_changes(tree: ObjectTree, base: ObjectPath, request: Request) -> Changes:
    if base.depth > 2:
        check_operation(_resource(tree, base), "W")
    changes = _decode(tree, base, request)
    for path in changes:
        resource = _resource(tree, path)
        if not base.contains(path) or not _supports(tree, path):
            raise _Refused(codes.NOT_FOUND if base.depth > 2 else codes.BAD_REQUEST)
        check_operation(resource, "W")
    return changes


def _decode(tree: ObjectTree, base: ObjectPath, request: Request) -> Changes:
    if request.content_format is None:
        # LwM2M Core §6.3.3: every Write says its format.
        raise _Refused(codes.BAD_REQUEST)
    nodes = decode_payload(request.content_format, base, request.payload, tree.template.models)
    for path, value in nodes:
        resource = _resource(tree, path)
        if resource.multiple is not (path.resource_instance_id is not None):
            raise _Refused(codes.BAD_REQUEST)
        check_value(resource, value)
    return dict(nodes)


def _writable_beneath(tree: ObjectTree, base: ObjectPath) -> list[ObjectPath]:
    if base.depth == 4 or (base.depth == 3 and not _resource(tree, base).multiple):
        return [base]
    return [path for path in tree.values_beneath(base) if _resource(tree, path).is_writable]


# ---- create, delete, execute ----


def _create(tree: ObjectTree, base: ObjectPath, request: Request) -> tuple[Response, _Touched]:
    if base.object_id not in CREATABLE_OBJECTS:
        raise _Refused(codes.METHOD_NOT_ALLOWED)
    existing = tree.instances_of(base.object_id)
    if len(existing) >= _INSTANCES_PER_OBJECT_MAX:
        raise _Refused(codes.SERVICE_UNAVAILABLE)
    values = _decode(tree, base, request)
    named = {path.instance_id for path in values}
    if len(named) > 1:
        raise _Refused(codes.BAD_REQUEST)
    wanted = named.pop() if named else None
    instance = _new_instance(base, existing, wanted)
    if instance.instance_id != wanted:
        values = {
            path._replace(instance_id=instance.instance_id): value for path, value in values.items()
        }
    given = [path.resource_id for path in values if path.resource_id is not None]
    if instance in existing or missing_mandatory(tree.template.models[base.object_id], given):
        raise _Refused(codes.BAD_REQUEST)
    tree.create_instance(instance, values)
    return Response(codes.CREATED, location_path=instance.segments), (instance, *values)


def _new_instance(
    base: ObjectPath, existing: Sequence[ObjectPath], wanted: int | None
) -> ObjectPath:
    if wanted is not None and wanted <= ID_MAX:
        return base.child(wanted)
    taken = {each.instance_id for each in existing}
    return base.child(next(number for number in range(ID_MAX) if number not in taken))


def _delete(tree: ObjectTree, base: ObjectPath, request: Request) -> tuple[Response, _Touched]:
    if base.depth != 2 or base.object_id not in CREATABLE_OBJECTS:
        raise _Refused(codes.METHOD_NOT_ALLOWED)
    tree.delete_instance(base)
    return Response(codes.DELETED), (base,)


def _execute(tree: ObjectTree, base: ObjectPath, request: Request) -> tuple[Response, _Touched]:
    if not _supports(tree, base):
        raise _Refused(codes.NOT_FOUND)
    check_operation(_resource(tree, base), "E")
    if request.content_format not in (None, content_formats.TEXT):
        raise _Refused(codes.UNSUPPORTED_CONTENT_FORMAT)
    if request.payload and not _ARGUMENTS.fullmatch(request.payload):
        raise _Refused(codes.BAD_REQUEST)
    return Response(codes.CHANGED), (base,)


def _not_implemented(
    tree: ObjectTree, base: ObjectPath, request: Request
) -> tuple[Response, _Touched]:
    raise _Refused(codes.NOT_IMPLEMENTED)


# ---- what an operation is, and what it may touch ----

_Touched = tuple[ObjectPath, ...]
_CarryOut = Callable[[ObjectTree, ObjectPath, Request], tuple[Response, _Touched]]

_OPERATIONS: Final[dict[int, tuple[str, _CarryOut]]] = {
    codes.GET: ("read", _read),
    codes.PUT: ("write", _write_replace),
    codes.POST: ("write", _write_update),
    codes.DELETE: ("delete", _delete),
    codes.FETCH: ("read_composite", _not_implemented),
    codes.IPATCH: ("write_composite", _not_implemented),
}


def _post_operation(tree: ObjectTree, base: ObjectPath) -> tuple[str, _CarryOut]:
    """POST means Create, Write (update) or Execute, by what it names (LwM2M Core §6.3)."""
    if base.depth == 1:
        return "create", _create
    if base.depth == 2:
        return "write", _write_update
    resource = _resource(tree, base)
    if resource.multiple and resource.is_writable and base.depth == 3:
        return "write", _write_update
    return "execute", _execute


def _resource(tree: ObjectTree, path: ObjectPath) -> ResourceModel:
    model = tree.template.models[path.object_id]
    found = None if path.resource_id is None else model.resources.get(path.resource_id)
    if found is None:
        raise _Refused(codes.BAD_REQUEST)
    return found


def _supports(tree: ObjectTree, path: ObjectPath) -> bool:
    """Whether this device has the resource: all of the MQTT objects, else what its model has."""
    if path.object_id in CREATABLE_OBJECTS:
        return True
    resource = path.resource
    return (
        path in tree
        or resource in tree.template.executable
        or any(resource.contains(each) for each in tree)
    )


def _public_value(tree: ObjectTree, base: ObjectPath) -> ReadingValue | None:
    if base.object_id in CREATABLE_OBJECTS or base.depth < 3:
        return None
    value: Value | None = tree.get(base)
    return value if isinstance(value, str | int | float | bool) else None


def _code_of(error: LwM2mError) -> int:
    if isinstance(error, UnsupportedContentFormat):
        return codes.UNSUPPORTED_CONTENT_FORMAT
    if isinstance(error, OperationNotAllowed):
        return codes.METHOD_NOT_ALLOWED
    if isinstance(error, MalformedPayload | InvalidValue | IllegalPath):
        return codes.BAD_REQUEST
    return codes.INTERNAL_SERVER_ERROR
