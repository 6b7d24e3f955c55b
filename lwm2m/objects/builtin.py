"""The object definitions that come with the package, read from its data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from lwm2m.errors import MalformedDefinition
from lwm2m.objects.model import ObjectModel, ResourceModel

DEFINITIONS = Path(__file__).parent / "definitions"


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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
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


def builtin_versions() -> Mapping[tuple[int, str], ObjectModel]:
    """Every built-in definition by object id and version, read anew: keep what you get."""
    models = [read_definition(file.read_bytes()) for file in sorted(DEFINITIONS.glob("*.json"))]
    return MappingProxyType({(model.id, model.version): model for model in models})


def builtin_models() -> Mapping[int, ObjectModel]:
    """The newest built-in definition of each object by object id, read anew: keep what you get."""
    return newest_of(builtin_versions().values())


def newest_of(models: Iterable[ObjectModel]) -> Mapping[int, ObjectModel]:
    """The newest of several versions of each object, in order of id."""
    ordered = sorted(models, key=lambda model: (model.id, _version_key(model.version)))
    return MappingProxyType({model.id: model for model in ordered})


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
