"""Commands as CoAP requests, and the answers as outcomes (LwM2M Core §6.3, device management)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from contracts.data_interface import (
    Command,
    ObjectLink,
    Operation,
    Outcome,
    ResultError,
    Stage,
    Value,
)
from harness.lwm2m_server.secret_resources import touches_secret
from harness.lwm2m_server.values import nodes_from_values, values_from_nodes
from lwm2m.coap import Request, Response, codes
from lwm2m.codecs import (
    Node,
    content_formats,
    decode_payload,
    encode_payload,
    link_format,
)
from lwm2m.errors import LwM2mError
from lwm2m.objects import Models, ObjectPath

# The only codes that say yes, by operation (LwM2M Core §6.3).
SUCCESS: Final[dict[str, int]] = {
    "read": codes.CONTENT,
    "discover": codes.CONTENT,
    "write": codes.CHANGED,
    "execute": codes.CHANGED,
    "create": codes.CREATED,
    "delete": codes.DELETED,
}
NOT_OFFERED: Final[frozenset[Operation]] = frozenset(
    {"write_attributes", "observe", "cancel_observation", "read_composite", "write_composite"}
)
_DIAGNOSTIC_MAX = 200


class InvalidCommand(ValueError):
    """The command cannot be a request; the text says why, without any value."""


def request_of(command: Command, lwm2m_version: str, models: Models) -> Request:
    """The request that carries `command` to a device of that version. Raises `InvalidCommand`."""
    build = _BUILDERS.get(command.operation)
    if build is None:
        raise InvalidCommand(f"{command.operation} is not offered yet by this server")
    try:
        path = ObjectPath.parse(command.path or "")
        return build(command, path, _format(command, lwm2m_version), models)
    except LwM2mError as error:
        raise InvalidCommand(str(error)) from None


def outcome_of(command: Command, response: Response, models: Models, *, secret: bool) -> Outcome:
    """What a device's answer means. Never raises: an answer that breaks its format is an error."""
    text = codes.code_text(response.code)
    if response.code != SUCCESS[command.operation]:
        detail = _refusal(command, response, secret=secret)
        return failed(command, "coap", detail, code=text)
    try:
        values, links = _content(command, response, models)
    except LwM2mError as error:
        detail = "the answer cannot be read"
        return failed(command, "coap", detail if secret else f"{detail}: {error}", code=text)
    location = "/" + "/".join(response.location_path) if response.location_path else None
    return Outcome(
        id=command.id,
        operation=command.operation,
        code=text,
        path=command.path,
        values=values,
        links=links,
        location=location,
    )


def failed(command: Command, stage: Stage, detail: str, *, code: str | None = None) -> Outcome:
    """An outcome that is no success."""
    return Outcome(
        id=command.id,
        operation=command.operation,
        code=code,
        path=command.path,
        error=ResultError(stage, detail),
    )


def is_secret_command(command: Command) -> bool:
    """Whether what the command carries may not be kept or recorded."""
    return touches_secret([value.path for value in command.values or ()])


def _format(command: Command, lwm2m_version: str) -> int:
    if command.format is not None:
        return command.format
    return content_formats.TLV if lwm2m_version == "1.0" else content_formats.SENML_CBOR


def _read(command: Command, path: ObjectPath, accept: int, models: Models) -> Request:
    return Request(codes.GET, path.segments, accept=accept)


def _discover(command: Command, path: ObjectPath, accept: int, models: Models) -> Request:
    if path.depth > 3:
        raise InvalidCommand("discover ends at a resource")
    return Request(codes.GET, path.segments, accept=content_formats.LINK_FORMAT)


def _write(command: Command, path: ObjectPath, content_format: int, models: Models) -> Request:
    if path.depth < 2:
        raise InvalidCommand("write needs an object instance or what lies beneath it")
    nodes = _nodes(command, path, models)
    if command.mode == "update":
        # POST to a resource would be Execute: a partial write always goes to the instance.
        code, target = codes.POST, path.instance
    else:
        code, target = codes.PUT, path
    payload = encode_payload(content_format, target, nodes, models)
    return Request(code, target.segments, content_format=content_format, payload=payload)


def _execute(command: Command, path: ObjectPath, _: int, models: Models) -> Request:
    if path.depth != 3:
        raise InvalidCommand("execute needs a resource")
    if not command.arguments:
        return Request(codes.POST, path.segments)
    payload = command.arguments.encode()
    return Request(codes.POST, path.segments, content_format=content_formats.TEXT, payload=payload)


def _create(command: Command, path: ObjectPath, content_format: int, models: Models) -> Request:
    if path.depth > 2:
        raise InvalidCommand("create needs an object, or the new instance")
    nodes = _nodes(command, path, models)
    if len({node.path.instance_id for node in nodes}) != 1:
        raise InvalidCommand("create makes one instance: all values must be of it")
    target = path.object
    payload = encode_payload(content_format, target, nodes, models)
    return Request(codes.POST, target.segments, content_format=content_format, payload=payload)


def _delete(command: Command, path: ObjectPath, _: int, models: Models) -> Request:
    if path.depth not in (2, 4):
        raise InvalidCommand("delete needs an object instance or a resource instance")
    return Request(codes.DELETE, path.segments)


_BUILDERS: Final[dict[Operation, Callable[[Command, ObjectPath, int, Models], Request]]] = {
    "read": _read,
    "discover": _discover,
    "write": _write,
    "execute": _execute,
    "create": _create,
    "delete": _delete,
}


def _nodes(command: Command, path: ObjectPath, models: Models) -> list[Node]:
    nodes = nodes_from_values(command.values or (), models)
    if not nodes:
        raise InvalidCommand(f"{command.operation} needs values")
    for node in nodes:
        if not path.contains(node.path):
            raise InvalidCommand(f"{node.path} does not lie beneath {path}")
    return nodes


def _content(
    command: Command, response: Response, models: Models
) -> tuple[list[Value] | None, list[ObjectLink] | None]:
    if command.operation == "read":
        nodes = _read_nodes(command, response, models)
        return values_from_nodes(nodes, models), None
    if command.operation == "discover":
        links = link_format.decode(response.payload)
        return None, [ObjectLink(link.target, link.attributes) for link in links]
    return None, None


def _read_nodes(command: Command, response: Response, models: Models) -> list[Node]:
    if not response.payload and response.content_format is None:
        return []  # LwM2M Core §6.3.1: nothing readable beneath the path is a success
    path = ObjectPath.parse(command.path or "")
    return decode_payload(response.content_format, path, response.payload, models)


def _refusal(command: Command, response: Response, *, secret: bool) -> str:
    if codes.is_success(response.code):
        return f"{codes.code_text(response.code)} is not an answer to {command.operation}"
    # RFC 7252 §5.5.2: a diagnostic text; a device might repeat what it was sent.
    if secret or response.content_format not in (None, content_formats.TEXT):
        return "refused by the device"
    text = response.payload[:_DIAGNOSTIC_MAX].decode(errors="replace")
    return "".join(letter for letter in text if letter.isprintable()) or "refused by the device"
