"""`python -m harness.load master|worker --config -`: one process of a load.

`python -m harness.load shares …` writes devices files instead: see `make_shares`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.load.config import MasterConfig, WorkerConfig
from runtime.component import ConfigError, read_config

EXIT_OTHER = 3


def main() -> int:
    """Run one process; returns its exit code."""
    if sys.argv[1:2] == ["shares"]:
        from harness.load.make_shares import main as write_shares

        return write_shares(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="harness.load", description="One process of a load.")
    parser.add_argument("role", choices=["master", "worker"])
    parser.add_argument("--config", type=Path, required=True, help="JSON file, or - for a line")
    arguments = parser.parse_args()
    try:
        from harness.load.locust_process import run_master, run_worker

        if arguments.role == "master":
            return run_master(read_config(arguments.config, MasterConfig))
        return run_worker(read_config(arguments.config, WorkerConfig))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_OTHER


if __name__ == "__main__":
    sys.exit(main())
