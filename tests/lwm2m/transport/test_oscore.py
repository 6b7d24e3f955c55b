"""OSCORE end to end, in virtual time: what is protected, what is refused, what a restart costs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import BAD_NETWORK, seeded_draw
from lwm2m.coap import (
    CON,
    DatagramRejected,
    ExchangeFailed,
    Message,
    Request,
    RequestReceived,
    Response,
    TransmissionParameters,
    UnknownExchange,
    codes,
    decode_message,
    encode_message,
)
from lwm2m.coap import options as opt
from lwm2m.transport.oscore import (
    OSCORE,
    OscoreContexts,
    OscoreEndpoint,
    OscoreMaterial,
    OscorePeer,
    mirrored,
)
from lwm2m.transport.oscore.engine import SEQUENCES_AHEAD
from lwm2m.transport.peers import address_of, security_of

from .oscore_pair import CLIENT, MATERIAL, SERVER, OscorePair

_METHODS = (codes.GET, codes.POST, codes.PUT, codes.DELETE, codes.FETCH, codes.PATCH, codes.IPATCH)


def _echo(event: RequestReceived) -> Response:
    return Response(codes.CONTENT, event.request.payload, content_format=42)


@pytest.mark.parametrize("code", _METHODS)
def test_every_method_is_carried_whole(code: int) -> None:
    pair = OscorePair(_echo)
    request = Request(
        code, ("3", "0"), ("depth=1",), 42, 11542, payload=b"body", options=((opt.ETAG, b"tag"),)
    )
    answer = pair.ask(request)
    assert answer == Response(codes.CONTENT, b"body", content_format=42)
    [received] = pair.requests
    assert received.request == request


def test_a_peer_says_who_it_is_and_where() -> None:
    pair = OscorePair(_echo)
    pair.ask(Request(codes.GET, ("3",)))
    [received] = pair.requests
    peer = received.peer
    assert isinstance(peer, OscorePeer)
    assert security_of(peer).mode == "oscore"
    assert security_of(peer).identity == "0a"
    assert peer.endpoint_name == "lamp"
    assert address_of(peer) == CLIENT
    assert peer == pair.server.contexts.peer(CLIENT, b"\x0a")


def test_nothing_inside_shows_outside() -> None:
    pair = OscorePair(_echo)
    pair.send(Request(codes.PUT, ("secret-path",), ("secret-query",), payload=b"secret-body"))
    [(datagram, _)] = pair.client.datagrams_to_send()
    outer = decode_message(datagram)
    assert b"secret" not in datagram
    assert outer.code == codes.POST
    assert [number for number, _ in outer.options] == [OSCORE]


@pytest.mark.parametrize("size", [500, 513, 5_000, 60_000])
def test_a_large_body_goes_in_inner_blocks_both_ways(size: int) -> None:
    body = bytes(index % 251 for index in range(size))
    pair = OscorePair(_echo)
    answer = pair.ask(Request(codes.PUT, ("5", "0", "0"), payload=body))
    assert isinstance(answer, Response)
    assert (answer.code, answer.payload) == (codes.CONTENT, body)
    assert len(pair.requests) == 1


def test_a_large_body_passes_a_lossy_network() -> None:
    body = bytes(3_000)
    pair = OscorePair(_echo, conditions=BAD_NETWORK)
    handle = pair.send(Request(codes.PUT, ("5", "0", "0"), payload=body))
    pair.run(600)
    assert [event.exchange for event in pair.told if hasattr(event, "exchange")] == [handle]
    assert [response.payload for response in pair.responses] == [body]
    assert len(pair.requests) == 1


def test_small_outer_blocks_still_carry_everything() -> None:
    pair = OscorePair(_echo, parameters=TransmissionParameters(block_size=64))
    body = bytes(1_000)
    answer = pair.ask(Request(codes.PUT, ("5",), payload=body))
    assert isinstance(answer, Response)
    assert answer.payload == body


def test_a_replayed_request_is_refused_and_acts_once() -> None:
    pair = OscorePair(_echo)
    pair.send(Request(codes.POST, ("3", "0", "4")))
    [(datagram, _)] = pair.client.datagrams_to_send()
    pair.network.inject(datagram, CLIENT, SERVER)
    pair.run(5)
    message = decode_message(datagram)
    # As if somebody had kept it: another message id and token, the same ciphertext.
    again = Message(CON, message.code, 9, b"x", message.options, message.payload)
    pair.server.receive_datagram(encode_message(again), CLIENT, pair.network.now)
    pair.server.events()
    answer = decode_message(pair.server.datagrams_to_send()[-1][0])
    assert (answer.code, answer.payload) == (codes.UNAUTHORIZED, b"Replay detected")
    assert len(pair.requests) == 1
    assert pair.server.refused["replayed"] == 1


@pytest.mark.parametrize(
    ("material", "reason"),
    [
        (OscoreMaterial(b"another secret..", b"\x0b", b"\x0a", b"salt"), "undecipherable"),
        (OscoreMaterial(bytes(range(16)), b"\x0b", b"\x0c", b"salt"), "unknown_context"),
    ],
)
def test_who_has_another_key_or_id_is_refused(material: OscoreMaterial, reason: str) -> None:
    pair = OscorePair(_echo, server_material=material)
    assert pair.ask(Request(codes.GET, ("3",))) == "reset"
    assert pair.requests == []
    assert dict(pair.server.refused) == {reason: 1}
    assert dict(pair.client.refused) == {"unprotected_error": 1}


def test_an_unprotected_request_is_refused_unless_it_is_allowed() -> None:
    pair = OscorePair(_echo)
    assert pair.ask(Request(codes.GET, ("3",)), SERVER) == Response(codes.UNAUTHORIZED)
    assert pair.requests == []
    assert pair.server.refused["unprotected"] == 1
    open_pair = OscorePair(_echo, allow_unprotected=True)
    answer = open_pair.ask(Request(codes.GET, ("3",)), SERVER)
    assert answer == Response(codes.CONTENT, content_format=42)
    assert open_pair.requests[0].peer == CLIENT


def test_an_unprotected_answer_to_a_protected_request_is_no_answer() -> None:
    pair = OscorePair(_echo)
    handle = pair.send(Request(codes.GET, ("3",)))
    [(datagram, _)] = pair.client.datagrams_to_send()
    asked = decode_message(datagram)
    forged = Message(2, codes.CONTENT, asked.message_id, asked.token, (), b"forged")
    pair.client.receive_datagram(encode_message(forged), SERVER, pair.network.now)
    failed = [event for event in pair.client.events() if isinstance(event, ExchangeFailed)]
    assert failed == [ExchangeFailed(pair.peer, handle, "malformed")]


def test_a_server_that_lost_its_window_asks_for_an_echo_once() -> None:
    pair = OscorePair(_echo)
    pair.ask(Request(codes.GET, ("3",)))
    replayable = Request(codes.POST, ("3", "0", "4"))
    pair.start_server(next_sequence=SEQUENCES_AHEAD)
    answer = pair.ask(replayable)
    assert isinstance(answer, Response)
    assert answer.code == codes.CONTENT
    assert pair.server.refused == {"freshness_unknown": 1}
    # What its user sees has no Echo in it, and is one request.
    assert [event.request for event in pair.requests][1:] == [replayable]
    pair.ask(Request(codes.GET, ("3",)))
    assert pair.server.refused == {"freshness_unknown": 1}


def test_first_contact_may_be_made_to_prove_itself() -> None:
    pair = OscorePair(_echo, window_known=False)
    body = bytes(2_000)
    answer = pair.ask(Request(codes.POST, ("rd",), ("ep=lamp",), payload=body))
    assert isinstance(answer, Response)
    assert answer.payload == body
    assert pair.server.refused == {"freshness_unknown": 1}


@given(st.binary(max_size=20), st.binary(max_size=60), st.sampled_from([None, 0, 1]))
@settings(max_examples=300, deadline=None)
def test_any_option_and_payload_is_refused_and_nothing_else(
    option: bytes, payload: bytes, observe: int | None
) -> None:
    contexts = OscoreContexts(seeded_draw(1))
    contexts.add(mirrored(MATERIAL))
    server = OscoreEndpoint(TransmissionParameters(), contexts, seeded_draw(1))
    options = ((opt.OBSERVE, bytes([observe])),) if observe is not None else ()
    message = Message(CON, codes.FETCH, 1, b"t", (*options, (OSCORE, option)), payload)
    server.receive_datagram(encode_message(message), CLIENT, 0.0)
    assert all(isinstance(event, DatagramRejected) for event in server.events())
    [(answer, _)] = server.datagrams_to_send()
    assert decode_message(answer).code in (
        codes.BAD_OPTION, codes.UNAUTHORIZED, codes.BAD_REQUEST,
    )  # fmt: skip


@given(st.binary(min_size=1, max_size=40))
@settings(max_examples=300, deadline=None)
def test_whoever_has_the_key_may_still_send_nonsense(plaintext: bytes) -> None:
    contexts = OscoreContexts(seeded_draw(1))
    contexts.add(mirrored(MATERIAL))
    server = OscoreEndpoint(TransmissionParameters(), contexts, seeded_draw(1))
    client = OscoreContexts(seeded_draw(1)).add(MATERIAL)
    option, ciphertext, _ = client.engine.protect_request(plaintext, codes.POST)
    message = Message(CON, codes.POST, 1, b"t", ((OSCORE, option),), ciphertext)
    server.receive_datagram(encode_message(message), CLIENT, 0.0)
    for event in server.events():
        assert isinstance(event, DatagramRejected | RequestReceived)


@pytest.mark.parametrize("number", [OSCORE, opt.PROXY_URI, opt.PROXY_SCHEME])
def test_what_cannot_be_protected_is_not_sent(number: int) -> None:
    pair = OscorePair(_echo)
    with pytest.raises(ValueError, match="can be protected"):
        pair.send(Request(codes.GET, options=((number, b"x"),)))


def test_plain_exchanges_pass_through_untouched() -> None:
    pair = OscorePair(
        lambda event: Response(codes.CONTENT, b"0", observe=1), allow_unprotected=True
    )
    handle = pair.send(Request(codes.GET, ("3",), observe=0), SERVER)
    assert pair.client.datagram_of(handle) is not None
    assert pair.client.message_id_of(handle) is not None
    pair.run(5)
    exchange = pair.requests[0].exchange
    pair.server.notify(exchange, Response(codes.CONTENT, b"1", observe=2), pair.network.now)
    pair.run(5)
    assert [response.payload for response in pair.responses] == [b"0", b"1"]
    pair.client.end_observation(handle, pair.network.now)
    pair.run(5)
    assert [event.exchange for event in pair.heard if isinstance(event, ExchangeFailed)] == [
        exchange
    ]


def test_a_protected_exchange_has_a_message_id_and_no_datagram_to_resume() -> None:
    pair = OscorePair(_echo)
    handle = pair.send(Request(codes.GET, ("3",)))
    assert pair.client.message_id_of(handle) is not None
    assert pair.client.datagram_of(handle) is None
    [(datagram, _)] = pair.client.datagrams_to_send()
    with pytest.raises(ValueError, match="resumed"):
        pair.client.resume_exchange(pair.peer, datagram, 0.0, 0.0)
    pair.client.forget_peer(pair.peer, 0.0)
    assert [
        event.reason for event in pair.client.events() if isinstance(event, ExchangeFailed)
    ] == ["cancelled"]
    pair.client.reserve_message_ids(pair.peer, 41, 0.0)
    pair.client.ping(pair.peer, 0.0)
    [(ping, address)] = pair.client.datagrams_to_send()
    assert (decode_message(ping).message_id, address) == (42, SERVER)
    assert pair.client.peers_known == 1
    assert pair.client.messages_remembered == 0


def test_an_unanswered_protected_request_fails_in_time() -> None:
    pair = OscorePair(lambda event: None)
    assert pair.ask(Request(codes.PUT, ("3",), payload=bytes(2_000))) == "timeout"
    [received] = pair.requests
    pair.server.cancel(received.exchange, pair.network.now)
    pair.run(5)
    assert [event.reason for event in pair.heard if isinstance(event, ExchangeFailed)] == [
        "cancelled"
    ]
    with pytest.raises(UnknownExchange):
        pair.server.respond(received.exchange, Response(codes.CHANGED), pair.network.now)
