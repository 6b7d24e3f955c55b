"""The object definitions that come with the package, each read from its file when it is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lwm2m.objects.definition import read_definition
from lwm2m.objects.lazy_models import LazyModels
from lwm2m.objects.model import ObjectModel
from lwm2m.objects.versions import version_key

DEFINITIONS = Path(__file__).parent / "definitions"


def builtin_versions() -> Mapping[tuple[int, str], ObjectModel]:
    """Every built-in definition by object id and version; what is read is kept with the mapping.

    Made anew with each call: keep what you get.
    """
    return LazyModels(_names(), _read)


def builtin_models() -> Mapping[int, ObjectModel]:
    """The newest built-in definition of each object, in order of id; as `builtin_versions`."""
    newest = {object_id: name for (object_id, _version), name in _names().items()}
    return LazyModels(newest, _read)


def _names() -> dict[tuple[int, str], str]:
    """File names by object id and version, in their order. The names alone cost no reading."""
    names = {}
    for name in os.listdir(DEFINITIONS):
        object_id, _, version = name.removesuffix(".json").partition("_")
        names[int(object_id), version] = name
    return dict(sorted(names.items(), key=lambda item: (item[0][0], version_key(item[0][1]))))


def _read(name: str) -> ObjectModel:
    return read_definition((DEFINITIONS / name).read_bytes())
