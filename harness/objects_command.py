"""`lamplighter objects`: what is known of objects, and what is wrong with definitions of a user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lwm2m.errors import DefinedTwice, MalformedDefinition
from lwm2m.objects import (
    CheckedXml,
    ModelRegistry,
    ObjectModel,
    Problem,
    check_xml,
    read_definition,
)

EXIT_FINE = 0
EXIT_ERRORS = 1


class Printed(NamedTuple):
    """What the command prints, and its exit status: 1 when there is an error."""

    lines: tuple[str, ...]
    exit_code: int


def check_files(paths: Sequence[Path]) -> Printed:
    """Check files of OMA object XML (or our own JSON), and folders of them.

    One line a problem, `file:line: error|warning: what; what to do`, and one that sums up.
    """
    registry = ModelRegistry()
    problems: list[Problem] = []
    files = list(_files(paths))
    if not files:
        folders = ", ".join(map(str, paths))
        return Printed(
            (f"{folders}: no file *.xml in it; name files or their folder",), EXIT_ERRORS
        )
    count = 0
    for file in files:
        models, found = _checked(file)
        problems += found
        count += len(models)
        for model in models:
            problems += _clashes(registry, model, str(file))
    errors = sum(problem.severity == "error" for problem in problems)
    ending = ", ".join(
        [
            _counted(len(files), "file"),
            _counted(count, "object"),
            _counted(errors, "error"),
            _counted(len(problems) - errors, "warning"),
        ]
    )
    lines = (*[str(problem) for problem in problems], ending)
    return Printed(lines, EXIT_ERRORS if errors else EXIT_FINE)


def list_objects() -> Printed:
    """The built-in definitions, a line an object: id, versions, name, how many resources."""
    registry = ModelRegistry()
    newest = registry.models_for({})
    rows = []
    for object_id in newest:
        versions = registry.versions_of(object_id)
        model = registry.model(object_id, versions[-1])
        assert model is not None
        resources = _counted(len(model.resources), "resource")
        rows.append(f"{object_id:>5}  {' '.join(versions):<16} {model.name} ({resources})")
    return Printed(tuple(rows), EXIT_FINE)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.xml"))
        else:
            yield path


def _checked(file: Path) -> CheckedXml:
    try:
        data = file.read_bytes()
    except OSError as error:
        what = f"it cannot be read ({error.strerror})"
        return _refused(file, what, "name a file of object XML")
    if file.suffix != ".json":
        return check_xml(data, str(file))
    try:
        return CheckedXml((read_definition(data),), ())
    except MalformedDefinition as error:
        return _refused(file, str(error), "see fixtures/objects/README.md for the form")


def _refused(file: Path, what: str, remedy: str) -> CheckedXml:
    return CheckedXml((), (Problem(str(file), 1, "error", what, remedy),))


def _clashes(registry: ModelRegistry, model: ObjectModel, source: str) -> list[Problem]:
    """What is wrong with this definition beside those that are known already."""
    known = registry.model(model.id, model.version)
    try:
        registry.add(model)
    except DefinedTwice:
        if known == model:
            return []
        what = f"/{model.id} {model.version} is defined already, and differently"
        return [Problem(source, 1, "warning", what, "give it a version of its own")]
    return []


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
