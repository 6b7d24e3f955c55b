"""Every cell of the state tables: what leads where, and what cannot happen."""

from __future__ import annotations

from typing import get_args

import pytest

from lwm2m.coap.states import (
    RECEIVED_TRANSITIONS,
    SENT_TRANSITIONS,
    ReceivedEvent,
    ReceivedState,
    SentEvent,
    SentState,
)

_TABLES = [
    pytest.param(SENT_TRANSITIONS, SentState, SentEvent, "queued", id="sent"),
    pytest.param(RECEIVED_TRANSITIONS, ReceivedState, ReceivedEvent, "pending", id="received"),
]


@pytest.mark.parametrize(("table", "state_type", "event_type", "start"), _TABLES)
def test_every_state_has_a_row_and_every_cell_is_a_state(
    table: dict[str, dict[str, str]], state_type: object, event_type: object, start: str
) -> None:
    assert set(table) == set(get_args(state_type))
    for row in table.values():
        assert set(row) <= set(get_args(event_type))
        assert set(row.values()) <= set(table)


@pytest.mark.parametrize(("table", "state_type", "event_type", "start"), _TABLES)
def test_every_event_and_state_is_reached_from_the_start(
    table: dict[str, dict[str, str]], state_type: object, event_type: object, start: str
) -> None:
    reached, todo = {start}, [start]
    while todo:
        for following in table[todo.pop()].values():
            if following not in reached:
                reached.add(following)
                todo.append(following)
    assert reached == set(table)
    assert {event for row in table.values() for event in row} == set(get_args(event_type))


@pytest.mark.parametrize(("table", "state_type", "event_type", "start"), _TABLES)
def test_what_has_ended_stays_ended_and_all_can_end(
    table: dict[str, dict[str, str]], state_type: object, event_type: object, start: str
) -> None:
    assert table["ended"] == {}
    assert all(row.get("cancelled") == "ended" for state, row in table.items() if state != "ended")


_SENT_CELLS = """
| event | queued | sent | acknowledged | observing | ended |
|---|---|---|---|---|---|
| transmitted | sent | · | · | · | · |
| cancelled | ended | ended | ended | ended | · |
| response_received | ended | ended | ended | ended | · |
| malformed_response_received | ended | ended | ended | ended | · |
| timed_out | · | ended | ended | · | · |
| reset_received | · | ended | ended | · | · |
| acknowledgement_received | · | acknowledged | · | · | · |
| block_received | · | queued | queued | queued | · |
| repetition_asked | · | queued | queued | · | · |
| observation_confirmed | · | observing | observing | observing | · |
| observation_ended | · | · | · | ended | · |
"""

_RECEIVED_CELLS = """
| event | pending | deferred | responding | observed | ended |
|---|---|---|---|---|---|
| acknowledgement_due | deferred | · | · | · | · |
| answered_at_once | ended | · | · | · | · |
| observation_accepted | observed | · | observed | · | · |
| cancelled | ended | ended | ended | ended | · |
| answered_separately | · | responding | · | · | · |
| response_acknowledged | · | · | ended | observed | · |
| timed_out | · | · | ended | ended | · |
| reset_received | · | · | ended | ended | · |
| final_notification_sent | · | · | · | responding | · |
| final_notification_left | · | · | · | ended | · |
"""


@pytest.mark.parametrize(
    ("table", "cells"),
    [(SENT_TRANSITIONS, _SENT_CELLS), (RECEIVED_TRANSITIONS, _RECEIVED_CELLS)],
    ids=["sent", "received"],
)
def test_every_cell_is_as_it_stands_here(table: dict[str, dict[str, str]], cells: str) -> None:
    head, _, *rows = [line.strip("| ").split(" | ") for line in cells.strip().splitlines()]
    for event, *following in rows:
        for state, expected in zip(head[1:], following, strict=True):
            if expected == "·":
                with pytest.raises(KeyError):
                    table[state][event]
            else:
                assert table[state][event] == expected
    assert head[1:] == list(table)
    assert [row[0] for row in rows] == list(
        dict.fromkeys(event for row in table.values() for event in row)
    )
