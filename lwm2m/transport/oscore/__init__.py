"""OSCORE (RFC 8613): requests and responses protected end to end, above the CoAP core.

`OscoreEndpoint` stands where a `CoapEndpoint` would; the cryptography is aiocoap's, which is not
imported before the first security context is made.
"""

from lwm2m.transport.oscore.contexts import (
    OSCORE,
    OscoreContexts,
    OscorePeer,
    ReserveSequence,
    oscore_parameters,
)
from lwm2m.transport.oscore.endpoint import OscoreEndpoint
from lwm2m.transport.oscore.faults import MalformedOscore, SequenceExhausted, UnknownContext
from lwm2m.transport.oscore.header import OscoreHeader, decode_header
from lwm2m.transport.oscore.material import (
    InvalidMaterial,
    OscoreMaterial,
    material_of_object,
    mirrored,
    object_of_material,
)

__all__ = [
    "OSCORE",
    "InvalidMaterial",
    "MalformedOscore",
    "OscoreContexts",
    "OscoreEndpoint",
    "OscoreHeader",
    "OscoreMaterial",
    "OscorePeer",
    "ReserveSequence",
    "SequenceExhausted",
    "UnknownContext",
    "decode_header",
    "material_of_object",
    "mirrored",
    "object_of_material",
    "oscore_parameters",
]
