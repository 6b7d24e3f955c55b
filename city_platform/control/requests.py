"""Checks what an operator asks for; errors name the field that is wrong."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import msgspec

from contracts.api import CommandRequest
from contracts.data_interface import Operation, Value, ValueType

REQUEST_BYTES_MAX = 65_536
EXPIRES_IN_S_MAX = 86_400.0
VALUES_MAX = 1_000
ARGUMENTS_LENGTH_MAX = 1_024

_PATH = re.compile(r"(/(0|[1-9][0-9]{0,4})){1,4}", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_decoder = msgspec.json.Decoder(CommandRequest)


class InvalidRequest(ValueError):
    """A request is wrong: `field` says where, the text what is expected."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field


class _Form(NamedTuple):
    """What an operation's path and body must look like."""

    levels_min: int
    levels_max: int
    has_values: bool = False
    has_arguments: bool = False


# The other operations of the data interface need more than a request here can say.
FORMS: dict[Operation, _Form] = {
    "read": _Form(1, 4),
    "discover": _Form(1, 3),
    "write": _Form(2, 4, has_values=True),
    "execute": _Form(3, 3, has_arguments=True),
    "create": _Form(1, 2, has_values=True),
    "delete": _Form(2, 2),
    "observe": _Form(1, 4),
    "cancel_observation": _Form(1, 4),
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


def read_request(body: bytes) -> CommandRequest:
    """A checked request. Raises `InvalidRequest`."""
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _from_decoder(error) from None
    _check(request)
    return request


def _from_decoder(error: Exception) -> InvalidRequest:
    # msgspec: "Expected `str`, got `int` - at `$.path`"
    reason, _, place = str(error).partition(" - at `$")
    return InvalidRequest(place.strip("`. "), reason)


def _check(request: CommandRequest) -> None:
    form = FORMS.get(request.operation)
    if form is None:
        raise InvalidRequest("operation", f"{request.operation} is not offered here")
    if not _PATH.fullmatch(request.path):
        raise InvalidRequest("path", "must be like /3303/0/5700")
    if not form.levels_min <= request.path.count("/") <= form.levels_max:
        wanted = f"{form.levels_min} to {form.levels_max} levels"
        raise InvalidRequest("path", f"{request.operation} needs a path of {wanted}")
    if not 0 < request.expires_in_s <= EXPIRES_IN_S_MAX or math.isnan(request.expires_in_s):
        raise InvalidRequest("expires_in_s", f"must be above 0 and at most {EXPIRES_IN_S_MAX:g}")
    if request.format is not None and not 0 <= request.format <= 65_535:
        raise InvalidRequest("format", "must be a CoAP content format, 0 to 65535")
    _check_arguments(request, form)
    _check_values(request, form)


def _check_arguments(request: CommandRequest, form: _Form) -> None:
    if request.arguments is None:
        return
    if not form.has_arguments:
        raise InvalidRequest("arguments", f"{request.operation} has none")
    if len(request.arguments) > ARGUMENTS_LENGTH_MAX or not request.arguments.isascii():
        raise InvalidRequest("arguments", f"must be ASCII, at most {ARGUMENTS_LENGTH_MAX}")


def _check_values(request: CommandRequest, form: _Form) -> None:
    values = request.values
    if not form.has_values:
        if values is not None:
            raise InvalidRequest("values", f"{request.operation} has none")
        return
    if not values and request.operation == "write":
        raise InvalidRequest("values", "write needs at least one value")
    if values and len(values) > VALUES_MAX:
        raise InvalidRequest("values", f"has {len(values)} entries, at most {VALUES_MAX}")
    for position, value in enumerate(values or ()):
        _check_value(f"values[{position}]", value, request.path)


def _check_value(field: str, value: Value, base: str) -> None:
    if not _PATH.fullmatch(value.path) or not f"{value.path}/".startswith(f"{base}/"):
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
