"""A client's bootstrap: the table cell by cell on the machine, and the order of sources."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from lwm2m.bootstrap import (
    BOOTSTRAP_ACTIONS,
    BOOTSTRAP_TRANSITIONS,
    BootstrapAction,
    BootstrapClient,
    BootstrapEvent,
    BootstrapPolicy,
    BootstrapSource,
    BootstrapState,
    next_source,
)
from lwm2m.coap import codes
from lwm2m.registration import RetryPolicy, state_diagram

S, E = BootstrapState, BootstrapEvent
RETRIES = RetryPolicy(attempts_per_sequence=2)


def _in(state: BootstrapState, *, prefers_pack: bool = False) -> BootstrapClient:
    """A client that was brought into `state` by events."""
    has_hold_off = state is S.HOLDING_OFF
    client = BootstrapClient(
        BootstrapPolicy(
            hold_off_s=10.0 if has_hold_off else 0.0,
            prefers_pack=prefers_pack or state is S.PACK_REQUESTING,
            retries=RETRIES,
        )
    )
    if state is not S.IDLE:
        client.request(0.0)
    if state in (S.RECEIVING, S.DONE):
        client.server_acted(0.0)
    if state is S.DONE:
        client.finish(0.0, is_consistent=True)
    if state in (S.BACKING_OFF, S.FAILED):
        client.exchange_failed(0.0)
    if state is S.FAILED:
        client.handle_timer(60.0)
        client.exchange_failed(60.0)
    assert client.state is state
    return client


STEPS: dict[BootstrapEvent, Callable[[BootstrapClient], BootstrapAction | None]] = {
    E.ACCEPTED: lambda client: client.response_received(codes.CHANGED, 1.0),
    E.REFUSED: lambda client: client.response_received(codes.BAD_REQUEST, 1.0),
    E.UNANSWERED: lambda client: client.exchange_failed(1.0),
    E.SECURITY_REFUSED: lambda client: client.alert_received(48, 1.0),
    E.PACK_TAKEN: lambda client: client.pack_received(1.0, is_taken=True),
    E.PACK_REFUSED: lambda client: client.pack_received(1.0, is_taken=False),
    E.SERVER_ACTED: lambda client: client.server_acted(1.0),
    E.FINISH_ACCEPTED: lambda client: client.finish(1.0, is_consistent=True),
    E.FINISH_REFUSED: lambda client: client.finish(1.0, is_consistent=False),
}
# What a wait's end is in each state that has one, without and with a preference for packs.
WAITS = {
    S.HOLDING_OFF: (E.HOLD_OFF_ELAPSED, E.PACK_PREFERRED),
    S.BACKING_OFF: (E.BACK_OFF_ELAPSED, E.PACK_PREFERRED),
    S.RECEIVING: (E.FINISH_OVERDUE, E.FINISH_OVERDUE),
}


def test_every_state_has_a_cell_for_every_event() -> None:
    assert list(BOOTSTRAP_TRANSITIONS) == list(BootstrapState)
    for row in BOOTSTRAP_TRANSITIONS.values():
        assert list(row) == list(BootstrapEvent)


def test_every_event_changes_something_somewhere_and_every_state_is_reached() -> None:
    for event in BootstrapEvent:
        assert any(row[event] is not None for row in BOOTSTRAP_TRANSITIONS.values())
    reached = {target for row in BOOTSTRAP_TRANSITIONS.values() for target in row.values()}
    assert set(BootstrapState) - reached == {S.IDLE}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(BootstrapState, STEPS)))
def test_the_client_does_what_its_table_says(state: BootstrapState, event: BootstrapEvent) -> None:
    client = _in(state)
    target = BOOTSTRAP_TRANSITIONS[state][event]
    action = STEPS[event](client)
    assert client.state is (target or state)
    expected = None if target in (None, state) else BOOTSTRAP_ACTIONS[target]
    assert action is expected


@pytest.mark.parametrize(
    ("state", "prefers_pack"), list(itertools.product(BootstrapState, (False, True)))
)
def test_the_timer_does_what_the_table_says(state: BootstrapState, prefers_pack: bool) -> None:
    client = _in(state, prefers_pack=prefers_pack and state not in (S.FAILED, S.REQUESTING))
    assert (client.next_timer() is not None) == (state in WAITS)
    client.handle_timer(1e9)
    target = BOOTSTRAP_TRANSITIONS[state][WAITS[state][prefers_pack]] if state in WAITS else state
    assert client.state is target


@pytest.mark.parametrize("state", list(BootstrapState))
def test_a_request_starts_over_from_every_state(state: BootstrapState) -> None:
    client = _in(state)
    assert BOOTSTRAP_TRANSITIONS[state][E.BOOTSTRAP_REQUESTED] is S.HOLDING_OFF
    client.request(1.0, holds_off=False)
    assert client.state in (S.REQUESTING, S.PACK_REQUESTING)


def test_exhausted_retries_fail_only_where_the_client_backs_off() -> None:
    targets = {state: row[E.RETRIES_EXHAUSTED] for state, row in BOOTSTRAP_TRANSITIONS.items()}
    assert {state: each for state, each in targets.items() if each} == {S.BACKING_OFF: S.FAILED}


def test_the_diagram_shows_the_way_through_a_bootstrap() -> None:
    lines = state_diagram(BOOTSTRAP_TRANSITIONS, S.IDLE).splitlines()
    for line in (
        "    idle --> holding_off: bootstrap_requested",
        "    holding_off --> requesting: hold_off_elapsed",
        "    requesting --> receiving: accepted",
        "    receiving --> done: finish_accepted",
    ):
        assert line in lines


def test_ets_6_sources_are_tried_in_the_standards_order() -> None:
    available = {
        BootstrapSource.CLIENT_INITIATED,
        BootstrapSource.FACTORY,
        BootstrapSource.EXISTING_SERVERS,
    }
    tried: list[BootstrapSource] = []
    source = next_source(None, available)
    while source is not None:
        tried.append(source)
        source = next_source(source, available)
    assert tried == [
        BootstrapSource.FACTORY,
        BootstrapSource.EXISTING_SERVERS,
        BootstrapSource.CLIENT_INITIATED,
    ]
    assert next(iter(BootstrapSource)) is BootstrapSource.SMARTCARD
    assert list(BootstrapSource)[-1] is BootstrapSource.SERVER_INITIATED
