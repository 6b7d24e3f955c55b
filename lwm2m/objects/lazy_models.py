"""Definitions that are read when somebody asks for them, and then kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from lwm2m.objects.model import ObjectModel

K = TypeVar("K")
S = TypeVar("S")


class LazyModels(Mapping[K, ObjectModel], Generic[K, S]):
    """`read` makes the definition of what `sources` has for a key, at most once.

    A process knows a hundred objects and meets ten of them: reading all would double its start.
    """

    __slots__ = ("_models", "_read", "_sources")

    def __init__(self, sources: Mapping[K, S], read: Callable[[S], ObjectModel]) -> None:
        self._sources = sources
        self._read = read
        self._models: dict[K, ObjectModel] = {}

    def __getitem__(self, key: K) -> ObjectModel:
        try:
            return self._models[key]
        except KeyError:
            model = self._models[key] = self._read(self._sources[key])
            return model

    def get(self, key: K, default: Any = None) -> Any:
        """As any mapping's; here because that of `Mapping` is slow, and every value asks."""
        found = self._models.get(key)
        if found is not None:
            return found
        return self[key] if key in self._sources else default

    def __contains__(self, key: object) -> bool:
        return key in self._sources

    def __iter__(self) -> Iterator[K]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)
