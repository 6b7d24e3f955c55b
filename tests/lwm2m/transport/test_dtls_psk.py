"""Handshakes with a pre-shared key whose messages are made here: what is taken, and what is not."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.transport.dtls import DEFAULT_SUITES, SUITES, DtlsSettings, ServerCredentials
from lwm2m.transport.dtls.hellos import ClientHello, parse_client_hello
from lwm2m.transport.dtls.psk import PskClientHandshake, PskServerHandshake
from lwm2m.transport.dtls.psk.groups import agree
from lwm2m.transport.dtls.psk.messages import (
    EXTENDED_MASTER_SECRET,
    RENEGOTIATION_INFO,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    SERVER_KEY_EXCHANGE,
    SESSION_TICKET,
    SUPPORTED_VERSIONS,
    MessageReader,
    ServerKeyExchange,
    encode_extensions,
    encode_message,
    encode_offer,
    parse_chosen,
    parse_client_key_exchange,
    parse_hello_verify_request,
    parse_hint,
    parse_offer,
    parse_server_key_exchange,
)
from lwm2m.transport.dtls.psk.server import choose_plain_psk
from lwm2m.transport.dtls.records import ALERT, DTLS_1_2, HANDSHAKE, encode_record, split_records
from tests.lwm2m.transport.dtls_pair import CLIENT, IDENTITY, KEY, SERVER, Pair, certificates

_NO_DEADLINE = settings(deadline=None)
_PLAIN = [name for name in SUITES if name.startswith("TLS_PSK")]
_ECDHE = "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256"
_CCM_8, _CCM = 0xC0A8, 0xC0A4
_OURS = DtlsSettings()


def _pair(**options: object) -> Pair:
    return Pair(settings=_OURS, **options)  # type: ignore[arg-type]  # by name


def _client(pair: Pair) -> PskClientHandshake:
    attempt = pair.client._sessions[SERVER].attempt
    assert attempt is not None
    assert isinstance(attempt.handshake, PskClientHandshake)
    return attempt.handshake


def _server_record(number: int, *messages: tuple[int, bytes], first: int = 0) -> bytes:
    """A record of a server that asks for no cookie."""
    made = b"".join(
        encode_message(kind, first + place, body) for place, (kind, body) in enumerate(messages)
    )
    return encode_record(HANDSHAKE, DTLS_1_2, 0, number, made)


def _server_hello(
    suite: int = _CCM_8,
    *,
    version: bytes = b"\xfe\xfd",
    compression: int = 0,
    extensions: dict[int, bytes] | None = None,
) -> tuple[int, bytes]:
    rest = suite.to_bytes(2, "big") + bytes([compression]) + encode_extensions(extensions or {})
    return SERVER_HELLO, version + b"s" * 32 + b"\0" + rest


def test_without_tickets_both_sides_make_the_handshake_here() -> None:
    pair = _pair()
    pair.client.connect(SERVER, 0.0)
    _client(pair)
    pair.run(0.035)
    (pending,) = pair.server._pending.values()
    assert isinstance(pending.handshake, PskServerHandshake)
    pair.run()
    assert pair.client.is_established(SERVER)


@pytest.mark.parametrize("suite", [*_PLAIN, _ECDHE])
@pytest.mark.parametrize("client_asks", [True, False])
@pytest.mark.parametrize("server_leaves", [True, False])
def test_ours_and_openssls_agree_on_every_suite_in_every_combination(
    suite: str, client_asks: bool, server_leaves: bool
) -> None:
    pair = Pair(
        settings=DtlsSettings(suites=(suite,), offers_resumption=False),
        client_settings=DtlsSettings(suites=(suite,), resumes_psk=client_asks),
    )
    if server_leaves:
        pair.server._chooser._suites = ()
    pair.connect()
    pair.send(b"up")
    pair.run()
    assert pair.received() == [b"up"]


def test_a_server_leaves_to_openssl_what_is_not_the_plain_case() -> None:
    plain = encode_offer([_CCM_8, 0xFF], {EXTENDED_MASTER_SECRET: b""})

    def choose(offer: bytes, *, version: bytes = b"\xfe\xfd", tickets: bool = True) -> object:
        hello = ClientHello(0, b"r" * 32, b"c", version + b"r" * 32 + b"\0" + offer)
        return choose_plain_psk(hello, DEFAULT_SUITES, gives_tickets=tickets)

    asks = encode_offer([_CCM_8], {SESSION_TICKET: b""})
    assert choose(plain) is not None
    assert choose(plain, version=b"\xfe\xfc") is not None
    assert choose(plain, version=b"\xfe\xff") is None
    assert choose(asks) is None
    assert choose(asks, tickets=False) is not None
    assert choose(encode_offer([SUITES[_ECDHE].number], {})) is None
    assert choose(encode_offer([0xC0AE], {})) is None
    assert choose(encode_offer([1], {})) is None
    assert choose(encode_offer([_CCM_8], {RENEGOTIATION_INFO: b"\x01x"})) is None
    assert choose(encode_offer([_CCM_8], {SUPPORTED_VERSIONS: b"\x02\xfe\xfc"})) is None
    assert choose(encode_offer([_CCM_8], {SUPPORTED_VERSIONS: b"\x04\xfe\xfc\xfe\xfd"})) is not None
    assert choose(plain.replace(b"\x01\0", b"\x01\x01", 1)) is None, "no null compression"
    assert choose(plain[:-1]) is None
    assert choose(b"") is None


def test_the_servers_order_of_suites_holds() -> None:
    hello = ClientHello(0, b"", b"", bytes(35) + encode_offer([_CCM, _CCM_8], {}))
    for order, chosen in ((DEFAULT_SUITES, _CCM_8), (DEFAULT_SUITES[1::-1], _CCM)):
        choice = choose_plain_psk(hello, order, gives_tickets=True)
        assert choice is not None
        assert choice.suite.number == chosen
        assert choice.extensions == b"", "nothing was offered"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([_server_hello(version=b"\xfe\xff")], "protocol_version"),
        ([_server_hello(0xC0AE)], "illegal_parameter"),
        ([_server_hello(compression=1)], "illegal_parameter"),
        ([_server_hello(extensions={SESSION_TICKET: b""})], "unsupported_extension"),
        ([_server_hello(extensions={RENEGOTIATION_INFO: b"\x01x"})], "handshake_failure"),
        ([(SERVER_HELLO, b"\xfe\xfd" + b"short")], "decode_error"),
        ([(3, b"\xfe\xff\x09short")], "decode_error"),
        ([(SERVER_HELLO_DONE, b"")], "unexpected_message"),
        ([_server_hello(), _server_hello()], "unexpected_message"),
        ([_server_hello(), (11, bytes(3))], "unexpected_message"),
        ([_server_hello(), (SERVER_KEY_EXCHANGE, b"\0\x05hint")], "decode_error"),
        ([_server_hello(), (SERVER_HELLO_DONE, b"x")], "illegal_parameter"),
        ([_server_hello(), *[(SERVER_KEY_EXCHANGE, b"\0\0")] * 2], "unexpected_message"),
        ([_server_hello(0xC037), (SERVER_HELLO_DONE, b"")], "illegal_parameter"),
        ([_server_hello(0xC037), (SERVER_KEY_EXCHANGE, b"\0\0")], "decode_error"),
        ([_server_hello(), (SERVER_HELLO_DONE, b""), (20, bytes(12))], "unexpected_message"),
    ],
)
def test_a_client_refuses_what_a_server_may_not_say_and_tells_it(
    messages: list[tuple[int, bytes]], reason: str
) -> None:
    pair = _pair()
    pair.client.connect(SERVER, 0.0)
    pair.client.datagrams_to_send()
    pair.client.receive_datagram(_server_record(0, *messages), SERVER, 0.0)
    *_, (answer, _) = pair.client.datagrams_to_send()
    assert split_records(answer)[-1][0] == ALERT
    (event,) = pair.client.events()
    assert (event.reason, pair.client.handshake_count) == (reason, 0)  # type: ignore[union-attr]  # a failure


def test_a_hello_request_a_warning_and_a_hint_do_not_disturb() -> None:
    pair = _pair()
    pair.client.connect(SERVER, 0.0)
    pair.client.datagrams_to_send()
    warning = encode_record(ALERT, DTLS_1_2, 0, 0, b"\x01\x64")
    messages = [(0, b""), _server_hello(), (SERVER_KEY_EXCHANGE, b"\0\x04hint")]
    for datagram in (warning, _server_record(1, *messages, (SERVER_HELLO_DONE, b""))):
        pair.client.receive_datagram(datagram, SERVER, 0.0)
    ((flight, _),) = pair.client.datagrams_to_send()
    key_exchange, *_ = split_records(flight)
    assert parse_client_key_exchange(key_exchange[25:]) == IDENTITY.encode()


@pytest.mark.parametrize("content", [b"\x02\x28", b"\x01\x00"])
def test_a_fatal_alert_and_a_close_notify_end_a_handshake(content: bytes) -> None:
    pair = _pair()
    pair.client.connect(SERVER, 0.0)
    pair.client.receive_datagram(encode_record(ALERT, DTLS_1_2, 0, 0, content), SERVER, 0.0)
    assert pair.client.handshake_count == 0
    assert sum(pair.client.counters.failed.values()) == 1


def test_a_client_without_the_extended_master_secret_is_served() -> None:
    # As tinydtls' releases are, whose cells are among the interoperability tests.
    pair = _pair()
    pair.client._psk_offer.encoded = encode_offer([_CCM_8, 0xFF], {})  # type: ignore[union-attr]  # there is one
    pair.connect()
    pair.send(b"up")
    pair.run()
    assert pair.received() == [b"up"]


@pytest.mark.parametrize("body", [b"", b"\0\x09short", b"\0\0more"])
def test_a_server_refuses_a_malformed_key_exchange(body: bytes) -> None:
    pair = _pair()
    pair.client.connect(SERVER, 0.0)
    pair.run(0.035)
    (pending,) = pair.server._pending.values()
    message = encode_record(HANDSHAKE, DTLS_1_2, 0, 9, encode_message(16, 2, body))
    pair.server.receive_datagram(message, CLIENT, pair.network.now)
    assert pair.server.counters.failed == {"decode_error": 1}
    assert pending.handshake.state == "failed"


def test_an_identity_that_is_too_long_is_unknown_and_none_is_looked_up() -> None:
    asked: list[str] = []

    def key_of(identity: str) -> tuple[str | None, bytes] | None:
        asked.append(identity)
        return None, KEY

    pair = _pair(server=ServerCredentials(key_of=key_of))
    pair.client.connect(SERVER, 0.0)
    _client(pair)._credentials = _Named("x" * 129, KEY)  # type: ignore[assignment]  # our own class would not take it
    pair.run(1.0)
    assert asked == []
    assert pair.server.counters.failed == {"unknown_identity": 1}


class _Named:
    """Credentials that our own class would not take."""

    def __init__(self, identity: str, key: bytes) -> None:
        self.identity = identity
        self.key = key


@pytest.mark.parametrize("at_server", [True, False])
def test_a_finished_over_another_transcript_is_refused(at_server: bool) -> None:
    pair = _pair()
    # Without the extended master secret only the two Finished cover what was said before.
    pair.client._psk_offer.encoded = encode_offer([_CCM_8, 0xFF], {})  # type: ignore[union-attr]  # there is one
    pair.client.connect(SERVER, 0.0)
    if at_server:
        pair.run(0.035)
        (pending,) = pair.server._pending.values()
        assert isinstance(pending.handshake, PskServerHandshake)
        pending.handshake._transcript.update(b"changed on its way")
    else:
        pair.run(0.045)
        _client(pair)._transcript.update(b"changed on its way")
    pair.run(1.0)
    endpoint = pair.server if at_server else pair.client
    assert endpoint.counters.failed["decrypt_error"] == 1


def test_an_x509_only_server_is_refused_with_the_alert_that_it_sends() -> None:
    pair = _pair(server=certificates().server_credentials())
    pair.client.connect(SERVER, 0.0)
    pair.run(1.0)
    assert pair.names(CLIENT) == ["HandshakeFailed alert_handshake_failure"]


@_NO_DEADLINE
@given(
    st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=60)), min_size=1, max_size=4),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_messages_come_whole_and_in_order_however_they_are_cut_and_shuffled(
    messages: list[tuple[int, bytes]], part_bytes: int, chance: random.Random
) -> None:
    whole = [encode_message(kind, number, body) for number, (kind, body) in enumerate(messages)]
    parts = []
    for message in whole:
        header, body = message[:12], message[12:]
        for start in range(0, max(1, len(body)), part_bytes):
            part = body[start : start + part_bytes]
            place = start.to_bytes(3, "big") + len(part).to_bytes(3, "big")
            parts.append(header[:6] + place + part)
    parts += chance.sample(parts, len(parts) // 2)
    chance.shuffle(parts)
    reader = MessageReader(0)
    found = [message for part in parts for message in reader.read(part)]
    assert found == whole
    assert reader.next_sequence == len(whole)
    assert reader.read(b"".join(whole)) == [], "old ones are not taken again"
    assert MessageReader(0).read(b"".join(whole)) == whole, "several may share a record"


def test_a_message_that_is_too_long_or_too_far_ahead_is_not_kept() -> None:
    reader = MessageReader(0)
    too_long = (5_000).to_bytes(3, "big")
    assert reader.read(b"\x02" + too_long + bytes(5) + b"\0\0\x01x") == []
    assert reader.read(encode_message(2, 4, b"far")) == []
    # Parts of two lengths: the first to come counts.
    assert reader.read(b"\x02\0\0\x02\0\x01\0\0\0\0\0\x01a") == []
    assert reader.read(b"\x02\0\0\x03\0\x01\0\0\0\0\0\x03abc") == []
    assert reader.read(encode_message(1, 0, b"")) == [encode_message(1, 0, b"")]
    assert reader.read(b"\x02\0\0\x02\0\x01\0\0\x01\0\0\x01b") == [encode_message(2, 1, b"ab")]


@_NO_DEADLINE
@given(st.binary(max_size=120))
def test_any_bytes_are_parsed_or_refused_without_an_error(data: bytes) -> None:
    for parse in (
        parse_chosen,
        parse_client_key_exchange,
        parse_hello_verify_request,
        parse_hint,
        parse_offer,
    ):
        parse(data)
    exchange = parse_server_key_exchange(data)
    if exchange is not None:
        agree(exchange)
    MessageReader(0).read(data)
    assert parse_offer(b"\0\0\x01\0\0\x08\0\x05\0\0\0\x05\0\0") is None, "twice the same extension"


@pytest.mark.parametrize(
    ("group", "point"), [(23, b"\x04" + bytes(64)), (29, bytes(32)), (29, b"short"), (24, b"")]
)
def test_a_point_that_is_none_of_an_offered_group_is_not_used(group: int, point: bytes) -> None:
    assert agree(ServerKeyExchange(group, point)) is None


@pytest.mark.parametrize("wrong", [b"\x01\0\x17\0", b"\x03\0\x17\x05abc"])
def test_a_group_without_name_and_a_point_without_end_are_malformed(wrong: bytes) -> None:
    assert parse_server_key_exchange(b"\0\0" + wrong) is None


def test_a_hello_of_another_number_than_the_second_is_left_to_openssl() -> None:
    pair = _pair()
    pair.client.connect(SERVER, 0.0)
    ((datagram, _),) = pair.client.datagrams_to_send()
    hello = parse_client_hello(split_records(datagram)[0])
    assert hello is not None
    assert hello.message_sequence == 0
    assert pair.server._chooser.choose(hello) is None


def test_an_overtaken_finished_waits_for_the_key_exchange() -> None:
    pair = _pair()
    carry: Callable[..., None] = pair.network._carry

    def one_by_one_from_the_last(data: bytes, source: object, target: object) -> None:
        for record in reversed(split_records(data)):
            carry(record, source, target)

    pair.network._carry = one_by_one_from_the_last  # type: ignore[method-assign]  # a network that cuts
    pair.connect()
    assert pair.server.counters.established == 1
