"""What the bootstrap server does to a device: Discover, Read, Write and Delete without access
rights, on objects that no other server sees (LwM2M Core §6.1.7).
"""

from __future__ import annotations

from typing import Final

from fake_devices.device.discover import (
    companions_of,
    discover_for_bootstrap,
    is_bootstrap_account,
)
from fake_devices.device.downlink_read import content, speaks
from fake_devices.device.downlink_target import Done, Refused, require_no_query
from fake_devices.device.downlink_write import INSTANCES_PER_OBJECT_MAX, delete_instances
from fake_devices.device.tree import ObjectTree
from fake_devices.devices import Changes
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import Node, content_formats, decode_payload
from lwm2m.errors import IllegalPath
from lwm2m.objects import NULL_ID, ObjectPath, ResourceModel, check_path, check_value

# Server accounts and what protects them; other instances a device keeps unless its model says that
# they can be deleted.
_ACCOUNT_OBJECTS: Final = frozenset({0, 1, 2, 21, 23, 24})
_READABLE_OBJECTS: Final = frozenset({1, 2})
_DEVICE_OBJECT: Final = 3


def carry_out_bootstrap(tree: ObjectTree, request: Request) -> tuple[str, Done]:
    """The operation's name and what it did. Raises `Refused` or an error of the codecs."""
    base = _base(request.path)
    require_no_query(request.query)
    if request.code == codes.GET:
        if base is None or request.accept == content_formats.LINK_FORMAT:
            return "discover", _discover(tree, base)
        return "read", _read(tree, base, request)
    if request.code == codes.PUT and base is not None:
        return "write", _write(tree, base, request)
    if request.code == codes.DELETE:
        return "delete", Done(Response(codes.DELETED), _delete(tree, base))
    raise Refused(codes.METHOD_NOT_ALLOWED)


def _base(segments: tuple[str, ...]) -> ObjectPath | None:
    if segments in ((), ("",)):
        return None
    try:
        return ObjectPath.of_segments(segments)
    except IllegalPath:
        raise Refused(codes.BAD_REQUEST) from None


def _discover(tree: ObjectTree, base: ObjectPath | None) -> Done:
    if base is not None:
        if base.depth > 1:
            raise Refused(codes.BAD_REQUEST)
        if not _has_object(tree, base.object_id):
            raise Refused(codes.NOT_FOUND)
    return discover_for_bootstrap(tree, base)


def _read(tree: ObjectTree, base: ObjectPath, request: Request) -> Done:
    if tree.template.lwm2m_version < "1.1" or base.object_id not in _READABLE_OBJECTS:
        raise Refused(codes.METHOD_NOT_ALLOWED)
    if base.depth > 2:
        raise Refused(codes.METHOD_NOT_ALLOWED)
    if base.depth == 2 and base not in tree.instances:
        raise Refused(codes.NOT_FOUND)
    nodes = [Node(path, tree[path]) for path in tree.values_beneath(base)]
    return Done(content(tree, base, nodes, request.accept))


def _write(tree: ObjectTree, base: ObjectPath, request: Request) -> Done:
    changes = _decode(tree, base, request)
    instances = {path.instance for path in changes}
    if base.depth > 1:
        instances.add(base.instance)
    added = sorted(instances - set(tree.instances))
    if len(tree.instances_of(base.object_id)) + len(added) > INSTANCES_PER_OBJECT_MAX:
        raise Refused(codes.SERVICE_UNAVAILABLE)
    for instance in added:
        tree.create_instance(instance, {})
    tree.apply(changes)
    return Done(Response(codes.CHANGED), (*added, *changes))


def _decode(tree: ObjectTree, base: ObjectPath, request: Request) -> Changes:
    models = tree.template.models
    if base.object_id not in models or not _has_object(tree, base.object_id):
        raise Refused(codes.BAD_REQUEST)
    if request.content_format is None:
        raise Refused(codes.BAD_REQUEST)
    if not speaks(tree, request.content_format):
        raise Refused(codes.UNSUPPORTED_CONTENT_FORMAT)
    check_path(models, base)
    changes: Changes = {}
    for path, value in decode_payload(request.content_format, base, request.payload, models):
        resource = _writable(tree, path)
        if resource is not None:
            check_value(resource, value)
            changes[path] = value
    return changes


def _writable(tree: ObjectTree, path: ObjectPath) -> ResourceModel | None:
    """The definition of what is written; None for a resource that this device does not have."""
    check_path(tree.template.models, path)
    resource = tree.template.models[path.object_id].resources.get(path.resource_id or 0)
    if path.instance_id == NULL_ID or (resource is not None and resource.is_executable):
        raise Refused(codes.BAD_REQUEST)
    if resource is None or not tree.supports(path):
        # LwM2M Core §6.1.7.4: what a client does not support is ignored.
        return None
    if resource.multiple is not (path.resource_instance_id is not None):
        raise Refused(codes.BAD_REQUEST)
    return resource


def _delete(tree: ObjectTree, base: ObjectPath | None) -> tuple[ObjectPath, ...]:
    """Delete all, an object's or one instance, but never the bootstrap account nor /3/0."""
    kept = _protected(tree)
    if base is None:
        return delete_instances(
            tree, [each for each in tree.instances if each not in kept and _can_go(tree, each)]
        )
    if base.depth > 2 or not _can_go(tree, base) or base in kept:
        raise Refused(codes.BAD_REQUEST)
    return delete_instances(
        tree, [each for each in tree.instances if base.contains(each) and each not in kept]
    )


def _can_go(tree: ObjectTree, path: ObjectPath) -> bool:
    return path.object_id in _ACCOUNT_OBJECTS or path.object_id in tree.template.deletable


def _protected(tree: ObjectTree) -> set[ObjectPath]:
    accounts = [each for each in tree.instances_of(0) if is_bootstrap_account(tree, each)]
    companions = [each for account in accounts for each in companions_of(tree, account)]
    return {*accounts, *companions, ObjectPath(_DEVICE_OBJECT, 0)}


def _has_object(tree: ObjectTree, object_id: int) -> bool:
    return object_id in _ACCOUNT_OBJECTS or object_id in tree.template.objects
