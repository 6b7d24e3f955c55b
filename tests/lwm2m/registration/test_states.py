"""The tables are whole, and every cell does what it says on the machines that use them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lwm2m.coap import codes
from lwm2m.errors import IllegalTransition
from lwm2m.registration import (
    ACTIONS,
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    ClientEvent,
    ClientRegistration,
    ClientState,
    RetryPolicy,
    ServerEvent,
    ServerState,
    state_diagram,
)

S, E = ClientState, ClientEvent


def test_every_state_has_a_cell_for_every_event() -> None:
    assert list(CLIENT_TRANSITIONS) == list(ClientState)
    assert list(SERVER_TRANSITIONS) == list(ServerState)
    for client_row in CLIENT_TRANSITIONS.values():
        assert list(client_row) == list(ClientEvent)
    for server_row in SERVER_TRANSITIONS.values():
        assert list(server_row) == list(ServerEvent)


def test_every_state_is_reached_and_left() -> None:
    reached = {target for row in CLIENT_TRANSITIONS.values() for target in row.values()}
    assert reached - {None} == set(ClientState)
    for state, row in CLIENT_TRANSITIONS.items():
        assert set(row.values()) - {None, state}


def test_only_states_that_wait_for_an_answer_send() -> None:
    answers = {E.ACCEPTED, E.NOT_FOUND, E.REFUSED, E.UNANSWERED, E.SERVER_BUSY, E.SECURITY_REFUSED}
    for state, row in CLIENT_TRANSITIONS.items():
        takes_answers = {event for event in answers if row[event] is not None}
        assert takes_answers == (answers if state in ACTIONS else set())


POLICY = RetryPolicy(attempts_per_sequence=2)


def _in(state: ClientState) -> ClientRegistration:
    """A client that was brought into `state` by events."""
    client = ClientRegistration(300, POLICY, ("1.2", "1.1"))
    if state is S.UNREGISTERED:
        return client
    if state is S.DISABLED:
        client.disable(50.0, 0.0)
        return client
    client.register()
    if state in (S.BACKING_OFF, S.GAVE_UP):
        client.exchange_failed(0.0)
        if state is S.GAVE_UP:
            client.handle_timer(60.0)
            client.exchange_failed(60.0)
    elif state is not S.REGISTERING:
        client.response_received(codes.CREATED, ("rd", "1"), 0.0)
        if state is S.UPDATING:
            client.update()
        elif state is S.DEREGISTERING:
            client.deregister()
        elif state is S.DISABLING:
            client.disable(50.0, 0.0)
    assert client.state is state
    return client


STEPS: dict[ClientEvent, Callable[[ClientRegistration], object]] = {
    E.REGISTER_REQUESTED: lambda client: client.register(),
    E.UPDATE_FELL_DUE: lambda client: client.update(),
    E.DEREGISTER_REQUESTED: lambda client: client.deregister(),
    E.ACCEPTED: lambda client: client.response_received(codes.CHANGED, (), 1.0),
    E.NOT_FOUND: lambda client: client.response_received(codes.NOT_FOUND, (), 1.0),
    E.REFUSED: lambda client: client.response_received(codes.FORBIDDEN, (), 1.0),
    E.UNANSWERED: lambda client: client.exchange_failed(1.0),
    E.DISABLE_REQUESTED: lambda client: client.disable(50.0, 1.0),
    E.SERVER_BUSY: lambda client: client.response_received(
        codes.SERVICE_UNAVAILABLE, (), 1.0, max_age_s=30
    ),
    E.SECURITY_REFUSED: lambda client: client.alert_received(48, 1.0),
}


@pytest.mark.parametrize("event", list(STEPS))
@pytest.mark.parametrize("state", list(ClientState))
def test_the_client_does_what_its_table_says(state: ClientState, event: ClientEvent) -> None:
    client = _in(state)
    target = CLIENT_TRANSITIONS[state][event]
    try:
        action = STEPS[event](client)
    except IllegalTransition:
        assert target is None
        action = None
    assert client.state is (state if target is None else target)
    assert action == (None if target is None else ACTIONS.get(target))


@pytest.mark.parametrize("state", list(ClientState))
def test_the_timer_does_what_the_table_says(state: ClientState) -> None:
    client = _in(state)
    due = client.next_timer()
    waits = {
        S.REGISTERED: E.UPDATE_FELL_DUE,
        S.BACKING_OFF: E.BACK_OFF_ELAPSED,
        S.DISABLED: E.DISABLE_ELAPSED,
    }
    assert (due is not None) == (state in waits)
    client.handle_timer(1e9)
    target = CLIENT_TRANSITIONS[state][waits[state]] if state in waits else state
    assert client.state is target


@pytest.mark.parametrize("state", list(ClientState))
def test_a_refused_version_counts_only_while_registering(state: ClientState) -> None:
    client = _in(state)
    # Elsewhere 4.12 is a refusal like any other: only a Register names a version.
    event = E.VERSION_REFUSED if state is S.REGISTERING else E.REFUSED
    target = CLIENT_TRANSITIONS[state][event]
    client.response_received(codes.PRECONDITION_FAILED, (), 1.0)
    assert client.state is (target or state)
    assert (client.lwm2m_version == "1.1") == (state is S.REGISTERING)


def test_the_diagram_has_an_arrow_for_every_step() -> None:
    diagram = state_diagram(CLIENT_TRANSITIONS, S.UNREGISTERED)
    lines = diagram.splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> unregistered"]
    assert "    backing_off --> registering: back_off_elapsed" in lines
    steps = [target for row in CLIENT_TRANSITIONS.values() for target in row.values() if target]
    assert len(lines) == 2 + len(steps)
    assert "absent --> registered" in state_diagram(SERVER_TRANSITIONS, ServerState.ABSENT)
