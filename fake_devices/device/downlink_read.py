"""Read: values at any level, in the format that is asked for (LwM2M Core §6.3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fake_devices.device.downlink_target import (
    Caller,
    Done,
    Refused,
    require_no_query,
    resource_at,
)
from fake_devices.device.tree import ObjectTree
from lwm2m.coap import codes
from lwm2m.coap.requests import Request, Response
from lwm2m.codecs import SUPPORTED, Node, content_formats, encode_payload
from lwm2m.errors import IllegalPath, InvalidValue, UnsupportedContentFormat
from lwm2m.objects import ObjectPath, check_operation
from lwm2m.reporting import Right

# LwM2M Core §7.4: which version brought which format; OMA JSON is spoken whenever asked for.
_SINCE: Final = {
    content_formats.CBOR: "1.1",
    content_formats.SENML_JSON: "1.1",
    content_formats.SENML_CBOR: "1.1",
    content_formats.SENML_ETCH_JSON: "1.2",
    content_formats.SENML_ETCH_CBOR: "1.2",
    content_formats.LWM2M_CBOR: "1.2",
}


def read(caller: Caller, base: ObjectPath, request: Request) -> Done:
    """Answer a Read."""
    require_no_query(request.query)
    return Done(content(caller.tree, base, readable_nodes(caller, base), request.accept))


def readable_nodes(caller: Caller, base: ObjectPath) -> list[Node]:
    """The values at and beneath `base` that the caller may read, in order. Raises `Refused`."""
    tree = caller.tree
    paths = tree.values_beneath(base)
    if base.depth == 1:
        paths = _of_readable_instances(caller, base, paths)
    else:
        caller.require(Right.READ, base)
    if base.depth > 2:
        check_operation(resource_at(tree, base), "R")
    nodes = [Node(path, tree[path]) for path in paths if resource_at(tree, path).is_readable]
    if base.depth > 2 and not nodes and not _may_be_empty(tree, base):
        raise Refused(codes.NOT_FOUND)
    return nodes


def content(
    tree: ObjectTree, base: ObjectPath, nodes: Sequence[Node], accept: int | None
) -> Response:
    """2.05 with the values in the format that `accept` names. Raises `Refused` 4.06."""
    wanted = default_format(tree) if accept is None else accept
    if not speaks(tree, wanted):
        raise Refused(codes.NOT_ACCEPTABLE)
    try:
        payload = encode_payload(wanted, base, nodes, tree.template.models)
    except (UnsupportedContentFormat, IllegalPath, InvalidValue):
        # No such format, or one for single values, or for bytes, and this is not one.
        raise Refused(codes.NOT_ACCEPTABLE) from None
    return Response(codes.CONTENT, payload, wanted)


def speaks(tree: ObjectTree, content_format: int) -> bool:
    """Whether a device of this LwM2M version knows the format."""
    known = content_formats.LEGACY.get(content_format, content_format)
    return known in SUPPORTED and _SINCE.get(known, "1.0") <= tree.template.lwm2m_version


def default_format(tree: ObjectTree) -> int:
    """What a Read without Accept is answered in."""
    is_old = tree.template.lwm2m_version < "1.1"
    return content_formats.TLV if is_old else content_formats.SENML_CBOR


def _of_readable_instances(
    caller: Caller, base: ObjectPath, paths: list[ObjectPath]
) -> list[ObjectPath]:
    # LwM2M Core §8.2: instances without the right are left out, as if they were not there.
    instances = caller.tree.instances_of(base.object_id)
    readable = {each for each in instances if caller.may(Right.READ, each)}
    if instances and not readable:
        raise Refused(codes.UNAUTHORIZED)
    return [path for path in paths if path.instance in readable]


def _may_be_empty(tree: ObjectTree, base: ObjectPath) -> bool:
    return base.depth == 3 and resource_at(tree, base).multiple and tree.supports(base)
