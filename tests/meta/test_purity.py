"""Protocol code touches no world; time and chance are handed in, everywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
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
# The parts that may talk to the world in packages that otherwise may not.
SHELLS = ("lwm2m/transport", "mqtt/transport")
WORLD = frozenset(
    {
        "asyncio",
        "concurrent",
        "logging",
        "multiprocessing",
        "random",
        "secrets",
        "select",
        "selectors",
        "socket",
        "ssl",
        "subprocess",
        "threading",
        "time",
        "uvloop",
    }
)
# Where the machine's own clock is read.
CLOCKS = frozenset({"runtime/clock.py"})
# A generator that is made from a seed is chance handed in; the module's own functions are not.
SEEDED = "random.Random"


def _modules(*packages: str) -> list[Path]:
    return sorted(file for name in packages for file in (ROOT / name).rglob("*.py"))


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "." * node.level


def _calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


PURE = [
    file
    for file in _modules("contracts", "lwm2m", "mqtt")
    if not _name(file).startswith(tuple(f"{shell}/" for shell in SHELLS))
]


@pytest.mark.parametrize("file", PURE, ids=_name)
def test_protocol_code_imports_nothing_that_touches_the_world(file: Path) -> None:
    found = [
        f"{_name(file)}:{line} imports {name}"
        for line, name in _imports(ast.parse(file.read_text()))
        if name.split(".")[0] in WORLD
    ]
    assert not found


@pytest.mark.parametrize("file", _modules(*PACKAGES), ids=_name)
def test_time_and_chance_are_handed_in(file: Path) -> None:
    if _name(file) in CLOCKS:
        return
    tree = ast.parse(file.read_text())
    found = [
        f"{_name(file)}:{line} calls {call}"
        for line, call in _calls(tree)
        if call.startswith(("time.", "datetime.now", "datetime.utcnow", "datetime.datetime.now"))
        or (call.startswith("random.") and not call.startswith(SEEDED))
    ]
    found += [
        f"{_name(file)}:{node.lineno} imports from {node.module}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "random")
    ]
    assert not found
