"""What a package exports is what its `__init__` lists, in order."""

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
INITS = sorted(file for name in PACKAGES for file in (ROOT / name).rglob("__init__.py"))


def _exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def _defined(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _imported(tree: ast.Module) -> set[str]:
    return {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }


def _used(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _sort_key(name: str) -> tuple[int, list[tuple[int, int | str]]]:
    """CONSTANTS, then Classes, then functions; numbers inside names by value."""
    group = 0 if name.isupper() else 1 if name[0].isupper() else 2
    parts = re.findall(r"\d+|\D+", name)
    return group, [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


@pytest.mark.parametrize("file", INITS, ids=lambda file: str(file.parent.relative_to(ROOT)))
def test_a_package_lists_every_name_that_it_exports_in_order(file: Path) -> None:
    tree = ast.parse(file.read_text())
    defined, imported, listed = _defined(tree), _imported(tree), _exported(tree)
    # What is imported and not used here can only be meant for others.
    public = {name for name in defined | (imported - _used(tree)) if not name.startswith("_")}
    if listed is None:
        assert not public, f"no __all__, and yet {sorted(public)}"
        return
    assert listed == sorted(listed, key=_sort_key)
    assert len(listed) == len(set(listed))
    assert public <= set(listed) <= defined | imported


@pytest.mark.parametrize("file", INITS, ids=lambda file: str(file.parent.relative_to(ROOT)))
def test_a_package_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text()))
