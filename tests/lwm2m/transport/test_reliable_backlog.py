"""TCP peers that send without end: they take turns, and what waits is bounded."""

from __future__ import annotations

import pytest

from harness.testing import seeded_draw
from lwm2m.coap import PeerQueueFull, Request, Response, TransmissionParameters, codes
from lwm2m.coap import options as opt
from lwm2m.coap.blocks import Block, encode_block
from lwm2m.transport.peers import NOSEC
from lwm2m.transport.plain_fields import encode_request_fields
from lwm2m.transport.reliable import ReliableEndpoint, ReliablePeer, encode_frame
from lwm2m.transport.reliable.exchanges import MESSAGES_PER_TURN
from lwm2m.transport.reliable.signaling import PING, PONG, settings_message, signaling_message
from tests.lwm2m.transport.reliable_pair import Pair, feed, raw


def test_a_peer_that_asks_too_much_is_read_no_further_until_answered() -> None:
    pair = Pair(server=TransmissionParameters(pending_per_peer_max=3))
    for number in range(5):
        pair.client.endpoint.send_request(
            pair.client.peer, Request(codes.GET, (str(number),)), pair.now
        )
    pair.settle()
    assert len(pair.server.requests) == 3
    assert not pair.server.endpoint.wants_bytes(pair.server.peer)
    assert pair.server.endpoint.take_slowed() == [pair.server.peer]
    for received in list(pair.server.requests):
        pair.server.endpoint.respond(received.exchange, Response(codes.CONTENT), pair.now)
    pair.settle()
    assert len(pair.server.requests) == 5
    assert pair.server.endpoint.wants_bytes(pair.server.peer)


def test_requests_wait_for_a_peer_that_reads() -> None:
    pair = Pair(client=TransmissionParameters(queue_per_peer_max=2))
    peer = pair.client.peer
    for _ in range(2):
        pair.client.endpoint.send_request(peer, Request(codes.GET), pair.now)
    with pytest.raises(PeerQueueFull):
        pair.client.endpoint.send_request(peer, Request(codes.GET), pair.now)
    other = Pair()
    other.client.endpoint.set_writable(other.client.peer, False)
    with pytest.raises(PeerQueueFull):
        other.client.endpoint.send_request(other.client.peer, Request(codes.GET), other.now)


def test_one_peer_with_many_messages_keeps_no_other_waiting() -> None:
    server = ReliableEndpoint(TransmissionParameters(), seeded_draw(2))
    greedy, modest = (ReliablePeer("127.0.0.1", port, NOSEC) for port in (1, 2))
    for peer in (greedy, modest):
        server.connect(peer, 0.0)
        server.receive_bytes(peer, settings_message(2_000), 0.0)
    server.take_output()
    pings = 100_000
    server.receive_bytes(greedy, signaling_message(PING) * pings, 0.0)
    # It has had its share: the rest waits, and no more is read from its socket.
    assert server.is_behind
    assert not server.wants_bytes(greedy)
    [(_, pongs)] = server.take_output()
    assert len(pongs) == MESSAGES_PER_TURN * len(signaling_message(PONG))
    server.receive_bytes(modest, encode_frame(codes.GET, b"m", b""), 0.0)
    assert [event.peer for event in server.events()] == [modest]
    assert server.wants_bytes(modest)

    turns = 0
    while server.is_behind:
        server.receive_bytes(greedy, b"", 0.0)  # nothing that comes shortens its way
        server.read_behind(0.0)
        turns += 1
    assert turns == pings // MESSAGES_PER_TURN
    [(peer, rest)] = server.take_output()
    assert (peer, len(pongs + rest)) == (greedy, pings * len(signaling_message(PONG)))
    assert server.wants_bytes(greedy)
    assert greedy in server.take_slowed()


def test_peers_that_are_behind_take_turns_and_one_that_is_gone_has_none() -> None:
    server = ReliableEndpoint(TransmissionParameters(), seeded_draw(2))
    peers = [ReliablePeer("127.0.0.1", port, NOSEC) for port in (1, 2, 3)]
    for peer in peers:
        server.connect(peer, 0.0)
        server.receive_bytes(peer, settings_message(2_000), 0.0)
        server.receive_bytes(peer, signaling_message(PING) * (3 * MESSAGES_PER_TURN - 1), 0.0)
    server.take_output()
    server.disconnect(peers[1], 0.0)
    served = []
    while server.is_behind:
        server.read_behind(0.0)
        served += [peer for peer, _ in server.take_output()]
    assert served == [peers[0], peers[2], peers[0], peers[2]]


def test_what_is_answered_at_once_makes_no_endless_turn() -> None:
    # Blocks of bodies that nobody began are refused without asking anybody: each makes room.
    side = raw(TransmissionParameters(pending_per_peer_max=1))
    feed(side, settings_message(2_000))
    block = (opt.BLOCK1, encode_block(Block(7, True, 2)))
    request = Request(codes.PUT, options=((opt.URI_PATH, b"1"), block), payload=bytes(64))
    frame = encode_frame(codes.PUT, b"t", encode_request_fields(request))
    said = len(feed(side, frame * 50))
    assert side.endpoint.is_behind
    turns = 1
    while side.endpoint.is_behind:
        side.endpoint.read_behind(0.0)
        side.told += side.endpoint.events()
        said += sum(len(data) for _, data in side.endpoint.take_output())
        turns += 1
    assert 10 < turns <= 51
    assert said % 50 == 0
    assert not side.requests
