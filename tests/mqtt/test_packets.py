"""The packet codec against the standard's own examples and amqtt's codec, and against noise."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from amqtt.mqtt.connack import ConnackPacket
from amqtt.mqtt.connect import ConnectPacket, ConnectPayload, ConnectVariableHeader
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.suback import SubackPacket
from amqtt.mqtt.subscribe import SubscribePacket
from amqtt.mqtt.unsubscribe import UnsubscribePacket
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt.packets import (
    REMAINING_LENGTH_MAX,
    ConnAck,
    Connect,
    Disconnect,
    MalformedPacket,
    Packet,
    Parser,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
    as_duplicate,
    encode,
    encode_publish,
)

# The non-normative examples of MQTT 3.1.1: figures 3.6 (CONNECT's variable header, here with the
# payload that its flags ask for), 3.11 (PUBLISH), 3.20-3.23 (SUBSCRIBE), 3.26 (SUBACK) and 3.30
# (UNSUBSCRIBE), and the packets without fields.
EXAMPLES: list[tuple[str, Packet]] = [
    (
        "101b 00044d515454 04 ce 000a 0001 63 0001 77 0002 6869 0001 75 0002 7077",
        Connect(
            client_id="c",
            clean_session=True,
            keep_alive_s=10,
            will=Will("w", b"hi", 1),
            user_name="u",
            password=b"pw",
        ),
    ),
    ("3207 0003612f62 000a", Publish("a/b", b"", 1, 10)),
    ("820e 000a 0003612f62 01 0003632f64 02", Subscribe(10, (("a/b", 1), ("c/d", 2)))),
    ("9005 000a 00 02 80", SubAck(10, (0, 2, 128))),
    ("a20c 000a 0003612f62 0003632f64", Unsubscribe(10, ("a/b", "c/d"))),
    ("2002 0100", ConnAck(True, 0)),
    ("4002 000a", PubAck(10)),
    ("5002 000a", PubRec(10)),
    ("6202 000a", PubRel(10)),
    ("7002 000a", PubComp(10)),
    ("b002 000a", UnsubAck(10)),
    ("c000", PingReq()),
    ("d000", PingResp()),
    ("e000", Disconnect()),
]


@pytest.mark.parametrize(("octets", "packet"), EXAMPLES)
def test_examples_of_the_standard_are_read_and_written(octets: str, packet: Packet) -> None:
    assert Parser().receive_bytes(bytes.fromhex(octets)) == [packet]
    assert encode(packet).hex() == octets.replace(" ", "")


# MQTT 3.1.1 table 2.4: where one more byte of remaining length begins.
@pytest.mark.parametrize(
    ("length", "octets"),
    [
        (127, "7f"),
        (128, "8001"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (2_097_151, "ffff7f"),
        (2_097_152, "80808001"),
    ],
)
def test_the_remaining_length_is_encoded_as_in_the_standards_table(
    length: int, octets: str
) -> None:
    packet = encode_publish("t", b"\0" * (length - 3))
    assert packet[1 : 1 + len(octets) // 2].hex() == octets
    assert Parser(length + 10).receive_bytes(packet) == [Publish("t", b"\0" * (length - 3))]


def test_what_is_too_long_for_mqtt_is_refused_by_the_encoder() -> None:
    with pytest.raises(ValueError, match="65535"):
        encode_publish("t" * 65_536, b"")
    with pytest.raises(ValueError, match="at most"):
        encode(Connect(client_id="c" * 70_000))
    assert REMAINING_LENGTH_MAX == 268_435_455


def _amqtt_connect() -> ConnectPacket:
    header = ConnectVariableHeader(keep_alive=30)
    header.clean_session_flag = False
    header.will_flag = True
    header.will_qos = 1
    header.username_flag = True
    header.password_flag = True
    payload = ConnectPayload("lamp-1", "devices/lamp-1/state", b"gone", "user", "secret")
    return ConnectPacket(None, header, payload)


# Bytes made by an independent codec: amqtt 0.12.1.
AMQTT: list[tuple[Callable[[], object], Packet]] = [
    (
        _amqtt_connect,
        Connect(
            client_id="lamp-1",
            clean_session=False,
            keep_alive_s=30,
            will=Will("devices/lamp-1/state", b"gone", 1),
            user_name="user",
            password=b"secret",
        ),
    ),
    (lambda: ConnackPacket.build(1, 0), ConnAck(True, 0)),
    (
        lambda: PublishPacket.build("a/ß", b"x" * 300, 77, True, 1, False),
        Publish("a/ß", b"x" * 300, 1, 77, duplicate=True),
    ),
    (lambda: PublishPacket.build("a", b"", None, False, 0, True), Publish("a", b"", retain=True)),
    (lambda: PubackPacket.build(65_535), PubAck(65_535)),
    (
        lambda: SubscribePacket.build([("a/+", 1), ("#", 0)], 9),
        Subscribe(9, (("a/+", 1), ("#", 0))),
    ),
    (lambda: SubackPacket.build(9, [1, 0x80]), SubAck(9, (1, 0x80))),
    (lambda: UnsubscribePacket.build(["a/+", "#"], 10), Unsubscribe(10, ("a/+", "#"))),
]


@pytest.mark.parametrize(("build", "packet"), AMQTT)
def test_packets_of_amqtt_are_read_and_equal_ours(
    build: Callable[[], object], packet: Packet
) -> None:
    octets = bytes(build().to_bytes())  # type: ignore[attr-defined]  # amqtt's packets share no base
    assert Parser().receive_bytes(octets) == [packet]
    assert encode(packet) == octets


@pytest.mark.parametrize(
    ("octets", "clause"),
    [
        ("00", "2.2"),  # reserved type
        ("f000", "2.2"),
        ("c100", "2.2"),  # reserved flags
        ("8005000a000161", "2.2"),
        ("3606000161000a00", "2.2"),  # QoS 3
        ("3803000161", "2.2"),  # DUP at QoS 0
        ("30ffffffff7f", "2.2.3"),  # five bytes of length
        ("32050001610000", "2.3.1"),  # packet id 0
        ("40020000", "2.3.1"),
        ("4003000a00", "3.4"),
        ("3003000561", "3.3.2"),  # topic longer than the packet
        ("3000", "3.3.2"),
        ("3205000361" + "6161", "3.3.2"),  # no packet id
        ("3003000123", "4.7"),  # topic "#"
        ("30020000", "4.7"),  # no topic
        ("3003000100", "1.5.3"),  # U+0000
        ("30040002c328", "1.5.3"),  # not UTF-8
        ("30050003eda080", "1.5.3"),  # a surrogate
        ("c00100", "3.12"),
        ("2002ff00", "3.2"),
        ("8202000a", "3.8"),  # no filter
        ("8206000a00016103", "3.8"),  # QoS 3
        ("a202000a", "3.10"),
        ("9002000a", "3.9"),
        ("9003000a03", "3.9"),
        ("100c00044d51545404010000" + "0000", "3.1"),  # reserved connect flag
        ("100c00044d51545404080000" + "0000", "3.1"),  # will QoS without a will
        ("100c00044d51545404400000" + "0000", "3.1"),  # password without user name
        ("100d00044d51545404020000" + "000000", "3.1"),  # bytes left over
    ],
)
def test_a_malformed_packet_is_refused_with_its_clause(octets: str, clause: str) -> None:
    with pytest.raises(MalformedPacket) as found:
        Parser().receive_bytes(bytes.fromhex(octets))
    assert found.value.clause == clause


def test_of_another_protocol_version_only_name_and_level_are_read() -> None:
    # What an MQTT 5 client begins with; its properties would be malformed in 3.1.1.
    packets = Parser().receive_bytes(bytes.fromhex("101000044d5154540502003c032100140000"))
    assert packets == [Connect(client_id="", protocol_level=5)]


def test_a_packet_over_the_limit_is_refused_before_it_has_come() -> None:
    with pytest.raises(MalformedPacket, match="20 are taken"):
        Parser(20).receive_bytes(b"\x30\x7f")


def test_whole_packets_before_the_flaw_are_told() -> None:
    with pytest.raises(MalformedPacket) as found:
        Parser().receive_bytes(encode(PingReq()) + encode(PubAck(3)) + b"\x00")
    assert found.value.packets == (PingReq(), PubAck(3))


def test_the_password_is_not_shown() -> None:
    assert "hush" not in repr(Connect(client_id="c", user_name="u", password=b"hush"))


topics = st.text(st.characters(exclude_characters="+#\0", codec="utf-8"), min_size=1, max_size=40)
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)
filters = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=40)
ids = st.integers(1, 65_535)
wills = st.builds(Will, topics, st.binary(max_size=40), st.integers(0, 2), st.booleans())
packets = st.one_of(
    st.builds(
        Connect,
        client_id=texts,
        clean_session=st.booleans(),
        keep_alive_s=st.integers(0, 65_535),
        will=st.none() | wills,
        user_name=texts,
        password=st.none() | st.binary(max_size=40),
    ),
    st.builds(ConnAck, st.booleans(), st.integers(0, 255)),
    st.builds(Publish, topics, st.binary(max_size=300), st.just(0), retain=st.booleans()),
    st.builds(
        Publish,
        topics,
        st.binary(max_size=300),
        st.integers(1, 2),
        ids,
        st.booleans(),
        st.booleans(),
    ),
    *(st.builds(kind, ids) for kind in (PubAck, PubRec, PubRel, PubComp, UnsubAck)),
    st.builds(
        Subscribe,
        ids,
        st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1, max_size=4).map(tuple),
    ),
    st.builds(
        SubAck, ids, st.lists(st.sampled_from((0, 1, 2, 128)), min_size=1, max_size=9).map(tuple)
    ),
    st.builds(Unsubscribe, ids, st.lists(texts, min_size=1, max_size=4).map(tuple)),
    *(st.builds(kind) for kind in (PingReq, PingResp, Disconnect)),
)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(packets, max_size=6), st.data())
def test_packets_survive_the_wire_however_it_cuts_them(
    sent: list[Packet], data: st.DataObject
) -> None:
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    parser = Parser()
    came: list[Packet] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        came += parser.receive_bytes(stream[start:end])
    assert came == sent


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_noise_is_packets_or_malformed_and_nothing_else(chunks: list[bytes]) -> None:
    parser = Parser(1_000)
    with contextlib.suppress(MalformedPacket):
        for chunk in chunks:
            for packet in parser.receive_bytes(chunk):
                encode(packet)


@pytest.mark.slow
@settings(max_examples=100)
@given(packets, st.integers(0, 400), st.integers(1, 255))
def test_a_damaged_packet_is_packets_or_malformed(packet: Packet, at: int, flip: int) -> None:
    octets = bytearray(encode(packet))
    octets[at % len(octets)] ^= flip
    with contextlib.suppress(MalformedPacket):
        Parser(1_000).receive_bytes(bytes(octets))


def test_a_repetition_differs_in_its_flag_alone() -> None:
    first = encode_publish("t", b"p", 1, 5)
    assert Parser().receive_bytes(as_duplicate(first)) == [Publish("t", b"p", 1, 5, True)]
    assert as_duplicate(first) == encode_publish("t", b"p", 1, 5, duplicate=True)


def test_a_large_packet_in_tiny_pieces_costs_no_copies_of_what_came_before() -> None:
    parser = Parser()
    octets = encode_publish("t", bytes(200_000))
    came = [
        packet
        for at in range(0, len(octets), 3)
        for packet in parser.receive_bytes(octets[at : at + 3])
    ]
    assert came == [Publish("t", bytes(200_000))]


def test_amqtt_reads_what_we_write() -> None:
    async def read() -> PublishPacket:
        from amqtt.adapters import BufferReader

        return await PublishPacket.from_stream(
            BufferReader(encode_publish("a/b", b"x" * 200, 1, 9, duplicate=True))
        )

    packet = asyncio.run(read())
    assert (packet.topic_name, packet.payload.data, packet.packet_id) == ("a/b", b"x" * 200, 9)
    assert packet.qos == 1
    assert packet.dup_flag
