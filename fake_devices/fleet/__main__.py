"""`python -m fake_devices.fleet --config FILE [--addresses auto|shared|own]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fake_devices.fleet.config import FleetConfig
from fake_devices.fleet.process import run, with_addresses
from runtime.component import ConfigError, read_config, run_process


def main() -> int:
    """Run the fleet process; returns its exit code."""
    parser = argparse.ArgumentParser(prog="fake_devices.fleet", description="Simulated devices.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file, or - for a line")
    parser.add_argument("--addresses", choices=["auto", "shared", "own"], default=None)
    arguments = parser.parse_args()
    try:
        config = with_addresses(read_config(arguments.config, FleetConfig), arguments.addresses)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return run_process(run, config, name="fleet")


if __name__ == "__main__":
    sys.exit(main())
