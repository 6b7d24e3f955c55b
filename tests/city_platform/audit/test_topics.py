"""What a message on a command topic becomes in the log, whoever published it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.audit.entries import read_entries
from city_platform.audit.topics import CommandTopics, ended_entry, outcome_of, published_entry
from contracts.data_interface import Command, Event, Holder, Outcome, ResultError, Value, encode
from contracts.errors import ContractError
from contracts.topics import Topics
from tests.city_platform.audit.logs import NOW_US

TOPICS = CommandTopics(Topics())


def command(**changes: Any) -> Command:
    fields: dict[str, Any] = {
        "id": "cmd-1",
        "endpoint": "lamp-1",
        "operation": "write",
        "expires_at_us": NOW_US,
        "path": "/3311/0/5851",
        "values": [Value("/3311/0/5851", "integer", 30)],
        "issued_by": "ann",
    }
    return Command(**(fields | changes))


def published(found: Command, topic: str = "lwm2m/lamp-1/command") -> Any:
    return published_entry(TOPICS, topic, encode(found), NOW_US)


def test_a_command_is_kept_with_its_device_its_path_and_who_it_names() -> None:
    found = published(command())
    assert (found.operation, found.device, found.reference) == ("command.write", "lamp-1", "cmd-1")
    assert (found.who, found.outcome, found.source) == ("ann", "published", "topic")
    assert found.detail == "/3311/0/5851"


def test_a_value_that_was_written_is_not_kept() -> None:
    secret = command(values=[Value("/3311/0/5851", "string", "a secret value")])
    assert b"a secret value" not in msgspec.json.encode(published(secret))


def test_a_command_that_is_driven_again_to_another_holder_is_the_same_entry() -> None:
    held = command(holder=Holder("north", "r1"))
    assert published(command()).id == published(held, "lwm2m/north/lamp-1/command").id


def test_another_command_under_a_used_id_is_another_entry() -> None:
    other = command(values=[Value("/3311/0/5851", "integer", 100)])
    assert published(command()).id != published(other).id
    assert published(command()).id != published(command(), "lwm2m/lamp-2/command").id


def test_a_command_that_names_another_device_than_its_topic_says_so() -> None:
    found = published(command(), "lwm2m/lamp-2/command")
    assert found.device == "lamp-2"
    assert "names lamp-1" in found.detail


@given(st.binary(max_size=200), st.text(max_size=60))
def test_whatever_is_published_is_kept_as_an_entry(payload: bytes, topic: str) -> None:
    found = published_entry(TOPICS, topic, payload, NOW_US)
    assert found.outcome == "published"
    # It can be sent and read again: nothing in it is longer than may be.
    assert read_entries(b"[" + msgspec.json.encode(found) + b"]") == [found]


@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=800))
def test_a_command_with_any_texts_is_kept(identity: str, by: str, path: str) -> None:
    found = published(command(id=identity, issued_by=by, path=path))
    assert read_entries(b"[" + msgspec.json.encode(found) + b"]") == [found]


def event(outcome: Outcome | None) -> bytes:
    return encode(
        Event(
            server="north", epoch="e", seq=1, kind="result" if outcome else "updated",
            endpoint="lamp-1", at_us=NOW_US, result=outcome,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(id="c", operation="write", code="2.04"), "succeeded"),
        (Outcome(id="c", operation="write", code="4.05"), "refused"),
        (Outcome(id="c", operation="read", code="2.05", error=ResultError("coap", "")), "unknown"),
        (Outcome(id="c", operation="read", error=ResultError("timeout", "")), "unknown"),
        (Outcome(id="c", operation="read", error=ResultError("unknown", "")), "unknown"),
        (Outcome(id="c", operation="read", error=ResultError("expired", "")), "expired"),
        (Outcome(id="c", operation="read", error=ResultError("cancelled", "")), "refused"),
        (Outcome(id="c", operation="read", error=ResultError("not_registered", "")), "refused"),
        (Outcome(id="c", operation="read"), "unknown"),
    ],
)
def test_an_end_is_kept_as_what_it_was(outcome: Outcome, expected: str) -> None:
    assert outcome_of(outcome) == expected
    found = ended_entry("t", event(outcome), NOW_US)
    assert found is not None
    assert (found.outcome, found.reference, found.device) == (expected, "c", "lamp-1")


def test_an_event_that_is_no_end_is_not_kept() -> None:
    assert ended_entry("t", event(None), NOW_US) is None
    with pytest.raises(ContractError):
        ended_entry("t", b"no event", NOW_US)
