"""`python -m harness.lwm2m_server --config FILE`."""

from __future__ import annotations

import sys

from harness.component_command import run_command
from harness.lwm2m_server.config import ServerConfig
from harness.lwm2m_server.shell import run

if __name__ == "__main__":
    sys.exit(run_command(run, ServerConfig, package="harness.lwm2m_server"))
