"""What a client asks of a bootstrap server: `POST /bs` and `GET /bspack` (LwM2M Core §6.1.7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from lwm2m.coap import codes
from lwm2m.codecs import content_formats
from lwm2m.errors import BootstrapRefused

REQUEST_PATH: Final = ("bs",)
PACK_PATH: Final = ("bspack",)
# What a client may prefer for the writes that follow (`pct`), and what a pack may be in.
WRITE_FORMATS: Final = frozenset(
    {
        content_formats.SENML_JSON,
        content_formats.SENML_CBOR,
        content_formats.TLV,
        content_formats.LWM2M_CBOR,
    }
)
PACK_FORMATS: Final = (
    content_formats.SENML_CBOR,
    content_formats.SENML_JSON,
    content_formats.LWM2M_CBOR,
)


class BootstrapRequest(msgspec.Struct, frozen=True, gc=False):
    """A Bootstrap-Request; `preferred_format` is its `pct`."""

    endpoint_name: str
    preferred_format: int | None = None


class PackRequest(msgspec.Struct, frozen=True, gc=False):
    """A Bootstrap-Pack-Request; `content_format` is the one to answer in."""

    endpoint_name: str
    content_format: int


def read_bootstrap_request(query: Iterable[str], proven_name: str | None) -> BootstrapRequest:
    """The request that a query makes, of the client that security proved to be `proven_name`.

    Raises `BootstrapRefused`: 4.00 without or with another's endpoint name, 4.15 for a preferred
    format that nothing here is written in.
    """
    parameters = _parameters(query)
    endpoint_name = _endpoint_name(parameters, proven_name)
    preferred = _format_number(parameters.get("pct"))
    if preferred is not None and preferred not in WRITE_FORMATS:
        raise BootstrapRefused(
            codes.UNSUPPORTED_CONTENT_FORMAT, "preferred_format", f"pct={preferred} is not offered"
        )
    return BootstrapRequest(endpoint_name, preferred)


def read_pack_request(
    query: Iterable[str], accept: int | None, proven_name: str | None
) -> PackRequest:
    """The request for a pack. The Accept option counts before `acc` (1.2.1), else SenML CBOR.

    Raises `BootstrapRefused`: 4.00 as above, 4.06 for a format that no pack has.
    """
    parameters = _parameters(query)
    endpoint_name = _endpoint_name(parameters, proven_name)
    wanted = accept if accept is not None else _format_number(parameters.get("acc"))
    if wanted is None:
        wanted = PACK_FORMATS[0]
    if wanted not in PACK_FORMATS:
        raise BootstrapRefused(
            codes.NOT_ACCEPTABLE, "pack_format", f"no pack has content format {wanted}"
        )
    return PackRequest(endpoint_name, wanted)


def _parameters(query: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for argument in query:
        name, _, value = argument.partition("=")
        if name in found:
            raise _bad("repeated_parameter", f"{name[:20]!r} is there twice")
        found[name] = value
    return found


def _endpoint_name(parameters: dict[str, str], proven_name: str | None) -> str:
    given = parameters.get("ep")
    if given is None:
        # Optional from 1.1 on, when security tells who it is.
        if not proven_name:
            raise _bad("missing_endpoint_name", "ep is needed")
        return proven_name
    if not given:
        raise _bad("missing_endpoint_name", "ep is empty")
    if proven_name is not None and given != proven_name:
        raise _bad("identity_mismatch", "ep is not the client that the credentials belong to")
    return given


def _format_number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise _bad("malformed_format", "a content format is a number")
    return int(text)


def _bad(reason: str, detail: str) -> BootstrapRefused:
    return BootstrapRefused(codes.BAD_REQUEST, reason, detail)
