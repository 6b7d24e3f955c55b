"""What a device's answer means for its command.

Three ends: done and read; refused, with the code; done, while the answer cannot be used (a code of
2.xx with an error). Nothing is called done that the standard does not call so.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from contracts.data_interface import Command, ObjectLink, Outcome, ResultError, Stage, Value
from harness.lwm2m_server.answer_codes import SUCCESS, is_legal
from harness.lwm2m_server.payloads import Payloads, Target, answered_in, format_of
from lwm2m.coap import Response, codes
from lwm2m.codecs import content_formats
from lwm2m.errors import LwM2mError
from lwm2m.objects import NULL_ID, ObjectPath

_DIAGNOSTIC_MAX: Final = 200
OBSERVING: Final = frozenset({"observe", "observe_composite"})
_READING: Final = OBSERVING | {"read", "read_composite"}
_COMPOSITE: Final = frozenset({"read_composite", "observe_composite"})


class _Content(NamedTuple):
    values: list[Value] | None = None
    links: list[ObjectLink] | None = None


_NO_CONTENT: Final = _Content()


def failed(command: Command, stage: Stage, detail: str, *, code: str | None = None) -> Outcome:
    """An outcome that is no success."""
    return Outcome(
        id=command.id,
        operation=command.operation,
        code=code,
        path=command.path,
        error=ResultError(stage, detail),
    )


def cancelled_locally(command: Command) -> Outcome:
    """The outcome of a passive cancellation: nothing was sent."""
    return Outcome(id=command.id, operation=command.operation, path=command.path, local=True)


def outcome_of(
    command: Command,
    response: Response,
    target: Target,
    payloads: Payloads,
    *,
    secret: bool,
) -> Outcome:
    """What a device's answer means; see the module."""
    text = codes.code_text(response.code)
    if response.code != SUCCESS[command.operation]:
        return failed(command, "coap", _refusal(command, response, secret=secret), code=text)
    try:
        content = _content(command, response, target, payloads)
    except LwM2mError as error:
        detail = "done, but the answer cannot be read"
        return failed(command, "coap", detail if secret else f"{detail}: {error}", code=text)
    fault = _fault(command, response, target)
    location = "/" + "/".join(response.location_path) if response.location_path else None
    return Outcome(
        id=command.id,
        operation=command.operation,
        code=text,
        path=command.path,
        values=content.values,
        links=content.links,
        location=location,
        error=ResultError("coap", fault) if fault else None,
        observation_id=command.id if command.operation in OBSERVING and not fault else None,
        remark=_remark(command, response, target),
    )


def _content(command: Command, response: Response, target: Target, payloads: Payloads) -> _Content:
    if command.operation in _READING:
        base = None if command.operation in _COMPOSITE else ObjectPath.parse(command.path or "")
        values = payloads.read(target, response.content_format, base, response.payload)
        return _Content(values=values)
    if command.operation == "discover":
        return _Content(links=payloads.read_links(target, response.payload))
    return _NO_CONTENT


def _fault(command: Command, response: Response, target: Target) -> str | None:
    """Why an answer with the right code is none all the same."""
    if command.operation in OBSERVING and response.observe is None:
        return "read, but not observed: the answer has no Observe option (RFC 7641 §4.1)"
    if command.operation == "create" and response.location_path and _names_several(command):
        return "done, but the answer names one instance where several were to be created"
    if command.format is not None or command.operation == "discover":
        wrong = _wrong_format(command, response, target)
        return f"done, but {wrong}" if wrong else None
    return None


def _remark(command: Command, response: Response, target: Target) -> str | None:
    """What is not as it should be, and does no harm."""
    if command.operation == "create":
        if not response.location_path and not _names_instance(command):
            return "the answer does not say which instance was created (LwM2M Core §6.3.8)"
        return None
    return _wrong_format(command, response, target) if command.format is None else None


def _wrong_format(command: Command, response: Response, target: Target) -> str | None:
    """RFC 7252 §5.10.4: what was asked for by Accept comes, or else 4.06."""
    asked = _asked_format(command, target)
    given = response.content_format
    if asked is None or given == asked or not response.payload:
        return None
    return f"answered in content format {given}, not in {asked} as asked"


def _asked_format(command: Command, target: Target) -> int | None:
    if command.operation == "discover":
        return content_formats.LINK_FORMAT
    if command.operation not in _READING or command.any_format:
        return None
    if command.operation in _COMPOSITE:
        return answered_in(format_of(command, target, is_composite=True))
    return format_of(command, target)


def _names_instance(command: Command) -> bool:
    """Whether the command says which instance is created: by its path, or by its values."""
    if (command.path or "").count("/") > 1:
        return True
    first = next(iter(command.values or ()), None)
    # It tells of all: where one is of an instance without id, none is of another.
    return first is not None and not first.path.startswith(f"{command.path}/{NULL_ID}/")


def _names_several(command: Command) -> bool:
    """Whether the values of a create are of more instances than one."""
    if (command.path or "").count("/") > 1:
        return False
    return len({value.path.split("/")[2] for value in command.values or ()}) > 1


def _refusal(command: Command, response: Response, *, secret: bool) -> str:
    text = codes.code_text(response.code)
    if codes.is_success(response.code):
        return f"{text} is not an answer to {command.operation}"
    found = _diagnostic(response, secret=secret)
    if is_legal(command.operation, response.code):
        return found
    return f"{text} is not an answer to {command.operation} (LwM2M Core §6): {found}"


def _diagnostic(response: Response, *, secret: bool) -> str:
    # RFC 7252 §5.5.2: a diagnostic text; a device might repeat what it was sent.
    if secret or response.content_format not in (None, content_formats.TEXT):
        return "refused by the device"
    text = response.payload[:_DIAGNOSTIC_MAX].decode(errors="replace")
    return "".join(letter for letter in text if letter.isprintable()) or "refused by the device"
