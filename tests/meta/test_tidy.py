"""Code stays small, says what it owns, and gives reasons for what it silences."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "contracts",
    "runtime",
    "mqtt",
    "lwm2m",
    "fake_devices",
    "harness",
    "city_platform",
    "scenarios",
)
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
NO_NAMES = frozenset({"common.py", "helpers.py", "misc.py", "util.py", "utils.py"})

CODE = sorted(file for name in PACKAGES for file in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
# A silencer, and what follows it on its line.
_SILENCED = re.compile(
    r"#\s*(?:type:\s*ignore|noqa)(?:\[[^\]]*\]|:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?(.*)"
)


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", CODE, ids=_name)
def test_a_module_is_small_and_says_what_it_owns(file: Path) -> None:
    text = file.read_text()
    assert file.name not in NO_NAMES
    assert text.count("\n") <= FILE_LINES_MAX
    assert ast.get_docstring(ast.parse(text)), "a sentence at the top says what the module owns"


@pytest.mark.parametrize("file", CODE, ids=_name)
def test_functions_are_small(file: Path) -> None:
    long = [
        f"{_name(file)}:{node.lineno} {node.name}"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long


@pytest.mark.parametrize("file", [*CODE, *TESTS], ids=_name)
def test_whatever_is_silenced_says_why(file: Path) -> None:
    if file == Path(__file__):
        return
    without_reason = [
        f"{_name(file)}:{number}"
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (found := _SILENCED.search(line)) and not found[1].strip(" #-:")
    ]
    assert not without_reason
