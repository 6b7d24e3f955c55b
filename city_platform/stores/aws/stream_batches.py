"""What a delivery stream takes in one call, and what of it must be sent again. Pure.

PutRecordBatch takes 500 records and 4 MiB at most, a record 1,000 KiB before base64 (quotas of
Amazon Data Firehose). It may take some records of a call and refuse others, told by their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from city_platform.stores.aws.errors import AwsError

RECORDS_MAX: Final = 500
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
RECORD_BYTES_MAX: Final = 1_000 * 1024
# Lines are gathered to records of this size: a call has many, and one that is refused is small.
LINES_BYTES: Final = 128 * 1024


class RecordTooLarge(AwsError):
    """A record that no delivery stream takes; nothing is gained by trying again."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"a record of {size} bytes is more than the {RECORD_BYTES_MAX} that a delivery stream"
            " takes: send smaller ones"
        )


def batches(records: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The records in their order, as calls may have them. Raises `RecordTooLarge` before any."""
    for record in records:
        if len(record) > RECORD_BYTES_MAX:
            raise RecordTooLarge(len(record))
    batch: list[bytes] = []
    size = 0
    for record in records:
        if batch and (len(batch) == RECORDS_MAX or size + len(record) > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record)
    if batch:
        yield batch


def line_records(lines: bytes, record_bytes: int = LINES_BYTES) -> list[bytes]:
    """Lines, each with its newline, as records of whole lines of about `record_bytes`; a longer
    line is a record of its own."""
    records: list[bytes] = []
    start = 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + record_bytes) + 1
        if end == 0:
            end = lines.find(b"\n", start) + 1 or len(lines)
        records.append(lines[start:end])
        start = end
    return records


def refused_records(sent: Sequence[bytes], answer: Mapping[str, Any]) -> tuple[list[bytes], str]:
    """Those of a call that were not taken, in their order, and AWS's word for the first of them.

    An answer that does not speak of every record says nothing of any: all are sent again.
    """
    if not answer.get("FailedPutCount"):
        return [], ""
    told = answer.get("RequestResponses", ())
    if len(told) != len(sent):
        return list(sent), "NoAnswerByRecord"
    refused = [record for record, one in zip(sent, told, strict=True) if one.get("ErrorCode")]
    words = [str(one["ErrorCode"]) for one in told if one.get("ErrorCode")]
    return (refused, words[0]) if refused else (list(sent), "NoAnswerByRecord")
