"""How `lamplighter` is called from a shell, for command lines that are printed to be copied."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

_NAME = "lamplighter"


def called() -> str:
    """`lamplighter` where the shell finds it, else its path: `.venv/bin/lamplighter`."""
    if shutil.which(_NAME) is not None:
        return _NAME
    # Not resolved: the interpreter of a virtual environment is a link to another folder.
    program = Path(sys.executable).with_name(_NAME)
    if not program.exists():
        return _NAME
    here = os.path.relpath(program)
    return shlex.quote(str(program) if here.startswith("..") else here)
