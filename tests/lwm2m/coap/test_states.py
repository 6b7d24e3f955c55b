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
