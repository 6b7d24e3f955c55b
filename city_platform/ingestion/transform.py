"""Turns one spooled message into readings, alarms or a dead letter. Pure: no clock, no store.

Whose a pack is, the topic says. A record's name is `<endpoint>/<path>`; a base name that claims
another device makes the whole pack a dead letter, as does anything malformed: a pack is taken whole
or not at all.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeGuard

from city_platform.ingestion.common_packs import common_readings
from city_platform.ingestion.pack_bounds import FOREVER_US, INT64_BOUND
from city_platform.ingestion.pack_shapes import PackShapes
from city_platform.ingestion.spool import Message
from city_platform.presence import Told, read_told
from city_platform.stores.dead_letters import DeadLetterReason
from city_platform.stores.telemetry_records import (
    AlarmRecord,
    PackLayouts,
    ReadingRecord,
    TimeSource,
    UniformPack,
    ValueKind,
)
from contracts.errors import ContractError
from contracts.names import IllegalName, check_endpoint_name
from contracts.telemetry import (
    KEY_ALARM,
    KEY_ALARM_SEQUENCE,
    KEY_BOOT,
    KEY_SEVERITY,
    KEY_THRESHOLD,
    KEY_VALUE,
    Alarm,
    Severity,
)
from contracts.topics import Topics, match_template
from lwm2m.codecs.senml_cbor import ResolvedRecord, load, resolve
from lwm2m.errors import LwM2mError

Stream = Literal["state", "alarm", "presence", "lifecycle"]

# Own choice; see `IngestionLimits.future_s`.
FUTURE_S: Final = 86_400.0
SEQUENCE_MAX: Final = 2**53
TEXT_LENGTH_MAX: Final = 128
# A device has some dozen resources and an installation some hundred: the cache is for speed only.
_CACHE_MAX: Final = 10_000
_PATH = re.compile(r"\d{1,5}/\d{1,5}/\d{1,5}(?:/\d{1,5})?", re.ASCII)
_TAIL = re.compile(
    r"(?:(?P<claimed>.*?)/)??(?P<path>\d{1,5}/\d{1,5}/\d{1,5}(?:/\d{1,5})?)", re.ASCII
)
_TIME_BOUND_S: Final = 2**63 / 1_000_000
_SEVERITIES: Final[dict[str, Severity]] = {
    "minor": "minor",
    "major": "major",
    "critical": "critical",
}


class Refused(Exception):
    """A message that becomes a dead letter."""

    def __init__(
        self, reason: DeadLetterReason, detail: str, endpoint: str = "", claimed: str = ""
    ) -> None:
        super().__init__(detail)
        self.reason: DeadLetterReason = reason
        self.detail = detail
        self.endpoint = endpoint
        self.claimed = claimed


class Source(NamedTuple):
    """What a topic says: which device, and which of its streams."""

    endpoint: str
    stream: Stream


class StatePack(NamedTuple):
    """The readings of a pack; `digest` is set when it has no times of its own."""

    readings: list[ReadingRecord]
    digest: bytes | None


class AlarmPack(NamedTuple):
    """The alarms of a pack."""

    alarms: list[AlarmRecord]


class PresencePack(NamedTuple):
    """What is told of a device's connection."""

    told: Told


class Transformer:
    """Transforms the messages of an installation with these topics."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._templates: tuple[tuple[Stream, str], ...] = (
            ("state", topics.state),
            ("alarm", topics.alarm),
            ("presence", topics.presence),
            ("lifecycle", topics.lifecycle),
        )
        self._sources: dict[str, Source] = {}
        self._paths: dict[str, str] = {}
        self._layouts = PackLayouts()
        self._shapes = PackShapes(self._layouts)

    def source(self, topic: str) -> Source:
        """Whose topic it is. Raises `Refused`."""
        found = self._sources.get(topic)
        if found is None:
            found = self._read_topic(topic)
            if len(self._sources) >= _CACHE_MAX:
                self._sources.clear()
            self._sources[topic] = found
        return found

    def transform(
        self, message: Message, source: Source, tenant: str, latest_us: int = FOREVER_US
    ) -> StatePack | AlarmPack | PresencePack:
        """The content of a message. Raises `Refused` for one that is malformed or claims another,
        or has a device time after `latest_us`.

        A record without absolute time gets the time at which the message was received.
        """
        found = self.take(message, source, tenant, latest_us)
        return StatePack(found.readings(), None) if isinstance(found, UniformPack) else found

    def take(
        self, message: Message, source: Source, tenant: str, latest_us: int = FOREVER_US
    ) -> UniformPack | StatePack | AlarmPack | PresencePack:
        """The same; readings of one time as the pack that they are."""
        if source.stream == "state":
            known = self._shapes.find(message.payload, source.endpoint, tenant, latest_us)
            if known is not None:
                return known if isinstance(known, UniformPack) else StatePack(known, None)
        pack = self._transform(message, source, tenant)
        if isinstance(pack, StatePack):
            for reading in pack.readings:
                if reading[2] > latest_us:
                    raise _time_ahead(source.endpoint, reading[2], latest_us)
            if pack.digest is None:
                return self._layouts.uniform(pack.readings) or pack
        elif isinstance(pack, AlarmPack):
            for found in pack.alarms:
                if found.alarm.time_us > latest_us:
                    raise _time_ahead(source.endpoint, found.alarm.time_us, latest_us)
        return pack

    def _transform(
        self, message: Message, source: Source, tenant: str
    ) -> StatePack | AlarmPack | PresencePack:
        endpoint, payload = source.endpoint, message.payload
        try:
            if source.stream == "state":
                common = common_readings(load(payload), endpoint, tenant, self._paths)
                if common is not None:
                    self._shapes.learn(payload, endpoint, common)
                    return StatePack(common, None)
            elif source.stream != "alarm":
                return self._presence(message, endpoint)
            records = resolve(message.payload, None)
            are_stamped = all(record.time is not None for record in records)
            if not are_stamped:
                records = resolve(message.payload, message.received_us / 1_000_000)
        except LwM2mError as error:
            raise Refused("malformed", str(error), endpoint) from None
        if source.stream == "alarm":
            return AlarmPack(self._alarms(records, endpoint, tenant))
        readings = self._readings(
            records, endpoint, tenant, "device" if are_stamped else "received"
        )
        return StatePack(readings, None if are_stamped else _digest(endpoint, message.payload))

    def _presence(self, message: Message, endpoint: str) -> PresencePack:
        try:
            told = read_told(self._topics, message.topic, message.payload)
        except ContractError as error:
            raise Refused("malformed", str(error), endpoint) from None
        # Its topic was one of the two.
        assert told is not None
        return PresencePack(told)

    def _read_topic(self, topic: str) -> Source:
        for stream, template in self._templates:
            try:
                endpoint = match_template(template, topic)["endpoint"]
                return Source(check_endpoint_name(endpoint), stream)
            except IllegalName as error:
                raise Refused("illegal_topic", str(error)) from None
            except ContractError:
                continue
        raise Refused("illegal_topic", f"{topic[:120]!r} is no topic of a device's stream")

    def _readings(
        self,
        records: list[ResolvedRecord],
        endpoint: str,
        tenant: str,
        time_source: TimeSource,
    ) -> list[ReadingRecord]:
        readings = []
        paths, prefix = self._paths, f"{endpoint}/"
        start = len(prefix)
        for record in records:
            name, value = record.name, record.value
            path = paths.get(name[start:]) if name.startswith(prefix) else None
            if path is None:
                path = self._path(name, endpoint)
            kind: ValueKind = "number"
            if type(value) is not float:
                value, kind = _stored_value(value, name, endpoint)
            readings.append(
                ReadingRecord(
                    endpoint,
                    path,
                    _time_us(record.time, endpoint),
                    value,
                    kind,
                    record.unit,
                    time_source,
                    tenant,
                )
            )
        return readings

    def _path(self, name: str, endpoint: str) -> str:
        tail = name.removeprefix(f"{endpoint}/")
        if tail != name and _PATH.fullmatch(tail):
            if len(self._paths) >= _CACHE_MAX:
                self._paths.clear()
            self._paths[tail] = f"/{tail}"
            return f"/{tail}"
        # LwM2M devices of others name records by path alone, with or without a leading slash.
        found = _TAIL.fullmatch(name.removeprefix("/"))
        if found is None:
            raise Refused(
                "malformed", f"{name[:120]!r} does not end in a resource's path", endpoint
            )
        claimed = (found["claimed"] or endpoint)[:128]
        if claimed != endpoint:
            raise Refused("claims_another_device", f"the pack says {claimed!r}", endpoint, claimed)
        return f"/{found['path']}"

    def _alarms(
        self, records: list[ResolvedRecord], endpoint: str, tenant: str
    ) -> list[AlarmRecord]:
        boot = ""
        alarms = []
        for record in records:
            extras = record.extras
            boot = _text(extras, KEY_BOOT, endpoint) if KEY_BOOT in extras else boot
            alarms.append(AlarmRecord(self._alarm(record, endpoint), boot, tenant))
        return alarms

    def _alarm(self, record: ResolvedRecord, endpoint: str) -> Alarm:
        extras = record.extras
        if type(record.value) is not bool:
            raise Refused("malformed", "an alarm is true (raised) or false (cleared)", endpoint)
        severity = _SEVERITIES.get(_text(extras, KEY_SEVERITY, endpoint))
        sequence = extras.get(KEY_ALARM_SEQUENCE)
        if severity is None:
            raise Refused("malformed", f"severity is one of {', '.join(_SEVERITIES)}", endpoint)
        if type(sequence) is not int or not 0 <= sequence <= SEQUENCE_MAX:
            raise Refused("malformed", f"{KEY_ALARM_SEQUENCE} is a number from 0", endpoint)
        return Alarm(
            endpoint,
            self._path(record.name, endpoint),
            _time_us(record.time, endpoint),
            _text(extras, KEY_ALARM, endpoint),
            record.value,
            severity,
            sequence,
            _number(extras, KEY_VALUE, endpoint),
            _number(extras, KEY_THRESHOLD, endpoint),
        )


def _stored_value(value: object, name: str, endpoint: str) -> tuple[int | str, ValueKind]:
    if isinstance(value, bool):
        return int(value), "boolean"
    if isinstance(value, str):
        return value, "text"
    if isinstance(value, bytes):
        return b64encode(value).decode(), "opaque"
    if isinstance(value, tuple):
        # An object link: `18830:0`.
        return str(value), "text"
    if not isinstance(value, int):
        raise Refused("malformed", f"{name[:120]!r} has a sum and no value", endpoint)
    if -INT64_BOUND <= value < INT64_BOUND:
        return value, "number"
    # LwM2M's unsigned integers reach further than SQLite's.
    if 0 <= value < 2 * INT64_BOUND:
        return str(value), "big_integer"
    raise Refused("malformed", f"{name[:120]!r} has an integer beyond 64 bits", endpoint)


def _time_us(time: float | None, endpoint: str) -> int:
    # The second resolution gave every record a time; one relative to it may lie anywhere.
    if time is None or not -_TIME_BOUND_S < time < _TIME_BOUND_S:
        raise Refused("malformed", f"the time {time} is out of range", endpoint)
    return round(time * 1_000_000)


def _time_ahead(endpoint: str, time_us: int, latest_us: int) -> Refused:
    ahead_s = (time_us - latest_us) // 1_000_000
    detail = (
        f"the time {time_us} us is {ahead_s} s beyond what is taken: the device's clock is wrong"
    )
    return Refused("time_ahead", detail, endpoint)


def _digest(endpoint: str, payload: bytes) -> bytes:
    return hashlib.sha256(endpoint.encode() + b"\0" + payload).digest()[:16]


def _text(extras: Mapping[str, Any], key: str, endpoint: str) -> str:
    value = extras.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LENGTH_MAX:
        raise Refused(
            "malformed", f"{key} is a text of 1 to {TEXT_LENGTH_MAX} characters", endpoint
        )
    return value


def _number(extras: Mapping[str, Any], key: str, endpoint: str) -> float | None:
    value = extras.get(key)
    if value is None:
        return None
    if not _is_number(value):
        raise Refused("malformed", f"{key} is a finite number", endpoint)
    return float(value)


def _is_number(value: object) -> TypeGuard[float]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= 1.7976931348623157e308 and value == value
