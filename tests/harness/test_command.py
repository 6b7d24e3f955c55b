"""The `lamplighter` command as a process: how it ends when it is interrupted early."""

from __future__ import annotations

import subprocess
import sys

_LOADS_AND_SIGNALS = """
import importlib.abc, os, signal, sys

class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "harness.cli":
            os.kill(os.getpid(), signal.SIGINT)

from harness.command import main
sys.meta_path.insert(0, Interrupts())
sys.argv = ["lamplighter", "list"]
main()
"""


def test_ctrl_c_while_it_loads_is_one_line_and_exit_3() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADS_AND_SIGNALS], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        "lamplighter: interrupted: what was started has been ended, and nothing is judged\n"
    )
