"""The import contracts of pyproject.toml hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import WITHIN_S

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_package_imports_only_what_its_layer_may() -> None:
    # In a process of its own: import-linter loads and prints a good deal.
    run = subprocess.run(
        [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as c;"
         "c(['--no-cache'])"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
