"""One endpoint whose peers are played by the test, message by message; and its own short words."""

from __future__ import annotations

from typing import Any, TypeVar

from harness.testing import seeded_draw
from lwm2m.coap import (
    ACK,
    CON,
    Block,
    CoapEndpoint,
    Event,
    Message,
    Request,
    RequestReceived,
    Response,
    TransmissionParameters,
    codes,
    decode_block,
    decode_message,
    encode_block,
    encode_message,
    find_option,
    options,
)

PEER = ("127.0.0.2", 5683)
OTHER = ("127.0.0.3", 5683)
GET_TEMPERATURE = Request(codes.GET, ("temperature",))
TICK_S = 1 / 64
_Told = TypeVar("_Told")


def endpoint_with(**changed: Any) -> CoapEndpoint:
    """An endpoint with these transmission parameters; its chance is always the same."""
    return CoapEndpoint(TransmissionParameters(**changed), seeded_draw(7))


def sent_by(endpoint: CoapEndpoint) -> list[Message]:
    """What it sent since the last call."""
    return [decode_message(data) for data, _ in endpoint.datagrams_to_send()]


def hear(endpoint: CoapEndpoint, message: Message, now: float, peer: object = PEER) -> None:
    """Have it receive a message."""
    endpoint.receive_datagram(encode_message(message), peer, now)


def run_timers(endpoint: CoapEndpoint, until: float) -> list[tuple[float, Message]]:
    """Run its timers, each when it is due; what is sent meanwhile, and when."""
    sent: list[tuple[float, Message]] = []
    while (due := endpoint.next_timer()) is not None and due <= until:
        endpoint.handle_timer(due)
        sent += [(due, message) for message in sent_by(endpoint)]
    return sent


class ByHand:
    """An endpoint, and the time that it lives in."""

    def __init__(self, **changed: Any) -> None:
        self.endpoint = endpoint_with(**changed)
        self.now = 0.0
        self._message_id = 1000

    def send(self, request: Request, peer: object = PEER) -> int:
        """Have it send a request."""
        return self.endpoint.send_request(peer, request, self.now)

    def hear(self, message: Message, peer: object = PEER) -> None:
        """Have it receive a message."""
        hear(self.endpoint, message, self.now, peer)

    def answer(
        self,
        asked: Message,
        code: int = codes.CONTENT,
        payload: bytes = b"",
        *found: tuple[int, bytes],
        type_: int = ACK,
        peer: object = PEER,
    ) -> None:
        """Answer one of its requests: piggybacked, or under a new message id."""
        message_id = asked.message_id if type_ == ACK else self.new_id()
        every = tuple(sorted(found, key=lambda option: option[0]))
        self.hear(Message(type_, code, message_id, asked.token, every, payload), peer)

    def ask(
        self,
        code: int,
        *found: tuple[int, bytes],
        payload: bytes = b"",
        token: bytes = b"t",
        type_: int = CON,
        peer: object = PEER,
    ) -> int:
        """Have it receive a request with a new message id, which comes back."""
        message = Message(type_, code, self.new_id(), token, tuple(sorted(found)), payload)
        self.hear(message, peer)
        return message.message_id

    def new_id(self) -> int:
        """A message id of the peers that was not used before."""
        self._message_id += 1
        return self._message_id

    def sent(self) -> list[Message]:
        """What it sent since the last call."""
        return sent_by(self.endpoint)

    def sent_one(self) -> Message:
        """The one message that it sent."""
        [message] = self.sent()
        return message

    def told(self) -> list[Event]:
        """What it told since the last call."""
        return self.endpoint.events()

    def told_one(self, kind: type[_Told]) -> _Told:
        """The one event that it told, of this kind."""
        [event] = self.endpoint.events()
        assert isinstance(event, kind), event
        return event

    def respond(self, response: Response) -> RequestReceived:
        """Have it answer the one request that it told of."""
        event = self.told_one(RequestReceived)
        self.endpoint.respond(event.exchange, response, self.now)
        return event

    def observed(self, observe: int = 1, token: bytes = b"t", peer: object = PEER) -> int:
        """Have a peer observe it; the handle to notify under."""
        self.ask(codes.GET, (options.OBSERVE, b""), token=token, peer=peer)
        event = self.respond(Response(codes.CONTENT, b"0", observe=observe))
        self.sent()
        return event.exchange

    def wait(self, seconds: float) -> list[tuple[float, Message]]:
        """Let time pass; what is sent meanwhile, and when."""
        until = self.now + seconds
        found: list[tuple[float, Message]] = []
        while (due := self.endpoint.next_timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.endpoint.handle_timer(self.now)
            found += [(self.now, message) for message in self.sent()]
        self.now = until
        return found


def block_of(message: Message, number: int) -> Block | None:
    """The Block option of this number."""
    value = find_option(message.options, number)
    return decode_block(value) if value is not None else None


def block1(number: int, more: bool, szx: int) -> tuple[int, bytes]:
    """A Block1 option."""
    return options.BLOCK1, encode_block(Block(number, more, szx))


def block2(number: int, more: bool, szx: int) -> tuple[int, bytes]:
    """A Block2 option."""
    return options.BLOCK2, encode_block(Block(number, more, szx))
