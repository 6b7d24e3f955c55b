"""SenML packs in JSON (RFC 8428 §5), content format 110; what the fields mean is `senml`'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lwm2m.codecs import base64_text, json_text, senml
from lwm2m.codecs.senml import (
    DATA_VALUE,
    DEFAULT_LIMITS,
    Fields,
    Label,
    Records,
    ResolvedRecord,
    SenmlLimits,
)
from lwm2m.errors import InvalidValue, MalformedJson, MalformedSenml

# RFC 8428 §6, table 4: what the integers of the records are called here.
NAMES: dict[Label, str] = {
    senml.BASE_VERSION: "bver",
    senml.BASE_NAME: "bn",
    senml.BASE_TIME: "bt",
    senml.BASE_UNIT: "bu",
    senml.BASE_VALUE: "bv",
    senml.BASE_SUM: "bs",
    senml.NAME: "n",
    senml.UNIT: "u",
    senml.VALUE: "v",
    senml.STRING_VALUE: "vs",
    senml.BOOLEAN_VALUE: "vb",
    senml.SUM: "s",
    senml.TIME: "t",
    senml.UPDATE_TIME: "ut",
    senml.DATA_VALUE: "vd",
}
_LABELS: dict[str, Label] = {name: label for label, name in NAMES.items()}


def load(payload: bytes, limits: SenmlLimits = DEFAULT_LIMITS) -> Records:
    """The records of a pack with the labels of `senml`, unchecked but for `vd`, which is bytes.

    Raises `MalformedSenml` for what is no pack of JSON.
    """
    senml.require_size(payload, limits)
    try:
        pack = json_text.load(payload, limits.depth_max)
    except MalformedJson as error:
        raise MalformedSenml(str(error)) from None
    return [
        _labelled(record, index) for index, record in enumerate(senml.require_records(pack, limits))
    ]


def decode(payload: bytes, limits: SenmlLimits = DEFAULT_LIMITS) -> Records:
    """The records of a pack as they were sent, each field checked. Raises `MalformedSenml`."""
    return senml.checked(load(payload, limits))


def resolve(
    payload: bytes, now: float | None, limits: SenmlLimits = DEFAULT_LIMITS
) -> list[ResolvedRecord]:
    """The records of a pack with the base fields applied, as `senml.resolve` gives them."""
    return senml.resolved(load(payload, limits), now, limits)


def encode(records: Sequence[Fields]) -> bytes:
    """A pack of records that keep to RFC 8428 §4 already. Raises `InvalidValue`."""
    try:
        return msgspec.json.encode([_named(record) for record in records])
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidValue("SenML pack", str(error)) from error


def _named(record: Fields) -> dict[Label, Any]:
    return {
        NAMES.get(label, label): base64_text.url_safe(item) if label == DATA_VALUE else item
        for label, item in record.items()
    }


def _labelled(record: Any, index: int) -> Any:
    if type(record) is not dict:
        raise MalformedSenml("a record is a map", index)
    fields = {_LABELS.get(name, name): item for name, item in record.items()}
    data = fields.get(DATA_VALUE)
    if type(data) is str:
        fields[DATA_VALUE] = base64_text.octets(data)
        if fields[DATA_VALUE] is None:
            raise MalformedSenml("vd is not base64", index)
    return fields
