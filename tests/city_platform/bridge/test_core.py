"""The bridge's core: what goes in and what must come out, without I/O."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.bridge.link import TRANSITIONS, Happening, Link, PeerError, follow
from city_platform.bridge.publications import Token
from contracts.data_interface import Ack, Resume, decode_event
from tests.city_platform.bridge.server_side import (
    CREDENTIALS,
    EPOCH,
    LAMP,
    NOW_US,
    SERVER,
    connect,
    drain,
    event,
    hello,
    make_core,
    registration,
    sent,
    snapshot,
)


def test_a_starting_bridge_asks_for_a_snapshot() -> None:
    core = make_core()
    core.server_connected()
    assert sent(core) == [Resume(epoch=None, after=0)]


def test_snapshot_entries_are_told_as_registered_and_marked() -> None:
    core = make_core()
    core.server_connected()
    core.receive_frame(hello(), NOW_US)
    core.receive_frame(snapshot(registration(LAMP), as_of=7, last=False), NOW_US)
    core.receive_frame(snapshot(registration("lamp-2"), as_of=7), NOW_US)
    told = drain(core)
    assert [one.topic for one in told] == [
        f"lwm2m/{SERVER}/lamp-1/event/registered",
        f"lwm2m/{SERVER}/lamp-2/event/registered",
    ]
    first = decode_event(told[0].payload)
    assert (first.snapshot, first.seq, first.registration) == (True, 7, registration(LAMP))


def test_an_event_is_published_byte_for_byte() -> None:
    core = make_core()
    connect(core)
    data = event(1, LAMP).replace(b'"kind"', b' "kind"')
    core.receive_frame(data, NOW_US)
    (publication,) = drain(core)
    assert publication.payload == data
    assert publication.topic == f"lwm2m/{SERVER}/{LAMP}/event/notification"


def test_an_event_of_a_kind_not_known_yet_is_published_all_the_same() -> None:
    core = make_core()
    connect(core)
    core.receive_frame(event(1, LAMP).replace(b"notification", b"overheated"), NOW_US)
    assert [one.topic for one in drain(core)] == [f"lwm2m/{SERVER}/{LAMP}/event/overheated"]


@given(order=st.permutations(range(1, 9)))
@settings(max_examples=50, deadline=None)
def test_only_what_is_contiguously_published_is_acknowledged(order: list[int]) -> None:
    core = make_core()
    connect(core)
    for seq in range(1, 9):
        core.receive_frame(event(seq, LAMP), NOW_US)
    tokens = {one.token.seq: one.token for one in drain(core)}
    done: set[int] = set()
    acknowledged = 0
    for seq in order:
        core.publication_acknowledged(tokens[seq])
        done.add(seq)
        contiguous = next(n for n in range(1, 10) if n not in done) - 1
        frames = sent(core)
        assert frames == ([Ack(epoch=EPOCH, seq=contiguous)] if contiguous > acknowledged else [])
        acknowledged = contiguous


def test_nothing_is_acknowledged_before_its_puback() -> None:
    core = make_core()
    connect(core)
    core.receive_frame(event(1, LAMP), NOW_US)
    drain(core)
    assert sent(core) == []


def test_after_a_reconnect_the_bridge_goes_on_behind_what_it_received() -> None:
    core = make_core()
    connect(core)
    core.receive_frame(event(1, LAMP), NOW_US)
    core.receive_frame(event(2, LAMP), NOW_US)
    first, second = drain(core)
    core.publication_acknowledged(first.token)
    core.server_disconnected()
    core.server_connected()
    assert sent(core) == [Resume(epoch=EPOCH, after=2)]
    core.receive_frame(hello(newest=2), NOW_US)
    assert sent(core) == [Ack(epoch=EPOCH, seq=1)]
    core.receive_frame(event(2, LAMP), NOW_US)
    assert drain(core) == []
    assert core.counts["events_repeated"] == 1
    core.publication_acknowledged(second.token)
    assert sent(core)[-1] == Ack(epoch=EPOCH, seq=2)


def test_a_gap_ends_the_connection_and_the_next_asks_for_a_snapshot() -> None:
    core = make_core()
    connect(core)
    core.receive_frame(event(1, LAMP), NOW_US)
    with pytest.raises(PeerError, match="event 3 came where 2 was expected"):
        core.receive_frame(event(3, LAMP), NOW_US)
    core.server_disconnected()
    core.server_connected()
    assert sent(core) == [Resume(epoch=None, after=0)]


def test_events_after_a_snapshot_may_be_older_than_it_and_do_not_change_the_registry() -> None:
    core = make_core()
    connect(core, registration(LAMP, 2), as_of=9)
    core.receive_frame(event(8, LAMP, "registered", registered=registration(LAMP, 1)), NOW_US)
    core.receive_frame(event(9, LAMP, "deregistered", registration_id=f"{LAMP}-2"), NOW_US)
    assert core.registry.holds(LAMP, f"{LAMP}-2")
    assert len(drain(core)) == 2
    core.receive_frame(event(10, LAMP, "deregistered", registration_id=f"{LAMP}-2"), NOW_US)
    assert core.registry.get(LAMP) is None


def test_the_end_of_an_older_registration_leaves_the_newer_one() -> None:
    core = make_core()
    connect(core)
    core.receive_frame(event(1, LAMP, "registered", registered=registration(LAMP, 2)), NOW_US)
    core.receive_frame(event(2, LAMP, "deregistered", registration_id=f"{LAMP}-1"), NOW_US)
    assert core.registry.holds(LAMP, f"{LAMP}-2")


def test_a_new_epoch_drops_late_pubacks_of_the_old_one() -> None:
    core = make_core()
    connect(core)
    core.receive_frame(event(1, LAMP), NOW_US)
    (late,) = drain(core)
    core.server_disconnected()
    core.server_connected()
    core.receive_frame(hello(epoch="epoch-2"), NOW_US)
    core.receive_frame(snapshot(epoch="epoch-2"), NOW_US)
    core.receive_frame(event(1, LAMP, epoch="epoch-2"), NOW_US)
    core.frames_to_send()
    core.publication_acknowledged(late.token)
    assert sent(core) == []


@pytest.mark.parametrize("name", ["a/b", "+", "#", "svc:bootstrap", "", "x" * 129])
def test_illegal_endpoint_names_are_counted_and_acknowledged(name: str) -> None:
    core = make_core()
    connect(core)
    core.receive_frame(event(1, name, "registered", registered=registration(name)), NOW_US)
    assert drain(core) == []
    assert core.counts["endpoints_illegal"] == 1
    assert core.registry.get(name) is None
    assert sent(core) == [Ack(epoch=EPOCH, seq=1)]


def test_another_servers_hello_ends_the_connection() -> None:
    core = make_core()
    core.server_connected()
    with pytest.raises(PeerError, match="not 'north'"):
        core.receive_frame(hello(server="south"), NOW_US)


def test_an_event_that_cannot_be_read_does_not_stop_those_behind_it() -> None:
    core = make_core()
    connect(core)
    core.receive_frame(b'{"type":"event","v":1,"seq":1,"endpoint":17}', NOW_US)
    core.receive_frame(event(2, LAMP), NOW_US)
    (publication,) = drain(core)
    core.publication_acknowledged(publication.token)
    assert sent(core) == [Ack(epoch=EPOCH, seq=2)]
    assert core.counts["frames_malformed"] == 1


def test_a_frame_of_a_newer_major_version_is_refused_clearly() -> None:
    core = make_core()
    core.server_connected()
    with pytest.raises(PeerError, match="upgrade"):
        core.receive_frame(b'{"type":"hello","v":2}', NOW_US)


@given(st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
@settings(max_examples=150, deadline=None)
def test_arbitrary_frames_raise_only_peer_errors(data: bytes) -> None:
    core = make_core()
    connect(core)
    with pytest.raises(PeerError):
        core.receive_frame(data, NOW_US)


@given(topic=st.sampled_from([CREDENTIALS, f"lwm2m/{LAMP}/command", "x"]), data=st.binary())
@settings(max_examples=150, deadline=None)
def test_arbitrary_messages_are_dealt_with(topic: str, data: bytes) -> None:
    core = make_core()
    connect(core, registration(LAMP))
    core.receive_message(topic, data, "handle", NOW_US)
    assert core.messages_to_acknowledge() == ["handle"]
    assert sent(core) == []


# ---- back-pressure ----


def test_reading_stops_at_the_bound_and_goes_on_at_half_of_it() -> None:
    core = make_core(events_unacknowledged_max=4)
    connect(core)
    for seq in range(1, 5):
        assert not core.is_full
        core.receive_frame(event(seq, LAMP), NOW_US)
    assert core.is_full
    first, second, *_ = core.publications_to_send(3, NOW_US)
    core.publication_acknowledged(first.token)
    assert not core.has_room_again
    core.publication_acknowledged(second.token)
    assert core.has_room_again


def test_no_more_is_published_than_the_queue_has_room_for() -> None:
    core = make_core()
    connect(core)
    for seq in range(1, 4):
        core.receive_frame(event(seq, LAMP), NOW_US)
    assert len(core.publications_to_send(2, NOW_US)) == 2
    assert len(core.publications_to_send(2, NOW_US)) == 1


# ---- credentials ----


def test_a_fatal_error_ends_the_connection() -> None:
    core = make_core()
    connect(core)
    with pytest.raises(PeerError, match="another bridge"):
        core.receive_frame(b'{"type":"error","v":1,"detail":"another bridge","fatal":true}', NOW_US)


# ---- the table ----


@pytest.mark.parametrize("link", list(Link))
@pytest.mark.parametrize("happening", list(Happening))
def test_every_cell_of_the_table_is_a_state_or_an_error(link: Link, happening: Happening) -> None:
    if happening in TRANSITIONS[link]:
        assert follow(link, happening) in Link
    else:
        with pytest.raises(PeerError):
            follow(link, happening)


def test_every_state_can_be_left_and_reached() -> None:
    reached = {after for row in TRANSITIONS.values() for after in row.values()}
    assert reached == set(Link) == set(TRANSITIONS)


def test_tokens_say_what_a_puback_stands_for() -> None:
    core = make_core()
    connect(core)
    core.receive_frame(event(1, LAMP), NOW_US)
    assert [one.token for one in drain(core)] == [Token(EPOCH, 1)]
