"""Checks what an operator asks for; errors name the field that is wrong."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import msgspec

from city_platform.control.names import ResourceNames, UnknownName
from contracts.api import CommandRequest
from contracts.data_interface import Operation, Value, ValueType
from lwm2m.objects import ResourceModel, builtin_models

REQUEST_BYTES_MAX = 65_536
EXPIRES_IN_S_MAX = 86_400.0
VALUES_MAX = 1_000
PATHS_MAX = 128
ATTRIBUTES_MAX = 16
ATTRIBUTE_LENGTH_MAX = 64
ARGUMENTS_LENGTH_MAX = 1_024
DEPTH_MAX = 3

_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_decoder = msgspec.json.Decoder(CommandRequest)


class InvalidRequest(ValueError):
    """A request is wrong: `field` says where, the text what is expected."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field


class Form(NamedTuple):
    """What an operation's path and body must look like. 0 levels: it has `paths` instead."""

    levels_min: int
    levels_max: int
    has_values: bool = False
    has_arguments: bool = False
    has_attributes: bool = False
    may_have_paths: bool = False
    further: frozenset[str] = frozenset()


FORMS: dict[Operation, Form] = {
    "read": Form(1, 4),
    "discover": Form(1, 3, further=frozenset({"depth"})),
    "write": Form(2, 4, has_values=True),
    "write_attributes": Form(1, 4, has_attributes=True),
    "execute": Form(3, 3, has_arguments=True),
    "create": Form(1, 2, has_values=True),
    "delete": Form(2, 4),
    "observe": Form(1, 4, has_attributes=True),
    "observe_composite": Form(0, 0, has_attributes=True, may_have_paths=True),
    "cancel_observation": Form(1, 4, may_have_paths=True, further=frozenset({"passive"})),
    "read_composite": Form(0, 0, may_have_paths=True),
    "write_composite": Form(0, 0, has_values=True, may_have_paths=True),
}

_PYTHON_TYPES: dict[ValueType, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, str),
    "unsigned": (int, str),
    "float": (float, int),
    "boolean": (bool,),
    "opaque": (str,),
    "time": (int, str),
    "objlnk": (str,),
    "corelnk": (str,),
}


def builtin_names() -> ResourceNames:
    """The names of the definitions that come with the package."""
    return ResourceNames(builtin_models())


def read_request(body: bytes, names: ResourceNames) -> CommandRequest:
    """A checked request whose paths are numbers and whose values are typed.

    Raises `InvalidRequest`.
    """
    return check_request(decode(_decoder, body), names)


def decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """What a body says. Raises `InvalidRequest` with the place that is wrong."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # msgspec: "Expected `str`, got `int` - at `$.path`"
        reason, _, place = str(error).partition(" - at `$")
        raise InvalidRequest(place.strip("`. "), reason) from None


def check_request(request: CommandRequest, names: ResourceNames) -> CommandRequest:
    """The request with paths of numbers and typed values. Raises `InvalidRequest`."""
    form = FORMS[request.operation]
    request = _numbered(request, names)
    _check_levels(request, form)
    request = _typed(request, form, names)
    if not 0 < request.expires_in_s <= EXPIRES_IN_S_MAX or math.isnan(request.expires_in_s):
        raise InvalidRequest("expires_in_s", f"must be above 0 and at most {EXPIRES_IN_S_MAX:g}")
    if request.format is not None and not 0 <= request.format <= 65_535:
        raise InvalidRequest("format", "must be a CoAP content format, 0 to 65535")
    _check_further(request, form)
    _check_arguments(request, form)
    _check_attributes(request, form)
    _check_values(request, form)
    return request


def _numbered(request: CommandRequest, names: ResourceNames) -> CommandRequest:
    path = _path("path", request.path, names) if request.path else ""
    paths = request.paths
    if paths is not None:
        if not 0 < len(paths) <= PATHS_MAX:
            raise InvalidRequest("paths", f"must be 1 to {PATHS_MAX} paths")
        paths = [
            one if one == "/" else _path(f"paths[{number}]", one, names)
            for number, one in enumerate(paths)
        ]
    values = request.values
    if values is not None:
        if len(values) > VALUES_MAX:
            raise InvalidRequest("values", f"has {len(values)} entries, at most {VALUES_MAX}")
        values = [
            msgspec.structs.replace(one, path=_path(f"values[{number}].path", one.path, names))
            for number, one in enumerate(values)
        ]
    return msgspec.structs.replace(request, path=path, paths=paths, values=values)


def _path(field: str, text: str, names: ResourceNames) -> str:
    try:
        return names.path(text)
    except UnknownName as error:
        raise InvalidRequest(field, str(error)) from None


def _check_levels(request: CommandRequest, form: Form) -> None:
    if request.paths is not None and not form.may_have_paths:
        raise InvalidRequest("paths", f"{request.operation} has `path` instead")
    if form.levels_max == 0:
        if request.path:
            raise InvalidRequest("path", f"{request.operation} has `paths` instead")
        if request.paths is None and not form.has_values:
            raise InvalidRequest("paths", f"{request.operation} needs 1 to {PATHS_MAX} paths")
        return
    if request.paths is not None:
        if request.path:
            raise InvalidRequest("paths", "give `path` or `paths`, not both")
        return
    if not form.levels_min <= request.path.count("/") <= form.levels_max:
        wanted = f"{form.levels_min} to {form.levels_max} levels, such as /3303/0/5700"
        raise InvalidRequest("path", f"{request.operation} needs a path of {wanted}")


def _typed(request: CommandRequest, form: Form, names: ResourceNames) -> CommandRequest:
    """With `value` in `values`, of the type that the definition says."""
    if request.value is None:
        return request
    if not form.has_values or not request.path:
        raise InvalidRequest("value", f"{request.operation} has none")
    if request.values is not None:
        raise InvalidRequest("value", "give `value` or `values`, not both")
    levels = request.path.split("/")[1:]
    if len(levels) < 3:
        raise InvalidRequest("value", "is of one resource: give `values` for what has several")
    model = names.models.get(int(levels[0]))
    resource = None if model is None else model.resources.get(int(levels[2]))
    if resource is None:
        raise InvalidRequest(
            "value", f"{request.path} has no definition here: give `values` with its type"
        )
    value = Value(request.path, _type_of(resource), request.value)
    return msgspec.structs.replace(request, value=None, values=[value])


def _type_of(resource: ResourceModel) -> ValueType:
    found: dict[str, ValueType] = {str(name): name for name in _PYTHON_TYPES}
    named = found.get(resource.type.value)
    if named is None:
        raise InvalidRequest("value", f"{resource.name} has no value: it is executed")
    return named


def _check_further(request: CommandRequest, form: Form) -> None:
    if request.depth is not None:
        if "depth" not in form.further:
            raise InvalidRequest("depth", f"{request.operation} has none")
        if not 0 <= request.depth <= DEPTH_MAX:
            raise InvalidRequest("depth", f"must be 0 to {DEPTH_MAX}")
    if request.passive and "passive" not in form.further:
        raise InvalidRequest("passive", f"{request.operation} has none")


def _check_attributes(request: CommandRequest, form: Form) -> None:
    given = request.attributes
    if given is None:
        if request.operation == "write_attributes":
            raise InvalidRequest("attributes", "write_attributes needs at least one")
        return
    if not form.has_attributes:
        raise InvalidRequest("attributes", f"{request.operation} has none")
    if not 0 < len(given) <= ATTRIBUTES_MAX:
        raise InvalidRequest("attributes", f"must be 1 to {ATTRIBUTES_MAX}")
    for name, text in given.items():
        if not name.isascii() or not name.isalnum() or not _is_plain(name) or not _is_plain(text):
            raise InvalidRequest(
                "attributes", f"{name[:20]!r}: names such as pmin, values such as 10"
            )


def _is_plain(text: str) -> bool:
    return len(text) <= ATTRIBUTE_LENGTH_MAX and text.isascii() and text.isprintable()


def _check_arguments(request: CommandRequest, form: Form) -> None:
    if request.arguments is None:
        return
    if not form.has_arguments:
        raise InvalidRequest("arguments", f"{request.operation} has none")
    if len(request.arguments) > ARGUMENTS_LENGTH_MAX or not request.arguments.isascii():
        raise InvalidRequest("arguments", f"must be ASCII, at most {ARGUMENTS_LENGTH_MAX}")


def _check_values(request: CommandRequest, form: Form) -> None:
    values = request.values
    if not form.has_values:
        if values is not None:
            raise InvalidRequest("values", f"{request.operation} has none")
        return
    needed = request.operation == "write" or (
        request.operation == "write_composite" and request.paths is None
    )
    if not values and needed:
        raise InvalidRequest("values", f"{request.operation} needs at least one value")
    for position, value in enumerate(values or ()):
        _check_value(f"values[{position}]", value, request.path)


def _check_value(field: str, value: Value, base: str) -> None:
    if base and not f"{value.path}/".startswith(f"{base}/"):
        raise InvalidRequest(f"{field}.path", f"must be {base} or below it")
    is_boolean = isinstance(value.value, bool)
    if not isinstance(value.value, _PYTHON_TYPES[value.type]) or (
        is_boolean and value.type != "boolean"
    ):
        raise InvalidRequest(f"{field}.value", f"is not {value.type}")
    if (
        value.type in ("integer", "unsigned", "time")
        and isinstance(value.value, str)
        and not _INTEGER.fullmatch(value.value)
    ):
        raise InvalidRequest(f"{field}.value", f"is not {value.type}: digits are expected")
