"""The Server object's rules: retries, alerts, and the order of several servers."""

from __future__ import annotations

import pytest

from lwm2m.registration import (
    ALERT_EVENTS,
    ALERT_REACTIONS,
    AlertReaction,
    RegistrationOrder,
    RetryPolicy,
    ServerRules,
    reaction_to,
    read_rules,
)

DEFAULTS = RetryPolicy(retry_s=4.0, sequences=1000)


def test_an_instance_without_rules_has_the_defaults_of_the_client() -> None:
    rules = read_rules(101, lambda number: None, DEFAULTS)
    assert rules == ServerRules(101, retries=DEFAULTS)
    assert rules.retries is DEFAULTS


def test_the_standards_defaults_are_those_of_the_server_object() -> None:
    rules = ServerRules(101)
    assert (rules.priority, rules.initial_delay_s) == (None, 0.0)
    assert (rules.blocks_on_failure, rules.bootstraps_on_failure) == (False, True)
    retries = rules.retries
    assert (retries.attempts_per_sequence, retries.retry_s) == (5, 60.0)
    assert (retries.sequence_delay_s, retries.sequences) == (86_400.0, 1)


def test_every_rule_of_an_instance_counts() -> None:
    values: dict[int, object] = {
        13: 2, 14: 30, 15: True, 16: False, 17: 3, 18: 10, 19: 500, 20: 4,
    }  # fmt: skip
    rules = read_rules(7, values.get, DEFAULTS)
    expected = RetryPolicy(
        attempts_per_sequence=3, retry_s=10.0, sequence_delay_s=500.0, sequences=4
    )
    assert rules == ServerRules(7, 2, 30.0, True, False, expected)


@pytest.mark.parametrize("value", [-1, True, "3", 1.5])
def test_values_that_are_no_counts_change_nothing(value: object) -> None:
    values = dict.fromkeys((13, 14, 17, 18, 19, 20), value)
    assert read_rules(7, values.get, DEFAULTS) == ServerRules(7, retries=DEFAULTS)


def test_the_largest_sequence_delay_means_no_further_sequence() -> None:
    assert read_rules(7, {19: 2**32 - 1, 20: 9}.get, DEFAULTS).retries.sequences == 1


def test_a_count_of_zero_is_one_attempt() -> None:
    retries = read_rules(7, {17: 0, 20: 0}.get, DEFAULTS).retries
    assert (retries.attempts_per_sequence, retries.sequences) == (1, 1)


def test_servers_are_registered_with_in_the_order_of_their_priorities() -> None:
    rules = [ServerRules(1, 9), ServerRules(2, 3), ServerRules(3, 3), ServerRules(4)]
    order = RegistrationOrder(rules, 100.0, is_first=False)
    assert order.next_timer() == 100.0
    assert order.take_due(100.0) == [4, 2]
    assert order.next_timer() is None
    order.registered(4, 101.0)
    assert order.take_due(101.0) == []
    order.registered(2, 102.0)
    assert order.take_due(102.0) == [3]
    order.registered(3, 103.0)
    assert order.take_due(103.0) == [1]
    order.registered(1, 104.0)
    assert order.next_timer() is None


def test_after_a_bootstrap_each_server_is_delayed_by_its_timer() -> None:
    rules = [ServerRules(1, 1, initial_delay_s=10), ServerRules(2, 2, initial_delay_s=5)]
    order = RegistrationOrder(rules, 100.0, is_first=True)
    assert order.take_due(109.0) == []
    assert order.take_due(110.0) == [1]
    order.registered(1, 111.0)
    assert order.next_timer() == 116.0
    later = RegistrationOrder(rules, 100.0, is_first=False)
    assert later.take_due(100.0) == [1]


def test_a_failure_goes_on_to_the_next_server_unless_it_blocks() -> None:
    going_on = RegistrationOrder([ServerRules(1, 1), ServerRules(2, 2)], 0.0, is_first=False)
    going_on.take_due(0.0)
    assert going_on.failed(1, 10.0)
    assert not going_on.is_blocked
    assert going_on.take_due(10.0) == [2]

    rules = [ServerRules(1, 1, blocks_on_failure=True), ServerRules(2, 2)]
    blocked = RegistrationOrder(rules, 0.0, is_first=False)
    blocked.take_due(0.0)
    blocked.failed(1, 10.0)
    assert blocked.is_blocked
    assert blocked.next_timer() is None
    blocked.registered(1, 20.0)
    assert blocked.take_due(20.0) == [2]


def test_a_failure_leads_to_a_bootstrap_only_where_the_rules_say_so() -> None:
    rules = [ServerRules(1, 1, bootstraps_on_failure=False), ServerRules(2)]
    order = RegistrationOrder(rules, 0.0, is_first=False)
    assert not order.failed(1, 0.0)
    assert order.failed(2, 0.0)


def test_alerts_are_in_the_three_groups_of_the_standard() -> None:
    by_reaction = {
        reaction: sorted(each for each, found in ALERT_REACTIONS.items() if found is reaction)
        for reaction in AlertReaction
    }
    assert by_reaction == {
        AlertReaction.RETRY: [0, 10, 20, 21, 22, 40, 47, 50, 51, 70, 71, 86, 90, 100, 111],
        AlertReaction.GIVE_UP: [42, 43, 44, 45, 46, 48, 49, 112, 113, 114, 115],
        AlertReaction.IGNORE: [30, 41, 60, 110],
    }
    assert set(ALERT_EVENTS) == set(AlertReaction)
    assert reaction_to(199) is AlertReaction.RETRY
