"""CoAP as a pure state machine: messages, exchanges, duplicates, block-wise transfer.

`CoapEndpoint` is the way in; see RFC 7252, 7959 and 7641. Nothing here knows a socket or a clock.
"""

from lwm2m.coap import codes, options
from lwm2m.coap.blocks import Block, MalformedBlock, decode_block, encode_block
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
from lwm2m.coap.requester import PeerQueueFull
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
    "find_option",
    "options",
]
