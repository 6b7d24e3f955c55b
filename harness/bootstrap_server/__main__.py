"""`python -m harness.bootstrap_server --config FILE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.bootstrap_server.config import BootstrapServerConfig
from harness.bootstrap_server.shell import run
from runtime.component import ConfigError, read_config, run_process


def main() -> int:
    """Run the server until a signal; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m harness.bootstrap_server", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON or TOML; - reads a line")
    arguments = parser.parse_args()
    try:
        config = read_config(arguments.config, BootstrapServerConfig)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return run_process(run, config, name="bootstrap_server")


if __name__ == "__main__":
    sys.exit(main())
