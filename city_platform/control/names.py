"""Paths by name: `Light Control/0/Dimmer` is `/3311/0/5851`, as the object definitions have it.

A name that means nothing, or more than one thing, is refused with what it might be.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from lwm2m.objects import Models, ObjectModel, ResourceModel

PATH_LENGTH_MAX: Final = 256
# So many choices are named; more would not be read.
CHOICES_MAX: Final = 8
_PATH: Final = re.compile(r"/?(0|[1-9][0-9]{0,4})(/(0|[1-9][0-9]{0,4})){0,3}", re.ASCII)
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_SPACES: Final = re.compile(r"[\s_]+")
_ID_MAX: Final = 65_535


class UnknownName(ValueError):
    """A name means nothing here, or several things; the text lists what might be meant."""


class _Found(NamedTuple):
    object_id: int
    resource: ResourceModel


class _Known(NamedTuple):
    objects: dict[str, list[ObjectModel]]
    resources: dict[str, list[_Found]]


class ResourceNames:
    """The names of object definitions. Case and runs of spaces do not matter; `_` is a space."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._known: _Known | None = None

    def load(self) -> None:
        """Read the names of all definitions, which is else done for the first one that is asked."""
        known = _Known({}, {})
        for model in self._models.values():
            known.objects.setdefault(_key(model.name), []).append(model)
            for resource in model.resources.values():
                found = _Found(model.id, resource)
                known.resources.setdefault(_key(resource.name), []).append(found)
        self._known = known

    @property
    def _objects(self) -> dict[str, list[ObjectModel]]:
        return self._loaded().objects

    @property
    def _resources(self) -> dict[str, list[_Found]]:
        return self._loaded().resources

    def _loaded(self) -> _Known:
        if self._known is None:
            self.load()
        assert self._known is not None
        return self._known

    @property
    def models(self) -> Models:
        """The definitions, by object id."""
        return self._models

    def path(self, text: str) -> str:
        """The path of numbers that `text` means. Raises `UnknownName`.

        Where a resource is named without an instance, 0 is meant.
        """
        if len(text) > PATH_LENGTH_MAX:
            raise UnknownName(f"a path has at most {PATH_LENGTH_MAX} characters")
        if _PATH.fullmatch(text):
            return self._numbers("/" + text.removeprefix("/"))
        parts = text.strip().strip("/").split("/")
        if len(parts) > 4 and all(_is_number(part) for part in parts):
            raise UnknownName(f"{_shown(text)}: a path has at most 4 levels")
        # A name may hold slashes itself, as `On/Off` does: the instance's number parts the rest.
        at = next((n for n, part in enumerate(parts) if n and _is_number(part)), None)
        if at is None:
            return self._without_instance(text, parts)
        model_id = self._object("/".join(parts[:at]))
        base = f"/{model_id}/{parts[at]}"
        rest = parts[at + 1 :]
        if not rest:
            return self._numbers(base)
        instance = ""
        if len(rest) > 1 and _is_number(rest[-1]):
            instance = f"/{rest.pop()}"
        return self._numbers(f"{base}/{self._resource(model_id, '/'.join(rest))}{instance}")

    def _without_instance(self, text: str, parts: list[str]) -> str:
        objects = self._objects.get(_key(text), [])
        resources = self._resources.get(_key(text), [])
        if len(objects) + len(resources) == 1:
            return f"/{objects[0].id}" if objects else self._path_of(resources[0])
        if objects or resources:
            choices = [f"/{one.id} ({one.name})" for one in objects]
            choices += [self._worded(one) for one in resources]
            raise UnknownName(f"{_shown(text)} may be {_listed(choices)}: say which")
        for at in range(1, len(parts)):
            name = "/".join(parts[:at])
            if self._objects.get(_key(name)) or _is_number(name):
                model_id = self._object(name)
                return f"/{model_id}/0/{self._resource(model_id, '/'.join(parts[at:]))}"
        raise UnknownName(f"{_shown(text)} is no name of an object or resource{self._near(text)}")

    def _object(self, name: str) -> int:
        if _is_number(name):
            return int(name)
        found = self._objects.get(_key(name), [])
        if len(found) == 1:
            return found[0].id
        if found:
            choices = [f"/{one.id} ({one.name})" for one in found]
            raise UnknownName(f"the object {_shown(name)} may be {_listed(choices)}: say which")
        raise UnknownName(f"there is no object {_shown(name)}{_nearest(name, self._objects)}")

    def _resource(self, object_id: int, name: str) -> int:
        if _is_number(name):
            return int(name)
        model = self._models.get(object_id)
        if model is None:
            raise UnknownName(f"/{object_id} has no definition here: name its resources by number")
        own = {one.id: _key(one.name) for one in model.resources.values()}
        found = [number for number, key in own.items() if key == _key(name)]
        if len(found) == 1:
            return found[0]
        if found:
            choices = [f"/{object_id}/0/{number}" for number in found]
            raise UnknownName(f"{_shown(name)} of {model.name} may be {_listed(choices)}")
        names = {_key(one.name): one.name for one in model.resources.values()}
        near = difflib.get_close_matches(_key(name), names, n=CHOICES_MAX) or sorted(names)
        choices = [names[key] for key in near]
        raise UnknownName(f"{model.name} has no {_shown(name)}; it has {_listed(choices)}")

    def _near(self, text: str) -> str:
        near = difflib.get_close_matches(_key(text), [*self._objects, *self._resources], n=3)
        choices = [f"/{one.id} ({one.name})" for key in near for one in self._objects.get(key, ())]
        choices += [self._worded(one) for key in near for one in self._resources.get(key, ())]
        return f"; is it {_listed(choices)}?" if choices else ""

    def _path_of(self, found: _Found) -> str:
        return f"/{found.object_id}/0/{found.resource.id}"

    def _worded(self, found: _Found) -> str:
        name = self._models[found.object_id].name
        return f"{name}/0/{found.resource.name} ({self._path_of(found)})"

    @staticmethod
    def _numbers(path: str) -> str:
        if any(int(level) > _ID_MAX for level in path.split("/")[1:]):
            raise UnknownName(f"{path}: a level is at most {_ID_MAX}")
        return path


def _key(name: str) -> str:
    return _SPACES.sub(" ", name).strip().casefold()


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _shown(text: str) -> str:
    return repr(text[:60])


def _listed(choices: list[str]) -> str:
    more = len(choices) - CHOICES_MAX
    told = ", ".join(choices[:CHOICES_MAX])
    return f"{told} and {more} more" if more > 0 else told


def _nearest(name: str, known: Mapping[str, list[ObjectModel]]) -> str:
    near = difflib.get_close_matches(_key(name), known, n=3)
    choices = [f"/{one.id} ({one.name})" for key in near for one in known[key]]
    return f"; is it {_listed(choices)}?" if choices else ""
