"""Content formats: bytes to values at paths and back, by the types of the object definitions."""

from lwm2m.codecs import (
    cbor,
    content_formats,
    link_format,
    opaque,
    senml_cbor,
    senml_nodes,
    text,
    tlv,
)
from lwm2m.codecs.decoded_payloads import DecodedPayloads
from lwm2m.codecs.link_format import Link, LinkFormatLimits
from lwm2m.codecs.node import Node
from lwm2m.codecs.payload import SUPPORTED, decode_payload, encode_payload
from lwm2m.codecs.senml_cbor import ResolvedRecord, SenmlLimits

__all__ = [
    "SUPPORTED",
    "DecodedPayloads",
    "Link",
    "LinkFormatLimits",
    "Node",
    "ResolvedRecord",
    "SenmlLimits",
    "cbor",
    "content_formats",
    "decode_payload",
    "encode_payload",
    "link_format",
    "opaque",
    "senml_cbor",
    "senml_nodes",
    "text",
    "tlv",
]
