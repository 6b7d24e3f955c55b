"""The bridge's core with several MQTT connections, and with a server that refuses its frames."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.bridge.config import Limits
from city_platform.bridge.core import BridgeCore
from city_platform.bridge.publications import Token
from contracts.data_interface import Ack, ErrorFrame, encode
from contracts.topics import Topics
from tests.city_platform.bridge.server_side import (
    EPOCH,
    NOW_US,
    SERVER,
    connect,
    event,
    make_core,
    registration,
    sealed,
    sent,
)


@given(data=st.data(), lanes=st.integers(2, 4))
@settings(max_examples=50, deadline=None)
def test_over_several_connections_an_endpoint_keeps_its_order_and_acks_have_no_hole(
    data: st.DataObject, lanes: int
) -> None:
    core = BridgeCore(SERVER, Topics(), lambda _: b"", Limits(), lanes)
    connect(core)
    endpoints = [f"lamp-{number % 5}" for number in range(20)]
    for seq, endpoint in enumerate(endpoints, start=1):
        core.receive_frame(event(seq, endpoint), NOW_US)
    lane_of: dict[str, set[int]] = {}
    tokens: dict[int, Token] = {}
    for lane in range(lanes):
        told = core.publications_to_send(100, NOW_US, lane)
        numbers = [one.token.seq for one in told if one.token.seq is not None]
        assert numbers == sorted(numbers)
        for one in told:
            assert one.token.seq is not None
            tokens[one.token.seq] = one.token
            lane_of.setdefault(endpoints[one.token.seq - 1], set()).add(lane)
    assert sorted(tokens) == list(range(1, 21))
    assert all(len(lanes_used) == 1 for lanes_used in lane_of.values())
    done: set[int] = set()
    for seq in data.draw(st.permutations(sorted(tokens))):
        core.publication_acknowledged(tokens[seq])
        done.add(seq)
        contiguous = next(n for n in range(1, 22) if n not in done) - 1
        assert all(frame == Ack(epoch=EPOCH, seq=contiguous) for frame in sent(core))


def test_what_the_server_refuses_is_told_once_and_a_part_of_credentials_never() -> None:
    core = make_core()
    connect(core)
    core.receive_frame(encode(ErrorFrame(detail="path: must be like /3/0", id="c1")), NOW_US)
    core.receive_frame(encode(ErrorFrame(detail="AAECAw==", id="credentials:1")), NOW_US)
    assert core.complaints_to_log() == [
        "c1: path: must be like /3/0",
        "credentials:1: writing credentials",
    ]
    assert core.complaints_to_log() == []
    assert core.counts["frames_refused"] == 2


def test_credentials_that_are_driven_again_while_they_wait_are_written_once() -> None:
    core = make_core(procedures_max=1)
    connect(core, registration("lamp-1"), registration("lamp-2"))
    for _ in range(3):
        for endpoint in ("lamp-1", "lamp-2"):
            topic = f"lwm2m/{SERVER}/{endpoint}/credentials"
            core.receive_message(topic, sealed(endpoint), endpoint, NOW_US)
    assert core.counts["credentials_begun"] == 1
    assert core.counts["credentials_already_running"] == 2
    assert core.counts["credentials_waiting_already"] == 2
