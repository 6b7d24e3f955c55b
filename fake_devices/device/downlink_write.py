"""Write (replace and partial), Create, Delete and Execute (LwM2M Core §6.3.3 to §6.3.6)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from fake_devices.device.downlink_read import speaks
from fake_devices.device.downlink_target import (
    Caller,
    Done,
    Refused,
    require_no_query,
    resource_at,
)
from fake_devices.device.tree import ObjectTree, Shape
from fake_devices.devices import Changes
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import content_formats, decode_payload
from lwm2m.errors import UnsupportedContentFormat
from lwm2m.objects import (
    ID_MAX,
    NULL_ID,
    ObjectPath,
    Value,
    check_operation,
    check_value,
    missing_mandatory,
)
from lwm2m.reporting import Right, find_control, new_control

INSTANCES_PER_OBJECT_MAX: Final = 16
# LwM2M Core §6.3.5: digits, each with a quoted value if any, separated by commas.
_ARGUMENT: Final = re.compile(r"([0-9])(?:='([^']*)')?(?:,(?=.)|\Z)", re.ASCII | re.DOTALL)


def write_replace(caller: Caller, base: ObjectPath, request: Request) -> Done:
    """PUT: the values given, and no others, are there afterwards."""
    tree = caller.tree
    if base.depth == 1:
        raise Refused(codes.METHOD_NOT_ALLOWED)
    changes = _decode_changes(caller, base, request)
    stale = [path for path in _writable_beneath(tree, base) if path not in changes]
    if base.depth == 2:
        given = {path.resource_id for path in changes if path.resource_id is not None}
        if missing_mandatory(tree.template.models[base.object_id], given):
            raise Refused(codes.BAD_REQUEST)
    elif base.depth == 3 and not changes and not resource_at(tree, base).multiple:
        raise Refused(codes.BAD_REQUEST)
    tree.remove(stale)
    tree.apply(changes)
    return Done(Response(codes.CHANGED), (*changes, *stale))


def write_update(caller: Caller, base: ObjectPath, request: Request) -> Done:
    """POST: the values given change or are added, others stay."""
    changes = _decode_changes(caller, base, request)
    caller.tree.apply(changes)
    return Done(Response(codes.CHANGED), tuple(changes))


def create(caller: Caller, base: ObjectPath, request: Request) -> Done:
    """POST on an object: one more instance, or several that are named; they are its creator's."""
    tree = caller.tree
    require_no_query(request.query)
    if base.object_id not in tree.template.creatable:
        raise Refused(codes.METHOD_NOT_ALLOWED)
    caller.require(Right.CREATE, base)
    existing = tree.instances_of(base.object_id)
    model = tree.template.models[base.object_id]
    if existing and not model.multiple:
        raise Refused(codes.METHOD_NOT_ALLOWED)
    if len(existing) >= INSTANCES_PER_OBJECT_MAX:
        raise Refused(codes.SERVICE_UNAVAILABLE)
    values = decode_values(tree, base, request)
    shape = tree.template.shape_of(base.object_id, tuple(values))
    if len(shape.instances) > 1:
        return _create_several(caller, existing, shape, values)
    wanted = shape.instances[0] if shape.instances else base
    is_named = wanted.instance_id is not None and wanted.instance_id <= ID_MAX
    instance = wanted if is_named else _first_free(base, existing)
    if not is_named:
        values = {
            path._replace(instance_id=instance.instance_id): value for path, value in values.items()
        }
    if instance in existing or shape.is_incomplete:
        raise Refused(codes.BAD_REQUEST)
    if not model.multiple and instance.instance_id != 0:
        raise Refused(codes.BAD_REQUEST)
    tree.create_instance(instance, values)
    owned = _own(caller, instance)
    return Done(
        Response(codes.CREATED, location_path=instance.segments), (instance, *values, *owned)
    )


def delete(caller: Caller, base: ObjectPath, request: Request) -> Done:
    """DELETE: an object instance; from LwM2M 1.2 on a resource instance as well."""
    tree = caller.tree
    require_no_query(request.query)
    if base.depth == 4 and tree.template.lwm2m_version >= "1.2":
        return _delete_resource_instance(caller, base)
    if base.depth != 2 or base.object_id not in tree.template.deletable:
        raise Refused(codes.METHOD_NOT_ALLOWED)
    caller.require(Right.DELETE, base)
    return Done(Response(codes.DELETED), delete_instances(tree, [base]))


def delete_instances(tree: ObjectTree, instances: Iterable[ObjectPath]) -> tuple[ObjectPath, ...]:
    """Remove object instances, each with the instance of /2 that governs it; what is gone."""
    gone: list[ObjectPath] = []
    for instance in instances:
        control = find_control(instance, tree.instances, tree)
        tree.delete_instance(instance)
        gone.append(instance)
        if control is not None:
            tree.delete_instance(control)
            gone.append(control)
    return tuple(gone)


def execute(caller: Caller, base: ObjectPath, request: Request) -> Done:
    """POST on an executable resource; what then happens is for the device."""
    tree = caller.tree
    require_no_query(request.query)
    caller.require(Right.EXECUTE, base)
    if not tree.supports(base):
        raise Refused(codes.NOT_FOUND)
    check_operation(resource_at(tree, base), "E")
    if base not in tree.template.executable and base.object_id not in tree.template.creatable:
        raise Refused(codes.NOT_FOUND)
    if request.content_format not in (None, content_formats.TEXT):
        raise Refused(codes.UNSUPPORTED_CONTENT_FORMAT)
    return Done(Response(codes.CHANGED), (base,), parse_arguments(request.payload))


def parse_arguments(payload: bytes) -> tuple[tuple[int, str | None], ...]:
    """The arguments of an Execute: digits with their values, None without one.

    Raises `Refused` 4.00 for anything else, and for a digit that comes twice.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise Refused(codes.BAD_REQUEST) from None
    found: dict[int, str | None] = {}
    at = 0
    while at < len(text):
        argument = _ARGUMENT.match(text, at)
        if argument is None or int(argument[1]) in found:
            raise Refused(codes.BAD_REQUEST)
        found[int(argument[1])] = argument[2]
        at = argument.end()
    return tuple(found.items())


def decode_values(tree: ObjectTree, base: ObjectPath, request: Request) -> Changes:
    """The checked values of a request's payload. Raises `Refused` or an error of the codecs."""
    if request.content_format is None:
        # LwM2M Core §6.3.3: every Write says its format.
        raise Refused(codes.BAD_REQUEST)
    if not speaks(tree, request.content_format):
        raise UnsupportedContentFormat(request.content_format)
    if request.content_format == content_formats.SENML_CBOR:
        values = tree.template.packs.values(base, request.payload)
        if values is not None:
            return values
    nodes = decode_payload(request.content_format, base, request.payload, tree.template.models)
    for path, value in nodes:
        check_node(tree, path, value)
    return dict(nodes)


def check_node(tree: ObjectTree, path: ObjectPath, value: Value) -> None:
    """Return when the value fits its resource. Raises `Refused` 4.00 or `InvalidValue`."""
    resource = resource_at(tree, path)
    if resource.multiple is not (path.resource_instance_id is not None):
        raise Refused(codes.BAD_REQUEST)
    check_value(resource, value)


def require_not_emptied(
    tree: ObjectTree,
    resource: ObjectPath,
    removed: Collection[ObjectPath],
    added: Iterable[ObjectPath] = (),
) -> None:
    """Return when a mandatory resource keeps an instance. Raises `Refused` 4.05."""
    left = {*tree.values_beneath(resource), *added}.difference(removed)
    if resource_at(tree, resource).mandatory and not any(resource.contains(each) for each in left):
        raise Refused(codes.METHOD_NOT_ALLOWED)


def _decode_changes(caller: Caller, base: ObjectPath, request: Request) -> Changes:
    tree = caller.tree
    require_no_query(request.query)
    caller.require(Right.WRITE, base)
    if base.depth > 2:
        check_operation(resource_at(tree, base), "W")
    changes = decode_values(tree, base, request)
    for path in changes:
        if not base.contains(path) or not tree.supports(path):
            raise Refused(codes.NOT_FOUND if base.depth > 2 else codes.BAD_REQUEST)
        check_operation(resource_at(tree, path), "W")
    return changes


def _writable_beneath(tree: ObjectTree, base: ObjectPath) -> list[ObjectPath]:
    if base.depth == 4 or (base.depth == 3 and not resource_at(tree, base).multiple):
        return [base]
    return [path for path in tree.values_beneath(base) if resource_at(tree, path).is_writable]


def _first_free(base: ObjectPath, existing: Sequence[ObjectPath]) -> ObjectPath:
    taken = {each.instance_id for each in existing}
    return base.child(next(number for number in range(ID_MAX) if number not in taken))


def _create_several(
    caller: Caller, existing: Sequence[ObjectPath], shape: Shape, values: Changes
) -> Done:
    """Create the instances that the values name, all or none; the answer names no one of them."""
    tree, instances = caller.tree, shape.instances
    model = tree.template.models[instances[0].object_id]
    if not model.multiple or not set(existing).isdisjoint(instances):
        raise Refused(codes.BAD_REQUEST)
    if len(existing) + len(instances) > INSTANCES_PER_OBJECT_MAX:
        raise Refused(codes.SERVICE_UNAVAILABLE)
    if shape.is_incomplete or any(each.instance_id == NULL_ID for each in instances):
        raise Refused(codes.BAD_REQUEST)
    tree.create_instances(instances, values)
    owned = [control for each in instances for control in _own(caller, each)]
    return Done(Response(codes.CREATED), (*instances, *values, *owned))


def _own(caller: Caller, instance: ObjectPath) -> tuple[ObjectPath, ...]:
    """LwM2M Core §8.1: who creates an instance owns it; where nobody is controlled it is let be."""
    server = caller.access.short_server_id
    if not caller.is_controlled or server is None:
        return ()
    control, values = new_control(instance, server, caller.tree.instances)
    caller.tree.create_instance(control, values)
    return (control,)


def _delete_resource_instance(caller: Caller, base: ObjectPath) -> Done:
    tree = caller.tree
    caller.require(Right.WRITE, base)
    check_operation(resource_at(tree, base), "W")
    if base not in tree:
        raise Refused(codes.NOT_FOUND)
    require_not_emptied(tree, base.resource, [base])
    tree.remove([base])
    return Done(Response(codes.DELETED), (base,))
