"""Object definitions in our own form: JSON, a resource a line, facts only."""

from __future__ import annotations

import msgspec

from lwm2m.errors import MalformedDefinition
from lwm2m.objects.model import ObjectModel, ResourceModel


class _Definition(msgspec.Struct, forbid_unknown_fields=True):
    """One file: an object version, its resources in order of id."""

    id: int
    name: str
    version: str
    lwm2m_version: str
    resources: list[ResourceModel]
    multiple: bool = False
    mandatory: bool = False


_decoder = msgspec.json.Decoder(_Definition)


def read_definition(data: bytes) -> ObjectModel:
    """The object that one definition file describes. Raises `MalformedDefinition`."""
    try:
        found = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedDefinition(f"not an object definition: {error}") from error
    resources = {resource.id: resource for resource in found.resources}
    if len(resources) != len(found.resources):
        raise MalformedDefinition(f"/{found.id} {found.version} defines a resource twice")
    return ObjectModel(
        found.id,
        found.name,
        found.version,
        found.lwm2m_version,
        found.multiple,
        found.mandatory,
        resources,
    )


def write_definition(model: ObjectModel) -> bytes:
    """The file that `read_definition` reads back, a line a resource."""
    flags = [name for name in ("multiple", "mandatory") if getattr(model, name)]
    head = {
        "id": model.id,
        "name": model.name,
        "version": model.version,
        "lwm2m_version": model.lwm2m_version,
        **dict.fromkeys(flags, True),
    }
    lines = [
        _line(msgspec.structs.asdict(resource)) for _id, resource in sorted(model.resources.items())
    ]
    resources = ",\n  ".join(lines)
    return f'{_line(head)[:-1]},\n "resources": [\n  {resources}\n]}}\n'.encode()


def _line(fields: dict[str, object]) -> str:
    kept = {
        name: _plain(item)
        for name, item in fields.items()
        if name in ("id", "name") or item not in (False, "", None)
    }
    return msgspec.json.format(msgspec.json.encode(kept), indent=0).decode()


def _plain(item: object) -> object:
    if not isinstance(item, msgspec.Struct):
        return item
    # Whole bounds without a point, as people write them.
    return {name: _whole(bound) for name, bound in msgspec.to_builtins(item).items()}


def _whole(bound: object) -> object:
    if isinstance(bound, list | tuple):
        return [_whole(each) for each in bound]
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound
