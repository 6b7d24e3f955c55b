"""What topic rules, Firehose and API Gateway hand over, read and answered. Pure.

A rule cannot read CBOR, and what it makes of JSON is not what was sent. So every rule selects
`encode(*, 'base64') AS payload, topic() AS topic, timestamp() AS received_ms`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

import msgspec

# Lambda's answer to Firehose may have 6 MB; JSON and base64 are in it.
ANSWER_BYTES_MAX: Final = 5_800_000
RECORD_OVERHEAD_BYTES: Final = 120


class MalformedEvent(ValueError):
    """An event is not what the template's rules and sources send; the text says what is missing."""


class Published(msgspec.Struct, frozen=True):
    """A message as a topic rule hands it over."""

    topic: str
    payload: bytes
    received_ms: int


class FirehoseRecord(msgspec.Struct, frozen=True, rename="camel"):
    """A record of a delivery stream. `data` is base64 in the event."""

    record_id: str
    data: bytes


class FirehoseEvent(msgspec.Struct, frozen=True):
    """What Firehose asks a transform for."""

    records: list[FirehoseRecord]


def read_published(event: Mapping[str, Any]) -> Published:
    """The message in a rule's event. Raises `MalformedEvent`."""
    try:
        # msgspec decodes base64 wherever a field is bytes.
        return msgspec.convert(event, Published)
    except (msgspec.ValidationError, binascii.Error) as error:
        raise MalformedEvent(f"not a topic rule's event: {error}") from None


def read_record(data: bytes) -> Published:
    """The message in a record of the telemetry stream. Raises `MalformedEvent`."""
    try:
        return msgspec.json.decode(data, type=Published)
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error) as error:
        raise MalformedEvent(f"not a topic rule's record: {error}") from None


def read_firehose(event: Mapping[str, Any]) -> FirehoseEvent:
    """The records that Firehose sends. Raises `MalformedEvent`."""
    try:
        return msgspec.convert(event, FirehoseEvent)
    except (msgspec.ValidationError, binascii.Error) as error:
        raise MalformedEvent(f"not an event of Firehose: {error}") from None


def envelope(topic: str, payload: bytes, received_ms: int) -> bytes:
    """The record that the telemetry rules put into the stream, with the newline that ends it."""
    text = b64encode(payload).decode()
    made = {"topic": topic, "payload": text, "received_ms": received_ms}
    return msgspec.json.encode(made) + b"\n"


def firehose_answer(results: list[tuple[str, str, bytes]]) -> dict[str, Any]:
    """The answer with a result (`Ok`, `Dropped`, `ProcessingFailed`) for every record id.

    It stays under 6 MB: what does not fit is `ProcessingFailed`, and Firehose keeps the record as
    it came under the bucket's prefix for errors.
    """
    records: list[dict[str, str]] = []
    total = 0
    for record_id, result, data in results:
        size = len(record_id) + RECORD_OVERHEAD_BYTES + (len(data) + 2) // 3 * 4
        if total + size > ANSWER_BYTES_MAX:
            result, data, size = "ProcessingFailed", b"", len(record_id) + RECORD_OVERHEAD_BYTES
        total += size
        records.append({"recordId": record_id, "result": result, "data": _base64(data)})
    return {"records": records}


def _base64(data: bytes) -> str:
    """Bytes as Firehose wants them."""
    return b64encode(data).decode()


def http_answer(status: int, body: Any, media_type: str = "application/json") -> dict[str, Any]:
    """An answer of API Gateway's (payload format 2.0)."""
    return {
        "statusCode": status,
        "headers": {"content-type": media_type},
        "body": msgspec.json.encode(body).decode(),
    }


def http_problem(status: int, title: str, detail: str) -> dict[str, Any]:
    """A problem (RFC 9457)."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return http_answer(status, body, "application/problem+json")


def http_body(event: Mapping[str, Any]) -> bytes:
    """The body of a request. Raises `MalformedEvent`."""
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise MalformedEvent("the request has no text as its body")
    if not event.get("isBase64Encoded"):
        return body.encode()
    try:
        return b64decode(body, validate=True)
    except ValueError:
        raise MalformedEvent("the request's body is not base64") from None
