"""One request of ours, from the call that sends it until its response, or the end of what it
observes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from lwm2m.coap.blockwise_request import BlockwiseRequest
from lwm2m.coap.peers import Peer
from lwm2m.coap.redaction import show, shown_fields
from lwm2m.coap.requests import Request
from lwm2m.coap.states import SentState

_HIDDEN = frozenset({"datagram", "first_datagram"})


class SentRequest(msgspec.Struct, gc=False, eq=False):
    """A request from `send_request` until its response."""

    handle: int
    peer: Peer
    request: Request
    state: SentState = "queued"
    message_id: int = -1
    token: bytes = b""
    datagram: bytes = b""
    # When it is next due in the wheel, and the wait that follows. 0: it is not in the wheel.
    tick: int = 0
    timeout_s: float = 0.0
    retransmissions_left: int = 0
    # What `datagram_of` gives: None when the exchange is, or became, block-wise.
    first_datagram: bytes | None = None
    # When it went the short way, as its response may; negative when it did not.
    plainly_sent_at: float = -1.0
    blocks: BlockwiseRequest | None = None
    # Of an earlier incarnation: when to give up, in place of the last doubled wait.
    gives_up_at: float | None = None
    # An observation: number and time of the newest notification (RFC 7641 §3.4).
    newest: tuple[int, float] | None = None
    # The observation whose notification's later blocks this request fetches; of an observation,
    # the handle of the request that does.
    on_behalf_of: SentRequest | None = None
    fetch: int | None = None
    # The Echo value that the message now out carries (RFC 9175 §2.3).
    echo: bytes | None = None

    def __repr__(self) -> str:
        return show(self, _HIDDEN)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]  # a generator
        return shown_fields(self, _HIDDEN)
