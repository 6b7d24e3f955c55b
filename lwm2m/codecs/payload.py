"""Which codec reads and writes which content format."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lwm2m.codecs import cbor, content_formats, opaque, senml_nodes, text, tlv
from lwm2m.codecs.node import Node, one_node, require_value_path
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
# What `encode_payload` and `decode_payload` know; the legacy numbers are read as well.
SUPPORTED = frozenset({*_SINGLE_ENCODERS, content_formats.TLV, content_formats.SENML_CBOR})


def encode_payload(
    content_format: int | None, base: ObjectPath | None, nodes: Sequence[Node], models: Models
) -> bytes:
    """`nodes`, which lie beneath `base`, in a content format. `base` None: a composite (SenML).

    Values are checked against the types in `models`, not against ranges (see `check_value`).
    Raises `UnsupportedContentFormat`, `InvalidValue`, or `IllegalPath` when the format cannot
    carry those paths.
    """
    known = _known(content_format)
    if known == content_formats.SENML_CBOR:
        return senml_nodes.encode_nodes(base, nodes, models)
    if base is None:
        raise UnsupportedContentFormat(content_format)
    if known == content_formats.TLV:
        return tlv.encode(base, nodes, models)
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
    known = _known(content_format)
    if known == content_formats.SENML_CBOR:
        return senml_nodes.decode_nodes(base, payload, models)
    if base is None:
        raise UnsupportedContentFormat(content_format)
    if known == content_formats.TLV:
        return tlv.decode(base, payload, models)
    model = require_value_path(base, models)
    kind = None if model is None else model.type
    return [Node(base, _SINGLE_DECODERS[known](kind, payload))]


def _known(content_format: int | None) -> int:
    if content_format is not None:
        number = content_formats.LEGACY.get(content_format, content_format)
        if number in SUPPORTED:
            return number
    raise UnsupportedContentFormat(content_format)
