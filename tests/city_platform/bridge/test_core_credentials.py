"""The bridge's core writes credentials step by step, once, whatever happens between."""

from __future__ import annotations

import pytest

from contracts.data_interface import Ack, Holder, Outcome, decode_event
from tests.city_platform.bridge.server_side import (
    CREDENTIALS,
    EPOCH,
    LAMP,
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
