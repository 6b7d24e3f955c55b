"""Rules as data: filters, conditions, and clear words about wrong ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.rules import (
    CallbackTarget,
    Condition,
    Rule,
    RuleError,
    RuleRunner,
    default_rules,
    read_rules,
)
from city_platform.rules.rule import compile_rules, decode_payload, filter_pattern
from contracts.errors import ContractError
from contracts.topics import Topics, filter_matches, is_topic_filter
from mqtt.connection import InboundMessage


def rule(**changes: Any) -> Rule:
    return Rule(**{"name": "r", "topic": "event", "target": "t", **changes})


def test_a_rule_names_a_topic_and_some_of_its_levels() -> None:
    assert rule(levels={"kind": "registered"}).topic_filter(Topics()) == (
        "lwm2m/+/+/event/registered"
    )


def test_configured_topics_move_the_filter() -> None:
    topics = Topics(event="city/{kind}/{server}/{endpoint}")
    assert rule(levels={"kind": "send"}).topic_filter(topics) == "city/send/+/+"


def test_a_rule_may_have_a_filter_of_its_own() -> None:
    assert rule(topic="devices/+/state").topic_filter(Topics()) == "devices/+/state"


def test_a_wrong_filter_is_named() -> None:
    with pytest.raises(RuleError, match="rule 'r': 'a/#/b' is not a topic filter"):
        rule(topic="a/#/b").topic_filter(Topics())


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"field": "a.b", "equals": 1}, True),
        ({"field": "a.b", "equals": 2}, False),
        ({"field": "a.b", "equals": True}, False),
        ({"field": "a.c", "equals": 1}, False),
        ({"field": "a.b.c", "equals": 1}, False),
        ({"field": "a", "exists": True}, True),
        ({"field": "x", "exists": False}, True),
        ({"field": "n", "exists": True}, True),
        ({"field": "s", "one_of": ["u", "v"]}, True),
        ({"field": "s", "one_of": ["u"]}, False),
    ],
)
def test_a_condition_looks_at_one_field(condition: dict[str, Any], holds: bool) -> None:
    document = {"a": {"b": 1}, "s": "v", "n": None}
    assert Condition(**condition).holds_for(document) is holds


def test_a_condition_says_exactly_one_thing() -> None:
    wrong = rule(where=[Condition(field="a"), Condition(field="b", equals=1)])
    with pytest.raises(RuleError, match="condition on 'a' needs exactly one"):
        compile_rules([wrong], Topics())


def test_two_rules_have_two_names() -> None:
    with pytest.raises(RuleError, match="two rules named 'r'"):
        compile_rules([rule(), rule()], Topics())


def test_a_wrong_file_says_where() -> None:
    with pytest.raises(RuleError, match=r"the rules mine\.toml are wrong: .*target"):
        read_rules(b'[[rules]]\nname = "a"\ntopic = "event"', "mine.toml")


@pytest.mark.parametrize("package", ["city_platform.bootstrap", "city_platform.control"])
def test_the_rules_that_come_along_are_right(package: str) -> None:
    assert compile_rules(default_rules(package), Topics())


def test_updates_trigger_nothing_in_the_bootstrap_handler() -> None:
    compiled = compile_rules(default_rules("city_platform.bootstrap"), Topics())
    assert not any(one.covers("lwm2m/north/lamp-1/event/updated") for one in compiled)


@given(st.binary(max_size=60))
def test_payloads_are_json_or_a_contract_error(data: bytes) -> None:
    try:
        decode_payload(data)
    except ContractError:
        return


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
        ),
    )
)
def test_conditions_take_any_document(document: object) -> None:
    assert Condition(field="a.b", equals=1).holds_for(document) in (True, False)


LEVEL = st.sampled_from(["a", "b", "", "+", "$x", "a.b", "\n"])
FILTER = st.builds(
    lambda levels, end: "/".join([*levels, *end]),
    st.lists(LEVEL, max_size=3),
    st.sampled_from([[], ["#"]]),
).filter(is_topic_filter)
TOPIC = st.lists(LEVEL.filter(lambda level: level != "+"), min_size=1, max_size=4).map("/".join)


@given(st.lists(FILTER, min_size=1, max_size=6), TOPIC)
def test_a_topic_meets_the_rules_that_cover_it_whatever_their_last_levels(
    filters: list[str], topic: str
) -> None:
    rules = [rule(name=f"r{number}", topic=one) for number, one in enumerate(filters)]
    taken: list[str] = []
    targets = {rules[0].target: CallbackTarget(lambda topic, payload: taken.append(topic))}
    runner = RuleRunner(None, rules, targets)
    runner.handle_message(InboundMessage(topic, b"{}", 0, 0, False, False, 1))
    matched = {name for name, count in runner.counts.items() if name.startswith("matched.")}
    expected = {
        f"matched.r{number}" for number, one in enumerate(filters) if filter_matches(one, topic)
    }
    assert matched == expected
    assert len(taken) == len(expected)


@given(FILTER, TOPIC)
def test_a_compiled_filter_covers_what_the_contract_says(topic_filter: str, topic: str) -> None:
    covered = filter_pattern(topic_filter).fullmatch(topic) is not None
    assert covered == filter_matches(topic_filter, topic)
