"""Which codec reads and writes which content format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lwm2m.codecs import (
    cbor,
    content_formats,
    lwm2m_cbor,
    oma_json,
    opaque,
    senml_cbor,
    senml_json,
    senml_nodes,
    text,
    tlv,
)
from lwm2m.codecs.node import Change, Node, TimedNode, one_node, require_value_path
from lwm2m.codecs.senml_nodes import SenmlSyntax
from lwm2m.errors import UnsupportedContentFormat
from lwm2m.objects import Models, ObjectPath, Value, ValueType

_SINGLE_ENCODERS: dict[int, Callable[[ValueType, Value], bytes]] = {
    content_formats.TEXT: text.encode_value,
    content_formats.OCTET_STREAM: opaque.encode_value,
    content_formats.CBOR: cbor.encode_value,
}
_SINGLE_DECODERS: dict[int, Callable[[ValueType | None, bytes], Value]] = {
    content_formats.TEXT: text.decode_value,
    content_formats.OCTET_STREAM: opaque.decode_value,
    content_formats.CBOR: cbor.decode_value,
}
_SENML: dict[int, SenmlSyntax] = {
    content_formats.SENML_JSON: senml_json,
    content_formats.SENML_CBOR: senml_cbor,
}
_ETCH: dict[int, SenmlSyntax] = {
    content_formats.SENML_ETCH_JSON: senml_json,
    content_formats.SENML_ETCH_CBOR: senml_cbor,
}
# What `encode_payload` and `decode_payload` know; the legacy numbers are read as well.
SUPPORTED = frozenset(
    {
        *_SINGLE_ENCODERS,
        *_SENML,
        content_formats.TLV,
        content_formats.OMA_JSON,
        content_formats.LWM2M_CBOR,
    }
)
# Formats for several places at once: the composite operations.
COMPOSITE = frozenset({*_SENML, *_ETCH, content_formats.LWM2M_CBOR})


def encode_payload(
    content_format: int | None, base: ObjectPath | None, nodes: Sequence[Node], models: Models
) -> bytes:
    """`nodes`, which lie beneath `base`, in a content format. `base` None: a composite.

    Values are checked against the types in `models`, not against ranges (see `check_value`).
    Raises `UnsupportedContentFormat`, `InvalidValue`, or `IllegalPath` when the format cannot
    carry those paths.
    """
    known = _known(content_format, base)
    syntax = _syntax(known)
    if syntax is not None:
        return senml_nodes.encode_nodes(syntax, base, nodes, models)
    if known == content_formats.LWM2M_CBOR:
        return lwm2m_cbor.encode(base, nodes, models)
    assert base is not None
    if known == content_formats.TLV:
        return tlv.encode(base, nodes, models)
    if known == content_formats.OMA_JSON:
        return oma_json.encode(base, nodes, models)
    node, kind = one_node(base, nodes, models)
    return _SINGLE_ENCODERS[known](kind, node.value)


def decode_payload(
    content_format: int | None, base: ObjectPath | None, payload: bytes, models: Models
) -> list[Node]:
    """The values that a payload carries for `base` (None: a composite), typed by `models`.

    Values of unknown resources have the type that the format gives them (TLV: bytes). Raises
    `UnsupportedContentFormat`, `MalformedPayload`, `InvalidValue`, or `IllegalPath` when a
    single-value format is used for more than a resource.
    """
    known = _known(content_format, base)
    syntax = _syntax(known)
    if syntax is not None:
        return senml_nodes.decode_nodes(syntax, base, payload, models)
    if known == content_formats.LWM2M_CBOR:
        return lwm2m_cbor.decode(base, payload, models)
    assert base is not None
    if known == content_formats.TLV:
        return tlv.decode(base, payload, models)
    if known == content_formats.OMA_JSON:
        return oma_json.decode(base, payload, models)
    model = require_value_path(base, models)
    kind = None if model is None else model.type
    return [Node(base, _SINGLE_DECODERS[known](kind, payload))]


def encode_timed(
    content_format: int | None, base: ObjectPath | None, nodes: Sequence[TimedNode], models: Models
) -> bytes:
    """`nodes` with their times, for notifications with history and for Send.

    Only SenML and OMA JSON have times. The others leave them out, and so cannot carry two values of
    one path. Raises as `encode_payload` does, and `InvalidValue` for times that a format has not.
    """
    known = _known(content_format, base)
    syntax = _syntax(known)
    if syntax is not None:
        return senml_nodes.encode_timed(syntax, base, nodes, models)
    if known == content_formats.OMA_JSON:
        assert base is not None
        return oma_json.encode_timed(base, nodes, models)
    plain = [Node(path, value) for path, value, _unix_s in nodes]
    return encode_payload(content_format, base, plain, models)


def decode_timed(
    content_format: int | None,
    base: ObjectPath | None,
    payload: bytes,
    models: Models,
    now: float | None = None,
) -> list[TimedNode]:
    """The values that a payload carries, each with its time in Unix seconds or None.

    `now` (Unix seconds) makes relative times absolute; without it they are None. Raises as
    `decode_payload` does.
    """
    known = _known(content_format, base)
    syntax = _syntax(known)
    if syntax is not None:
        return senml_nodes.decode_timed(syntax, base, payload, models, now)
    if known == content_formats.OMA_JSON:
        assert base is not None
        return oma_json.decode_timed(base, payload, models, now)
    nodes = decode_payload(content_format, base, payload, models)
    return [TimedNode(path, value, None) for path, value in nodes]


def encode_paths(content_format: int | None, paths: Iterable[ObjectPath | None]) -> bytes:
    """The payload of a Read- or Observe-Composite; None is the root. Raises as `encode_payload`."""
    known = _composite(content_format)
    syntax = _syntax(known)
    if syntax is None:
        return lwm2m_cbor.encode_paths(paths)
    return senml_nodes.encode_paths(syntax, paths)


def decode_paths(content_format: int | None, payload: bytes) -> list[ObjectPath | None]:
    """The paths that a Read- or Observe-Composite names, in order; None is the root.

    Raises `UnsupportedContentFormat` or `MalformedPayload`.
    """
    known = _composite(content_format)
    syntax = _syntax(known)
    if syntax is None:
        return lwm2m_cbor.decode_paths(payload)
    return senml_nodes.decode_paths(syntax, payload)


def encode_composite_write(
    content_format: int | None,
    nodes: Sequence[Node],
    removed: Sequence[ObjectPath],
    models: Models,
) -> bytes:
    """The payload of a Write-Composite that writes `nodes` and removes what is at `removed`.

    Removing needs an ETCH format or LwM2M CBOR: else `UnsupportedContentFormat`. Raises as
    `encode_payload` does.
    """
    known = _composite(content_format)
    if not removed:
        return encode_payload(content_format, None, nodes, models)
    if known == content_formats.LWM2M_CBOR:
        return lwm2m_cbor.encode_changes(None, nodes, removed, models)
    if known not in _ETCH:
        raise UnsupportedContentFormat(content_format)
    return senml_nodes.encode_changes(_ETCH[known], nodes, removed, models)


def decode_composite_write(
    content_format: int | None, payload: bytes, models: Models
) -> list[Change]:
    """What a Write-Composite writes, and with None removes, in the payload's order.

    Null is for the ETCH formats and LwM2M CBOR; in plain SenML it is malformed. Raises
    `UnsupportedContentFormat`, `MalformedPayload` or `InvalidValue`.
    """
    known = _composite(content_format)
    if known == content_formats.LWM2M_CBOR:
        return lwm2m_cbor.decode_changes(None, payload, models)
    if known in _ETCH:
        return senml_nodes.decode_changes(_ETCH[known], payload, models)
    nodes = senml_nodes.decode_nodes(_SENML[known], None, payload, models)
    return [Change(path, value) for path, value in nodes]


def _known(content_format: int | None, base: ObjectPath | None) -> int:
    if base is None:
        return _composite(content_format)
    if content_format is not None:
        number = content_formats.LEGACY.get(content_format, content_format)
        if number in SUPPORTED:
            return number
    raise UnsupportedContentFormat(content_format)


def _composite(content_format: int | None) -> int:
    if content_format is None or content_format not in COMPOSITE:
        raise UnsupportedContentFormat(content_format)
    return content_format


def _syntax(known: int) -> SenmlSyntax | None:
    return _SENML.get(known) or _ETCH.get(known)
