"""Queue mode: the tables cell by cell, and clients that sleep and wake at both ends."""

from __future__ import annotations

import itertools

import pytest

from lwm2m.registration import (
    AWAKE_S,
    QUEUE_MODE_TRANSITIONS,
    SLEEPER_TRANSITIONS,
    QueueModeChanged,
    QueueModeEvent,
    QueueModeState,
    QueueModeTable,
    Sleeper,
    SleeperEvent,
    state_diagram,
)

ALWAYS_ON, AWAKE, ASLEEP = QueueModeState


def table_in(state: QueueModeState) -> QueueModeTable:
    """A table whose client "lamp" is in `state` at second 0; its window would end at 93."""
    table = QueueModeTable()
    if state is not ALWAYS_ON:
        table.enter("lamp", 0.0)
    if state is ASLEEP:
        table.unanswered("lamp", 0.0)
    assert table.state_of("lamp") is state
    return table


def feed(table: QueueModeTable, event: QueueModeEvent, now: float) -> list[QueueModeChanged]:
    """Let `event` happen to "lamp" by the method that tells the table of it."""
    if event is QueueModeEvent.WINDOW_ELAPSED:
        return table.handle_timer(now)
    if event is QueueModeEvent.LEFT:
        table.leave("lamp")
        return []
    method = {
        QueueModeEvent.ENTERED: table.enter,
        QueueModeEvent.HEARD_FROM: table.heard_from,
        QueueModeEvent.UNANSWERED: table.unanswered,
    }[event]
    changed = method("lamp", now)
    return [] if changed is None else [changed]


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(QueueModeState, QueueModeEvent))
)
def test_every_cell_of_the_servers_table_is_what_the_server_does(
    state: QueueModeState, event: QueueModeEvent
) -> None:
    table = table_in(state)
    target = QUEUE_MODE_TRANSITIONS[state][event] or state
    changes = feed(table, event, AWAKE_S)
    assert table.state_of("lamp") is target
    told = target is not state and target is not ALWAYS_ON
    assert changes == ([QueueModeChanged("lamp", target)] if told else [])


@pytest.mark.parametrize(("state", "event"), list(itertools.product((AWAKE, ASLEEP), SleeperEvent)))
def test_every_cell_of_the_clients_table_is_what_the_client_does(
    state: QueueModeState, event: SleeperEvent
) -> None:
    sleeper = Sleeper()
    if state is AWAKE:
        sleeper.spoke(0.0)
    assert sleeper.state is state
    if event is SleeperEvent.SPOKE:
        sleeper.spoke(AWAKE_S)
    else:
        sleeper.handle_timer(AWAKE_S)
    assert sleeper.state is (SLEEPER_TRANSITIONS[state][event] or state)


def test_the_diagrams_name_every_state() -> None:
    diagram = state_diagram(QUEUE_MODE_TRANSITIONS, ALWAYS_ON)
    assert all(state in diagram for state in QueueModeState)
    assert "awake --> asleep: window_elapsed" in state_diagram(SLEEPER_TRANSITIONS, ASLEEP)


def test_a_client_without_queue_mode_is_always_awake() -> None:
    table = QueueModeTable()
    assert table.heard_from("meter", 1.0) is None
    assert table.is_awake("meter", 1e9)
    assert table.next_timer() is None
    assert len(table) == 0


def test_a_client_sleeps_when_its_window_is_over_and_each_message_begins_it_anew() -> None:
    table = QueueModeTable(awake_s=10.0)
    assert table.enter("lamp", 0.0) == QueueModeChanged("lamp", AWAKE)
    assert table.heard_from("lamp", 6.0) is None
    assert table.next_timer() == 10.0
    assert table.handle_timer(9.0) == []
    assert table.handle_timer(10.0) == []
    assert table.next_timer() == 16.0
    assert table.is_awake("lamp", 15.9)
    # Before the timer came in, too: the clock decides.
    assert not table.is_awake("lamp", 16.0)
    assert table.handle_timer(16.0) == [QueueModeChanged("lamp", ASLEEP)]
    assert not table.is_awake("lamp", 16.0)
    assert table.next_timer() is None
    assert len(table) == 1
    assert table.heard_from("lamp", 20.0) == QueueModeChanged("lamp", AWAKE)
    assert table.is_awake("lamp", 29.0)


def test_a_client_that_left_is_not_told_to_sleep() -> None:
    table = QueueModeTable(awake_s=10.0)
    table.enter("lamp", 0.0)
    table.leave("lamp")
    assert table.handle_timer(10.0) == []
    assert table.is_awake("lamp", 10.0)


def test_keys_without_an_order_fall_asleep_in_the_order_in_which_they_woke() -> None:
    table = QueueModeTable(awake_s=10.0)
    keys = [object(), "lamp", 7]
    for key in keys:
        table.enter(key, 0.0)
    assert [each.key for each in table.handle_timer(10.0)] == keys


def test_clients_that_come_and_go_leave_no_trace_in_the_heap() -> None:
    table = QueueModeTable()
    for number in range(10_000):
        table.enter(number, 0.0)
        table.leave(number)
    assert len(table._due) <= 65


def test_a_client_wakes_when_it_speaks_and_listens_for_its_window() -> None:
    sleeper = Sleeper(awake_s=10.0)
    assert not sleeper.handle_timer(5.0)
    assert sleeper.next_timer() is None
    sleeper.spoke(5.0)
    assert sleeper.is_awake
    assert sleeper.next_timer() == 15.0
    sleeper.spoke(8.0)
    assert not sleeper.handle_timer(15.0)
    assert sleeper.handle_timer(18.0)
    assert sleeper.next_timer() is None
