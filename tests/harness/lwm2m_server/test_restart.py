"""Kills at every point that matters, and what the next incarnation makes of the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.data_interface import Command, Value
from contracts.journal import ServerStarted
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.log_file import LOG_NAME, LogFile, LogInUse
from harness.lwm2m_server.records import decode_log
from harness.lwm2m_server.turn import begin
from lwm2m.coap import codes, decode_message
from tests.harness.lwm2m_server.world import Bridge, Device, Killed, Point, World


def onboarded(tmp_path: Path) -> tuple[World, Bridge, Device]:
    world = World(tmp_path)
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(1)
    return world, bridge, device


def kill(world: World, point: Point, act: Callable[[], None]) -> None:
    """Do something and have the server die at `point` of that very turn; then start it again."""
    act()
    world.kill_at = point
    with pytest.raises(Killed):
        world._end_turn()
    world.kill_at = None
    world.restart()


ON_DISK = (Point.AFTER_WRITE, Point.AFTER_DATAGRAMS, Point.AFTER_FRAMES)


@pytest.mark.parametrize("point", Point)
def test_a_registration_whose_turn_is_killed_is_there_or_comes_again(
    tmp_path: Path, point: Point
) -> None:
    world = World(tmp_path)
    bridge = world.bridge()
    world.settle()
    device = world.device("lamp-1")
    device.register()
    (datagram,) = device.coap.datagrams_to_send()
    kill(world, point, lambda: world.core.receive_datagrams([(datagram[0], device.address)]))
    assert len(world.core.registrations()) == (1 if point in ON_DISK else 0)
    bridge.connect()
    world.run_for(30)  # CoAP sends the Register again when it was not answered
    assert device.location
    assert [one.registration_id for one in world.core.registrations()] == [device.location[1]]
    assert bridge.events("registered")[-1].registration_id == device.location[1]
    assert [seq for _, seq in bridge.deliveries] == list(range(1, bridge.received + 1))


@pytest.mark.parametrize("point", Point)
@pytest.mark.parametrize("operation", ["write", "execute"])
def test_a_command_whose_turn_is_killed_has_one_outcome_and_is_done_at_most_once(
    tmp_path: Path, point: Point, operation: str
) -> None:
    world, bridge, device = onboarded(tmp_path)
    path = "/3416/0/1" if operation == "write" else "/3/0/4"
    command = world.command("c1", "lamp-1", operation, path)  # type: ignore[arg-type] # both are
    kill(world, point, lambda: bridge.send(command))
    bridge.connect()
    bridge.send(command)  # a bridge asks again for what has no outcome
    world.run_for(120)
    outcome = bridge.outcomes()["c1"]
    if point not in ON_DISK:
        assert outcome.succeeded, "nothing was known of it: it is a new command"
    elif operation == "write":
        assert outcome.succeeded, "the same datagram was sent again"
    else:
        assert outcome.error.stage == "unknown"
    assert len(device.done) == (1 if outcome.succeeded or point in ON_DISK[1:] else 0)
    assert len(bridge.events("result")) == 1


def test_the_datagram_is_sent_again_with_the_same_id_and_answered_from_memory(
    tmp_path: Path,
) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("c1", "lamp-1"))
    world._end_turn()
    first = world.sent[-1]
    world.run_for(0.015)  # the device has done it, and its answer is on the way
    assert len(device.done) == 1
    world.restart()
    world._under_way.clear()
    world.settle()
    assert world.sent[-1] == first
    bridge.connect()
    world.run_for(1)
    assert bridge.outcomes()["c1"].succeeded
    assert len(device.done) == 1


def test_after_max_transmit_span_a_request_is_not_sent_again(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    device.answers = False
    bridge.send(world.command("c1", "lamp-1"))
    world.run_for(1)
    world.die()
    world.clock.advance(46)
    world.start()
    sent = len(world.sent)
    bridge.connect()
    world.settle()
    assert bridge.outcomes()["c1"].error.stage == "unknown"
    assert len(world.sent) == sent


def test_secret_writes_and_blockwise_writes_become_unknown(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    other = world.device("lamp-2")
    other.register()
    world.run_for(1)
    device.answers = other.answers = False
    secret = world.command("c1", "lamp-1", path="/18830/0/9")

    bridge.send(
        Command(
            id="c1",
            endpoint="lamp-1",
            operation="write",
            path="/18830/0/9",
            expires_at_us=secret.expires_at_us,
            values=[Value("/18830/0/9", "opaque", "c2VjcmV0IGtleQ==")],
            issued_by="credentials",
        )
    )
    long = [Value("/18831/0/2", "string", "x" * 3_000)]
    bridge.send(world.command("c2", "lamp-2", path="/18831/0/2", values=long))
    world.run_for(0.5)
    world.restart()
    bridge.connect()
    world.settle()
    outcomes = bridge.outcomes()
    assert outcomes["c1"].error.stage == "unknown"
    assert outcomes["c2"].error.stage == "unknown"


def test_commands_that_waited_go_out_after_a_restart(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    bridge.send(world.command("c1", "lamp-1"))
    bridge.send(world.command("c2", "lamp-1", "execute", "/3/0/4"))
    bridge.send(world.command("c3", "lamp-1"))
    world._end_turn()
    world.restart()
    bridge.connect()
    world.run_for(5)
    assert {name: outcome.succeeded for name, outcome in bridge.outcomes().items()} == {
        "c1": True,
        "c2": True,
        "c3": True,
    }
    assert Counter(code for code, *_ in device.done) == {codes.PUT: 2, codes.POST: 1}


def test_a_stored_outcome_answers_its_id_after_restarts_and_compactions(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    command = world.command("c1", "lamp-1", "execute", "/3/0/4")
    bridge.send(command)
    world.run_for(1)
    for _ in range(3):
        world.turn.compact()
        world.restart()
        bridge.connect()
        bridge.send(command)
        world.run_for(1)
    assert len(device.done) == 1
    assert len(bridge.events("result")) == 1
    assert bridge.outcomes()["c1"].succeeded


def test_message_ids_go_on_behind_those_that_were_used(tmp_path: Path) -> None:
    world, bridge, device = onboarded(tmp_path)
    for number in range(3):
        bridge.send(world.command(f"a{number}", "lamp-1"))
    world.run_for(1)
    world.turn.compact()
    world.restart()
    bridge.connect()
    for number in range(3):
        bridge.send(world.command(f"b{number}", "lamp-1"))
    world.run_for(1)
    ids = [message_id for *_, message_id in device.done]
    assert len(set(ids)) == 6
    assert (ids[3] - ids[2]) % 65_536 > 4_000


def test_the_tap_is_told_of_each_incarnation(tmp_path: Path) -> None:
    world, _, _ = onboarded(tmp_path)
    world.restart()
    world.settle()
    started = world.observed.of(ServerStarted)
    assert [record.resumed for record in started] == [0, 1]
    assert started[0].epoch == started[1].epoch


def test_a_log_that_is_damaged_in_the_middle_is_set_aside_and_nothing_is_sent_twice(
    tmp_path: Path,
) -> None:
    world, bridge, device = onboarded(tmp_path)
    command = world.command("c1", "lamp-1", "execute", "/3/0/4")
    bridge.send(command)
    world.run_for(1)
    world.die()
    path = tmp_path / LOG_NAME
    data = bytearray(path.read_bytes())
    data[data.index(b'"registered"')] ^= 1
    path.write_bytes(data)
    before = bridge.epoch
    world.start()
    assert world.warning is not None
    assert (tmp_path / "events.log.damaged").read_bytes() == bytes(data)
    bridge.connect()
    bridge.send(command)
    world.run_for(1)
    assert bridge.epoch != before
    assert world.core.registrations() == []
    assert len(device.done) == 1
    assert bridge.outcomes()["c1"].succeeded


@pytest.mark.parametrize("cut", [1, 5, 9, 40, 200])
def test_a_torn_last_record_is_dropped_without_a_word(tmp_path: Path, cut: int) -> None:
    world, _, _ = onboarded(tmp_path)
    second = world.device("lamp-2")
    second.register()
    world.run_for(1)
    world.die()
    path = tmp_path / LOG_NAME
    assert not decode_log(path.read_bytes()).damaged
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    world.start()
    assert world.warning is None
    assert world.core.counters()["registrations"] in (1, 2)


def test_two_servers_cannot_share_a_state_directory(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(LogInUse, match="choose another state_dir"):
        LogFile(tmp_path)
    world.die()


def test_a_log_of_another_server_is_not_taken_over(tmp_path: Path) -> None:
    world, _, _ = onboarded(tmp_path)
    world.die()
    path = tmp_path / LOG_NAME

    log = LogFile(tmp_path)
    state, _ = begin(log, server="s2", new_epoch="fresh")
    log.close()
    assert state.epoch == "fresh"
    assert state.registrations == {}
    assert b"lamp-1" not in path.read_bytes()


@pytest.mark.slow
def test_the_log_is_compacted_when_it_has_grown(tmp_path: Path) -> None:
    world = World(tmp_path, limits=ServerLimits(log_bytes_compact=20_000))
    bridge = world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(1)
    for _ in range(300):
        device.update()
        world.run_for(0.5)
    assert bridge.received == 301
    assert len(world.log_bytes()) < 30_000
    world.restart()
    assert len(world.core.registrations()) == 1
    bridge.connect()
    device.update()
    world.run_for(1)
    assert bridge.received == 302


def test_what_happens_during_a_compaction_is_in_the_log_that_comes_of_it(tmp_path: Path) -> None:
    world = World(tmp_path, compacted_per_turn=1)
    bridge = world.bridge()
    stays, replaced, leaves, late, *_ = devices = [world.device(f"lamp-{n}") for n in range(12)]
    for device in devices:
        if device is not late:
            device.register(lifetime_s=3_600)
    world.run_for(1)
    world.turn.begin_compaction()
    stays.update()
    replaced.register(lifetime_s=3_600)
    leaves.deregister()
    late.register(lifetime_s=3_600)
    world.settle()
    assert world.turn.is_compacting, "a turn writes one record"
    while world.turn.is_compacting:
        world.turn.end()
    before = {one.registration_id: one for one in world.core.registrations()}
    assert len(before) == 11
    world.restart()
    after = {one.registration_id: one for one in world.core.registrations()}
    assert after.keys() == before.keys()
    bridge.connect()
    stays.update()
    world.run_for(1)
    assert sorted({seq for _, seq in bridge.seen}) == list(range(1, bridge.received + 1))
    assert bridge.received == 17


def test_a_kill_during_a_compaction_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    world = World(tmp_path, compacted_per_turn=1)
    world.bridge()
    device = world.device("lamp-1")
    device.register()
    world.run_for(1)
    device.update()
    world.run_for(1)
    world.turn.begin_compaction()
    world.turn.end()
    (unfinished,) = world.directory.glob(".events.log.*")
    world.restart()
    assert not unfinished.exists()
    assert len(world.core.registrations()) == 1
    assert world.core.counters()["events_newest"] == 2


class Story:
    """Random acts with random kills; `check` says what must be true at the end of each story."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bridge = world.bridge()
        self.devices = [world.device(f"lamp-{number}") for number in range(3)]
        self.open: dict[str, Command] = {}

    def act(self, act: str, number: int) -> None:
        world, device = self.world, self.devices[number % 3]
        if act == "register":
            device.register()
        elif act == "update" and device.location:
            device.update()
        elif act in ("write", "execute", "create"):
            self._command(act, device)
        elif act == "reconnect":
            self.bridge.disconnect()
            self._connect()
        elif act == "forget":
            self.bridge.disconnect()
            self.bridge.epoch, self.bridge.received = None, 0
            self._connect()
        elif act == "compact":
            world.settle()
            world.turn.compact()
        elif act == "begin_compaction":
            world.settle()
            world.turn.begin_compaction()
        else:
            world.run_for(number / 10)

    def survive(self, act: str, number: int, point: Point | None) -> None:
        try:
            self.act(act, number)
            self.world.kill_at = point
            self.world.settle()
        except Killed:
            pass
        self.world.kill_at = None
        if point is not None:
            self.world.restart()
            self._connect()
        self.world.run_for(0.005)

    def _connect(self) -> None:
        self.bridge.connect()
        for command_id in list(self.open):
            if command_id not in self.bridge.outcomes():
                self.bridge.send(self.open[command_id])

    def _command(self, operation: str, device: Device) -> None:
        command_id = f"c{len(self.open)}"
        paths = {"write": "/3416/0/1", "execute": "/3/0/4", "create": "/18831"}
        fields = {}
        if operation == "create":
            fields["values"] = [Value("/18831/0/2", "string", command_id)]
        if operation == "execute":
            fields["arguments"] = f"0='{command_id}'"
        self.open[command_id] = self.world.command(
            command_id,
            device.endpoint,
            operation,  # type: ignore[arg-type] # one of three
            paths[operation],
            **fields,
        )
        self.bridge.send(self.open[command_id])

    def check(self) -> None:
        world, bridge = self.world, self.bridge
        world.run_for(400)
        # Every event was delivered, in order within a connection (the bridge checks), the same
        # event under the same number each time (it checks that too), and all are acknowledged.
        epochs = {epoch for epoch, _ in bridge.seen}
        assert len(epochs) <= 1
        newest = world.core.counters()["events_newest"]
        assert sorted(seq for _, seq in bridge.seen) == list(range(1, newest + 1))
        assert world.core.counters()["events_acknowledged"] == newest
        # Every command has an outcome, and Execute and Create were done and sent at most once.
        assert set(bridge.outcomes()) == set(self.open)
        done = Counter(
            payload
            for one in self.devices
            for code, _, payload, _ in one.done
            if code == codes.POST
        )
        assert all(count == 1 for count in done.values()), done
        sent = Counter(
            message.payload
            for message in {
                (message.message_id, message.payload, peer): message
                for data, peer in world.sent
                for message in (decode_message(data),)
                if message.code == codes.POST
            }.values()
        )
        assert all(count == 1 for count in sent.values()), sent


ACTS = st.sampled_from(
    [
        "register",
        "update",
        "write",
        "execute",
        "create",
        "reconnect",
        "forget",
        "compact",
        "begin_compaction",
        "wait",
    ]
)


@pytest.mark.slow
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(
    seed=st.integers(0, 1_000),
    loss=st.sampled_from([0.0, 0.0, 0.15]),
    acts=st.lists(
        st.tuples(ACTS, st.integers(0, 9), st.sampled_from([None, None, *Point])),
        max_size=25,
    ),
)
def test_after_any_kills_every_event_arrives_in_order_and_nothing_is_done_twice(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    loss: float,
    acts: list[tuple[str, int, Point | None]],
) -> None:
    directory = tmp_path_factory.mktemp("kills")
    world = World(directory, seed=seed, loss_ratio=loss, compacted_per_turn=1)
    story = Story(world)
    world.settle()
    for act, number, point in acts:
        story.survive(act, number, point)
    story.check()
    world.die()
