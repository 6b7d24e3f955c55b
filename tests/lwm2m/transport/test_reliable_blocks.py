"""Large bodies over TCP: BERT blocks, plain ones, and what is larger than a side takes."""

from __future__ import annotations

import pytest

from lwm2m.coap import Request, Response, ResponseReceived, TransmissionParameters, codes
from lwm2m.coap import options as opt
from lwm2m.coap.blocks import Block, encode_block
from lwm2m.transport.plain_fields import encode_request_fields
from lwm2m.transport.reliable import encode_frame
from lwm2m.transport.reliable.signaling import settings_message
from tests.lwm2m.transport.reliable_pair import Pair, feed, raw


def test_a_body_beyond_the_peers_largest_message_goes_in_blocks() -> None:
    small = TransmissionParameters(payload_bytes_max=10_000)
    pair = Pair(server=small, client=TransmissionParameters(payload_bytes_max=100_000))
    body = bytes(index % 251 for index in range(9_999))
    pair.ask(Request(codes.PUT, ("5", "0", "0"), payload=body), Response(codes.CHANGED))
    assert pair.server.requests[0].request.payload == body
    # Larger than its limit altogether: it says so at the first block.
    pair.ask(Request(codes.PUT, ("5", "0", "0"), payload=bytes(20_000)))
    assert pair.client.responses[-1].code == codes.REQUEST_ENTITY_TOO_LARGE
    pair.server.endpoint.send_request(pair.server.peer, Request(codes.GET, ("1",)), pair.now)
    pair.settle()
    pair.client.endpoint.respond(
        pair.client.requests[0].exchange, Response(codes.CONTENT, bytes(15_000)), pair.now
    )
    pair.settle()
    assert pair.server.failures == ["malformed"]


def test_bert_blocks_are_understood_and_confirmed() -> None:
    side = raw()
    feed(side, settings_message(1 << 20))
    first = Request(codes.PUT, ("5",), payload=bytes(3 * 1024),
                    options=((opt.BLOCK1, encode_block(Block(0, True, 7))),))  # fmt: skip
    last = Request(codes.PUT, ("5",), payload=b"end",
                   options=((opt.BLOCK1, encode_block(Block(3, False, 7))),))  # fmt: skip
    said = feed(side, encode_frame(codes.PUT, b"a", encode_request_fields(first)))
    # 2.31 Continue, and the Block1 as it came: number 0, more, 7.
    assert said == encode_frame(codes.CONTINUE, b"a", b"\xd1\x0e\x0f")
    feed(side, encode_frame(codes.PUT, b"b", encode_request_fields(last)))
    [received] = side.requests
    assert received.request == Request(codes.PUT, ("5",), payload=bytes(3 * 1024) + b"end")
    side.endpoint.respond(received.exchange, Response(codes.CHANGED), 0.0)
    [(_, said)] = side.endpoint.take_output()
    assert said == encode_frame(codes.CHANGED, b"b", b"\xd1\x0e\x37")


def test_a_bert_response_is_put_together() -> None:
    side = raw()
    feed(side, settings_message(1 << 20))
    handle = side.endpoint.send_request(side.peer, Request(codes.GET, ("5",)), 0.0)
    side.endpoint.take_output()
    # Block2 0, more, 7 with two blocks of 1,024 bytes; the rest is then asked for plainly.
    block = bytes([0xD1, 0x0A, 0x0F])
    asked = feed(side, encode_frame(codes.CONTENT, b"", block + b"\xff" + bytes(2_048)))
    assert asked == encode_frame(codes.GET, b"\x01", b"\xb15\xc1\x26")
    feed(side, encode_frame(codes.CONTENT, b"\x01", b"\xd1\x0a\x26\xffend"))
    assert side.told[-1] == ResponseReceived(
        side.peer, handle, Response(codes.CONTENT, bytes(2_048) + b"end")
    )


def test_a_message_larger_than_the_peer_takes_is_not_sent() -> None:
    side = raw()
    feed(side, settings_message(200))
    with pytest.raises(ValueError, match="more than this peer takes"):
        side.endpoint.send_request(
            side.peer, Request(codes.GET, tuple("a" * 100 for _ in range(3))), 0.0
        )


def test_a_later_bert_block_is_given_plainly_and_one_beyond_all_numbers_refused() -> None:
    side = raw()
    feed(side, settings_message(2_000))
    body = bytes(index % 251 for index in range(5_000))
    ask = Request(codes.GET, ("5",), options=((opt.BLOCK2, encode_block(Block(0, False, 7))),))
    feed(side, encode_frame(codes.GET, b"a", encode_request_fields(ask)))
    side.endpoint.respond(side.requests[0].exchange, Response(codes.CONTENT, body), 0.0)
    [(_, said)] = side.endpoint.take_output()
    assert body[:1_024] in said
    later = Request(codes.GET, ("5",), options=((opt.BLOCK2, encode_block(Block(1, False, 7))),))
    said = feed(side, encode_frame(codes.GET, b"b", encode_request_fields(later)))
    assert said.endswith(body[1_024:2_048])
    beyond = Request(codes.PUT, ("5",), payload=bytes(1_024),
                     options=((opt.BLOCK1, encode_block(Block(0xFFFFF, True, 7))),))  # fmt: skip
    said = feed(side, encode_frame(codes.PUT, b"c", encode_request_fields(beyond)))
    assert said == encode_frame(codes.BAD_REQUEST, b"c", b"")


def test_a_large_notification_is_fetched_to_its_end() -> None:
    pair = Pair(client=TransmissionParameters(payload_bytes_max=4_000))
    handle = pair.ask(
        Request(codes.GET, ("3",), observe=0), Response(codes.CONTENT, b"1", observe=1)
    )
    exchange = pair.server.requests[0].exchange
    large = Response(codes.CONTENT, bytes(9_000), observe=2)
    pair.server.endpoint.notify(exchange, large, pair.now)
    pair.settle()
    # Too large for this client altogether: dropped, and the observation goes on.
    assert pair.client.failures == []
    pair.server.endpoint.notify(exchange, Response(codes.CONTENT, b"3", observe=3), pair.now)
    pair.settle()
    assert pair.client.told[-1] == ResponseReceived(
        pair.client.peer, handle, Response(codes.CONTENT, b"3", observe=3)
    )
