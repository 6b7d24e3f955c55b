"""Topics with one device's name: the same as the contract's own functions say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.endpoint_topics import EndpointTopic, read_event_topic, topic_of
from contracts.topics import Topics, fill, match_template

LEVEL = st.sampled_from(["lwm2m", "north", "lamp-1", "", "command", "credentials", "a.b", "\n"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=6).map("/".join)


def test_a_topic_is_filled_and_read_back() -> None:
    topic = EndpointTopic(Topics().event, server="north", kind="registered")
    assert topic.of("lamp-1") == "lwm2m/north/lamp-1/event/registered"
    assert topic.read("lwm2m/north/lamp-1/event/registered") == "lamp-1"
    assert topic.read("lwm2m/south/lamp-1/event/registered") is None


def test_a_name_that_is_not_bound_matches_anything() -> None:
    topic = EndpointTopic(Topics().held_command)
    assert topic.filter == "lwm2m/+/+/command"
    assert topic.read("lwm2m/north/lamp-1/command") == "lamp-1"


@pytest.mark.parametrize("template", [Topics().command, Topics().held_command, "{endpoint}/x.y"])
@given(topic=TOPIC)
def test_it_reads_what_the_contract_reads(template: str, topic: str) -> None:
    try:
        expected = match_template(template, topic)["endpoint"]
    except ValueError:
        expected = None
    assert EndpointTopic(template).read(topic) == expected


@pytest.mark.parametrize("template", [Topics().credentials, "{endpoint}/of/{endpoint}"])
def test_it_fills_as_the_contract_fills(template: str) -> None:
    topic = EndpointTopic(template, server="north")
    assert topic.of("lamp-1") == fill(template, server="north", endpoint="lamp-1")


@pytest.mark.parametrize("template", [Topics().event, "{kind}/{server}/{kind}/{endpoint}"])
@given(topic=TOPIC | st.just("lwm2m/north/lamp-1/event/registered"))
def test_an_event_topic_names_what_the_contract_says(template: str, topic: str) -> None:
    try:
        expected = Topics(event=template).read_event(topic)
    except ValueError:
        expected = None
    assert read_event_topic(template, topic) == expected


def test_the_topics_of_one_server_are_made_once() -> None:
    assert topic_of(Topics().credentials, "north") is topic_of(Topics().credentials, "north")
    assert topic_of(Topics().credentials, "north").of("lamp-1") == "lwm2m/north/lamp-1/credentials"
