"""What is wrong with files of object definitions, told so that their author can correct it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import msgspec

from lwm2m.errors import MalformedDefinition
from lwm2m.objects.model import ObjectModel


class Problem(msgspec.Struct, frozen=True):
    """What is wrong at one line of a file, and what to do about it."""

    source: str
    line: int
    severity: Literal["error", "warning"]
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.severity}: {self.what}; {self.remedy}"


class CheckedXml(NamedTuple):
    """What a file defines, and what is wrong with it. With errors nothing is defined."""

    models: tuple[ObjectModel, ...]
    problems: tuple[Problem, ...]


def check_xml(data: bytes, source: str) -> CheckedXml:
    """The objects that a file of OMA object XML defines, and every error and warning by line.

    `source` names the file in messages.
    """
    # Here, because most processes never read XML: the reader is a fifth of this package's import.
    from lwm2m.objects.object_xml import read_objects

    models, problems = read_objects(data, source)
    ordered = tuple(sorted(problems, key=lambda problem: problem.line))
    return CheckedXml(() if any(_errors(ordered)) else tuple(models), ordered)


def read_xml(data: bytes, source: str) -> ObjectModel:
    """The one object that a file of OMA object XML defines; `source` names it in messages.

    Raises `MalformedDefinition` with all errors of the file, each with its line.
    """
    models, problems = check_xml(data, source)
    errors = [str(problem) for problem in _errors(problems)]
    if errors:
        raise MalformedDefinition(*errors)
    if len(models) != 1:
        problem = Problem(
            source, 1, "error", f"{len(models)} objects", "put each into a file of its own"
        )
        raise MalformedDefinition(str(problem))
    return models[0]


def _errors(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]
