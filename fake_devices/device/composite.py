"""Read-Composite and Write-Composite: many paths in one request (LwM2M Core §6.3.9, §6.3.10)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from fake_devices.device.downlink_read import readable_nodes, speaks
from fake_devices.device.downlink_target import (
    BOOTSTRAP_OBJECTS,
    Caller,
    Done,
    Refused,
    require_no_query,
    require_target,
    resource_at,
)
from fake_devices.device.downlink_write import check_node, require_not_emptied
from fake_devices.device.tree import ObjectTree
from fake_devices.devices import Changes
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import (
    Node,
    content_formats,
    decode_composite_write,
    decode_paths,
    encode_payload,
)
from lwm2m.errors import InvalidValue, LwM2mError, UnsupportedContentFormat
from lwm2m.objects import NULL_ID, ObjectPath, check_operation
from lwm2m.reporting import Right

# What the paths, or values, of a composite come in; and what it is answered in.
_ANSWERED_IN: Final = {
    content_formats.SENML_JSON: content_formats.SENML_JSON,
    content_formats.SENML_CBOR: content_formats.SENML_CBOR,
    content_formats.SENML_ETCH_JSON: content_formats.SENML_JSON,
    content_formats.SENML_ETCH_CBOR: content_formats.SENML_CBOR,
    content_formats.LWM2M_CBOR: content_formats.LWM2M_CBOR,
}
_PATHS_MAX: Final = 256

Paths = tuple[ObjectPath | None, ...]
"""What a composite is about; None is the root, everything."""


def read_composite(caller: Caller, request: Request) -> Done:
    """Answer a Read-Composite: what exists and may be read of what is asked for."""
    require_no_query(request.query)
    paths = composite_paths(caller.tree, request)
    wanted = composite_format(caller.tree, request)
    return Done(composite_content(caller.tree, composite_nodes(caller, paths), wanted))


def composite_paths(tree: ObjectTree, request: Request) -> Paths:
    """The paths that a FETCH names. Raises `Refused` or an error of the codecs."""
    content_format = _format_of(tree, request)
    paths = tuple(decode_paths(content_format, request.payload))
    if not 0 < len(paths) <= _PATHS_MAX:
        raise Refused(codes.BAD_REQUEST)
    return paths


def composite_format(tree: ObjectTree, request: Request) -> int:
    """The format to answer a FETCH in. Raises `Refused` 4.06."""
    if request.accept is None:
        return _ANSWERED_IN[_format_of(tree, request)]
    if request.accept not in _ANSWERED_IN.values() or not speaks(tree, request.accept):
        raise Refused(codes.NOT_ACCEPTABLE)
    return request.accept


def composite_nodes(
    caller: Caller, paths: Iterable[ObjectPath | None], *, refuses: bool = True
) -> list[Node]:
    """The values at these paths, without what is missing or may not be read.

    Raises `Refused` 4.01 when nothing else is left of them, unless it is not to.
    """
    found: dict[ObjectPath, Node] = {}
    is_denied = False
    for path in _expanded(caller.tree, paths):
        try:
            require_target(caller.tree, path)
            found |= {node.path: node for node in readable_nodes(caller, path)}
        except Refused as refusal:
            is_denied = is_denied or refusal.code == codes.UNAUTHORIZED
        except LwM2mError:
            # LwM2M Core §6.3.9: an executable resource, for one, is skipped.
            continue
    if refuses and is_denied and not found:
        raise Refused(codes.UNAUTHORIZED)
    return list(found.values())


def composite_content(tree: ObjectTree, nodes: Sequence[Node], content_format: int) -> Response:
    """2.05 with values from anywhere."""
    payload = encode_payload(content_format, None, nodes, tree.template.models)
    return Response(codes.CONTENT, payload, content_format)


def write_composite(caller: Caller, request: Request) -> Done:
    """Carry out a Write-Composite: all values or none; null removes a resource instance."""
    tree = caller.tree
    require_no_query(request.query)
    content_format = _format_of(tree, request)
    changes: Changes = {}
    removed: list[ObjectPath] = []
    is_pack = content_format == content_formats.SENML_CBOR
    read = tree.template.packs.values(None, request.payload) if is_pack else None
    if read is not None:
        for path in read:
            _require_writable(caller, path)
        tree.apply(read)
        return Done(Response(codes.CHANGED), tuple(read))
    for path, value in decode_composite_write(
        content_format, request.payload, tree.template.models
    ):
        _require_writable(caller, path)
        if value is None:
            _require_removable(tree, path)
            removed.append(path)
        else:
            check_node(tree, path, value)
            changes[path] = value
    if not changes.keys().isdisjoint(removed):
        raise Refused(codes.BAD_REQUEST)
    for resource in {path.resource for path in removed}:
        require_not_emptied(tree, resource, removed, changes)
    tree.remove(removed)
    tree.apply(changes)
    return Done(Response(codes.CHANGED), (*changes, *removed))


def _format_of(tree: ObjectTree, request: Request) -> int:
    if request.path not in ((), ("",)) or tree.template.lwm2m_version < "1.1":
        raise Refused(codes.METHOD_NOT_ALLOWED)
    if request.content_format is None:
        raise Refused(codes.BAD_REQUEST)
    if request.content_format not in _ANSWERED_IN or not _knows(tree, request.content_format):
        raise UnsupportedContentFormat(request.content_format)
    return request.content_format


def _knows(tree: ObjectTree, content_format: int) -> bool:
    is_etch = content_format in (content_formats.SENML_ETCH_JSON, content_formats.SENML_ETCH_CBOR)
    # ETCH is for composites alone: the codecs of single operations do not list it.
    return tree.template.lwm2m_version >= "1.2" if is_etch else speaks(tree, content_format)


def _expanded(tree: ObjectTree, paths: Iterable[ObjectPath | None]) -> list[ObjectPath]:
    expanded: list[ObjectPath] = []
    for path in paths:
        if path is not None:
            expanded.append(path)
        else:
            expanded += [each for each in tree.instances if each[0] not in BOOTSTRAP_OBJECTS]
    return expanded


def _require_writable(caller: Caller, path: ObjectPath) -> None:
    if path.depth < 3 or NULL_ID in path:
        raise Refused(codes.BAD_REQUEST)
    require_target(caller.tree, path)
    caller.require(Right.WRITE, path)
    check_operation(resource_at(caller.tree, path), "W")
    if not caller.tree.supports(path):
        raise Refused(codes.NOT_FOUND)


def _require_removable(tree: ObjectTree, path: ObjectPath) -> None:
    if path.depth != 4:
        raise InvalidValue(resource_at(tree, path).name, "only a resource instance can be null")
    if path not in tree:
        raise Refused(codes.NOT_FOUND)
