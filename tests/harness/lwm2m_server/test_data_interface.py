"""The data interface: greeting, resumption, snapshots, acknowledgement, bounds, replacement."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.data_interface import Ack, Resume, Snapshot, encode
from contracts.journal import EventsAcknowledged
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.data_interface import (
    TRANSITIONS,
    BridgeSession,
    SessionEvent,
    SessionState,
)
from tests.harness.lwm2m_server.world import Bridge, World


def register_many(world: World, count: int, *, start: int = 0) -> None:
    for number in range(start, start + count):
        world.device(f"lamp-{number}").register()
    world.run_for(1)


def test_a_bridge_is_greeted_with_the_servers_place_and_limits(tmp_path: Path) -> None:
    world = World(tmp_path)
    register_many(world, 3)
    bridge = world.bridge()
    world.settle()
    hello = bridge.hello
    assert (hello.server, hello.oldest, hello.newest) == ("s1", 1, 3)
    assert hello.limits.commands_per_device_max == world.limits.commands_per_device_max
    assert bridge.frames[0] is hello


def test_a_starting_bridge_gets_all_registrations_and_the_unacknowledged_events(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, limits=ServerLimits(snapshot_registrations=2))
    first = world.bridge()
    register_many(world, 3)
    first.acknowledges = False
    register_many(world, 2, start=3)
    second = world.bridge(acknowledges=False)
    world.settle()
    snapshots = second.of(Snapshot)
    assert [len(frame.registrations) for frame in snapshots] == [2, 2, 1]
    assert [frame.last for frame in snapshots] == [False, False, True]
    assert {frame.as_of for frame in snapshots} == {5}
    assert [event.seq for event in second.events()] == [4, 5]
    assert second.frames.index(snapshots[-1]) < second.frames.index(second.events()[0])


def test_an_empty_server_has_an_empty_snapshot(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    world.settle()
    (snapshot,) = bridge.of(Snapshot)
    assert snapshot.registrations == []
    assert snapshot.last
    assert snapshot.as_of == 0


def test_a_bridge_that_was_away_goes_on_behind_what_it_received(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge(acknowledges=False)
    register_many(world, 3)
    bridge.disconnect()
    register_many(world, 2, start=3)
    bridge.connect()
    world.settle()
    assert [seq for _, seq in bridge.deliveries] == [1, 2, 3, 4, 5]
    assert len(bridge.of(Snapshot)) == 1


def test_a_gap_or_another_epoch_or_the_future_gets_a_snapshot(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.bridge()
    register_many(world, 4)
    epoch = world.bridges[0].epoch
    for resume in (
        Resume(epoch=epoch, after=1),
        Resume(epoch="another", after=4),
        Resume(epoch=epoch, after=99),
        Resume(epoch=None, after=4),
    ):
        bridge = Bridge(world)
        world.bridges.append(bridge)
        bridge.connect(resume=False)
        bridge.send(resume)
        world.settle()
        assert len(bridge.of(Snapshot)) == 1, resume
        assert bridge.events() == []


def test_a_lost_log_is_a_new_epoch(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    register_many(world, 2)
    before = bridge.epoch
    world.die()
    (tmp_path / "events.log").unlink()
    world.start()
    bridge.connect()
    world.settle()
    assert bridge.epoch not in (None, before)
    assert bridge.hello.newest == 0


def test_sequence_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    register_many(world, 2)
    world.restart()
    bridge.connect()
    register_many(world, 2, start=2)
    assert [seq for _, seq in bridge.deliveries] == [1, 2, 3, 4]
    assert len({epoch for epoch, _ in bridge.deliveries}) == 1
    world.restart()
    world.restart()
    bridge.connect()
    world.settle()
    assert (bridge.hello.oldest, bridge.hello.newest) == (5, 4)


def test_acknowledged_events_are_not_delivered_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = world.bridge(acknowledges=False)
    register_many(world, 5)
    assert bridge.epoch is not None
    bridge.send(Ack(epoch=bridge.epoch, seq=3))
    world.settle()
    assert [record.seq for record in world.observed.of(EventsAcknowledged)] == [3]
    world.restart()
    fresh = world.bridge(acknowledges=False)
    world.settle()
    assert [event.seq for event in fresh.events()] == [4, 5]


@pytest.mark.parametrize(
    ("epoch", "seq", "complaint"),
    [(None, 4, "has not been sent"), ("other", 1, "epoch"), (None, -1, None)],
)
def test_acknowledging_what_was_not_sent_is_refused(
    tmp_path: Path, epoch: str | None, seq: int, complaint: str | None
) -> None:
    world = World(tmp_path)
    bridge = world.bridge(acknowledges=False)
    register_many(world, 3)
    bridge.send(Ack(epoch=epoch or bridge.epoch or "", seq=seq))
    world.settle()
    if complaint is None:
        assert bridge.errors() == []
    else:
        assert complaint in bridge.errors()[0].detail
        assert not bridge.errors()[0].fatal
    assert world.core.counters()["events_acknowledged"] == 0


def test_a_newer_bridge_replaces_the_older_whose_frames_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.device("lamp-0").register()
    world.run_for(1)
    older = world.bridge()
    world.settle()
    old_session = older.session
    newer = world.bridge()
    assert old_session is not None
    world.core.bridge_received(old_session, encode(world.command("c1", "lamp-0")))
    world.settle()
    assert older.errors()[-1].fatal
    assert "newer bridge" in older.errors()[-1].detail
    assert world.closes == [(1001, "a newer bridge took over")]
    world.core.bridge_received(old_session, encode(world.command("c2", "lamp-0")))
    world.run_for(1)
    assert newer.outcomes() == {}
    newer.send(world.command("c3", "lamp-0"))
    world.run_for(1)
    assert newer.outcomes()["c3"].code == "2.04"


def test_nothing_but_resume_may_come_first_and_only_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    bridge = Bridge(world)
    world.bridges.append(bridge)
    bridge.connect(resume=False)
    bridge.send(world.command("c1", "lamp-0"))
    bridge.send(Ack(epoch="x", seq=1))
    bridge.send(Resume(epoch=None, after=0))
    bridge.send(Resume(epoch=None, after=0))
    world.settle()
    details = [error.detail for error in bridge.errors()]
    assert details == ["the first frame must be resume"] * 2 + [
        "this connection has resumed already"
    ]
    assert bridge.errors()[0].id == "c1"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"type":"command"}',
        b'{"type":"event","v":1}',
        b'{"type":"ack","epoch":1,"seq":"x"}',
        b"[" * 100_000,
        b'{"type":"command","id":"c7","endpoint":5}',
    ],
)
def test_a_malformed_frame_is_answered_and_the_connection_stays(
    tmp_path: Path, text: bytes
) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    bridge.send_text(text)
    register_many(world, 1)
    (error,) = bridge.errors()
    assert not error.fatal
    assert error.id == ("c7" if b"c7" in text else None)
    assert len(bridge.events("registered")) == 1


def test_unknown_fields_are_ignored_and_a_newer_version_is_refused_for_good(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    register_many(world, 1)
    bridge = world.bridge()
    command = msgspec.to_builtins(world.command("c1", "lamp-0")) | {"colour": "green"}
    bridge.send_text(msgspec.json.encode(command))
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded
    bridge.send_text(msgspec.json.encode(command | {"v": 2}))
    world.settle()
    assert bridge.errors()[-1].fatal
    assert "upgrade" in bridge.errors()[-1].detail
    assert world.closes == [(1008, bridge.errors()[-1].detail)]


def test_a_frame_over_the_limit_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, limits=ServerLimits(frame_bytes_max=1_000))
    bridge = world.bridge()
    bridge.send_text(b'{"type":"cancel","id":"' + b"x" * 1_000 + b'"}')
    world.settle()
    assert "at most 1000 bytes" in bridge.errors()[0].detail


def test_events_wait_until_the_window_has_room(tmp_path: Path) -> None:
    world = World(tmp_path, limits=ServerLimits(events_in_flight_max=3))
    bridge = world.bridge(acknowledges=False)
    register_many(world, 10)
    assert [event.seq for event in bridge.events()] == [1, 2, 3]
    bridge.acknowledges = True
    world.settle()
    assert [event.seq for event in bridge.events()] == list(range(1, 11))


def test_a_bridge_that_does_not_read_is_not_sent_more_than_fits(tmp_path: Path) -> None:
    world = World(tmp_path, room_bytes=2_000)
    session = world.core.bridge_opened()
    world.core.bridge_received(session, encode(Resume(epoch=None, after=0)))
    register_many(world, 50)
    frames = world.core.take_frames(session, 2_000)
    assert 0 < sum(map(len, frames)) < 3_000
    assert world.core.has_frames(session)
    assert world.core.take_frames(session, 0) == []
    rest = world.core.take_frames(session, 1_000_000)
    assert len(frames) + len(rest) == 1 + 1 + 50  # hello, snapshot, events


def test_events_that_nobody_takes_are_dropped_oldest_first_and_that_is_a_gap(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, limits=ServerLimits(events_kept_max=5))
    bridge = world.bridge()
    register_many(world, 2)
    bridge.disconnect()
    register_many(world, 8, start=2)
    assert world.core.counters()["events_dropped"] == 3
    bridge.connect()
    world.settle()
    assert len(bridge.of(Snapshot)) == 2
    assert len(bridge.of(Snapshot)[-1].registrations) == 10
    assert [event.seq for event in bridge.events()] == [1, 2, 6, 7, 8, 9, 10]


def test_a_bridge_that_falls_behind_the_kept_events_is_told_to_come_again(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, limits=ServerLimits(events_kept_max=5))
    bridge = world.bridge(acknowledges=False)
    world.settle()
    bridge.reads = False
    register_many(world, 8)
    bridge.reads = True
    world.settle()
    assert bridge.errors()[-1].fatal
    assert world.closes == [(1013, "events were dropped: resume for a snapshot")]


def test_unread_answers_are_bounded(tmp_path: Path) -> None:
    world = World(tmp_path, limits=ServerLimits(answers_waiting_max=10))
    bridge = world.bridge()
    world.settle()
    bridge.reads = False
    for _ in range(11):
        bridge.send_text(b"nonsense")
    bridge.reads = True
    world.settle()
    assert [error.fatal for error in bridge.errors()] == [True]
    assert world.closes[0][0] == 1013


def test_every_cell_of_the_session_table_is_walked() -> None:
    for state in SessionState:
        for event in SessionEvent:
            session = BridgeSession()
            session.state = state
            if event in TRANSITIONS[state]:
                session.move(event)
                assert session.state is TRANSITIONS[state][event]
            else:
                with pytest.raises(KeyError):
                    session.move(event)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["resume", "ack", "command", "cancel", "event", "x"]),
                    "id": st.one_of(st.text(max_size=5), st.integers()),
                    "epoch": st.one_of(st.none(), st.text(max_size=3)),
                    "after": st.integers(),
                    "seq": st.integers(-5, 2**70),
                    "endpoint": st.sampled_from(["lamp-0", "a/b", "", "ghost"]),
                    "operation": st.sampled_from(["read", "write", "execute", "fly"]),
                    "path": st.one_of(st.text(max_size=8), st.just("/3/0/1"), st.none()),
                    "expires_at_us": st.integers(),
                }
            ).map(msgspec.json.encode),
        ),
        max_size=8,
    )
)
def test_frames_of_any_kind_never_stop_the_server(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes]
) -> None:
    world = World(tmp_path_factory.mktemp("frames"))
    register_many(world, 1)
    bridge = world.bridge()
    for text in texts:
        if bridge.session is not None:
            bridge.send_text(text)
        world.settle()
    world.run_for(1)
    fresh = world.bridge()
    fresh.send(world.command("last", "lamp-0", "read", "/3/0/9"))
    world.run_for(200)
    assert "last" in fresh.outcomes()
