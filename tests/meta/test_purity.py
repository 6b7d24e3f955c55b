"""Protocol code touches no world; time and chance are handed in, everywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.meta.sources import PACKAGES, by_folder, faults, files_of, name_of

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
GIVERS = frozenset({"datetime", "random", "time"})
READS_A_CLOCK = ("time.", "datetime.now", "datetime.utcnow", "datetime.datetime.now")


def _imports(tree: ast.AST, *, plain: bool = True) -> Iterator[tuple[int, str]]:
    """Line and name of every import, also those inside functions; not `import x` unless plain."""
    for node in ast.walk(tree):
        if plain and isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "." * node.level


def _calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of every call of something in the modules that give time and chance."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            owner = node.func
            while isinstance(owner, ast.Attribute):
                owner = owner.value
            if isinstance(owner, ast.Name) and owner.id in GIVERS:
                yield node.lineno, ast.unparse(node.func)


PURE = by_folder(
    file
    for file in files_of("contracts", "lwm2m", "mqtt")
    if not name_of(file).startswith(tuple(f"{shell}/" for shell in SHELLS))
)
CODE = by_folder(files_of(*PACKAGES))


def _worldly(file: Path) -> Iterator[str]:
    for line, name in _imports(ast.parse(file.read_text())):
        if name.split(".")[0] in WORLD:
            yield f"{line} imports {name}"


def _by_itself(file: Path) -> Iterator[str]:
    """Where a module reads a clock or draws lots by itself."""
    if name_of(file) in CLOCKS:
        return
    tree = ast.parse(file.read_text())
    for line, call in _calls(tree):
        if call.startswith(READS_A_CLOCK) or (
            call.startswith("random.") and not call.startswith(SEEDED)
        ):
            yield f"{line} calls {call}"
    for line, name in _imports(tree, plain=False):
        if name in ("time", "random"):
            yield f"{line} imports from {name}"


@pytest.mark.parametrize("folder", PURE)
def test_protocol_code_imports_nothing_that_touches_the_world(folder: str) -> None:
    assert faults(PURE[folder], _worldly) == []


@pytest.mark.parametrize("folder", CODE)
def test_time_and_chance_are_handed_in(folder: str) -> None:
    assert faults(CODE[folder], _by_itself) == []


def test_what_is_not_handed_in_is_found() -> None:
    tree = ast.parse(
        "import time\nfrom random import choice\nfrom . import x\ntime.sleep(1)\nx.y()"
    )
    assert list(_imports(tree)) == [(1, "time"), (2, "random"), (3, ".")]
    assert list(_imports(tree, plain=False)) == [(2, "random"), (3, ".")]
    assert list(_calls(tree)) == [(4, "time.sleep")]
