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
from harness.lwm2m_server.values import ValueReader
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


class Operations:
    """Requests and outcomes by one set of object definitions."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._reader = ValueReader(models)

    def request_of(self, command: Command, lwm2m_version: str) -> Request:
        """The request that carries `command` to a device of that version.

        Raises `InvalidCommand`.
        """
        build = _BUILDERS.get(command.operation)
        if build is None:
            raise InvalidCommand(f"{command.operation} is not offered yet by this server")
        try:
            path = self._reader.place(command.path or "").path
            return build(self, command, path, _format(command, lwm2m_version))
        except LwM2mError as error:
            raise InvalidCommand(str(error)) from None

    def outcome_of(self, command: Command, response: Response, *, secret: bool) -> Outcome:
        """What a device's answer means. An answer that breaks its format is an error outcome."""
        text = codes.code_text(response.code)
        if response.code != SUCCESS[command.operation]:
            detail = _refusal(command, response, secret=secret)
            return failed(command, "coap", detail, code=text)
        try:
            values, links = self._content(command, response)
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

    def _read(self, command: Command, path: ObjectPath, accept: int) -> Request:
        return Request(codes.GET, path.segments, accept=accept)

    def _discover(self, command: Command, path: ObjectPath, accept: int) -> Request:
        if path.depth > 3:
            raise InvalidCommand("discover ends at a resource")
        return Request(codes.GET, path.segments, accept=content_formats.LINK_FORMAT)

    def _write(self, command: Command, path: ObjectPath, content_format: int) -> Request:
        if path.depth < 2:
            raise InvalidCommand("write needs an object instance or what lies beneath it")
        # POST to a resource would be Execute: a partial write always goes to the instance.
        if command.mode == "update":
            return self._with_payload(codes.POST, command, path, path.instance, content_format)
        return self._with_payload(codes.PUT, command, path, path, content_format)

    def _execute(self, command: Command, path: ObjectPath, _: int) -> Request:
        if path.depth != 3:
            raise InvalidCommand("execute needs a resource")
        if not command.arguments:
            return Request(codes.POST, path.segments)
        payload = command.arguments.encode()
        return Request(
            codes.POST, path.segments, content_format=content_formats.TEXT, payload=payload
        )

    def _create(self, command: Command, path: ObjectPath, content_format: int) -> Request:
        if path.depth > 2:
            raise InvalidCommand("create needs an object, or the new instance")
        return self._with_payload(codes.POST, command, path, path.object, content_format)

    def _delete(self, command: Command, path: ObjectPath, _: int) -> Request:
        if path.depth not in (2, 4):
            raise InvalidCommand("delete needs an object instance or a resource instance")
        return Request(codes.DELETE, path.segments)

    def _with_payload(
        self,
        code: int,
        command: Command,
        path: ObjectPath,
        target: ObjectPath,
        content_format: int,
    ) -> Request:
        """A request to `target` with the values, which must lie beneath `path`, in one instance."""
        nodes = self._reader.nodes(command.values or ())
        if not nodes:
            raise InvalidCommand(f"{command.operation} needs values")
        depth = path.depth
        prefix, instance = path[:depth], nodes[0].path[:2]
        for node in nodes:
            if node.path[:depth] != prefix:
                raise InvalidCommand(f"{node.path} does not lie beneath {path}")
            if node.path[:2] != instance:
                raise InvalidCommand(f"{command.operation} is of one instance")
        payload = encode_payload(content_format, target, nodes, self._models)
        return Request(code, target.segments, content_format=content_format, payload=payload)

    def _content(
        self, command: Command, response: Response
    ) -> tuple[list[Value] | None, list[ObjectLink] | None]:
        if command.operation == "read":
            return self._reader.values(self._read_nodes(command, response)), None
        if command.operation == "discover":
            links = link_format.decode(response.payload)
            return None, [ObjectLink(link.target, link.attributes) for link in links]
        return None, None

    def _read_nodes(self, command: Command, response: Response) -> list[Node]:
        if not response.payload and response.content_format is None:
            return []  # LwM2M Core §6.3.1: nothing readable beneath the path is a success
        path = self._reader.place(command.path or "").path
        return decode_payload(response.content_format, path, response.payload, self._models)


_BUILDERS: Final[dict[Operation, Callable[[Operations, Command, ObjectPath, int], Request]]] = {
    "read": Operations._read,
    "discover": Operations._discover,
    "write": Operations._write,
    "execute": Operations._execute,
    "create": Operations._create,
    "delete": Operations._delete,
}


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


def _refusal(command: Command, response: Response, *, secret: bool) -> str:
    if codes.is_success(response.code):
        return f"{codes.code_text(response.code)} is not an answer to {command.operation}"
    # RFC 7252 §5.5.2: a diagnostic text; a device might repeat what it was sent.
    if secret or response.content_format not in (None, content_formats.TEXT):
        return "refused by the device"
    text = response.payload[:_DIAGNOSTIC_MAX].decode(errors="replace")
    return "".join(letter for letter in text if letter.isprintable()) or "refused by the device"
