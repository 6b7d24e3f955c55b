"""OSCORE end to end, in virtual time: what is protected, what is refused, what a restart costs."""

from __future__ import annotations

import subprocess
import sys

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
    ResponseReceived,
    TransmissionParameters,
    UnknownExchange,
    codes,
    decode_message,
    encode_message,
)
from lwm2m.coap import options as opt
from lwm2m.transport.oscore import (
    OSCORE,
    InvalidMaterial,
    MalformedOscore,
    OscoreContexts,
    OscoreEndpoint,
    OscoreMaterial,
    OscorePeer,
    SequenceExhausted,
    UnknownContext,
    decode_header,
    material_of_object,
    mirrored,
    object_of_material,
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


def test_notifications_arrive_in_order_and_end_when_cancelled() -> None:
    pair = OscorePair(lambda event: Response(codes.CONTENT, b"0", observe=1))
    handle = pair.send(Request(codes.GET, ("3303", "0", "5700"), observe=0))
    pair.run(5)
    [received] = pair.requests
    assert received.request.observe == 0
    for number in (2, 3):
        confirmable = number == 3
        body = str(number).encode() * 700
        note = Response(codes.CONTENT, body, observe=number)
        pair.server.notify(received.exchange, note, pair.network.now, confirmable=confirmable)
        pair.run(5)
    assert [response.payload for response in pair.responses] == [b"0", b"2" * 700, b"3" * 700]
    numbers = [response.observe for response in pair.responses]
    assert numbers == sorted(numbers, key=lambda number: number or 0)
    pair.client.end_observation(handle, pair.network.now)
    pair.run(5)
    assert pair.responses[-1].observe is None
    ended = [event for event in pair.heard if isinstance(event, ExchangeFailed)]
    assert [(event.exchange, event.reason) for event in ended] == [(received.exchange, "cancelled")]
    assert not [event for event in pair.told if isinstance(event, ExchangeFailed)]
    with pytest.raises(UnknownExchange):
        pair.server.notify(received.exchange, Response(codes.CONTENT), pair.network.now)


def test_an_observation_may_be_cancelled_silently_and_is_then_reset() -> None:
    pair = OscorePair(lambda event: Response(codes.CONTENT, b"0", observe=1))
    handle = pair.send(Request(codes.GET, ("3",), observe=0))
    pair.run(5)
    pair.client.cancel(handle, pair.network.now)
    note = Response(codes.CONTENT, b"1", observe=2)
    pair.server.notify(pair.requests[0].exchange, note, pair.network.now)
    pair.run(5)
    assert [event.reason for event in pair.told if isinstance(event, ExchangeFailed)] == [
        "cancelled"
    ]
    assert [event.reason for event in pair.heard if isinstance(event, ExchangeFailed)] == ["reset"]


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


def test_a_restart_from_what_was_reserved_never_uses_a_number_twice() -> None:
    stored: list[int] = []
    used: list[int] = []
    next_sequence = 0
    for _ in range(3):
        contexts = OscoreContexts(
            seeded_draw(1), lambda key, next_sequence: stored.append(next_sequence)
        )
        contexts.add(MATERIAL, next_sequence=next_sequence)
        endpoint = OscoreEndpoint(TransmissionParameters(queue_per_peer_max=1_000), contexts,
                                  seeded_draw(1))  # fmt: skip
        for _ in range(SEQUENCES_AHEAD + 10):
            engine = next(iter(contexts)).engine
            option, _, _ = engine.protect_request(b"\x01", codes.POST)
            used.append(decode_header(option).sequence or 0)
            assert used[-1] < stored[-1]
        assert endpoint.datagrams_to_send() == []
        next_sequence = stored[-1]
    assert len(used) == len(set(used))
    assert len(stored) == 6


def test_the_same_material_again_goes_on_with_its_numbers() -> None:
    contexts = OscoreContexts(seeded_draw(1))
    first = contexts.add(MATERIAL)
    first.engine.protect_request(b"\x01", codes.POST)
    again = contexts.add(mirrored(mirrored(MATERIAL), "renamed"))
    assert again.material.endpoint_name == "renamed"
    assert again.engine.next_sequence == 1
    contexts.remove(MATERIAL.recipient_id)
    contexts.remove(MATERIAL.recipient_id)
    assert len(contexts) == 0
    with pytest.raises(UnknownContext):
        contexts.peer(SERVER, MATERIAL.recipient_id)


def test_a_request_without_kid_context_finds_the_only_context_of_its_kid() -> None:
    contexts = OscoreContexts(seeded_draw(1))
    one = OscoreMaterial(b"s" * 16, b"\x01", b"\x02", id_context=b"one")
    first = contexts.add(one)
    assert contexts.find(b"\x02", None) is first
    contexts.add(OscoreMaterial(b"s" * 16, b"\x01", b"\x02", id_context=b"two"))
    assert contexts.find(b"\x02", None) is None
    assert contexts.find(b"\x02", b"one") is first
    assert contexts.find(b"\x03", None) is None


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


@given(st.binary(max_size=300))
def test_a_header_is_read_or_refused(value: bytes) -> None:
    try:
        header = decode_header(value)
    except MalformedOscore:
        return
    assert len(header.partial_iv or b"") <= 5


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 8613 §6.3, examples 1 to 4.
        ("090525", (b"\x05", None, b"\x25")),
        ("0900", (b"\x00", None, b"")),
        ("19050844616c656b25", None),
        ("19050444616c656b", (b"\x05", b"Dale", b"k")),
        ("", (None, None, None)),
        ("0107", (b"\x07", None, None)),
    ],
)
def test_headers_of_the_rfc_are_read(
    value: str, expected: tuple[bytes | None, bytes | None, bytes | None] | None
) -> None:
    if expected is None:
        with pytest.raises(MalformedOscore):
            decode_header(bytes.fromhex(value))
    else:
        assert tuple(decode_header(bytes.fromhex(value))) == expected


_IDS = st.binary(max_size=7)


@given(
    st.binary(min_size=1, max_size=32),
    _IDS,
    _IDS,
    st.binary(max_size=16),
    st.none() | st.binary(max_size=32),
    st.sampled_from([10, 30]),
    st.sampled_from([-10, -11, 5, 6, 7]),
)
def test_material_passes_through_the_oscore_object(
    secret: bytes, sender: bytes, recipient: bytes, salt: bytes, context: bytes | None, aead: int,
    hkdf: int,
) -> None:  # fmt: skip
    if sender == recipient:
        with pytest.raises(InvalidMaterial):
            OscoreMaterial(secret, sender, recipient)
        return
    material = OscoreMaterial(secret, sender, recipient, salt, context, aead, hkdf)
    assert material_of_object(object_of_material(material)) == material


def test_the_first_versions_of_the_object_hold_hexadecimal() -> None:
    material = material_of_object({0: "0102", 1: "", 2: "01", 5: "FF"}, "lamp")
    assert material == OscoreMaterial(b"\x01\x02", b"", b"\x01", b"\xff", endpoint_name="lamp")
    for resources in ({0: "secret", 1: "", 2: "01"}, {1: b"", 2: b"x"}, {0: b"s", 1: b"", 2: 3}):
        with pytest.raises(InvalidMaterial) as caught:
            material_of_object(resources)  # type: ignore[arg-type] # mixed on purpose
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"aead_algorithm": 99},
        {"hkdf_algorithm": 0},
        {"sender_id": bytes(8)},
        {"master_secret": b""},
        {"id_context": bytes(256)},
        {"replay_window": 0},
    ],
)
def test_material_that_cannot_work_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidMaterial):
        OscoreMaterial(
            **{"master_secret": b"s", "sender_id": b"", "recipient_id": b"\x01", **wrong}
        )  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize("aead", [1, 2, 3, 10, 11, 12, 13, 24, 30, 31, 32, 33])
@pytest.mark.parametrize("hkdf", [-10, -11])
def test_every_algorithm_protects_and_opens(aead: int, hkdf: int) -> None:
    material = OscoreMaterial(b"s" * 16, b"", b"\x01", aead_algorithm=aead, hkdf_algorithm=hkdf)
    one = OscoreContexts(seeded_draw(1)).add(material).engine
    other = OscoreContexts(seeded_draw(1)).add(mirrored(material)).engine
    option, ciphertext, _ = one.protect_request(b"\x01\xb11", codes.POST)
    assert other.open_request(option, ciphertext, codes.POST)[0] == b"\x01\xb11"


def test_no_secret_shows_in_any_text() -> None:
    contexts = OscoreContexts(seeded_draw(1))
    context = contexts.add(MATERIAL)
    peer = contexts.peer(SERVER, MATERIAL.recipient_id)
    shown = f"{MATERIAL!r} {context!r} {context.engine!r} {peer!r} {security_of(peer)!r}"
    assert MATERIAL.master_secret.hex() not in shown
    assert repr(MATERIAL.master_secret) not in shown
    assert repr(MATERIAL.master_salt) not in shown


def test_aiocoap_is_imported_with_the_first_context_only() -> None:
    code = (
        "import sys; from lwm2m.transport import oscore, reliable;"
        "c = oscore.OscoreContexts(bytes); assert 'aiocoap' not in sys.modules;"
        "assert 'OpenSSL' not in sys.modules;"
        "c.add(oscore.OscoreMaterial(b's', b'', b'1')); assert 'aiocoap' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_notification_that_was_kept_and_sent_again_is_not_told() -> None:
    pair = OscorePair(lambda event: Response(codes.CONTENT, b"0", observe=1))
    pair.send(Request(codes.GET, ("3",), observe=0))
    pair.run(5)
    exchange = pair.requests[0].exchange
    kept: list[Message] = []
    for number in (2, 3):
        note = Response(codes.CONTENT, str(number).encode(), observe=number)
        pair.server.notify(exchange, note, pair.network.now)
        [(datagram, _)] = pair.server.datagrams_to_send()
        kept.append(decode_message(datagram))
        pair.client.receive_datagram(datagram, SERVER, pair.network.now)
    old = kept[0]
    # The outer Observe is for proxies, and anybody can write it (RFC 8613 §4.1.3.5.2).
    options = tuple(
        (number, b"\x09" if number == opt.OBSERVE else value) for number, value in old.options
    )
    again = Message(old.type, old.code, 777, old.token, options, old.payload)
    pair.client.receive_datagram(encode_message(again), SERVER, pair.network.now)
    spoiled = Message(old.type, old.code, 778, old.token, options, old.payload[:-1] + b"?")
    pair.client.receive_datagram(encode_message(spoiled), SERVER, pair.network.now)
    pair.told += pair.client.events()
    assert [response.payload for response in pair.responses] == [b"0", b"2", b"3"]
    # RFC 8613 §8.4.2: an error does not cancel the observation.
    note = Response(codes.CONTENT, b"4", observe=10)
    pair.server.notify(exchange, note, pair.network.now)
    pair.run(5)
    assert pair.responses[-1].payload == b"4"


def test_an_error_inside_a_notification_ends_the_observation() -> None:
    pair = OscorePair(lambda event: Response(codes.CONTENT, b"0", observe=1))
    pair.send(Request(codes.GET, ("3",), observe=0))
    pair.run(5)
    pair.server.notify(pair.requests[0].exchange, Response(codes.NOT_FOUND), pair.network.now)
    pair.run(5)
    assert pair.responses[-1] == Response(codes.NOT_FOUND)
    assert not [event for event in pair.told if isinstance(event, ExchangeFailed)]


def test_a_context_without_numbers_left_says_so() -> None:
    contexts = OscoreContexts(seeded_draw(1))
    contexts.add(MATERIAL, next_sequence=2**40 - 1)
    endpoint = OscoreEndpoint(TransmissionParameters(), contexts, seeded_draw(1))
    with pytest.raises(SequenceExhausted):
        endpoint.send_request(contexts.peer(SERVER, b"\x0b"), Request(codes.GET), 0.0)


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


def test_an_observation_by_a_large_body_is_cancelled_too() -> None:
    pair = OscorePair(lambda event: Response(codes.CONTENT, b"0", observe=1))
    paths = bytes(2_000)
    handle = pair.send(Request(codes.FETCH, content_format=112, observe=0, payload=paths))
    pair.run(5)
    [received] = pair.requests
    assert (received.request.payload, received.request.observe) == (paths, 0)
    pair.server.notify(
        received.exchange, Response(codes.CONTENT, b"1", observe=2), pair.network.now
    )
    pair.run(5)
    assert [response.payload for response in pair.responses] == [b"0", b"1"]
    ending = pair.client.end_observation(handle, pair.network.now)
    pair.run(5)
    assert [event.exchange for event in pair.heard if isinstance(event, ExchangeFailed)] == [
        received.exchange
    ]
    assert pair.told[-1] == ResponseReceived(pair.peer, ending, Response(codes.CONTENT, b"0"))
    assert not [event for event in pair.told if isinstance(event, ExchangeFailed)]
