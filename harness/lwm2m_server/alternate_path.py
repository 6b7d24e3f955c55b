"""Devices whose objects do not lie under `/` (`rt="oma.lwm2m"`, LwM2M Core §6.4.1 and RFC 6690).

The alternate path comes before the object path in requests, links and SenML names, and nowhere
else: TLV and LwM2M CBOR begin at the object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from lwm2m.codecs import content_formats, senml_cbor
from lwm2m.errors import MalformedSenml

_IN_CBOR: Final = frozenset({content_formats.SENML_CBOR, content_formats.SENML_ETCH_CBOR})
_IN_JSON: Final = frozenset({content_formats.SENML_JSON, content_formats.SENML_ETCH_JSON})
# Labels of base name and name: CBOR's, JSON's.
_CBOR_LABELS: Final = (senml_cbor.BASE_NAME, senml_cbor.NAME)
_JSON_LABELS: Final = ("bn", "n")

Rename = Callable[[str], str]


def add_root(root: str, content_format: int, payload: bytes) -> bytes:
    """The payload with `root` (no slash at its end) before all names. Raises `MalformedSenml`."""
    return _renamed(content_format, payload, lambda name: root + name)


def strip_root(root: str, content_format: int | None, payload: bytes) -> bytes:
    """The payload without `root` before its names. Raises `MalformedSenml`.

    Names that do not begin with it are left: some devices leave it out themselves.
    """
    return _renamed(content_format, payload, lambda name: without_root(root, name))


def without_root(root: str, path: str) -> str:
    """A path as text without `root`."""
    return path.removeprefix(root) or "/" if f"{path}/".startswith(f"{root}/") else path


def _renamed(content_format: int | None, payload: bytes, rename: Rename) -> bytes:
    if content_format in _IN_CBOR:
        return senml_cbor.encode(_rename(senml_cbor.decode(payload), _CBOR_LABELS, rename))
    if content_format in _IN_JSON:
        return msgspec.json.encode(_rename(_json_records(payload), _JSON_LABELS, rename))
    return payload


def _json_records(payload: bytes) -> list[dict[Any, Any]]:
    try:
        return msgspec.json.decode(payload, type=list[dict[Any, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedSenml("not a list of JSON objects") from None


def _rename(
    records: list[dict[Any, Any]], labels: tuple[Any, Any], rename: Rename
) -> list[dict[Any, Any]]:
    """Records with whole names, renamed, in place of base names."""
    base_label, label = labels
    base = ""
    renamed = []
    for index, record in enumerate(records):
        base = record.get(base_label, base)
        name = record.get(label, "")
        if not (isinstance(base, str) and isinstance(name, str)):
            raise MalformedSenml("a name is no text", index)
        rest = {key: value for key, value in record.items() if key not in labels}
        renamed.append({base_label: "", label: rename(base + name), **rest})
    return renamed
