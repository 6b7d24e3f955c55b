"""What is known of a topic or a publication from others is what a look at it alone says."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.presence import ENCODING_JSON, PRESENCE_SOURCE
from contracts.topics import Topics, is_topic_name
from fake_devices.device import account
from fake_devices.device.account import read_uplink
from fake_devices.device.tree import ModelTemplate, ObjectTree
from lwm2m.objects import ObjectLink, ObjectPath, Value, builtin_models

_NAMES = st.one_of(
    st.sampled_from(["lamp-1", "a", "devices", "alarm", "m", "-", "é", "a/b", "+", "", "x" * 300]),
    st.text(alphabet="abdeilmrsv-:_/+é", max_size=8),
)
_LEVELS = st.one_of(st.sampled_from(["devices", "alarm", "state", "", "+", "#", "\0", "x"]), _NAMES)
_TEMPLATES = st.sampled_from(
    ["devices/{endpoint}/alarm", "{endpoint}/alarm", "devices/{kind}/{endpoint}", "alarm", "a/-/b"]
)


@given(st.lists(_LEVELS, max_size=4), _NAMES, st.integers(0, 4), _TEMPLATES)
@example(["devices", "alarm"], "devices", 1, "devices/{endpoint}/alarm")
@example(["devices", "alarm"], "lamp-1", 1, "devices/{endpoint}/alarm")
@settings(max_examples=300, deadline=None)
def test_a_topic_says_what_it_says_by_itself(
    levels: list[str], endpoint: str, at: int, alarm: str
) -> None:
    topic = "/".join([*levels[:at], endpoint, *levels[at:]])
    expected = is_topic_name(topic), account._stream_name(topic, alarm)
    assert account._topic_facts(topic, endpoint, alarm) == expected
    assert account._topic_facts(topic, "lamp-2", alarm) == expected


_MODELS = builtin_models()
_VALUES: dict[int, list[Value]] = {
    0: ["</3303/0>,</3416/0>", PRESENCE_SOURCE, "</3303/0>" * 200, "<", 1],
    1: [ObjectLink(18830, 0), ObjectLink(18830, 1), ObjectLink(3, 0), "18830:0"],
    2: ["devices/lamp-1/state", "devices/lamp-1/alarm", "devices/lamp-1/+", "", 7],
    3: [0, 1, 2, True],
    4: [False, True, 0],
    5: [True, True, False, 1],
    6: [112, ENCODING_JSON, 110, True],
}
_BROKER: dict[int, list[Value]] = {
    0: ["mqtts://127.0.0.1:8883", "mqtt://127.0.0.1", "mqtts://[", "", 1],
    1: ["lamp-1", "", b"lamp-1"],
    2: [True, False, 0],
    3: [300, 0, True],
    6: [2, 3, True],
    7: [b"certificate", b"", "certificate"],
    8: [b"anchor"],
    9: [b"key", b"", "key"],
}


@st.composite
def _trees(draw: st.DrawFn) -> ObjectTree:
    """Devices whose MQTT objects are mostly as they should be."""
    tree = ObjectTree(ModelTemplate((), {}, _MODELS), {})
    for object_id, count, choices in ((18830, 2, _BROKER), (18831, 3, _VALUES)):
        for number in range(draw(st.integers(0, count))):
            instance = ObjectPath(object_id, number)
            values = {
                instance.child(resource): draw(st.sampled_from([each[0], each[0], *each]))
                for resource, each in choices.items()
                if draw(st.integers(0, 9))
            }
            tree.create_instance(instance, values)
    return tree


@given(_trees(), st.sampled_from(["lamp-1", "lamp-2"]), st.sampled_from([b"", b"own"]))
@settings(max_examples=200, deadline=None)
def test_what_was_read_of_others_changes_nothing(
    tree: ObjectTree, endpoint: str, own_key: bytes
) -> None:
    topics = Topics()
    known = read_uplink(tree, topics, endpoint, own_key)
    account._publication.cache_clear()
    account._facts_of_alike.cache_clear()
    assert read_uplink(tree, topics, endpoint, own_key) == known
    # Without a name every topic is looked at by itself.
    assert read_uplink(tree, topics, "", own_key) == known


@pytest.mark.parametrize("own_key", [b"", b"own"])
def test_an_account_is_whole_or_none(own_key: bytes) -> None:
    tree = ObjectTree(ModelTemplate((), {}, _MODELS), {})
    broker, publication = ObjectPath(18830, 0), ObjectPath(18831, 0)
    written = {number: each[0] for number, each in _BROKER.items()}
    written[6] = account.SECURITY_MODE_CERTIFICATE
    del written[9]
    tree.create_instance(broker, {broker.child(n): value for n, value in written.items()})
    values = {publication.child(n): each[0] for n, each in _VALUES.items()}
    tree.create_instance(publication, values)
    found = read_uplink(tree, Topics(), "lamp-1", own_key)
    assert found.is_whole
    assert (found.account is not None) is bool(own_key)
    assert len(found.streams) == bool(own_key)
