"""Code stays small, says what it owns, and gives reasons for what it silences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.meta.sources import PACKAGES, by_folder, faults, files_of

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
NO_NAMES = frozenset({"common.py", "helpers.py", "misc.py", "util.py", "utils.py"})

CODE = by_folder(files_of(*PACKAGES))
TESTS = by_folder(files_of("tests"))
# A silencer, and what follows it on its line.
_SILENCED = re.compile(
    r"#\s*(?:type:\s*ignore|noqa)(?:\[[^\]]*\]|:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?(.*)"
)


def _too_large(file: Path) -> Iterator[str]:
    lines = file.read_text().count("\n")
    if lines > FILE_LINES_MAX:
        yield f" {lines} lines, over {FILE_LINES_MAX}"
    if file.name in NO_NAMES:
        yield " a name that says nothing"


def _untidy(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    if not ast.get_docstring(tree):
        yield "1 no sentence at the top that says what the module owns"
    yield from _long_functions(tree)


def _long_functions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.lineno} {node.name}: {lines} lines, over {FUNCTION_LINES_MAX}"


def _without_reason(file: Path) -> Iterator[str]:
    if file == Path(__file__):
        return
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if (found := _SILENCED.search(line)) and not found[1].strip(" #-:"):
            yield f"{number} {line.strip()}"


@pytest.mark.parametrize("folder", [*CODE, *TESTS])
def test_a_module_is_small_and_its_name_says_something(folder: str) -> None:
    assert faults((CODE | TESTS)[folder], _too_large) == []


@pytest.mark.parametrize("folder", CODE)
def test_a_module_says_what_it_owns_and_its_functions_are_small(folder: str) -> None:
    assert faults(CODE[folder], _untidy) == []


@pytest.mark.parametrize("folder", TESTS)
def test_the_functions_of_tests_are_small_too(folder: str) -> None:
    assert faults(TESTS[folder], lambda file: _long_functions(ast.parse(file.read_text()))) == []


@pytest.mark.parametrize("folder", [*CODE, *TESTS])
def test_whatever_is_silenced_says_why(folder: str) -> None:
    assert faults((CODE | TESTS)[folder], _without_reason) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"""It owns this."""\n', []),
        ("x = 1\n", ["1 no sentence at the top that says what the module owns"]),
        ('"""It."""\ndef long():\n' + "    x = 1\n" * 60, ["2 long: 61 lines, over 60"]),
    ],
)
def test_what_is_untidy_is_found(tmp_path: Path, text: str, found: list[str]) -> None:
    file = tmp_path / "module.py"
    file.write_text(text)
    assert list(_untidy(file)) == found


def test_a_silencer_without_a_reason_and_a_file_that_is_too_large_are_found(tmp_path: Path) -> None:
    file = tmp_path / "utils.py"
    silenced = "x = 1  # " + "noqa: E501"
    file.write_text(f"{silenced}  # why\n{silenced}\n" + "\n" * FILE_LINES_MAX)
    assert list(_without_reason(file)) == [f"2 {silenced}"]
    assert list(_too_large(file)) == [" 502 lines, over 500", " a name that says nothing"]
