"""What may carry a private key is never shown."""

from __future__ import annotations

import pytest
from rich.pretty import pretty_repr

from harness.testing import ConnectedPair
from lwm2m.coap import CON, Message, Request, RequestReceived, Response, codes

SECRET = b"a private key"


def _exchange() -> ConnectedPair:
    pair = ConnectedPair(lambda event: None)
    pair.request(Request(codes.PUT, ("18830", "0"), payload=SECRET))
    pair.run_for(0.05)
    return pair


@pytest.mark.parametrize(
    "value",
    [
        Request(codes.PUT, payload=SECRET),
        Response(codes.CONTENT, SECRET),
        Message(CON, codes.PUT, 1, payload=SECRET),
        RequestReceived("peer", 1, Request(codes.PUT, payload=SECRET), 1),
    ],
)
def test_bodies_are_shown_by_their_size(value: object) -> None:
    for shown in (repr(value), str(value), pretty_repr(value)):
        assert SECRET.decode() not in shown
        assert "13 bytes" in shown


def test_what_an_endpoint_keeps_is_shown_without_its_bytes() -> None:
    pair = _exchange()
    [asked] = pair.requests
    pair.server.respond(asked.exchange, Response(codes.CONTENT, SECRET * 200), 0.05)
    for peer in (
        *pair.client._core.peers.by_address.values(),
        *pair.server._core.peers.by_address.values(),
    ):
        # Of one message, that is what `recent` is.
        kept = (peer.open, {1: peer.recent}, peer.transfers, peer.responding)
        for value in [found for container in kept for found in (container or {}).values()]:
            assert SECRET.decode() not in repr(value) + pretty_repr(value)
    assert any(p.transfers for p in pair.server._core.peers.by_address.values())
