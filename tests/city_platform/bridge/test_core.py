"""The bridge's core: what goes in and what must come out, without I/O."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.bridge.link import TRANSITIONS, Happening, Link, PeerError, follow
from city_platform.bridge.publications import Token
from contracts.data_interface import (
    Ack,
    Command,
    Holder,
    Outcome,
    Resume,
    decode_event,
    encode,
)
from tests.city_platform.bridge.server_side import (
    EPOCH,
    NOW_US,
    SERVER,
    answer,
    commands,
    connect,
    document,
    drain,
    event,
    hello,
    make_core,
    registration,
    sealed,
    sent,
    snapshot,
    stored_result,
)

LAMP = "lamp-1"
CREDENTIALS = f"lwm2m/{SERVER}/{LAMP}/credentials"


def command(**changes: object) -> Command:
    fields = {"id": "c1", "endpoint": LAMP, "operation": "read", "expires_at_us": NOW_US}
    return Command(**{**fields, "path": "/3/0", **changes})  # type: ignore[arg-type]  # by name


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


# ---- commands ----


def test_a_command_for_a_held_device_is_passed_on_as_it_came() -> None:
    core = make_core()
    connect(core, registration(LAMP))
    data = encode(command())
    core.receive_message(f"lwm2m/{LAMP}/command", data, 1, NOW_US)
    assert core.frames_to_send() == [data]
    assert core.messages_to_acknowledge() == [1]


@pytest.mark.parametrize(
    ("topic", "payload", "count"),
    [
        ("lwm2m/other/command", encode(command(endpoint="other")), "commands_not_held"),
        (f"lwm2m/{LAMP}/command", encode(command(endpoint="o")), "commands_for_another_endpoint"),
        (
            f"lwm2m/{SERVER}/{LAMP}/command",
            encode(command(holder=Holder("south", f"{LAMP}-1"))),
            "commands_for_another_holder",
        ),
        (
            f"lwm2m/{SERVER}/{LAMP}/command",
            encode(command(holder=Holder(SERVER, f"{LAMP}-0"))),
            "commands_for_another_holder",
        ),
        (f"lwm2m/south/{LAMP}/command", encode(command()), "messages_on_other_topics"),
        (f"lwm2m/{LAMP}/command", b"{}", "commands_malformed"),
        (
            f"lwm2m/{LAMP}/command",
            encode(command(id="credentials:1")),
            "commands_with_a_reserved_id",
        ),
        (
            f"lwm2m/{LAMP}/command",
            encode(command(issued_by="credentials")),
            "commands_with_a_reserved_id",
        ),
    ],
)
def test_what_is_not_for_this_bridge_is_counted(topic: str, payload: bytes, count: str) -> None:
    core = make_core()
    connect(core, registration(LAMP))
    core.receive_message(topic, payload, 1, NOW_US)
    assert sent(core) == []
    assert core.counts[count] == 1
    assert core.messages_to_acknowledge() == [1]


def test_commands_wait_while_the_server_is_away_and_more_are_dropped_and_counted() -> None:
    core = make_core(messages_waiting_max=1)
    connect(core, registration(LAMP))
    core.server_disconnected()
    for handle, name in ((1, "c1"), (2, "c2")):
        core.receive_message(f"lwm2m/{LAMP}/command", encode(command(id=name)), handle, NOW_US)
    assert core.messages_to_acknowledge() == [2]
    assert core.counts["messages_dropped_while_offline"] == 1
    core.server_connected()
    core.receive_frame(hello(), NOW_US)
    core.receive_frame(snapshot(registration(LAMP)), NOW_US)
    assert [one.id for one in commands(core)] == ["c1"]
    assert core.messages_to_acknowledge() == [1]


def test_the_stored_result_of_a_repeated_command_is_told() -> None:
    core = make_core()
    connect(core, registration(LAMP))
    outcome = Outcome(id="c1", operation="read", code="2.05")
    core.receive_frame(stored_result(LAMP, outcome), NOW_US)
    (publication,) = drain(core)
    told = decode_event(publication.payload)
    assert publication.topic == f"lwm2m/{SERVER}/{LAMP}/event/result"
    assert (told.result, told.snapshot) == (outcome, True)


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


def test_credentials_are_written_step_by_step_and_activated_last() -> None:
    core = make_core()
    connect(core, registration(LAMP, links=("/1/0", "/18831/7")))
    core.receive_message(CREDENTIALS, sealed(LAMP, instances=(0, 1)), 1, NOW_US)
    steps = []
    for seq in range(1, 20):
        found = commands(core)
        if not found:
            break
        (one,) = found
        steps.append((one.operation, one.path, one.completes is not None))
        assert one.issued_by == "credentials"
        assert one.holder == Holder(SERVER, f"{LAMP}-1")
        answer(core, seq, one)
    assert steps == [
        ("create", "/18830/0", False),
        ("create", "/18831/0", False),
        ("create", "/18831/1", False),
        ("delete", "/18831/7", False),
        ("write_composite", None, True),
    ]
    assert core.counts["credentials_completed"] == 1


def test_own_results_are_consumed_and_acknowledged_not_published() -> None:
    core = make_core()
    connect(core, registration(LAMP))
    core.receive_message(CREDENTIALS, sealed(LAMP), 1, NOW_US)
    (create,) = commands(core)
    answer(core, 1, create, "2.01")
    assert drain(core) == []
    assert Ack(epoch=EPOCH, seq=1) in sent(core)


@pytest.mark.parametrize(
    ("topic", "payload", "count"),
    [
        (CREDENTIALS, b"{", "credentials_malformed"),
        (CREDENTIALS, sealed("lamp-2"), "credentials_for_another"),
        (CREDENTIALS, sealed(LAMP, server="south"), "credentials_for_another"),
        (CREDENTIALS, sealed(LAMP, 2), "credentials_for_another_registration"),
        (CREDENTIALS, sealed(LAMP, content=document("lamp-2")), "credentials_for_another"),
        (CREDENTIALS, sealed(LAMP, content=document(LAMP, "v0")), "credentials_for_another"),
        (CREDENTIALS, sealed(LAMP, content=b"{}"), "credentials_cannot_be_opened"),
        (f"lwm2m/{SERVER}/gone/credentials", sealed("gone"), "credentials_not_held"),
        (f"lwm2m/south/{LAMP}/credentials", sealed(LAMP), "messages_on_other_topics"),
    ],
)
def test_credentials_that_do_not_fit_are_counted(topic: str, payload: bytes, count: str) -> None:
    core = make_core()
    connect(core, registration(LAMP))
    core.receive_message(topic, payload, 1, NOW_US)
    assert commands(core) == []
    assert core.counts[count] == 1
    assert core.messages_to_acknowledge() == [1]


def test_a_repeated_message_for_a_running_procedure_is_ignored() -> None:
    core = make_core()
    connect(core, registration(LAMP))
    core.receive_message(CREDENTIALS, sealed(LAMP), 1, NOW_US)
    core.receive_message(CREDENTIALS, sealed(LAMP), 2, NOW_US)
    assert len(commands(core)) == 1
    assert core.counts["credentials_already_running"] == 1


def test_beyond_the_bound_credentials_wait_and_then_are_dropped_and_counted() -> None:
    core = make_core(procedures_max=1, messages_waiting_max=1)
    names = [f"lamp-{number}" for number in (1, 2, 3)]
    connect(core, *map(registration, names))
    for name in names:
        core.receive_message(f"lwm2m/{SERVER}/{name}/credentials", sealed(name), name, NOW_US)
    assert core.counts["credentials_over_limit"] == 1
    written = []
    for seq in range(1, 20):
        found = commands(core)
        if not found:
            break
        written.append(found[0].endpoint)
        answer(core, seq, found[0])
    assert list(dict.fromkeys(written)) == ["lamp-1", "lamp-2"]


def test_a_restarted_bridge_gets_stored_outcomes_and_does_nothing_twice() -> None:
    first = make_core()
    connect(first, registration(LAMP))
    first.receive_message(CREDENTIALS, sealed(LAMP), 1, NOW_US)
    (created,) = commands(first)
    second = make_core()
    connect(second, registration(LAMP))
    second.receive_message(CREDENTIALS, sealed(LAMP), 1, NOW_US + 1_000_000)
    (repeated,) = commands(second)
    assert repeated.id == created.id
    outcome = Outcome(id=repeated.id, operation="create", code="2.01")
    second.receive_frame(stored_result(LAMP, outcome), NOW_US)
    (following,) = commands(second)
    assert following.path == "/18831/0"


def test_a_procedure_completed_from_stored_outcomes_is_told_of() -> None:
    core = make_core()
    connect(core, registration(LAMP))
    core.receive_message(CREDENTIALS, sealed(LAMP), 1, NOW_US)
    while found := commands(core):
        outcome = Outcome(id=found[0].id, operation=found[0].operation, code="2.04")
        core.receive_frame(stored_result(LAMP, outcome), NOW_US)
    (publication,) = drain(core)
    told = decode_event(publication.payload)
    assert publication.topic == f"lwm2m/{SERVER}/{LAMP}/event/bootstrap"
    assert told.completed is not None
    assert told.completed.version == "v1"
    assert told.registration_id == f"{LAMP}-1"


def test_pending_commands_are_asked_for_again_after_a_reconnect_by_the_same_id() -> None:
    core = make_core()
    connect(core, registration(LAMP))
    core.receive_message(CREDENTIALS, sealed(LAMP), 1, NOW_US)
    (before,) = commands(core)
    core.server_disconnected()
    connect_again = snapshot(registration(LAMP), as_of=3)
    core.server_connected()
    core.receive_frame(hello(), NOW_US)
    core.receive_frame(connect_again, NOW_US)
    (after,) = commands(core)
    assert after.id == before.id


def test_a_procedure_ends_with_its_registration() -> None:
    core = make_core()
    connect(core, registration(LAMP))
    core.receive_message(CREDENTIALS, sealed(LAMP), 1, NOW_US)
    core.receive_frame(event(1, LAMP, "registered", registered=registration(LAMP, 2)), NOW_US)
    assert core.counts["credentials_registration_ended"] == 1
    core.receive_message(CREDENTIALS, sealed(LAMP, 2), 2, NOW_US)
    assert core.counts["credentials_begun"] == 2


def test_a_command_without_outcome_is_given_up_after_its_expiry_and_grace() -> None:
    core = make_core(command_expires_in_s=10, outcome_grace_s=5)
    connect(core, registration(LAMP))
    core.receive_message(CREDENTIALS, sealed(LAMP), 1, NOW_US)
    assert core.next_timer() == NOW_US + 15_000_000
    core.handle_timer(NOW_US + 14_000_000)
    assert core.counts["credentials_overdue"] == 0
    core.handle_timer(NOW_US + 15_000_000)
    assert core.counts["credentials_overdue"] == 1
    assert core.next_timer() is None


def test_a_command_that_the_server_does_not_take_ends_the_procedure() -> None:
    core = make_core()
    connect(core, registration(LAMP))
    core.receive_message(CREDENTIALS, sealed(LAMP), 1, NOW_US)
    (one,) = commands(core)
    core.receive_frame(
        b'{"type":"error","v":1,"detail":"queue full","id":"%s"}' % one.id.encode(), NOW_US
    )
    assert core.counts["credentials_refused_by_server"] == 1


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
