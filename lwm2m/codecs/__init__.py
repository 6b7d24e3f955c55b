"""Content formats: bytes to values at paths and back, by the types of the object definitions."""

from lwm2m.codecs import (
    cbor,
    content_formats,
    link_format,
    lwm2m_cbor,
    oma_json,
    opaque,
    senml,
    senml_cbor,
    senml_json,
    senml_nodes,
    text,
    tlv,
)
from lwm2m.codecs.decoded_payloads import DecodedPayloads
from lwm2m.codecs.link_format import Link, LinkFormatLimits
from lwm2m.codecs.node import Change, Node, TimedNode
from lwm2m.codecs.pack_reader import PackReader
from lwm2m.codecs.payload import (
    COMPOSITE,
    SUPPORTED,
    decode_composite_write,
    decode_paths,
    decode_payload,
    decode_timed,
    encode_composite_write,
    encode_paths,
    encode_payload,
    encode_timed,
)
from lwm2m.codecs.senml import ResolvedRecord, SenmlLimits

__all__ = [
    "COMPOSITE",
    "SUPPORTED",
    "Change",
    "DecodedPayloads",
    "Link",
    "LinkFormatLimits",
    "Node",
    "PackReader",
    "ResolvedRecord",
    "SenmlLimits",
    "TimedNode",
    "cbor",
    "content_formats",
    "decode_composite_write",
    "decode_paths",
    "decode_payload",
    "decode_timed",
    "encode_composite_write",
    "encode_paths",
    "encode_payload",
    "encode_timed",
    "link_format",
    "lwm2m_cbor",
    "oma_json",
    "opaque",
    "senml",
    "senml_cbor",
    "senml_json",
    "senml_nodes",
    "text",
    "tlv",
]
