"""`python -m harness.bootstrap_server --config FILE`."""

from __future__ import annotations

import sys

from harness.bootstrap_server.config import BootstrapServerConfig
from harness.bootstrap_server.shell import run
from harness.component_command import run_command

if __name__ == "__main__":
    sys.exit(run_command(run, BootstrapServerConfig, package="harness.bootstrap_server"))
