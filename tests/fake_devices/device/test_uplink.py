"""The table of an MQTT connection's states, and its pauses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_devices.device.uplink import TRANSITIONS, UplinkEvent, UplinkState, pause_s

HOLDS_A_CONNECTION = {UplinkState.CONNECTING, UplinkState.CONNECTED}


@pytest.mark.parametrize("state", UplinkState)
def test_every_state_can_get_an_account(state):
    step = TRANSITIONS[state][UplinkEvent.ACCOUNT_ACTIVATED]
    assert step.state is UplinkState.CONNECTING
    assert step.opens


@pytest.mark.parametrize(
    ("state", "event"), [(state, event) for state, row in TRANSITIONS.items() for event in row]
)
def test_a_connection_is_opened_and_closed_exactly_where_it_has_to_be(state, event):
    step = TRANSITIONS[state][event]
    is_new = step.state is UplinkState.CONNECTING
    assert step.opens == is_new
    ends = state in HOLDS_A_CONNECTION and event in (
        UplinkEvent.ACCOUNT_ACTIVATED,
        UplinkEvent.ACCOUNT_REVOKED,
    )
    assert step.closes == ends


def test_every_state_is_reached_and_left():
    reached = {step.state for row in TRANSITIONS.values() for step in row.values()}
    assert reached == set(UplinkState)
    assert all(TRANSITIONS[state] for state in UplinkState)


@given(attempt=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_longer_than_the_longest_nor_shorter_than_half_the_first(attempt, chance):
    assert 0.5 <= pause_s(attempt, 1.0, 60.0, 0.5, chance) <= 60.0
