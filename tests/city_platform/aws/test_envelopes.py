"""What rules, Firehose and API Gateway hand over is read whole or refused with a reason."""

from __future__ import annotations

import contextlib
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.aws.envelopes import (
    MalformedEvent,
    Published,
    envelope,
    firehose_answer,
    http_body,
    read_firehose,
    read_published,
    read_record,
)


@given(st.binary(max_size=300), st.text(max_size=60))
def test_a_record_is_read_as_it_was_put(payload: bytes, topic: str) -> None:
    assert read_record(envelope(topic, payload, 5)) == Published(topic, payload, 5)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedEvent):
        read_record(data)


@pytest.mark.parametrize(
    "event", [{}, {"topic": "t"}, {"topic": "t", "payload": "%%", "received_ms": 1}, {"topic": 1}]
)
def test_what_no_rule_sends_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(MalformedEvent, match="topic rule"):
        read_published(event)


def test_what_firehose_does_not_send_is_refused() -> None:
    for event in (
        {},
        {"records": [{"recordId": "1"}]},
        {"records": [{"recordId": "1", "data": 5}]},
    ):
        with pytest.raises(MalformedEvent, match="Firehose"):
            read_firehose(event)


def test_an_answer_has_every_id_and_stays_under_six_megabytes() -> None:
    results = [(f"id-{number}", "Ok", b"x" * 1_000_000) for number in range(9)]
    answer = firehose_answer(results)
    assert [one["recordId"] for one in answer["records"]] == [f"id-{n}" for n in range(9)]
    assert [one["result"] for one in answer["records"]] == ["Ok"] * 4 + ["ProcessingFailed"] * 5
    assert len(str(answer)) < 6_000_000


def test_a_body_is_read_in_either_form() -> None:
    assert http_body({"body": "{}"}) == b"{}"
    assert http_body({"body": b64encode(b"\xff").decode(), "isBase64Encoded": True}) == b"\xff"
    assert http_body({}) == b""
    with pytest.raises(MalformedEvent):
        http_body({"body": "%", "isBase64Encoded": True})
