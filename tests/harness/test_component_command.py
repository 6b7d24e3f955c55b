"""`python -m harness.… --config`: what the servers' processes have in common."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("package", ["harness.lwm2m_server", "harness.bootstrap_server"])
def test_a_configuration_that_cannot_be_used_ends_with_3_and_says_why(
    package: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"server": 1}')
    for file, said in ((config, "is wrong"), (tmp_path / "none.json", "cannot read")):
        done = subprocess.run(
            [sys.executable, "-m", package, "--config", str(file)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 3
        assert said in done.stderr
        assert done.stdout == ""


def test_the_command_line_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness.lwm2m_server", "--help"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "usage: python -m harness.lwm2m_server" in done.stdout
