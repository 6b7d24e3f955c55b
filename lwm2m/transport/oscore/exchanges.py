"""Exchanges of single protected messages: the two halves of RFC 8613 §8 over a `CoapEndpoint`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final

import msgspec

from lwm2m.coap import CoapEndpoint, UnknownExchange, codes
from lwm2m.coap import options as opt
from lwm2m.coap.events import (
    DatagramRejected,
    Event,
    ExchangeFailed,
    FailureReason,
    RequestReceived,
    ResponseReceived,
)
from lwm2m.coap.requests import (
    HANDLED_CRITICAL,
    BadOption,
    Request,
    Response,
    find_option,
    read_request,
    read_response,
    without_options,
)
from lwm2m.transport.oscore.contexts import OscoreContexts, OscorePeer
from lwm2m.transport.oscore.faults import (
    Binding,
    DecryptionFailed,
    FreshnessUnknown,
    MalformedOscore,
    Replayed,
)
from lwm2m.transport.oscore.header import OscoreHeader, decode_header
from lwm2m.transport.oscore.messages import (
    oscore_option,
    outer_options,
    outer_request,
    outer_request_code,
    outer_response,
    protected_part,
    protected_part_of_response,
    read_plaintext,
)

# §8.2: these answers are no state of a resource.
_NOT_FRESH: Final = ((opt.MAX_AGE, b""),)
_OBSERVE_NUMBERS: Final = 1 << 24
_NOT_TOLD: Final = frozenset({opt.URI_HOST, opt.URI_PORT, opt.ECHO})


class _Sent(msgspec.Struct, gc=False, eq=False):
    """A protected request of ours; `handle` is the first message's, `current` what is out."""

    handle: int
    current: int
    peer: OscorePeer
    request: Request
    binding: Binding
    echoed: bool = False
    # An observation: the largest partial IV of its notifications (§4.1.3.5.2); -1 is the first
    # one without, None none yet.
    newest: int | None = None


class _Received(msgspec.Struct, gc=False, eq=False):
    """A protected request of the peer, until it is answered; longer while it observes."""

    peer: OscorePeer
    request: Request
    binding: Binding
    outer_code: int
    observed: bool = False


class ProtectedExchanges:
    """What `WholeBodies` stands on. Handles are those of the `CoapEndpoint` below."""

    __slots__ = (
        "_below",
        "_contexts",
        "_current",
        "_handled",
        "_quiet",
        "_received",
        "_sent",
        "refused",
    )

    def __init__(
        self, below: CoapEndpoint, contexts: OscoreContexts, critical_options: tuple[int, ...] = ()
    ) -> None:
        self._below = below
        self._contexts = contexts
        self._handled = HANDLED_CRITICAL | frozenset(critical_options)
        self._sent: dict[int, _Sent] = {}
        self._current: dict[int, _Sent] = {}
        # Ended here already: that they end below is not told.
        self._quiet: set[int] = set()
        self._received: dict[int, _Received] = {}
        self.refused: Counter[str] = Counter()

    def current(self, exchange: int) -> int | None:
        """The handle of the message that is out for this request of ours."""
        sent = self._sent.get(exchange)
        return None if sent is None else sent.current

    # ---- asking ----

    def send_request(self, peer: Hashable, request: Request, now: float) -> int:
        """Protect and send. Raises `PeerQueueFull`, `ValueError`, `SequenceExhausted`."""
        assert isinstance(peer, OscorePeer)
        handle, binding = self._transmit(peer, request, now)
        sent = _Sent(handle, handle, peer, request, binding)
        self._sent[handle] = self._current[handle] = sent
        return handle

    def _transmit(self, peer: OscorePeer, request: Request, now: float) -> tuple[int, Binding]:
        option, ciphertext, binding = peer.context.engine.protect_request(
            protected_part(request), outer_request_code(request)
        )
        outer = outer_request(request, option, ciphertext)
        return self._below.send_request(peer.address, outer, now), binding

    def cancel(self, exchange: int, now: float | None = None) -> None:
        """Give up; told as `ExchangeFailed` "cancelled"."""
        sent = self._sent.get(exchange)
        self._below.cancel(exchange if sent is None else sent.current, now)

    def end_observation(self, exchange: int, now: float) -> int:
        """Cancel an observation: RFC 8613 §4.1.3.5 has servers match the options inside.

        It goes as a request of its own; who matches by token alone ends the observation when its
        next notification is answered by a RST. Raises `UnknownExchange`.
        """
        old = self._sent.get(exchange)
        if old is None or old.request.observe != 0:
            raise UnknownExchange(f"no observation of ours under {exchange}")
        cancelling = msgspec.structs.replace(old.request, observe=1)
        handle = self.send_request(old.peer, cancelling, now)
        self._forget(old)
        self._end_below(old, now)
        return handle

    def _end_below(self, sent: _Sent, now: float | None = None) -> None:
        """End what is still observed below, without telling."""
        if self._below.message_id_of(sent.current) is not None:
            self._quiet.add(sent.current)
            self._below.cancel(sent.current, now)

    def take_failure(self, event: ExchangeFailed) -> list[Event]:
        """A message of ours was not answered, or a response not taken."""
        if event.exchange in self._quiet:
            self._quiet.remove(event.exchange)
            return []
        received = self._received.pop(event.exchange, None)
        if received is not None:
            return [ExchangeFailed(received.peer, event.exchange, event.reason)]
        sent = self._current.get(event.exchange)
        return self._fail(sent, event.reason) if sent is not None else []

    def take_response(self, event: ResponseReceived, now: float) -> list[Event]:
        """A response came to a protected request (§8.4)."""
        sent = self._current[event.exchange]
        outer = event.response
        option = oscore_option(outer.options)
        if option is None:
            return self._take_unprotected(sent, outer)
        try:
            header = decode_header(option)
            response = self._open_response(sent, header, option, outer.payload)
        except (MalformedOscore, DecryptionFailed, BadOption) as error:
            return self._reject_response(sent, outer, str(error))
        if self._is_challenge(sent, response):
            return self._answer_challenge(sent, response, now)
        if response.observe is None:
            return self._finish(sent, response)
        return self._take_notification(sent, response, header)

    def _open_response(
        self, sent: _Sent, header: OscoreHeader, option: bytes, ciphertext: bytes
    ) -> Response:
        engine = sent.peer.context.engine
        plaintext = engine.open_response(option, ciphertext, sent.binding)
        message = read_plaintext(plaintext)
        if not codes.is_response(message.code):
            raise MalformedOscore(f"inside: {codes.code_text(message.code)} is no response")
        response = read_response(message.code, message.options, message.payload, self._handled)
        if response.observe is not None and sent.request.observe != 0:
            # §4.1.3.5.2: nobody observes, so this is not an answer to it.
            raise MalformedOscore("a notification that nobody asked for")
        return response

    def _take_unprotected(self, sent: _Sent, response: Response) -> list[Event]:
        """§8.2 sends errors of OSCORE itself in the clear; nothing else may come so."""
        text = codes.code_text(response.code)
        if codes.is_success(response.code):
            return self._reject_response(sent, response, f"an unprotected {text}")
        told: list[Event] = [
            DatagramRejected(sent.peer, "unexpected", f"the request was refused: {text}")
        ]
        self.refused["unprotected_error"] += 1
        return told + self._fail(sent, "reset")

    def _reject_response(self, sent: _Sent, outer: Response, detail: str) -> list[Event]:
        self.refused["response"] += 1
        told: list[Event] = [DatagramRejected(sent.peer, "malformed", detail)]
        if sent.newest is not None and outer.observe is not None:
            # §8.4.2: an error does not cancel the observation.
            return told
        self._end_below(sent)
        return told + self._fail(sent, "malformed")

    @staticmethod
    def _is_challenge(sent: _Sent, response: Response) -> bool:
        return (
            response.code == codes.UNAUTHORIZED
            and not sent.echoed
            and find_option(response.options, opt.ECHO) is not None
        )

    def _answer_challenge(self, sent: _Sent, response: Response, now: float) -> list[Event]:
        """Appendix B.1.2: the same request again, with the Echo that shows it is fresh."""
        echo = find_option(response.options, opt.ECHO)
        assert echo is not None
        others = without_options(sent.request.options, frozenset({opt.ECHO}))
        again = msgspec.structs.replace(sent.request, options=(*others, (opt.ECHO, echo)))
        self._current.pop(sent.current, None)
        try:
            sent.current, sent.binding = self._transmit(sent.peer, again, now)
        except (RuntimeError, ValueError) as error:
            told: list[Event] = [DatagramRejected(sent.peer, "busy", str(error))]
            return told + self._fail(sent, "cancelled")
        sent.echoed = True
        self._current[sent.current] = sent
        return []

    def _take_notification(
        self, sent: _Sent, response: Response, header: OscoreHeader
    ) -> list[Event]:
        """§4.1.3.5.2: ordered by partial IV; the one without is the oldest, and there is one."""
        number = -1 if header.sequence is None else header.sequence
        if sent.newest is not None and number <= sent.newest:
            return [DatagramRejected(sent.peer, "unexpected", "a notification out of order")]
        sent.newest = number
        observe = max(number, 0) % _OBSERVE_NUMBERS
        told = msgspec.structs.replace(response, observe=observe)
        return [ResponseReceived(sent.peer, sent.handle, told)]

    def _finish(self, sent: _Sent, response: Response) -> list[Event]:
        self._forget(sent)
        # An observation that ended inside may still be open below.
        self._end_below(sent)
        return [ResponseReceived(sent.peer, sent.handle, response)]

    def _fail(self, sent: _Sent, reason: FailureReason) -> list[Event]:
        self._forget(sent)
        return [ExchangeFailed(sent.peer, sent.handle, reason)]

    def _forget(self, sent: _Sent) -> None:
        self._sent.pop(sent.handle, None)
        self._current.pop(sent.current, None)

    def is_answer(self, exchange: int) -> bool:
        """Whether a response or failure with this handle from below is ours."""
        known = exchange in self._current or exchange in self._received
        return known or exchange in self._quiet

    # ---- answering ----

    def take_request(self, event: RequestReceived, option: bytes, now: float) -> list[Event]:
        """A protected request came (§8.2): open it, or refuse it."""
        outer = event.request
        try:
            header = decode_header(option)
            if header.kid is None or header.partial_iv is None:
                raise MalformedOscore("a request has a kid and a partial IV")
        except MalformedOscore as error:
            return self._refuse(event, codes.BAD_OPTION, "malformed", str(error), now)
        context = self._contexts.find(header.kid, header.kid_context)
        if context is None:
            detail = "Security context not found"
            return self._refuse(event, codes.UNAUTHORIZED, "unknown_context", detail, now)
        code = codes.POST if outer.observe is None else codes.FETCH
        peer = OscorePeer(event.peer, context)
        try:
            plaintext, binding = context.engine.open_request(option, outer.payload, code)
        except Replayed:
            return self._refuse(event, codes.UNAUTHORIZED, "replayed", "Replay detected", now)
        except FreshnessUnknown as challenge:
            self.refused["freshness_unknown"] += 1
            asked = _Received(peer, outer, challenge.binding, code)
            response = Response(codes.UNAUTHORIZED, options=((opt.ECHO, challenge.echo),))
            self._answer(event.exchange, asked, response, now)
            return []
        except DecryptionFailed:
            return self._refuse(
                event, codes.BAD_REQUEST, "undecipherable", "Decryption failed", now
            )
        except MalformedOscore as error:
            return self._refuse(event, codes.BAD_REQUEST, "malformed", str(error), now)
        # RFC 9175 §2.4 is about answers that anybody can have sent anywhere. Only who has the key
        # made this request, and it is good for one answer: a forged address gains nothing.
        self._below.validate_peer(event.peer)
        return self._admit(event, peer, plaintext, binding, code, now)

    def _admit(
        self,
        event: RequestReceived,
        peer: OscorePeer,
        plaintext: bytes,
        binding: Binding,
        code: int,
        now: float,
    ) -> list[Event]:
        outer = event.request
        received = _Received(peer, outer, binding, code)
        try:
            request = self._read_request(plaintext, outer)
        except MalformedOscore as error:
            self._answer(event.exchange, received, Response(codes.BAD_REQUEST), now)
            return [DatagramRejected(peer, "malformed", str(error))]
        except BadOption as error:
            refusal = Response(codes.BAD_OPTION)
            if error.number in (opt.PROXY_URI, opt.PROXY_SCHEME):
                refusal = Response(codes.PROXYING_NOT_SUPPORTED)
            self._answer(event.exchange, received, refusal, now)
            return [DatagramRejected(peer, "bad_option", str(error))]
        received.request = request
        self._received[event.exchange] = received
        told: list[Event] = [RequestReceived(peer, event.exchange, request, event.message_id)]
        if request.observe == 1:
            self._end_observations(received)
        return told

    def _read_request(self, plaintext: bytes, outer: Request) -> Request:
        message = read_plaintext(plaintext)
        if not codes.is_request(message.code):
            raise MalformedOscore(f"inside: {codes.code_text(message.code)} is no request")
        handled = self._handled - {opt.PROXY_URI, opt.PROXY_SCHEME}
        request = read_request(
            message.code, message.options, message.payload, outer.confirmable, handled
        )
        # What is outer by its nature is taken from there, and nothing that was put inside.
        # Echo has done its work in the replay window.
        options = without_options(request.options, _NOT_TOLD) + outer_options(outer)
        # §4.1.3.5.1: both say the same, or somebody on the way took the outer one out.
        observe = request.observe if request.observe == outer.observe else None
        return msgspec.structs.replace(request, options=options, observe=observe)

    def _end_observations(self, cancelling: _Received) -> None:
        """§4.1.3.5: a cancellation matches by its context and the options inside, not by token.

        What ends is told as every cancelled exchange is.
        """
        wanted = _resource_of(cancelling)
        for exchange, found in self._received.items():
            if found.observed and _resource_of(found) == wanted:
                self._below.cancel(exchange)

    def _refuse(
        self, event: RequestReceived, code: int, reason: str, detail: str, now: float
    ) -> list[Event]:
        """§8.2: an error of OSCORE itself goes unprotected."""
        self.refused[reason] += 1
        refusal = Response(code, detail.encode(), options=_NOT_FRESH)
        self._below.respond(event.exchange, refusal, now)
        return [DatagramRejected(event.peer, "unexpected", f"OSCORE: {detail}")]

    def respond(self, exchange: int, response: Response, now: float) -> None:
        """Protect and answer. Raises `UnknownExchange`, `ValueError`, `SequenceExhausted`."""
        received = self._received.get(exchange)
        if received is None or received.observed:
            raise UnknownExchange(f"nothing waits for an answer under {exchange}")
        self._answer(exchange, received, response, now)
        begins = received.request.observe == 0 and response.observe is not None
        if begins and codes.is_success(response.code):
            received.observed = True
        else:
            del self._received[exchange]

    def notify(
        self, exchange: int, response: Response, now: float, *, confirmable: bool = False
    ) -> None:
        """Protect and notify, always with a new partial IV. Raises `UnknownExchange`."""
        received = self._received.get(exchange)
        if received is None or not received.observed:
            raise UnknownExchange(f"nobody observes under {exchange}")
        outer = self._protect(received, response, fresh_nonce=True)
        self._below.notify(exchange, outer, now, confirmable=confirmable)

    def _answer(self, exchange: int, received: _Received, response: Response, now: float) -> None:
        if received.request.observe != 0 or not codes.is_success(response.code):
            # §4.1.3.5.2: who did not register refuses what looks like a notification.
            response = msgspec.structs.replace(response, observe=None)
        # §4.1.3.5: who may be notified later gets partial IVs from the first answer on.
        outer = self._protect(received, response, fresh_nonce=response.observe is not None)
        self._below.respond(exchange, outer, now)

    @staticmethod
    def _protect(received: _Received, response: Response, *, fresh_nonce: bool) -> Response:
        option, ciphertext = received.peer.context.engine.protect_response(
            protected_part_of_response(response),
            received.binding,
            received.outer_code,
            fresh_nonce=fresh_nonce,
        )
        return outer_response(response, option, ciphertext, received.outer_code)


def _resource_of(received: _Received) -> tuple[object, ...]:
    """What a registration and its cancellation have in common (RFC 7641 §3.6)."""
    request = received.request
    options = without_options(request.options, frozenset({opt.ETAG, opt.ECHO}))
    return (received.peer.context.key, request.code, request.path, request.query,
            request.content_format, request.accept, request.payload, options)  # fmt: skip
