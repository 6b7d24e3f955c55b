"""The broker tap says of each message what its topic and its head say, and nothing of the rest."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.journal import MessageSeen
from contracts.topics import Topics, fill
from harness.taps import BrokerTap
from harness.taps.broker_tap import WATCHED, template_pattern
from mqtt.connection import InboundMessage

LEVEL = st.text(alphabet="abc-:0", min_size=1, max_size=4)
CITY = Topics(event="city/{kind}/{endpoint}/of/{server}")


class Journal:
    """Keeps records."""

    def __init__(self) -> None:
        self.records: list[msgspec.Struct] = []

    def record(self, record: msgspec.Struct) -> None:
        self.records.append(record)


class Clock:
    """It is always the same time."""

    def now_ns(self) -> int:
        return 7

    def wall_us(self) -> int:
        return 7


def seen(topic: str, payload: bytes = b"{}", topics: Topics | None = None) -> list[MessageSeen]:
    told: list[MessageSeen] = []
    journal = Journal()
    tap = BrokerTap(topics or Topics(), journal, Clock(), told.append)
    tap.receive(InboundMessage(topic, payload, 0, 0, True, False, 1))
    assert journal.records == told
    return told


@given(
    st.sampled_from([Topics(), CITY]), st.sampled_from(WATCHED), LEVEL, LEVEL, LEVEL,
    st.integers(0, 9),
)  # fmt: skip
def test_a_message_is_named_by_its_topic_and_its_head(
    topics: Topics, name: str, server: str, endpoint: str, kind: str, seq: int
) -> None:
    template = getattr(topics, name)
    topic = fill(template, server=server, endpoint=endpoint, kind=kind)
    payload = msgspec.json.encode({"epoch": "e", "seq": seq, "id": "c1", "secret": "s"})
    names = template_pattern(template).fullmatch(topic)
    assert names is not None
    found = names.groupdict()
    assert seen(topic, payload, topics) == [
        MessageSeen(
            at_ns=7,
            topic=topic,
            topic_kind="command" if name == "held_command" else name,
            endpoint=found["endpoint"],
            payload_bytes=len(payload),
            server=found.get("server", ""),
            event_kind=found.get("kind", ""),
            epoch="e",
            seq=seq,
            id="c1",
            duplicate=True,
        )
    ]


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b'{"seq":"a"}'])
def test_what_cannot_be_read_is_seen_all_the_same(payload: bytes) -> None:
    found = seen("lwm2m/north/lamp-1/event/registered", payload)
    assert [(one.event_kind, one.seq, one.payload_bytes) for one in found] == [
        ("registered", 0, len(payload))
    ]


@pytest.mark.parametrize("topic", ["", "lwm2m", "devices/lamp-1/state", "lwm2m/a/b/c/d/e/f"])
def test_other_topics_are_not_recorded(topic: str) -> None:
    assert seen(topic) == []
