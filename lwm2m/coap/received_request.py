"""One request of a peer, from its arrival until its response is done with; longer when observed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from lwm2m.coap.answers import Remembered
from lwm2m.coap.blockwise_response import Negotiated
from lwm2m.coap.peers import Peer
from lwm2m.coap.redaction import show, shown_fields
from lwm2m.coap.requests import Request, Response
from lwm2m.coap.states import ReceivedState

_HIDDEN = frozenset({"datagram"})


class ReceivedRequest(msgspec.Struct, gc=False, eq=False):
    """A request from its arrival until its response is done with; longer when observed."""

    handle: int
    peer: Peer
    request: Request
    message_id: int
    token: bytes
    entry: Remembered
    # How long its datagram was: limits the answer to an address that is not validated.
    request_bytes: int
    state: ReceivedState = "pending"
    tick: int = 0
    negotiated: Negotiated | None = None
    # The separate response, or the notification, that waits for its acknowledgement.
    sent_message_id: int = -1
    datagram: bytes = b""
    timeout_s: float = 0.0
    retransmissions_left: int = 0
    # The newest state that is to be notified and may not go yet, and whether confirmably.
    held: tuple[Response, bool] | None = None
    # Whether an error was, or is about to be, notified: nothing follows it.
    is_ending: bool = False

    def __repr__(self) -> str:
        return show(self, _HIDDEN)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]  # a generator
        return shown_fields(self, _HIDDEN)
