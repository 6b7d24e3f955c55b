"""CoAP as a pure state machine: messages, exchanges, duplicates, block-wise transfer.

`CoapEndpoint` is the way in; see RFC 7252, 7641, 7959, 8974 and 9175, and docs/design/coap.md.
Nothing here knows a socket or a clock.
"""

from lwm2m.coap import codes, options
from lwm2m.coap.blocks import Block, MalformedBlock, decode_block, encode_block
from lwm2m.coap.conditions import (
    etag_of,
    etags_of,
    has_if_none_match,
    if_match_of,
    max_age_s,
    preconditions_hold,
    uri_host_of,
    uri_port_of,
    validated,
    with_etag,
    with_max_age,
)
from lwm2m.coap.endpoint import CoapEndpoint
from lwm2m.coap.events import (
    DatagramRejected,
    Event,
    ExchangeFailed,
    FailureReason,
    RejectionReason,
    RequestReceived,
    ResponseReceived,
)
from lwm2m.coap.message import (
    ACK,
    CON,
    NON,
    RST,
    MalformedMessage,
    Message,
    decode_message,
    encode_message,
)
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.request_sender import PeerQueueFull
from lwm2m.coap.requests import BadOption, Request, Response, find_option
from lwm2m.coap.responder import UnknownExchange

__all__ = [
    "ACK",
    "CON",
    "NON",
    "RST",
    "BadOption",
    "Block",
    "CoapEndpoint",
    "DatagramRejected",
    "Event",
    "ExchangeFailed",
    "FailureReason",
    "MalformedBlock",
    "MalformedMessage",
    "Message",
    "PeerQueueFull",
    "RejectionReason",
    "Request",
    "RequestReceived",
    "Response",
    "ResponseReceived",
    "TransmissionParameters",
    "UnknownExchange",
    "codes",
    "decode_block",
    "decode_message",
    "encode_block",
    "encode_message",
    "etag_of",
    "etags_of",
    "find_option",
    "has_if_none_match",
    "if_match_of",
    "max_age_s",
    "options",
    "preconditions_hold",
    "uri_host_of",
    "uri_port_of",
    "validated",
    "with_etag",
    "with_max_age",
]
