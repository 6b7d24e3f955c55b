"""Control's desk: where commands go, when again, and how they end."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from city_platform.control import CommandDesk, CommandRow, HolderRow, Times
from city_platform.control.desk import AGAIN_EVERY_US
from city_platform.control.states import TRANSITIONS, Occurrence
from contracts.api import FINAL_COMMAND_STATES, CommandRequest, CommandState
from contracts.data_interface import (
    Holder,
    Operation,
    Outcome,
    ResultError,
    Stage,
    decode_command,
)
from contracts.topics import Topics

S = 1_000_000
NORTH = HolderRow("lamp-1", "north", "e1", "r1")
SOUTH = HolderRow("lamp-1", "south", "e9", "r9")
TIMES = Times(first_s=2, longest_s=8, grace_s=10)


def make(*holders: HolderRow) -> CommandDesk:
    return CommandDesk(Topics(), TIMES, lambda: 0.0, holders=holders)


def row(operation: Operation = "write", command_id: str = "c1") -> CommandRow:
    return CommandRow(
        id=command_id,
        endpoint="lamp-1",
        request=CommandRequest(operation=operation, path="/3/0/4"),
        state="queued",
        issued_at_us=0,
        expires_at_us=60 * S,
    )


def opened(desk: CommandDesk, operation: Operation = "write") -> CommandRow:
    return desk.open(row(operation))


def outcome(code: str | None = "2.04", stage: Stage = "timeout") -> Outcome:
    error = None if code else ResultError(stage, "")
    return Outcome(id="c1", operation="write", code=code, error=error)


@pytest.mark.parametrize("state", get_args(CommandState))
@pytest.mark.parametrize("occurrence", list(Occurrence))
def test_every_cell_leads_to_a_state_or_nowhere(
    state: CommandState, occurrence: Occurrence
) -> None:
    assert TRANSITIONS[state].get(occurrence) in {*get_args(CommandState), None}


def test_done_and_refused_are_never_left() -> None:
    assert TRANSITIONS["succeeded"] == TRANSITIONS["refused"] == {}


def test_a_command_goes_to_its_holder_when_that_is_known() -> None:
    desk = make(NORTH)
    opened(desk)
    (publication,) = desk.publish("c1", 0).publications
    command = decode_command(publication.payload)
    assert publication.topic == "lwm2m/north/lamp-1/command"
    assert command.holder == Holder("north", "r1")
    assert (command.id, command.expires_at_us, command.issued_by) == ("c1", 60 * S, "control")


def test_a_command_goes_to_every_bridge_when_the_holder_is_not_known() -> None:
    desk = make()
    opened(desk)
    (publication,) = desk.publish("c1", 0).publications
    assert publication.topic == "lwm2m/lamp-1/command"
    assert decode_command(publication.payload).holder is None


def test_a_command_to_a_device_that_no_server_announced_stays_queued_until_one_does() -> None:
    desk = make()
    opened(desk)
    assert not desk.is_held("lamp-1")
    assert desk.publish("c1", 0).rows == []
    assert desk.acknowledged("c1", 1).rows == []
    queued = desk.get("c1")
    assert queued is not None
    assert queued.state == "queued"
    assert desk.counts["published_without_holder"] == 1
    turn = desk.hold(NORTH, 2, is_snapshot=False)
    assert [one.state for one in turn.rows] == ["sent"]
    assert [one.topic for one in turn.publications] == ["lwm2m/north/lamp-1/command"]
    assert desk.is_held("lamp-1")


def test_a_command_to_a_device_that_nobody_ever_announced_expires() -> None:
    desk = make()
    opened(desk)
    desk.publish("c1", 0)
    ended = []
    while (due := desk.next_timer()) is not None:
        ended += [row.state for row in desk.due(due, 10).rows]
    assert ended == ["expired"]


def test_a_command_is_queued_then_sent_then_delivered_then_ended() -> None:
    desk = make(NORTH)
    opened(desk)
    assert [one.state for one in desk.publish("c1", 0).rows] == ["sent"]
    assert [one.state for one in desk.acknowledged("c1", 1).rows] == ["delivered"]
    open_row = desk.get("c1")
    assert open_row is not None
    ended = desk.conclude(open_row, outcome(), 2)
    assert ended is not None
    assert (ended.state, ended.ended_at_us) == ("succeeded", 2)
    assert desk.get("c1") is None
    assert desk.next_timer() is None


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (outcome(), "succeeded"),
        (outcome("4.05"), "refused"),
        (outcome("5.03"), "refused"),
        (outcome(None, "not_registered"), "failed"),
        (outcome(None, "invalid"), "failed"),
        (outcome(None, "expired"), "expired"),
        (outcome(None, "timeout"), "unknown"),
        (outcome(None, "unknown"), "unknown"),
    ],
)
def test_an_outcome_ends_a_command(found: Outcome, state: CommandState) -> None:
    desk = make(NORTH)
    ended = desk.conclude(opened(desk), found, 1)
    assert ended is not None
    assert ended.state == state
    assert ended.outcome == found


def test_a_command_without_outcome_is_published_again_with_the_same_id() -> None:
    desk = make(NORTH)
    opened(desk)
    first = desk.publish("c1", 0).publications
    times = []
    while (due := desk.next_timer()) is not None and due < 60 * S:
        times.append(due // S)
        assert desk.due(due, 10).publications == first
    assert times == [2, 6, 14, 22, 30, 38, 46, 54]


def test_many_without_outcome_are_published_again_one_after_the_other() -> None:
    desk = make(NORTH)
    for number in range(100):
        desk.open(row(command_id=f"c{number}"))
        desk.publish(f"c{number}", 0)
    # Pauses of 2 s have ended for all of them; those that wait for their turn can end meanwhile.
    again = [one.command_id for one in desk.due(2 * S, 200).publications]
    assert again == ["c0"]
    desk.conclude(row(command_id="c1"), outcome(), 2 * S)
    times = []
    while len(times) < 98:
        due_us = desk.next_timer()
        assert due_us is not None
        times += [due_us] * len(desk.due(due_us, 200).publications)
    assert times == [2 * S + AGAIN_EVERY_US * number for number in range(2, 100)]
    assert desk.counts["published_again"] == 99


def test_what_waits_for_its_turn_expires_all_the_same() -> None:
    desk = make()
    for number in range(100):
        desk.open(msgspec.structs.replace(row(command_id=f"c{number}"), expires_at_us=2 * S + 1))
        desk.publish(f"c{number}", 0)
    assert len(desk.due(2 * S, 200).publications) == 1
    ended = desk.due(2 * S + 1, 200).rows
    assert [one.state for one in ended] == ["expired"] * 100


def test_a_command_that_nobody_could_have_begun_expires_at_its_expiry() -> None:
    desk = make()
    opened(desk)
    desk.publish("c1", 0)
    ended = [one for n in range(61) for one in desk.due(n * S, 10).rows if one.is_final]
    assert [(one.state, one.ended_at_us) for one in ended] == [("expired", 60 * S)]


def test_a_command_that_a_server_may_have_begun_ends_unknown_after_the_grace() -> None:
    desk = make(NORTH)
    opened(desk)
    desk.publish("c1", 0)
    ended = [one for n in range(71) for one in desk.due(n * S, 10).rows if one.is_final]
    assert [(one.state, one.ended_at_us) for one in ended] == [("unknown", 70 * S)]


def test_a_late_outcome_counts_more_than_unknown() -> None:
    desk = make(NORTH)
    opened(desk)
    desk.publish("c1", 0)
    (ended,) = [one for n in range(71) for one in desk.due(n * S, 10).rows if one.is_final]
    late = desk.conclude(ended, outcome(), 80 * S)
    assert late is not None
    assert late.state == "succeeded"


def test_a_repeated_outcome_changes_nothing() -> None:
    desk = make(NORTH)
    ended = desk.conclude(opened(desk), outcome(), 1)
    assert ended is not None
    assert desk.conclude(ended, outcome(), 2) is None
    assert desk.counts["outcomes_repeated"] == 1


def test_a_device_that_registers_gets_its_waiting_commands_at_once() -> None:
    desk = make()
    opened(desk)
    desk.publish("c1", 0)
    turn = desk.hold(NORTH, 1, is_snapshot=False)
    assert [one.topic for one in turn.publications] == ["lwm2m/north/lamp-1/command"]
    assert desk.hold(NORTH, 2, is_snapshot=False).publications == []
    assert len(desk.hold(NORTH, 3, is_snapshot=True).publications) == 1


def test_a_command_that_is_not_kept_yet_is_not_published_by_a_registration() -> None:
    desk = make()
    opened(desk)
    assert desk.hold(NORTH, 1, is_snapshot=False).publications == []


@pytest.mark.parametrize("operation", ["execute", "create"])
@pytest.mark.parametrize("holder", [SOUTH, NORTH._replace(epoch="e2")])
def test_execute_and_create_never_go_to_a_log_that_does_not_know_their_id(
    operation: Operation, holder: HolderRow
) -> None:
    desk = make(NORTH)
    opened(desk, operation)
    desk.publish("c1", 0)
    assert desk.hold(holder, 1, is_snapshot=False).publications == []
    assert desk.due(3 * S, 10).publications == []


def test_a_write_follows_its_device_to_another_server() -> None:
    desk = make(NORTH)
    opened(desk)
    desk.publish("c1", 0)
    turn = desk.hold(SOUTH, 1, is_snapshot=False)
    assert [one.topic for one in turn.publications] == ["lwm2m/south/lamp-1/command"]


def test_after_the_registration_ended_every_bridge_is_asked() -> None:
    desk = make(NORTH)
    assert not desk.release("lamp-1", "r0")
    assert desk.release("lamp-1", "r1")
    opened(desk)
    assert [one.topic for one in desk.publish("c1", 0).publications] == ["lwm2m/lamp-1/command"]


def test_open_commands_of_before_are_published_after_a_restart() -> None:
    desk = CommandDesk(Topics(), TIMES, lambda: 0.0, commands=[row()], holders=[NORTH])
    assert [one.command_id for one in desk.due(S, 10).publications] == ["c1"]


def test_the_states_of_the_api_are_those_of_the_table() -> None:
    assert set(TRANSITIONS) == set(get_args(CommandState))
    assert set(get_args(CommandState)) >= FINAL_COMMAND_STATES


def sent(operation: Operation = "execute", *holders: HolderRow) -> CommandDesk:
    desk = make(*(holders or (NORTH,)))
    opened(desk, operation)
    desk.publish("c1", 0)
    return desk


@pytest.mark.parametrize("operation", ["execute", "create"])
def test_execute_and_create_are_never_sent_to_whoever_may_hold_the_device(
    operation: Operation,
) -> None:
    desk = make()
    opened(desk, operation)
    assert desk.publish("c1", 0).publications == []
    assert [one.topic for one in desk.hold(NORTH, 1, is_snapshot=False).publications] == [
        "lwm2m/north/lamp-1/command"
    ]
    assert desk.release("lamp-1", "r1")
    assert desk.publish("c1", 2 * S).publications == []


def test_a_queued_command_that_is_taken_back_never_goes() -> None:
    desk = make()
    opened(desk, "execute")
    desk.publish("c1", 0)
    turn = desk.cancel("c1", 1)
    assert [one.state for one in turn.rows] == ["cancelled"]
    assert desk.hold(NORTH, 2, is_snapshot=False).publications == []
    assert desk.open_commands == 0


def test_a_sent_command_that_is_taken_back_is_asked_back_and_not_driven_again() -> None:
    desk = sent()
    turn = desk.cancel("c1", S)
    cancel, question = turn.publications
    assert (cancel.topic, cancel.payload) == (question.topic, b'{"type":"cancel","id":"c1","v":1}')
    assert decode_command(question.payload).expires_at_us < S
    assert desk.due(10 * S, 10).publications == turn.publications
    assert desk.cancel("c1", 2 * S).publications == []


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (outcome(None, "cancelled"), "cancelled"),
        # The server had never seen it.
        (outcome(None, "expired"), "cancelled"),
        (outcome(), "succeeded"),
        (outcome("4.05"), "refused"),
        (outcome(None, "timeout"), "unknown"),
    ],
)
def test_what_became_of_a_command_that_was_taken_back_is_told(
    found: Outcome, state: CommandState
) -> None:
    desk = sent()
    desk.cancel("c1", S)
    open_row = desk.get("c1")
    assert open_row is not None
    ended = desk.conclude(open_row, found, 2 * S)
    assert ended is not None
    assert ended.state == state


def test_a_command_that_nobody_could_be_asked_about_ends_unknown_though_taken_back() -> None:
    desk = sent()
    desk.hold(SOUTH, 1, is_snapshot=False)
    # South's log would say that it never saw it, whatever north has done.
    assert desk.cancel("c1", S).publications == []
    ended = [one for n in range(71) for one in desk.due(n * S, 10).rows if one.is_final]
    assert [one.state for one in ended] == ["unknown"]


def test_a_command_follows_a_device_that_had_left_its_server() -> None:
    desk = sent()
    desk.hold(SOUTH, 1, is_snapshot=False)
    told = outcome(None, "not_registered")
    assert desk.follow("c1", told, ("south", "e9"), S).publications == []
    turn = desk.follow("c1", told, ("north", "e1"), S)
    assert [one.topic for one in turn.publications] == ["lwm2m/south/lamp-1/command"]
    assert [one.sent_to for one in turn.rows] == [("south", "e9")]


def test_an_older_registration_does_not_take_a_device_from_a_later_one() -> None:
    desk = make(SOUTH._replace(registered_at_us=20))
    desk.hold(NORTH._replace(registered_at_us=10), 0, is_snapshot=True)
    assert desk.holder_of("lamp-1") == SOUTH._replace(registered_at_us=20)
    desk.hold(NORTH._replace(registered_at_us=30), 0, is_snapshot=False)
    assert desk.devices_held() == {"north": 1}


def test_a_command_that_could_not_be_kept_is_not_counted_as_sent() -> None:
    desk = sent()
    desk.not_published("c1")
    turn = desk.hold(SOUTH, 1, is_snapshot=False)
    assert [one.topic for one in turn.publications] == ["lwm2m/south/lamp-1/command"]
