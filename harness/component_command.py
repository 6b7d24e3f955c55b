"""The command line of a component of the bench that runs in a process of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from runtime.component import Component, ConfigError, read_config, run_process

# What a process exits with whose configuration cannot be used; see `lamplighter`'s exit codes.
_UNUSABLE = 3


def run_command(component: Component, kind: type[msgspec.Struct], *, package: str) -> int:
    """Run `python -m package --config FILE`: `component`, with a configuration of this `kind`,
    until a signal. Returns the exit code: 3 for a configuration that cannot be used."""
    usage = f"python -m {package}"
    parser = argparse.ArgumentParser(prog=usage, description=f"`{usage} --config FILE`.")
    parser.add_argument("--config", type=Path, required=True, help="JSON or TOML; - reads a line")
    arguments = parser.parse_args()
    try:
        config = read_config(arguments.config, kind)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return _UNUSABLE
    return run_process(component, config, name=package.rpartition(".")[2])
