"""Definitions of several versions of objects side by side: the built-in ones and a user's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from lwm2m.errors import DefinedTwice
from lwm2m.objects.builtin import builtin_versions
from lwm2m.objects.lazy_models import LazyModels
from lwm2m.objects.model import Models, ObjectModel
from lwm2m.objects.versions import version_for, version_key

# A fleet has a handful of models, and each of them one set of versions.
_COMBINATIONS_KEPT = 256


class ModelRegistry:
    """What is known of objects, by id and version. `versions` None: the built-in definitions."""

    def __init__(self, versions: Mapping[tuple[int, str], ObjectModel] | None = None) -> None:
        self._given = builtin_versions() if versions is None else versions
        self._added: dict[tuple[int, str], ObjectModel] = {}
        self._known: dict[int, tuple[str, ...]] = {}
        for object_id, version in self._given:
            self._remember(object_id, version)
        self._combinations: OrderedDict[frozenset[tuple[int, str]], Models] = OrderedDict()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Object id and version of all definitions, in order."""
        for object_id in sorted(self._known):
            for version in self._known[object_id]:
                yield object_id, version

    def __len__(self) -> int:
        return sum(len(versions) for versions in self._known.values())

    def add(self, model: ObjectModel, *, replaces: bool = False) -> None:
        """Take one more definition in. Mappings that were handed out before do not change.

        Raises `DefinedTwice` when this version of the object is there already, unless it is to be
        replaced.
        """
        key = (model.id, model.version)
        if not replaces and (key in self._added or key in self._given):
            raise DefinedTwice(f"/{model.id} {model.version} ({model.name}) is defined already")
        self._added[key] = model
        self._remember(*key)
        self._combinations.clear()

    def versions_of(self, object_id: int) -> tuple[str, ...]:
        """The versions of an object that are defined, oldest first."""
        return self._known.get(object_id, ())

    def model(self, object_id: int, version: str) -> ObjectModel | None:
        """The definition of exactly this version; None when there is none."""
        key = (object_id, version)
        return self._added.get(key) or self._given.get(key)

    def models_for(self, versions: Mapping[int, str]) -> Models:
        """Definitions for a device whose registration names these versions of objects.

        Where the very version is not known, the newest with the same first number serves, and with
        another first number nothing does. Objects without version are taken as `version_for` says.
        """
        combination = frozenset(versions.items())
        found = self._combinations.get(combination)
        if found is None:
            found = self._combinations[combination] = self._combined(versions)
            if len(self._combinations) > _COMBINATIONS_KEPT:
                self._combinations.popitem(last=False)
        return found

    def _combined(self, versions: Mapping[int, str]) -> Models:
        keys = {}
        for object_id in sorted(self._known):
            version = version_for(versions.get(object_id), self._known[object_id])
            if version is not None:
                keys[object_id] = (object_id, version)
        return LazyModels(keys, self._read)

    def _read(self, key: tuple[int, str]) -> ObjectModel:
        return self._added.get(key) or self._given[key]

    def _remember(self, object_id: int, version: str) -> None:
        known = {*self._known.get(object_id, ()), version}
        self._known[object_id] = tuple(sorted(known, key=version_key))
