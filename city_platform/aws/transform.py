"""The Firehose transform: the same `Transformer` as in the ingestion component.

Readings and alarms go to DynamoDB; back to Firehose go the archive's lines. Firehose calls again
what it got no answer for: keys are the readings' own, so nothing is there twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from city_platform.aws.envelopes import (
    FirehoseRecord,
    MalformedEvent,
    Published,
    firehose_answer,
    read_firehose,
    read_record,
)
from city_platform.aws.installation import Installation
from city_platform.ingestion.archive import DecodedPack, archived_lines
from city_platform.ingestion.spool import Message
from city_platform.ingestion.transform import (
    FUTURE_S,
    AlarmPack,
    Refused,
    StatePack,
    Transformer,
)
from city_platform.stores.aws.reading_writes import ReadingWrites
from city_platform.stores.aws.telemetry_items import alarm_item
from city_platform.stores.telemetry_records import AlarmRecord, ReadingRecord

# Not stored; Firehose keeps the record as it came, under the prefix for errors.
_FAILED: Final = "ProcessingFailed"
_encoder = msgspec.json.Encoder()


class _Decoded(NamedTuple):
    """What a record holds; `fault` says why it holds nothing."""

    record_id: str
    pack: DecodedPack | None
    fault: str = ""


async def transform_records(event: Mapping[str, Any], installation: Installation) -> dict[str, Any]:
    """Firehose's answer: a result for every record id. Raises `MalformedEvent` for what is not
    Firehose's, and `AwsUnavailable` when nothing could be stored: Firehose then calls again."""
    records = read_firehose(event).records
    transformer = Transformer(installation.topics)
    sources = [_source(record, transformer) for record in records]
    endpoints = [name for _, name in sources if name]
    tenants = await installation.tenants(list(dict.fromkeys(endpoints)))
    decoded = [
        _decode(record, published, tenants, transformer)
        for record, (published, _) in zip(records, sources, strict=True)
    ]
    await _store([one.pack for one in decoded if one.pack is not None], installation)
    return firehose_answer([_result(one) for one in decoded])


def _source(record: FirehoseRecord, transformer: Transformer) -> tuple[Published | None, str]:
    try:
        published = read_record(record.data)
        return published, transformer.source(published.topic).endpoint
    except (MalformedEvent, Refused):
        return None, ""


def _decode(
    record: FirehoseRecord,
    published: Published | None,
    tenants: Mapping[str, str],
    transformer: Transformer,
) -> _Decoded:
    if published is None:
        return _Decoded(record.record_id, None, "malformed")
    received_us = published.received_ms * 1_000
    message = Message(0, received_us, published.topic, published.payload)
    try:
        source = transformer.source(message.topic)
        tenant = tenants.get(source.endpoint)
        if tenant is None:
            return _Decoded(record.record_id, None, "unknown_device")
        # As ingestion's `limits.future_s`: such readings would stay the latest.
        latest_us = received_us + int(FUTURE_S * 1e6)
        pack = transformer.transform(message, source, tenant, latest_us)
    except Refused as refused:
        return _Decoded(record.record_id, None, refused.reason)
    if isinstance(pack, StatePack):
        return _Decoded(record.record_id, DecodedPack(0, received_us, pack.readings))
    alarms = pack.alarms if isinstance(pack, AlarmPack) else ()
    return _Decoded(record.record_id, DecodedPack(0, received_us, alarms=alarms))


async def _store(packs: list[DecodedPack], installation: Installation) -> None:
    readings: list[ReadingRecord] = [one for pack in packs for one in pack.readings]
    alarms: list[AlarmRecord] = [one for pack in packs for one in pack.alarms]
    await ReadingWrites(installation.telemetry).put_once(readings)
    items = {(str(one["pk"]), str(one["sk"])): one for one in (alarm_item(a, 0) for a in alarms)}
    await installation.telemetry.put_many(list(items.values()))


def _result(one: _Decoded) -> tuple[str, str, bytes]:
    if one.pack is None:
        return one.record_id, _FAILED, b""
    lines = archived_lines(one.pack)
    if not lines:
        return one.record_id, "Dropped", b""
    return one.record_id, "Ok", _encoder.encode_lines(lines)
