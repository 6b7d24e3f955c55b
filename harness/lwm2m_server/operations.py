"""Commands as CoAP requests (LwM2M Core §6.3, device management, and §6.4, reporting)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from contracts.data_interface import Command, Operation
from harness.lwm2m_server.payloads import (
    Payloads,
    Target,
    answered_in,
    format_of,
    removing_format,
)
from harness.lwm2m_server.secret_resources import touches_secret
from lwm2m.coap import Request, codes
from lwm2m.codecs import Node, content_formats
from lwm2m.errors import LwM2mError
from lwm2m.objects import NULL_ID, ObjectPath
from lwm2m.reporting.attributes import parse_attributes, parse_observe_parameters

DISCOVER_DEPTH_MAX: Final = 3
# Paths of one composite operation: more would not fit what devices take.
PATHS_MAX: Final = 128
# LwM2M Core §6.3.5: digits that differ, each with a value in quotes or none.
_ARGUMENT: Final = r"[0-9](='[!#-&(-\[\]-~]*')?"
_ARGUMENTS: Final = re.compile(rf"{_ARGUMENT}(,{_ARGUMENT})*", re.ASCII)
_get_path: Final = attrgetter("path")
_DIGIT: Final = re.compile(r"(?:^|,)([0-9])(?=[=,]|$)", re.ASCII)


class InvalidCommand(ValueError):
    """The command cannot be a request; the text says why, without any value."""


def request_of(command: Command, target: Target, payloads: Payloads) -> Request:
    """The request that carries `command` to `target`. Raises `InvalidCommand`.

    Of cancel_observation: what an observation has to be ended by sending again is not made here.
    """
    try:
        return _BUILDERS[command.operation](command, target, payloads)
    except LwM2mError as error:
        raise InvalidCommand(str(error)) from None


def paths_of(command: Command) -> list[ObjectPath | None]:
    """The paths of a composite operation; None is the root. Raises `InvalidCommand`."""
    try:
        paths = [_path_or_root(text) for text in command.paths or ()]
    except LwM2mError as error:
        raise InvalidCommand(str(error)) from None
    if not 0 < len(paths) <= PATHS_MAX:
        raise InvalidCommand(f"{command.operation} needs 1 to {PATHS_MAX} paths")
    return paths


def is_secret_command(command: Command) -> bool:
    """Whether what the command carries may not be kept or recorded."""
    return touches_secret(map(_get_path, command.values or ()))


# ---- device management ----


def _read(command: Command, target: Target, payloads: Payloads) -> Request:
    path = _path(command)
    return Request(codes.GET, target.segments(path), accept=_accept(command, target))


def _discover(command: Command, target: Target, payloads: Payloads) -> Request:
    path = _path(command)
    if path.depth > 3:
        raise InvalidCommand("discover ends at a resource")
    query: tuple[str, ...] = ()
    if command.depth is not None:
        _require("discover with a depth", target, "1.2")
        if not 0 <= command.depth <= DISCOVER_DEPTH_MAX:
            raise InvalidCommand(f"the depth of discover is 0 to {DISCOVER_DEPTH_MAX}")
        query = (f"depth={command.depth}",)
    return Request(codes.GET, target.segments(path), query, accept=content_formats.LINK_FORMAT)


def _write(command: Command, target: Target, payloads: Payloads) -> Request:
    path = _path(command)
    if path.depth < 2:
        raise InvalidCommand("write needs an object instance or what lies beneath it")
    # POST to a resource would be Execute: a partial write always goes to the instance.
    if command.mode == "update":
        return _with_values(codes.POST, command, target, payloads, path, path.instance)
    return _with_values(codes.PUT, command, target, payloads, path, path)


def _write_attributes(command: Command, target: Target, payloads: Payloads) -> Request:
    path = _path(command)
    query = _attribute_query(command)
    if not query:
        raise InvalidCommand("write_attributes needs attributes")
    parse_attributes(query, target.lwm2m_version)
    return Request(codes.PUT, target.segments(path), query)


def _execute(command: Command, target: Target, payloads: Payloads) -> Request:
    path = _path(command)
    if path.depth != 3:
        raise InvalidCommand("execute needs a resource")
    if not command.arguments:
        return Request(codes.POST, target.segments(path))
    digits = _DIGIT.findall(command.arguments)
    if _ARGUMENTS.fullmatch(command.arguments) is None or len(set(digits)) != len(digits):
        raise InvalidCommand("arguments are digits that differ, such as 0,1='text'")
    return Request(
        codes.POST,
        target.segments(path),
        content_format=content_formats.TEXT,
        payload=command.arguments.encode(),
    )


def _create(command: Command, target: Target, payloads: Payloads) -> Request:
    path = _path(command)
    if path.depth > 2:
        raise InvalidCommand("create needs an object, or the new instance")
    return _with_values(codes.POST, command, target, payloads, path, path.object)


def _delete(command: Command, target: Target, payloads: Payloads) -> Request:
    path = _path(command)
    if path.depth not in (2, 4):
        raise InvalidCommand("delete needs an object instance or a resource instance")
    if path.depth == 4:
        _require("delete of a resource instance", target, "1.2")
    return Request(codes.DELETE, target.segments(path))


def _read_composite(command: Command, target: Target, payloads: Payloads) -> Request:
    return _fetch(command, target, payloads, ())


def _write_composite(command: Command, target: Target, payloads: Payloads) -> Request:
    _require("write_composite", target, "1.1")
    nodes = payloads.reader(target.models).nodes(command.values or ())
    removed = _removed(command)
    if not nodes and not removed:
        raise InvalidCommand("write_composite needs values, or paths to remove")
    content_format = format_of(command, target, is_composite=True)
    if removed:
        content_format = removing_format(content_format)
    payload = payloads.write_composite(target, content_format, nodes, removed)
    return Request(
        codes.IPATCH, target.segments(None), content_format=content_format, payload=payload
    )


# ---- information reporting ----


def _observe(command: Command, target: Target, payloads: Payloads) -> Request:
    path = _path(command)
    query = _observe_query(command, target, is_composite=False)
    return Request(
        codes.GET, target.segments(path), query, accept=_accept(command, target), observe=0
    )


def _observe_composite(command: Command, target: Target, payloads: Payloads) -> Request:
    query = _observe_query(command, target, is_composite=True)
    return _fetch(command, target, payloads, query, observe=0)


def _cancel_observation(command: Command, target: Target, payloads: Payloads) -> Request:
    raise InvalidCommand("there is no such observation")


_BUILDERS: Final[dict[Operation, Callable[[Command, Target, Payloads], Request]]] = {
    "read": _read,
    "discover": _discover,
    "write": _write,
    "write_attributes": _write_attributes,
    "execute": _execute,
    "create": _create,
    "delete": _delete,
    "observe": _observe,
    "observe_composite": _observe_composite,
    "cancel_observation": _cancel_observation,
    "read_composite": _read_composite,
    "write_composite": _write_composite,
}


# ---- parts of requests ----


def _path(command: Command) -> ObjectPath:
    return ObjectPath.parse(command.path or "")


def _path_or_root(text: str) -> ObjectPath | None:
    return None if text == "/" else ObjectPath.parse(text)


def _require(what: str, target: Target, lwm2m_version: str) -> None:
    if target.lwm2m_version < lwm2m_version:
        raise InvalidCommand(
            f"{what} is of LwM2M {lwm2m_version}; the device has {target.lwm2m_version}"
        )


def _accept(command: Command, target: Target) -> int | None:
    return None if command.any_format else format_of(command, target)


def _fetch(
    command: Command,
    target: Target,
    payloads: Payloads,
    query: tuple[str, ...],
    *,
    observe: int | None = None,
) -> Request:
    _require(command.operation, target, "1.1")
    paths = paths_of(command)
    content_format = format_of(command, target, is_composite=True)
    payload = payloads.write_paths(target, content_format, paths)
    accept = None if command.any_format else answered_in(content_format)
    return Request(
        codes.FETCH, target.segments(None), query, content_format, accept, observe, payload
    )


def _attribute_query(command: Command) -> tuple[str, ...]:
    given = command.attributes or {}
    return tuple(f"{name}={text}" if text else name for name, text in given.items())


def _observe_query(command: Command, target: Target, *, is_composite: bool) -> tuple[str, ...]:
    query = _attribute_query(command)
    if query:
        _require(f"{command.operation} with attributes", target, "1.2")
        parse_observe_parameters(query, target.lwm2m_version, is_composite=is_composite)
    return query


def _removed(command: Command) -> list[ObjectPath]:
    removed = [ObjectPath.parse(text) for text in command.paths or ()]
    for path in removed:
        if path.depth != 4:
            raise InvalidCommand(f"{path} is no resource instance: only those are removed so")
    return removed


def _with_values(
    code: int,
    command: Command,
    target: Target,
    payloads: Payloads,
    path: ObjectPath,
    addressed: ObjectPath,
) -> Request:
    """A request to `addressed` with the values, which must lie beneath `path`: in one instance, or
    in several that are created and named."""
    is_create = command.operation == "create"
    content_format = format_of(command, target)
    if content_format == content_formats.SENML_CBOR and command.values:
        packed = payloads.pack(target, addressed, path, command.values, is_new=is_create)
        if packed is not None:
            return Request(
                code, target.segments(addressed), content_format=content_format, payload=packed
            )
    reader = payloads.reader(target.models)
    nodes = reader.nodes(command.values or (), new_instance=is_create)
    # An empty list is a wish: the device fills the new instance by itself.
    is_empty_instance = is_create and path.depth == 1 and command.values is not None
    if not nodes and not is_empty_instance:
        raise InvalidCommand(f"{command.operation} needs values")
    _check_beneath(command, path, nodes)
    payload = payloads.write(target, content_format, addressed, nodes)
    return Request(code, target.segments(addressed), content_format=content_format, payload=payload)


def _check_beneath(command: Command, path: ObjectPath, nodes: Sequence[Node]) -> None:
    depth = path.depth
    for node in nodes:
        if node.path[:depth] != path[:depth]:
            raise InvalidCommand(f"{node.path} does not lie beneath {path}")
    instances = {node.path[:2] for node in nodes}
    if len(instances) > 1 and command.operation != "create":
        raise InvalidCommand(f"{command.operation} is of one instance")
    # LwM2M Core §6.3.8: of several, each has its id; the device chooses that of one alone.
    if len(instances) > 1 and any(instance[1] == NULL_ID for instance in instances):
        raise InvalidCommand("create names each of several instances")
