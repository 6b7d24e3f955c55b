"""The short way of Registers and Updates against the general one: the same leaves by both."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from contracts.data_interface import (
    DeregistrationReason,
    Event,
    RegistrationEvent,
    Security,
    encode,
)
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.devices import Device
from harness.lwm2m_server.event_log import EventLog
from harness.lwm2m_server.registrar import Registrar
from harness.lwm2m_server.registration_frames import RegistrationFrames, middle_of
from harness.lwm2m_server.short_way import ShortWay, short_way
from harness.lwm2m_server.writer import TurnWriter
from harness.testing import HandMovedClock, seeded_draw
from lwm2m import registration as rd
from lwm2m.coap import CON, CoapEndpoint, Request, TransmissionParameters, codes, decode_message
from lwm2m.coap.requests import encode_request
from lwm2m.transport.peers import PeerSecurity, SecurePeer
from tests.harness.lwm2m_server.world import LINKS, World

# The same names as the pattern that it stands for, but not the same pattern: no short way.
_LONG_WAY = rd.RegistrationPolicy(endpoint_name_pattern=f"(?:{rd.ENDPOINT_NAME_PATTERN})")
_PLAIN = ("lt=60", "lwm2m=1.1", "b=U")
_ADDRESSES = (("127.0.1.1", 1), ("127.0.1.1", 2), ("127.0.1.2", 1))


class _Said(NamedTuple):
    """One datagram of a device. An `update` is of the last registration that this address got."""

    address: int = 0
    is_update: bool = False
    name: str = "lamp"
    # What an update lists.
    listed: bytes = b""
    query: tuple[str, ...] = _PLAIN
    links: bytes = LINKS
    message_id: int = 1
    token: bytes = b"abcd"
    content_format: int | None = 40
    cut: int = 0
    wait_s: float = 0.0


_QUERIES = st.sampled_from(
    [
        _PLAIN, ("lt=5", "lwm2m=1.0", "b=UQ"), ("lt=0", "lwm2m=1.2", "b=U", "Q"), ("lwm2m=9.9",),
        ("lt=x",), ("lt=60", "ep=other"), ("lt=60", "x=" + "y" * 200), (), ("pid=abc",), ("b=Z",),
    ]
)  # fmt: skip
_SAYINGS = st.builds(
    _Said,
    address=st.integers(0, 2),
    is_update=st.booleans(),
    listed=st.sampled_from([b"", LINKS, b"</3/0>,</18830/0>", b"<", b"</1/0>," * 400 + b"</3/0>"]),
    name=st.sampled_from(["lamp", "lamp-2", "a-lamp-of-a-longer-name", "svc:x", "", "l/", "é"]),
    query=_QUERIES,
    links=st.sampled_from([LINKS, b"</3/0>", b"", b"<", b"</1/0>," * 20 + b"</3/0>"]),
    message_id=st.integers(1, 3),
    token=st.sampled_from([b"", b"abcd", b"12345678", b"123456789"]),
    content_format=st.sampled_from([40, 40, None, 60]),
    cut=st.sampled_from([0, 0, 0, 0, 1, 20, 40]),
    wait_s=st.sampled_from([0.0, 0.0, 1.0, 300.0]),
)


class _Side:
    """One world, and what the devices in it know."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.world = World(directory, **options)
        self.bridge = self.world.bridge()
        self.world.settle()
        self.locations: dict[int, tuple[str, ...]] = {}

    def hear(self, said: _Said, peer: Any = None) -> None:
        world, seen = self.world, len(self.world.sent)
        world.run_for(said.wait_s)
        world.inject(_datagram(said, self.locations), peer or _ADDRESSES[said.address])
        world.settle()
        for data, _ in world.sent[seen:]:
            message = decode_message(data)
            if message.code == codes.CREATED:
                path = tuple(value.decode() for number, value in message.options if number == 8)
                self.locations[said.address] = path

    def told(self) -> tuple[Any, ...]:
        world = self.world
        return world.sent, self.bridge.frames, world.log_bytes(), world.core.counters()


def _datagram(said: _Said, locations: dict[int, tuple[str, ...]]) -> bytes:
    if said.is_update:
        path = locations.get(said.address, ("rd", "0123456789ab"))
        query = said.query if said.content_format == 60 else ()
        content_format = said.content_format if said.listed else None
        request = Request(codes.POST, path, query, content_format, payload=said.listed)
    else:
        query = (f"ep={said.name}", *said.query)
        request = Request(codes.POST, ("rd",), query, said.content_format, None, None, said.links)
    data = encode_request(CON, said.message_id, said.token, request)
    return data[: len(data) - said.cut]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_SAYINGS, min_size=1, max_size=8))
@example([_Said(), _Said(), _Said(message_id=2), _Said(is_update=True, message_id=3)])
@example([_Said(), _Said(address=1, message_id=2), _Said(is_update=True, message_id=3)])
@example([_Said(), _Said(is_update=True, message_id=2, wait_s=300.0)])
@example(
    [
        _Said(),
        _Said(is_update=True, message_id=2, listed=b"</3/0>,</18830/0>"),
        _Said(is_update=True, message_id=3),
    ]
)
@example([_Said(), _Said(is_update=True, message_id=2, listed=b"<")])
@example([_Said(token=b"12345678"), _Said(is_update=True, message_id=2, token=b"")])
@example([_Said(query=("lt=0", "lwm2m=1.2", "b=U", "Q")), _Said(is_update=True, message_id=2)])
@example([_Said(cut=40), _Said(cut=20), _Said(links=b"")])
@example([_Said(address=n, name=f"lamp-{n}") for n in range(3)])
def test_both_ways_answer_tell_and_keep_the_same(sayings: list[_Said]) -> None:
    limits = ServerLimits(registrations_max=2, registrations_per_peer_max=2)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        short = _Side(Path(one), limits=limits)
        long = _Side(Path(other), limits=limits, policy=_LONG_WAY)
        for said in sayings:
            short.hear(said)
            long.hear(said)
            assert short.told() == long.told()


# ---- many at one go ----

_OF_BURSTS = st.builds(
    _Said,
    address=st.integers(0, 11),
    is_update=st.sampled_from([False, False, False, False, True]),
    name=st.integers(0, 11).map(lambda number: f"lamp-{number}") | st.just("svc:x"),
    query=st.sampled_from(
        [_PLAIN, _PLAIN, _PLAIN, ("lt=5", "lwm2m=1.0", "b=U"), ("lt=0", "lwm2m=1.1", "b=U", "Q")]
    ),
    links=st.sampled_from([LINKS, LINKS, b"</3/0>", b"<"]),
    message_id=st.integers(1, 2),
    token=st.sampled_from([b"", b"abcd", b"12345678"]),
    cut=st.sampled_from([0, 0, 0, 0, 0, 0, 20]),
    listed=st.just(b""),
    content_format=st.just(40),
    wait_s=st.just(0.0),
)


def _newcomers(first: int, count: int, **fields: Any) -> list[_Said]:
    return [
        _Said(address=number, name=f"lamp-{number}", message_id=1, **fields)
        for number in range(first, first + count)
    ]


_MIXED = st.lists(_OF_BURSTS, min_size=1, max_size=16)
# Enough at once to be taken at one go, and what comes behind them.
_ARRIVALS = st.builds(
    lambda first, count, behind: [*_newcomers(first, count), *behind],
    st.integers(0, 40),
    st.integers(11, 20),
    st.lists(_OF_BURSTS, max_size=6),
)
_BURSTS = st.lists(_MIXED | _ARRIVALS, min_size=1, max_size=5)


def _hear_all(side: _Side, burst: list[_Said], hosts: int) -> None:
    world, seen = side.world, len(side.world.sent)
    peers = [(f"127.0.3.{said.address % hosts}", said.address) for said in burst]
    datagrams = [_datagram(said, side.locations) for said in burst]
    world.core.receive_datagrams(list(zip(datagrams, peers, strict=True)))
    world.settle()
    for data, peer in world.sent[seen:]:
        message = decode_message(data)
        if message.code == codes.CREATED:
            path = tuple(value.decode() for number, value in message.options if number == 8)
            side.locations[peer[1]] = path


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_BURSTS, st.sampled_from([(100, 100), (16, 100), (100, 14)]), st.integers(1, 4))
@example([_newcomers(0, 1), _newcomers(1, 20)], (100, 100), 3)
@example([_newcomers(0, 1), _newcomers(1, 20)], (100, 100), 1)
@example([_newcomers(0, 1), _newcomers(1, 20)], (16, 100), 3)
@example([_newcomers(0, 1), _newcomers(1, 20)], (100, 14), 1)
@example([_newcomers(0, 1), _newcomers(1, 15) + _newcomers(14, 16)], (100, 100), 2)
@example(
    [
        _newcomers(0, 1) + _newcomers(1, 1, query=("lt=5", "lwm2m=1.0", "b=U")),
        _newcomers(2, 8) + _newcomers(10, 8, query=("lt=5", "lwm2m=1.0", "b=U")),
        [_Said(address=3, is_update=True, message_id=2), *_newcomers(18, 14)],
    ],
    (100, 100),
    2,
)
def test_many_at_one_go_are_answered_told_and_kept_as_one_by_one(
    bursts: list[list[_Said]], maxima: tuple[int, int], hosts: int
) -> None:
    limits = ServerLimits(registrations_max=maxima[0], registrations_per_peer_max=maxima[1])
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        short = _Side(Path(one), limits=limits)
        long = _Side(Path(other), limits=limits, policy=_LONG_WAY)
        for burst in bursts:
            _hear_all(short, burst, hosts)
            _hear_all(long, burst, hosts)
            assert short.told() == long.told()
        for side in (short, long):
            side.world.run_for(70.0)
        assert short.told() == long.told(), "who had a lifetime of five or sixty seconds has left"


@pytest.mark.parametrize("mode", ["psk", "x509", "rpk", "nosec"])
@pytest.mark.parametrize("proven", [None, "lamp", "another"])
def test_both_ways_do_the_same_over_sessions(tmp_path: Path, mode: Any, proven: str | None) -> None:
    short = _Side(tmp_path / "short")
    long = _Side(tmp_path / "long", policy=_LONG_WAY)
    for number in range(1, 4):
        said = _Said(is_update=number == 3, message_id=number)
        for side in (short, long):
            identity = None if mode == "nosec" else "who"
            host, port = _ADDRESSES[0]
            peer = SecurePeer(host, port, PeerSecurity(mode, identity), endpoint_name=proven)
            side.world.sessions[_ADDRESSES[0]] = peer
            side.hear(said, peer)
        assert short.told() == long.told()


def test_both_ways_refuse_who_has_credentials_and_comes_without(tmp_path: Path) -> None:
    short = _Side(tmp_path / "short")
    long = _Side(tmp_path / "long", policy=_LONG_WAY)
    for side in (short, long):
        side.hear(_Said())
        side.world.core.refuse_nosec_of(lambda name: name == "lamp")
        side.hear(_Said(message_id=2))
        side.hear(_Said(message_id=3, is_update=True))
        side.hear(_Said(message_id=4, name="lamp-2", address=1))
    assert short.told() == long.told()
    assert short.world.core.counters()["refused_keyed_without_security"] == 2


# ---- that it is taken at all ----


class _Parts:
    """A short way by itself, and what comes of it."""

    def __init__(self, policy: rd.RegistrationPolicy | None = None, **parameters: Any) -> None:
        events = EventLog("e1", newest=0, acknowledged=0, kept_max=100, bytes_max=1_000_000)
        self.writer = TurnWriter("s1", events, HandMovedClock())
        self.endpoint = CoapEndpoint(TransmissionParameters(**parameters), seeded_draw(1))
        self.registrar = Registrar(self.writer, ServerLimits(), seeded_draw(2), policy=policy)
        self.spoke: list[str] = []
        self.way = ShortWay(
            self.endpoint, self.registrar, lambda device, now: self.spoke.append(device.endpoint)
        )

    def take(self, said: _Said, locations: dict[int, tuple[str, ...]] | None = None) -> bool:
        return self.way.take(_datagram(said, locations or {}), _ADDRESSES[said.address], 0.0, 0)


def test_a_plain_register_its_copy_and_plain_updates_go_the_short_way() -> None:
    parts = _Parts()
    assert parts.take(_Said())
    [(created, _)] = parts.endpoint.datagrams_to_send()
    path = tuple(value.decode() for _, value in decode_message(created).options)
    assert parts.take(_Said())
    assert parts.endpoint.datagrams_to_send() == [(created, _ADDRESSES[0])]
    assert parts.take(_Said(is_update=True, message_id=2), {0: path})
    assert parts.take(_Said(is_update=True, message_id=3, listed=b"</3/0>,</5/0>"), {0: path})
    assert parts.spoke == ["lamp"] * 3
    assert parts.writer.events.newest == 3
    assert parts.endpoint.events() == []


@pytest.mark.parametrize(
    "said",
    [
        _Said(content_format=None), _Said(name="svc:x"), _Said(links=b"<"), _Said(cut=1),
        _Said(query=("pid=a",)), _Said(is_update=True), _Said(name="l/"), _Said(links=b""),
        _Said(query=("lt=60", "x=" + "y" * 200), links=b"</3/0>," * 300 + b"</1/0>"),
    ],
)  # fmt: skip
def test_what_is_not_plain_or_not_in_order_is_left_untouched(said: _Said) -> None:
    parts = _Parts()
    assert not parts.take(said)
    assert parts.endpoint.datagrams_to_send() == []
    assert parts.endpoint.messages_remembered == 0
    assert len(parts.registrar) == 0


@given(
    st.binary(max_size=60) | st.binary(max_size=40).map(lambda rest: b"\x44\x02abtokn\xb2rd" + rest)
)
def test_any_bytes_are_taken_or_left(data: bytes) -> None:
    assert _Parts().way.take(data, _ADDRESSES[0], 0.0, 0) in (True, False)


@pytest.mark.parametrize("length", [1, 9, 10, 11, 127, 128])
def test_names_of_any_length_go_the_short_way(length: int) -> None:
    parts = _Parts()
    assert parts.take(_Said(name="n" * length))
    assert parts.spoke == ["n" * length]


def test_a_name_that_what_follows_would_lengthen_goes_the_general_way() -> None:
    parts = _Parts()
    data = _datagram(_Said(), {})
    # An option of delta 2 and length 13, which reads as a hyphen: part of a name by its letter.
    at = data.index(b"ep=lamp") + len(b"ep=lamp")
    assert not parts.way.take(data[:at] + b"-" + bytes(14) + data[at:], _ADDRESSES[0], 0.0, 0)
    assert len(parts.registrar) == 0


def test_devices_of_one_moment_are_listed_as_they_came() -> None:
    parts = _Parts()
    names = [f"lamp-{number}" for number in range(200)]
    for number, name in enumerate(names):
        data = _datagram(_Said(name=name, message_id=number), {})
        assert parts.way.take(data, ("127.0.2.1", number), 0.0, 77)
    assert [device.endpoint for device in parts.registrar.devices()] == names


def _burst(first: int, count: int, **fields: Any) -> list[tuple[bytes, Any]]:
    return [
        (_datagram(said, {}), ("127.0.4.1", said.address))
        for said in _newcomers(first, count, **fields)
    ]


def test_the_first_registers_of_a_fleet_are_taken_at_one_go() -> None:
    parts = _Parts()
    parts.way.is_awaited = False
    assert parts.way.take_newcomers(_burst(0, 20), 0.0, 77) == 0, "nobody has read such a one yet"
    assert parts.take(_Said(name="first"))
    assert parts.way.take_newcomers(_burst(0, 20), 0.0, 77) == 20
    assert parts.way.take_newcomers(_burst(0, 20), 0.0, 77) == 0, "they have been heard"
    assert parts.writer.events.newest == len(parts.registrar) == 21
    answered = parts.endpoint.datagrams_to_send()
    assert [peer[1] for _, peer in answered[1:]] == list(range(20))
    assert {decode_message(data).code for data, _ in answered} == {codes.CREATED}


def test_who_speaks_after_newcomers_is_left_for_another_way() -> None:
    parts = _Parts()
    assert parts.take(_Said(name="first"))
    parts.way.is_awaited = False
    followed = [*_burst(0, 16), *_burst(15, 3), *_burst(20, 5)]
    assert parts.way.take_newcomers(followed, 0.0, 77) == 16
    few = _burst(30, 5)
    assert parts.way.take_newcomers([*few, *few, *few], 0.0, 77) == 0, "they are too few"
    parts.way.is_awaited = True
    assert parts.way.take_newcomers(_burst(40, 20), 0.0, 77) == 0, "each is to be listened to"


@pytest.mark.parametrize("behind", [b"", b"\x50", b"\x60\x45\x00\x01", b"\x40\x02\x00\x01"])
def test_what_follows_newcomers_and_is_no_register_is_left_for_another_way(behind: bytes) -> None:
    parts = _Parts(policy=rd.RegistrationPolicy(empty_object_list_is_allowed=True))
    bare = _datagram(_Said(name="first", query=(), links=b"", content_format=40), {})
    assert parts.way.take(bare, ("127.0.4.9", 1), 0.0, 0)
    assert parts.take(_Said(name="second"))
    parts.way.is_awaited = False
    burst = [*_burst(0, 15), (behind, ("127.0.4.9", 2)), *_burst(15, 5)]
    assert parts.way.take_newcomers(burst, 0.0, 77) == 15
    assert parts.registrar.find("") is None


def test_newcomers_are_taken_one_by_one_when_memory_of_answers_is_scarce() -> None:
    parts = _Parts(remembered_max=20)
    assert parts.take(_Said(name="first"))
    parts.way.is_awaited = False
    assert parts.way.take_newcomers(_burst(0, 20), 0.0, 77) == 0
    assert parts.way.take_newcomers(_burst(0, 19), 0.0, 77) == 19


def test_the_shapes_of_registers_that_are_kept_are_bounded() -> None:
    parts = _Parts()
    for number in range(1_100):
        said = _Said(query=(f"lt={60 + number}", "lwm2m=1.1"), message_id=number)
        assert parts.take(said)
    assert parts.writer.events.newest > 1_100  # each but the first replaced the one before


def test_there_is_no_short_way_with_limits_of_rates_or_other_names() -> None:
    parts = _Parts(requests_per_s=5.0)
    assert short_way(parts.endpoint, parts.registrar, lambda device, now: None) is None
    policy = Registrar(parts.writer, ServerLimits(), seeded_draw(2), policy=_LONG_WAY)
    assert short_way(_Parts().endpoint, policy, lambda device, now: None) is None


@given(
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.sampled_from([Security("nosec"), Security("psk", 'a "quoted" é'), Security("x509", "x")]),
    st.sampled_from([("127.0.0.1", 5683), ("::1", 5683), "10.0.0.1:7"]),
)
def test_a_frame_put_together_is_what_the_encoder_makes(
    lifetime_s: int, queue_mode: bool, security: Security, peer: Any
) -> None:
    links = msgspec.Raw(b'[{"path":"/3/0","attributes":{"ver":"1.1"}}]')
    said = rd.RegisterRequest("lamp:1_a-B", lifetime_s, "1.1", rd.read_objects(b"</3/0>"))
    table = rd.RegistrationTable(lambda: "0123456789ab")
    held = table.register(said, peer, security.identity, 5.0).registration
    held = msgspec.structs.replace(held, queue_mode=queue_mode)
    middle = middle_of(lifetime_s, "1.1", "U", queue_mode, links)
    device = Device(held, peer, security, links, 77, middle)
    frame = RegistrationFrames('s"1', "e1").encode("updated", 9, device, 123)
    assert frame == encode(
        RegistrationEvent(
            's"1', "e1", 9, "updated", "lamp:1_a-B", 123, "0123456789ab", device.registration
        )
    )


@pytest.mark.parametrize("reason", ["client", "expired", "replaced"])
def test_the_frame_of_an_end_is_what_the_encoder_makes(reason: DeregistrationReason) -> None:
    frame = RegistrationFrames("s1", "e1").encode_left(9, "lamp", "0123456789ab", reason, 123)
    assert frame == encode(
        Event(
            server="s1",
            epoch="e1",
            seq=9,
            kind="deregistered",
            endpoint="lamp",
            at_us=123,
            registration_id="0123456789ab",
            reason=reason,
        )
    )
