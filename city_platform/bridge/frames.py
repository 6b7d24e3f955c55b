"""The server's frames as far as a bridge must read them: payloads pass through unread."""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from city_platform.bridge.registry import RegistrationHead
from contracts.data_interface import VERSION, Completes, Outcome
from contracts.errors import ContractError, UnsupportedVersion

_T = TypeVar("_T")


class ServerFrameHead(msgspec.Struct, frozen=True):
    """A server's frame as far as a bridge must read it: the payload passes through unread."""

    type: str
    v: int = VERSION
    server: str = ""
    epoch: str = ""
    seq: int = 0
    kind: str = ""
    endpoint: str = ""
    registration_id: str | None = None
    registration: RegistrationHead | None = None
    result: Outcome | None = None
    completed: Completes | None = None
    as_of: int = 0
    registrations: list[msgspec.Raw] = []
    last: bool = False
    detail: str = ""
    fatal: bool = False
    id: str | None = None


class EventEnvelope(msgspec.Struct, frozen=True):
    """The least that an event must have to be passed over."""

    type: Literal["event"]
    seq: int


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_frames = msgspec.json.Decoder(ServerFrameHead)
_envelopes = msgspec.json.Decoder(EventEnvelope)
_heads = msgspec.json.Decoder(RegistrationHead)


def read_frame(data: bytes) -> ServerFrameHead:
    """One frame. Raises `ContractError`, and `UnsupportedVersion` when only newer code can."""
    try:
        frame = _frames.decode(data)
    except _UNREADABLE as error:
        raise _no_frame(error) from error
    if frame.v > VERSION:
        raise UnsupportedVersion("a frame of the server", frame.v, VERSION)
    return frame


def read_event_number(data: bytes) -> int:
    """The `seq` of an event frame that cannot be read as a whole. Raises `ContractError`."""
    return _read(_envelopes, data).seq


def read_registration(data: bytes | msgspec.Raw) -> RegistrationHead:
    """One registration of a snapshot. Raises `ContractError`."""
    return _read(_heads, data)


def _read(decoder: msgspec.json.Decoder[_T], data: bytes | msgspec.Raw) -> _T:
    try:
        return decoder.decode(data)
    except _UNREADABLE as error:
        raise _no_frame(error) from error


def _no_frame(error: Exception) -> ContractError:
    return ContractError(f"not a frame of the data interface: {error}")
