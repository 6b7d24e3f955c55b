"""What a CoAP endpoint tells its user. `exchange` is the handle to answer or to cancel with."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import msgspec

from lwm2m.coap.requests import Request, Response

FailureReason = Literal["timeout", "reset", "cancelled", "malformed"]
RejectionReason = Literal["malformed", "unexpected", "bad_option", "too_large", "busy", "reset"]


class RequestReceived(msgspec.Struct, frozen=True, gc=False):
    """A whole request, for the first time: duplicates are answered from memory, unreported."""

    peer: Hashable
    exchange: int
    request: Request
    message_id: int


class ResponseReceived(msgspec.Struct, frozen=True, gc=False):
    """The whole response to a request, or one more notification of an observation."""

    peer: Hashable
    exchange: int
    response: Response


class ExchangeFailed(msgspec.Struct, frozen=True, gc=False):
    """A request that will get no response, or a response that the peer did not take.

    "timeout": nothing came in time, the peer may have acted or not; "reset": the peer refused the
    message; "cancelled": by `cancel` or `forget_peer`; "malformed": the answer broke the protocol.
    """

    peer: Hashable
    exchange: int
    reason: FailureReason


class DatagramRejected(msgspec.Struct, frozen=True, gc=False):
    """A datagram that was not acted on, for counting. `detail` is for humans.

    "malformed": not CoAP, or blocks that make no body; "unexpected": an answer to nothing that this
    peer was asked, or one more copy of an answer that was taken; "bad_option": a critical option;
    "too_large": a body over a limit; "busy": too many requests, of this peer or in all; "reset": a
    RST that matches nothing, such as a ping's. `count` datagrams are told at once: requests over
    the limit of their rate are told once a second, by the last peer of them.
    """

    peer: Hashable
    reason: RejectionReason
    detail: str
    count: int = 1


Event = RequestReceived | ResponseReceived | ExchangeFailed | DatagramRejected
