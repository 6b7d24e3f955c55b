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
from runtime.files import FileRefused, read_file

EXIT_FINE = 0
EXIT_ERRORS = 1
# The largest of the registry has 0.2 MB.
DEFINITION_BYTES_MAX = 4 * 1024 * 1024


class Printed(NamedTuple):
    """What the command prints, and its exit status: 1 when there is an error."""

    lines: tuple[str, ...]
    exit_code: int


def check_files(paths: Sequence[Path]) -> Printed:
    """Check files of OMA object XML (or our own JSON), and folders of them.

    One line a problem, `file:line: error|warning: what; what to do`, and one that sums up.
    """
    builtin, registry = ModelRegistry(), ModelRegistry({})
    sources: dict[tuple[int, str], str] = {}
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
            problems += _replacing(builtin, model, str(file))
            problems += _clashes(registry, sources, model, str(file))
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
        data = read_file(file, DEFINITION_BYTES_MAX)
    except FileRefused as error:
        what = f"it cannot be read ({error})"
        return _refused(file, what, "name a file of object XML")
    if file.suffix != ".json":
        return check_xml(data, str(file))
    try:
        return CheckedXml((read_definition(data),), ())
    except MalformedDefinition as error:
        return _refused(file, str(error), "see fixtures/objects/README.md for the form")


def _refused(file: Path, what: str, remedy: str) -> CheckedXml:
    return CheckedXml((), (Problem(str(file), 1, "error", what, remedy),))


def _replacing(builtin: ModelRegistry, model: ObjectModel, source: str) -> list[Problem]:
    """What a definition of an object that is built in means for that one."""
    versions = builtin.versions_of(model.id)
    known = builtin.model(model.id, model.version)
    if not versions or known == model:
        return []
    if known is not None:
        what = f"/{model.id} {model.version} replaces the built-in {known.name}"
        remedy = "give it a version of its own, or an id that is free, if that is not meant"
        return [Problem(source, 1, "warning", what, remedy)]
    beside = builtin.model(model.id, versions[-1])
    if beside is None or beside.name == model.name:
        return []
    what = f"/{model.id} is {beside.name}, which is built in: {model.name} would be a version of it"
    return [Problem(source, 1, "warning", what, "choose an id that is free, if that is not meant")]


def _clashes(
    registry: ModelRegistry, sources: dict[tuple[int, str], str], model: ObjectModel, source: str
) -> list[Problem]:
    """What is wrong with this definition beside those of the files before it."""
    key = (model.id, model.version)
    known = registry.model(*key)
    try:
        registry.add(model)
    except DefinedTwice:
        how = "in the same words" if known == model else "differently"
        what = f"/{model.id} {model.version} is defined already in {sources[key]}, {how}"
        remedy = "leave one out" if known == model else "give it a version of its own"
        return [Problem(source, 1, "warning", what, remedy)]
    sources[key] = source
    return []


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
