"""Names, topics, filters and who may use them."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError
from contracts.names import (
    IllegalName,
    check_endpoint_name,
    is_endpoint_name,
    principal_of,
    service_identity,
)
from contracts.policy import POLICY_TABLE, policy_for
from contracts.topics import (
    EventTopic,
    Topics,
    fill,
    filter_covers,
    filter_matches,
    is_topic_filter,
    is_topic_name,
    match_template,
)
from tests.contracts.golden import golden

GOLDEN = golden("topics")
TOPICS = Topics()
NAMES = {"server": "s1", "endpoint": "lamp-1", "kind": "registered"}


@pytest.mark.parametrize("name", GOLDEN["topics"])
def test_a_topic_is_filled_and_read_again(name: str) -> None:
    template = getattr(TOPICS, name)
    topic = GOLDEN["topics"][name]
    assert fill(template, **NAMES) == topic
    assert match_template(template, topic).items() <= NAMES.items()


def test_the_golden_topics_are_all_topics() -> None:
    assert set(GOLDEN["topics"]) == set(msgspec.structs.asdict(TOPICS))


def test_an_event_topic_tells_server_endpoint_and_kind() -> None:
    topic = GOLDEN["topics"]["event"]
    assert TOPICS.read_event(topic) == EventTopic("s1", "lamp-1", "registered")
    for other in ("", "lamp-1", "lwm2m/s1/lamp-1/event", "x/s1/lamp-1/event/registered"):
        with pytest.raises(ContractError):
            TOPICS.read_event(other)


@pytest.mark.parametrize("identity", GOLDEN["policies"])
def test_a_principal_has_the_filters_of_the_table(identity: str) -> None:
    policy = policy_for(principal_of(identity), TOPICS)
    assert list(policy.publish) == GOLDEN["policies"][identity]["publish"]
    assert list(policy.subscribe) == GOLDEN["policies"][identity]["subscribe"]


def test_the_golden_policies_have_every_kind_of_principal() -> None:
    kinds = {principal_of(identity).kind for identity in GOLDEN["policies"]}
    assert kinds == set(POLICY_TABLE)


# Every principal at every topic: what the rows may publish (p) and read (r).
MAY = {
    #                event, credentials, command, held_command, holder, state, alarm, presence,
    #                bridge_status, lifecycle
    "lamp-1": ("", "", "", "", "", "p", "p", "p", "", ""),
    "lamp-2": ("", "", "", "", "", "", "", "", "", ""),
    "svc:bridge:s1": ("p", "r", "r", "r", "r", "", "", "", "p", ""),
    "svc:bridge:s2": ("", "", "r", "", "", "", "", "", "", ""),
    "svc:bootstrap": ("r", "p", "", "", "", "", "", "", "", ""),
    "svc:ingestion": ("", "", "", "", "", "r", "r", "r", "", "r"),
    "svc:control": ("r", "", "p", "p", "p", "", "", "", "r", ""),
    "svc:tap": ("r", "r", "r", "r", "r", "r", "r", "r", "r", ""),
}


@pytest.mark.parametrize("identity", MAY)
@pytest.mark.parametrize("name", GOLDEN["topics"])
def test_who_may_publish_and_read_which_topic(identity: str, name: str) -> None:
    policy = policy_for(principal_of(identity), TOPICS)
    topic = GOLDEN["topics"][name]
    allowed = MAY[identity][list(GOLDEN["topics"]).index(name)]
    assert policy.may_publish(topic) == ("p" in allowed)
    assert policy.may_read(topic) == ("r" in allowed)
    assert policy.may_subscribe(topic) == ("r" in allowed)


@pytest.mark.parametrize(
    "asked", ["#", "+/#", "devices/#", "devices/+/+", "lwm2m/+/+/+/+", "$SYS/#"]
)
def test_nobody_but_a_tap_may_subscribe_to_more_than_its_own(asked: str) -> None:
    for identity in GOLDEN["policies"]:
        assert not policy_for(principal_of(identity), TOPICS).may_subscribe(asked)


# MQTT 3.1.1 §4.7.1: the examples of the standard (non normative comments) and its edge cases.
MATCHES = [
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/#", "sport", True),
    ("#", "sport/tennis", True),
    ("sport/tennis/+", "sport/tennis/player1", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+", "/finance", False),
    ("#", "$SYS/uptime", False),
    ("+/uptime", "$SYS/uptime", False),
    ("$SYS/#", "$SYS/uptime", True),
    ("sport", "SPORT", False),
]


@pytest.mark.parametrize(("topic_filter", "topic", "expected"), MATCHES)
def test_filters_match_as_the_standard_says(topic_filter: str, topic: str, expected: bool) -> None:
    assert filter_matches(topic_filter, topic) is expected


@pytest.mark.parametrize(
    ("text", "is_name", "is_filter"),
    [
        ("", False, False),
        ("a/b", True, True),
        ("a//b", True, True),
        ("/", True, True),
        ("a/+", False, True),
        ("a/#", False, True),
        ("a/#/b", False, False),
        ("a#", False, False),
        ("a+/b", False, False),
        ("a\0b", False, False),
        ("x" * 65_536, False, True),
    ],
)
def test_what_is_a_topic_name_and_what_a_filter(text: str, is_name: bool, is_filter: bool) -> None:
    assert is_topic_name(text) is is_name
    assert is_topic_filter(text) is is_filter


_LEVELS = st.sampled_from(["a", "b", "+", "#", ""])
_FILTERS = st.lists(_LEVELS, min_size=1, max_size=4).map("/".join).filter(is_topic_filter)
_TOPICS = st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=4).map("/".join)


@given(_FILTERS, _FILTERS, _TOPICS)
def test_a_filter_that_covers_another_matches_all_that_it_does(
    allowed: str, asked: str, topic: str
) -> None:
    if filter_covers(allowed, asked) and topic and filter_matches(asked, topic):
        assert filter_matches(allowed, topic)


@given(st.text(max_size=140))
def test_an_endpoint_name_is_a_topic_level_a_file_name_and_nothing_of_the_platforms(
    name: str,
) -> None:
    expected = re.fullmatch(r"[A-Za-z0-9:_\-]{1,128}", name) and not name.startswith("svc:")
    assert is_endpoint_name(name) == bool(expected)
    if expected:
        assert check_endpoint_name(name) == name
        assert is_topic_name(name)
        assert principal_of(name).kind == "device"
    else:
        with pytest.raises(IllegalName):
            check_endpoint_name(name)


@pytest.mark.parametrize(
    "name", ["a/b", "+", "#", "a b", "a\n", "é", "", "x" * 129, "svc:tap", "."]
)
def test_names_that_nobody_may_have(name: str) -> None:
    assert not is_endpoint_name(name)


@pytest.mark.parametrize(
    "identity", ["svc:", "svc:root", "svc:bridge", "svc:bridge:", "svc:bridge:a/b", "svc:tap:x"]
)
def test_identities_that_no_service_has(identity: str) -> None:
    with pytest.raises(IllegalName):
        principal_of(identity)


def test_a_service_is_the_principal_that_its_identity_says() -> None:
    assert principal_of(service_identity("bridge", "s1")).server == "s1"
    assert principal_of(service_identity("control")).kind == "control"
