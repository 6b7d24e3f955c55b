"""A client's registration: what it sends when, how it pauses, when it gives up."""

from __future__ import annotations

import pytest

from lwm2m.coap import codes
from lwm2m.errors import IllegalTransition
from lwm2m.registration import ClientAction, ClientRegistration, ClientState, RetryPolicy

REGISTER, UPDATE, DEREGISTER = (
    ClientAction.SEND_REGISTER,
    ClientAction.SEND_UPDATE,
    ClientAction.SEND_DEREGISTER,
)
LOCATION = ("rd", "5a3f")


def _client(lifetime_s: int = 300, **policy: float) -> ClientRegistration:
    return ClientRegistration(lifetime_s, RetryPolicy(**policy))  # type: ignore[arg-type]  # numbers by name


def _registered(lifetime_s: int = 300, **policy: float) -> ClientRegistration:
    client = _client(lifetime_s, **policy)
    assert client.register() is REGISTER
    assert client.response_received(codes.CREATED, LOCATION, now=0.0) is None
    return client


def test_a_client_registers_and_keeps_its_location() -> None:
    client = _registered()
    assert client.state is ClientState.REGISTERED
    assert client.location == LOCATION


@pytest.mark.parametrize(
    ("lifetime_s", "due"), [(300, 207.0), (100, 50.0), (86_400, 86_307.0), (0, None)]
)
def test_an_update_is_due_before_the_lifetime_ends(lifetime_s: int, due: float | None) -> None:
    assert _registered(lifetime_s).next_timer() == due


def test_the_timer_sends_an_update_and_its_answer_starts_the_next_period() -> None:
    client = _registered()
    assert client.handle_timer(206.9) is None
    assert client.handle_timer(207.0) is UPDATE
    assert client.next_timer() is None
    assert client.response_received(codes.CHANGED, (), now=208.0) is None
    assert client.next_timer() == 415.0
    assert client.location == LOCATION


def test_changes_during_an_update_go_into_one_more() -> None:
    client = _registered()
    assert client.update() is UPDATE
    assert client.update() is None
    assert client.update() is None
    assert client.response_received(codes.CHANGED, (), now=1.0) is UPDATE
    assert client.response_received(codes.CHANGED, (), now=2.0) is None
    assert client.state is ClientState.REGISTERED


@pytest.mark.parametrize("code", [codes.NOT_FOUND, codes.BAD_REQUEST, codes.SERVICE_UNAVAILABLE])
def test_a_server_that_forgot_the_client_hears_a_register(code: int) -> None:
    client = _registered()
    client.update()
    assert client.response_received(code, (), now=1.0) is REGISTER
    assert client.state is ClientState.REGISTERING


def test_an_unanswered_update_pauses_and_registers_anew() -> None:
    client = _registered()
    client.update()
    assert client.exchange_failed(now=10.0) is None
    assert (client.state, client.next_timer()) == (ClientState.BACKING_OFF, 70.0)
    assert client.handle_timer(70.0) is REGISTER


def test_pauses_double_until_the_client_gives_up() -> None:
    client = _client()
    client.register()
    pauses = []
    now = 0.0
    while client.exchange_failed(now) is None and client.state is ClientState.BACKING_OFF:
        due = client.next_timer()
        assert due is not None
        pauses.append(due - now)
        now = due
        assert client.handle_timer(now) is REGISTER
    assert pauses == [60.0, 120.0, 240.0, 480.0]
    assert client.state is ClientState.GAVE_UP
    assert client.next_timer() is None
    assert client.register() is REGISTER


def test_a_further_sequence_begins_after_its_delay() -> None:
    policy = RetryPolicy(attempts_per_sequence=2, sequences=2, sequence_delay_s=1000.0)
    assert [policy.delay_s(n, 0.0) for n in range(1, 5)] == [60.0, 1000.0, 60.0, None]


def test_chance_lengthens_a_pause_by_the_jitter_ratio_at_most() -> None:
    policy = RetryPolicy(jitter_ratio=0.5)
    assert policy.delay_s(1, 0.0) == 60.0
    assert policy.delay_s(1, 0.5) == 75.0


def test_success_forgets_earlier_failures() -> None:
    client = _client()
    client.register()
    client.exchange_failed(0.0)
    client.handle_timer(60.0)
    client.response_received(codes.CREATED, LOCATION, 60.0)
    client.update()
    client.exchange_failed(100.0)
    assert client.next_timer() == 160.0


@pytest.mark.parametrize("code", [codes.DELETED, codes.NOT_FOUND, codes.BAD_REQUEST])
def test_whatever_the_answer_a_deregistered_client_is_unregistered(code: int) -> None:
    client = _registered()
    assert client.deregister() is DEREGISTER
    assert client.response_received(code, (), 1.0) is None
    assert client.state is ClientState.UNREGISTERED
    assert client.next_timer() is None


def test_deregistering_while_registering_only_forgets() -> None:
    client = _client()
    client.register()
    assert client.deregister() is None
    assert client.response_received(codes.CREATED, LOCATION, 1.0) is None
    assert (client.state, client.location) == (ClientState.UNREGISTERED, ())


def test_late_answers_change_nothing() -> None:
    client = _registered()
    for code in (codes.CREATED, codes.NOT_FOUND, codes.BAD_REQUEST):
        assert client.response_received(code, ("rd", "other"), 1.0) is None
    assert client.exchange_failed(1.0) is None
    assert (client.state, client.location) == (ClientState.REGISTERED, LOCATION)
    assert client.next_timer() == 207.0


def test_requests_that_the_state_does_not_allow_are_the_callers_fault() -> None:
    client = _client()
    with pytest.raises(IllegalTransition, match="unregistered"):
        client.update()
    with pytest.raises(IllegalTransition):
        client.deregister()


def test_a_client_falls_back_to_older_versions_until_the_server_takes_one() -> None:
    client = ClientRegistration(300, RetryPolicy(), ("1.2", "1.1", "1.0"))
    client.register()
    assert client.lwm2m_version == "1.2"
    assert client.response_received(codes.PRECONDITION_FAILED, (), 0.0) is REGISTER
    assert client.lwm2m_version == "1.1"
    assert client.response_received(codes.PRECONDITION_FAILED, (), 0.0) is REGISTER
    assert client.lwm2m_version == "1.0"
    assert client.response_received(codes.PRECONDITION_FAILED, (), 0.0) is None
    assert (client.state, client.next_timer()) == (ClientState.BACKING_OFF, 60.0)
    assert client.register() is REGISTER
    assert client.lwm2m_version == "1.2"


def test_a_busy_server_is_asked_again_when_it_says_and_that_is_no_failure() -> None:
    client = _client(attempts_per_sequence=1, jitter_ratio=0.5)
    client.register()
    busy = codes.SERVICE_UNAVAILABLE
    assert client.response_received(busy, (), 0.0, 0.5, max_age_s=40) is None
    assert (client.state, client.next_timer()) == (ClientState.BACKING_OFF, 50.0)
    assert client.handle_timer(50.0) is REGISTER
    assert client.response_received(codes.CREATED, LOCATION, 50.0) is None
    assert client.response_received(busy, (), 51.0, max_age_s=40) is None
    assert client.state is ClientState.REGISTERED


def test_a_disabled_client_deregisters_waits_and_registers() -> None:
    client = _registered()
    assert client.disable(20.0, now=5.0) is DEREGISTER
    with pytest.raises(IllegalTransition):
        client.disable(20.0, now=5.0)
    assert client.response_received(codes.DELETED, (), now=6.0) is None
    assert (client.state, client.next_timer()) == (ClientState.DISABLED, 26.0)
    assert client.handle_timer(26.0) is REGISTER


def test_a_deregistration_that_nobody_answers_disables_as_well() -> None:
    client = _registered()
    client.disable(20.0, now=5.0)
    assert client.exchange_failed(now=98.0) is None
    assert client.next_timer() == 118.0
    busy = _registered()
    busy.disable(20.0, now=5.0)
    busy.response_received(codes.SERVICE_UNAVAILABLE, (), 6.0, max_age_s=1)
    assert busy.next_timer() == 26.0


def test_an_alert_is_retried_given_up_or_ignored_by_its_group() -> None:
    client = _client()
    client.register()
    assert client.alert_received(110, now=1.0) is None
    assert client.state is ClientState.REGISTERING
    assert client.alert_received(40, now=1.0) is None
    assert (client.state, client.next_timer()) == (ClientState.BACKING_OFF, 61.0)
    client.handle_timer(61.0)
    assert client.alert_received(42, now=62.0) is None
    assert (client.state, client.next_timer()) == (ClientState.GAVE_UP, None)


@pytest.mark.parametrize("lifetime_s", [300, 86_400, 0])
def test_a_resumed_registration_goes_on_as_the_one_that_it_was(lifetime_s: int) -> None:
    whole = _registered(lifetime_s)
    due = whole.next_timer()
    resumed = ClientRegistration.resumed(lifetime_s, RetryPolicy(), ("1.1",), LOCATION, due)
    for client in (whole, resumed):
        assert (client.state, client.location) == (ClientState.REGISTERED, LOCATION)
        assert client.lwm2m_version == "1.1"
        assert client.next_timer() == due
        assert client.update() is UPDATE
        assert client.response_received(codes.NOT_FOUND, (), now=1.0) is REGISTER
