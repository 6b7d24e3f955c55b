"""What cannot be processed is rejected by a Reset, and beyond a limit ignored (RFC 7252 §4.2)."""

from __future__ import annotations

from collections import Counter

import pytest

from lwm2m.coap import (
    CON,
    NON,
    RST,
    DatagramRejected,
    Message,
    RequestReceived,
    Response,
    TransmissionParameters,
    codes,
    decode_message,
    encode_message,
    options,
)
from tests.lwm2m.coap.by_hand import OTHER, PEER, ByHand

# A confirmable request with a reserved option nibble.
GARBAGE = b"\x40\x01\x00\x01\xf0"
PING = encode_message(Message(CON, codes.EMPTY, 7))
STRAY_RESPONSE = encode_message(Message(CON, codes.CONTENT, 7, b"none"))
STRAY_NOTIFICATION = encode_message(
    Message(NON, codes.CONTENT, 7, b"none", ((options.OBSERVE, b"\x01"),))
)
ALL = [GARBAGE, PING, STRAY_RESPONSE, STRAY_NOTIFICATION]


def _resets(talk: ByHand) -> Counter[object]:
    """How many Resets were sent, by peer."""
    sent = [(decode_message(data), peer) for data, peer in talk.endpoint.datagrams_to_send()]
    assert all(message.type == RST for message, _ in sent)
    return Counter(peer for _, peer in sent)


@pytest.mark.parametrize("datagram", ALL, ids=["garbage", "ping", "response", "notification"])
def test_a_peer_gets_no_more_resets_a_second_than_are_allowed(datagram: bytes) -> None:
    talk = ByHand(resets_per_peer_per_s=3)
    for _ in range(8):
        talk.endpoint.receive_datagram(datagram, PEER, talk.now)
    talk.endpoint.receive_datagram(datagram, OTHER, talk.now)
    assert _resets(talk) == {PEER: 3, OTHER: 1}
    assert talk.endpoint.resets_withheld == 5
    talk.now += 1.0
    talk.endpoint.receive_datagram(datagram, PEER, talk.now)
    assert _resets(talk) == {PEER: 1}
    assert talk.endpoint.resets_withheld == 5


def test_all_peers_together_get_no_more_resets_a_second_than_are_allowed() -> None:
    talk = ByHand(resets_per_s=100)
    for number in range(1_000):
        talk.endpoint.receive_datagram(GARBAGE, ("10.0.0.1", number), talk.now)
    assert _resets(talk).total() == 100
    assert talk.endpoint.resets_withheld == 900
    assert len(talk.endpoint._core.resets._given) == 100
    assert talk.endpoint.peers_known == 0


def test_each_message_that_is_ignored_silently_is_told_all_the_same() -> None:
    talk = ByHand(resets_per_peer_per_s=0)
    for _ in range(3):
        talk.endpoint.receive_datagram(GARBAGE, PEER, talk.now)
    told = talk.told()
    assert [event.reason for event in told if isinstance(event, DatagramRejected)] == (
        ["malformed"] * 3
    )
    assert not _resets(talk)


def test_others_are_answered_while_one_floods() -> None:
    talk = ByHand()
    for _ in range(10_000):
        talk.endpoint.receive_datagram(GARBAGE, PEER, talk.now)
    talk.told()
    assert _resets(talk).total() == TransmissionParameters().resets_per_peer_per_s
    talk.ask(codes.GET, peer=OTHER)
    event = talk.told_one(RequestReceived)
    talk.endpoint.respond(event.exchange, Response(codes.CONTENT), talk.now)
    assert talk.sent_one().code == codes.CONTENT


@pytest.mark.parametrize("name", ["resets_per_s", "resets_per_peer_per_s"])
def test_limits_of_resets_are_not_negative(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        TransmissionParameters(**{name: -1})
