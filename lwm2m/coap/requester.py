"""The half of an endpoint that asks: matches responses with requests and sees them to their end.

RFC 7252 §5.3 (matching by peer and token), RFC 7959 (bodies in blocks), RFC 7641 (observations that
we began), RFC 9175 §2.3 (a request that is asked for again with an Echo value).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.blockwise_request import (
    BlockwiseBroken,
    BlockwiseRequest,
    asks_for_block,
    mentions_blocks,
)
from lwm2m.coap.events import ResponseReceived
from lwm2m.coap.message import ACK, Message
from lwm2m.coap.observe_order import is_newer
from lwm2m.coap.peers import Peer
from lwm2m.coap.plain import ACK_HEAD, read_plain_response
from lwm2m.coap.request_sender import RequestSender
from lwm2m.coap.request_tags import note_upload_end
from lwm2m.coap.requests import BadOption, Response, find_option, read_response
from lwm2m.coap.sent_request import SentRequest
from lwm2m.coap.states import SENT_TRANSITIONS

_IS_OUT = SENT_TRANSITIONS["queued"]["transmitted"]
_IS_ANSWERED = SENT_TRANSITIONS[_IS_OUT]["response_received"]

Reception = Literal["taken", "refused", "unknown"]


class Requester(RequestSender):
    """Requests of ours to all peers."""

    __slots__ = ()

    def receive_plain(self, data: bytes, address: Hashable, now: float) -> bool:
        """The short way of a piggybacked response that ends a plain exchange.

        `data` is an acknowledgement of four bytes or more. False, and nothing is changed, when it
        has to go the general way: `receive_response`.
        """
        core = self._core
        peer = core.peers.by_address.get(address)
        if peer is None or peer.open is None or peer.notifying is not None:
            return False
        options_at = data[0] - (ACK_HEAD - 4)
        sent = peer.open.get(data[4:options_at])
        # What has a message id, and was never on the wheel, is out and went the short way.
        if (
            sent is None
            or sent.tick != 0
            or sent.message_id != data[2] << 8 | data[3]
            or sent.request.observe is not None
            or peer.waiting is not None
        ):
            return False
        if sent.blocks is not None:
            return self._take_confirmation(sent, sent.blocks, data[1], data[options_at:], now)
        if peer.asking is not None:
            return False
        response = read_plain_response(data, options_at)
        if response is None:
            return False
        if not peer.is_validated:
            peer.is_validated = True
        if len(peer.open) == 1:
            peer.open = None
        else:
            del peer.open[sent.token]
        peer.outstanding -= 1
        sent.state = _IS_ANSWERED
        del self._by_handle[sent.handle]
        core.events.append(ResponseReceived(peer.address, sent.handle, response))
        return True

    def _take_confirmation(
        self, sent: SentRequest, blocks: BlockwiseRequest, code: int, rest: bytes, now: float
    ) -> bool:
        """The short way of a confirmed block: the next one follows, or the exchange ends. `rest` is
        what follows the token. False likewise."""
        peer, response = sent.peer, blocks.read_confirmation(code, rest)
        if response is None or not _is_alone(peer):
            return False
        if code == codes.CONTINUE:
            if not self._go_on_plainly(sent, blocks, now):
                return False
            peer.is_validated = True
            return True
        peer.is_validated = True
        peer.open = None
        peer.outstanding -= 1
        sent.state = _IS_ANSWERED
        del self._by_handle[sent.handle]
        note_upload_end(sent, answered=True, free_at=now)
        self._core.events.append(ResponseReceived(peer.address, sent.handle, response))
        return True

    def receive_response(self, peer: Peer | None, message: Message, now: float) -> Reception:
        """Take a response: "unknown" when this peer was asked nothing with that token, "refused"
        when it cannot be understood.

        RFC 7252 §5.3.2: it has to come from where the request went, and with its token; a
        piggybacked one also with its message id.
        """
        if peer is None or peer.open is None:
            return "unknown"
        sent = peer.open.get(message.token)
        if sent is None or (message.type == ACK and message.message_id != sent.message_id):
            return self._receive_tokenless_refusal(peer, message, now)
        try:
            response = read_response(
                message.code, message.options, message.payload, self._core.handled_options
            )
        except BadOption as error:
            self._core.reject(peer.address, "bad_option", str(error))
            self._fail(sent, "malformed", now)
            return "refused"
        # Its token is random: only who got the request can have sent this.
        peer.is_validated = True
        if peer.notifying is not None and sent.state == "sent":
            self._note_round_trip(sent, now)
        if (
            response.options
            or sent.blocks is not None
            or sent.request.observe is not None
            or response.code == codes.CONTINUE
        ):
            self._take_special(sent, response, message.type, now)
        else:
            self._finish(sent, response, now)
        if peer.asking is not None and not sent.request.confirmable:
            # RFC 7252 §4.7: PROBING_RATE is for a peer that does not respond.
            peer.asking.silent_until = 0.0
            self._start_next_non(peer, peer.asking, now)
        return "taken"

    def _receive_tokenless_refusal(self, peer: Peer, message: Message, now: float) -> Reception:
        """RFC 8974 §2.2: a peer that cannot read our token may say 4.00 without it."""
        if message.type != ACK or message.code != codes.BAD_REQUEST:
            return "unknown"
        sent = self._of_message_id(peer, message.message_id)
        if sent is None or not self._may_shorten_token(sent):
            return "unknown"
        self._repeat(sent, now)
        return "taken"

    def _finish(self, sent: SentRequest, response: Response, now: float) -> None:
        if sent.on_behalf_of is not None:
            self._finish_fetch(sent, sent.on_behalf_of, response, now)
            return
        self._close(sent, "response_received", now)
        self._core.events.append(ResponseReceived(sent.peer.address, sent.handle, response))

    def _finish_fetch(
        self, fetch: SentRequest, observing: SentRequest, response: Response, now: float
    ) -> None:
        """The body of a notification is there, or cannot be had; the observation goes on."""
        self._close(fetch, "response_received", now)
        observing.fetch = None
        if not codes.is_success(response.code):
            detail = f"the later blocks of a notification: {codes.code_text(response.code)}"
            self._core.reject(observing.peer.address, "malformed", detail)
            return
        assert observing.newest is not None
        number, _ = observing.newest
        self._tell_notification(observing, msgspec.structs.replace(response, observe=number))

    def _take_special(self, sent: SentRequest, response: Response, type_: int, now: float) -> None:
        """A response of a block-wise exchange, of an observation, or with uncommon options."""
        notifies = response.observe is not None and codes.is_success(response.code)
        if notifies and sent.request.observe == 0 and sent.on_behalf_of is None:
            self._take_notification(sent, response, now)
        elif notifies and sent.request.observe == 1 and type_ != ACK:
            # A notification that crossed our cancellation, under whose token it comes.
            return
        elif sent.state == "queued":
            # The observation ended by itself before its cancellation went out.
            self._finish(sent, response, now)
        elif response.code == codes.UNAUTHORIZED and self._takes_echo(sent, response):
            self._repeat(sent, now)
        elif sent.blocks is None and response.code != codes.CONTINUE and (
            not mentions_blocks(response) or asks_for_block(sent.request)
        ):  # fmt: skip
            self._finish(sent, response, now)
        else:
            self._take_block(sent, response, now)

    def _takes_echo(self, sent: SentRequest, response: Response) -> bool:
        """Whether the server wants the request again with the Echo value it gives: once."""
        value = find_option(response.options, opt.ECHO)
        # One of an earlier incarnation may have been repeated, and carried out, already.
        resumed = sent.gives_up_at is not None
        if value is None or sent.echo is not None or resumed or sent.state == "observing":
            return False
        sent.echo = value
        return True

    # ---- blocks ----

    def _take_block(self, sent: SentRequest, response: Response, now: float) -> None:
        blocks = sent.blocks or self._new_blocks(sent)
        try:
            whole = blocks.take_response(response)
        except BlockwiseBroken as error:
            self._core.reject(sent.peer.address, "malformed", str(error))
            self._fail(sent, "malformed", now)
            return
        if whole is not None:
            self._finish(sent, whole, now)
            return
        sent.blocks = blocks
        sent.first_datagram = None
        sent.echo = None
        self._leave_wire(sent, SENT_TRANSITIONS[sent.state]["block_received"])
        self._continue(sent, now)

    def _new_blocks(self, sent: SentRequest) -> BlockwiseRequest:
        parameters = self._core.parameters
        limit = parameters.payload_bytes_max
        return BlockwiseRequest(sent.request, parameters.block_size, limit, is_uploaded=True)

    # ---- observations ----

    def _take_notification(self, sent: SentRequest, response: Response, now: float) -> None:
        """RFC 7641 §3.4: a notification that was overtaken by a newer one is not told."""
        assert response.observe is not None
        number = response.observe
        if sent.newest is not None and not is_newer(number, now, *sent.newest):
            return
        sent.newest = (number, now)
        if sent.state != "observing":
            self._confirm_observation(sent, now)
        sent.state = SENT_TRANSITIONS[sent.state]["observation_confirmed"]
        if sent.fetch is not None:
            # What it fetches is older than this.
            self._drop_fetch(sent, now)
        if mentions_blocks(response):
            self._fetch_later_blocks(sent, response, now)
        else:
            self._tell_notification(sent, response)
        self._start_next(sent.peer, now)

    def _confirm_observation(self, sent: SentRequest, now: float) -> None:
        self._core.timers.cancel(sent.handle, sent.tick)
        if sent.state == "sent" and sent.request.confirmable:
            sent.peer.outstanding -= 1
        if sent.blocks is not None:
            note_upload_end(sent, answered=True, free_at=now)
            sent.blocks = None

    def _tell_notification(self, sent: SentRequest, response: Response) -> None:
        self._core.events.append(ResponseReceived(sent.peer.address, sent.handle, response))

    def _fetch_later_blocks(self, sent: SentRequest, response: Response, now: float) -> None:
        # RFC 7959 §2.6: the later blocks, and a body that has to begin anew, are asked for plainly.
        plain = msgspec.structs.replace(sent.request, observe=None)
        fetch = SentRequest(self._core.take_handle(), sent.peer, plain, on_behalf_of=sent)
        fetch.blocks = self._new_blocks(fetch)
        try:
            whole = fetch.blocks.take_response(response)
        except BlockwiseBroken as error:
            self._core.reject(sent.peer.address, "malformed", str(error))
            return
        if whole is not None:
            self._tell_notification(sent, whole)
            return
        sent.fetch = fetch.handle
        self._by_handle[fetch.handle] = fetch
        self._continue(fetch, now)

    def end_observation(self, sent: SentRequest, now: float) -> int:
        """See `CoapEndpoint.end_observation`."""
        peer = sent.peer
        request = msgspec.structs.replace(sent.request, observe=1)
        cancellation = SentRequest(self._core.take_handle(), peer, request, token=sent.token)
        self._launch(cancellation, now)
        # Until its turn comes, what is still notified is known by its token, and is not told.
        assert peer.open is not None
        peer.open[cancellation.token] = cancellation
        self._close(sent, "observation_ended", now)
        return cancellation.handle


def _is_alone(peer: Peer) -> bool:
    """Whether the body that this peer is sent in blocks is all that it is asked."""
    is_one = peer.open is not None and len(peer.open) == 1
    return is_one and peer.asking is not None and not peer.asking.waiting
