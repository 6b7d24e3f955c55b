"""`python -m harness.compose setup|hand-out|city|job`: the containers that do one thing and end."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path

import uvloop

from harness.errors import LamplighterError, ScenarioError
from runtime.clock import SystemClock
from runtime.component import ConfigError, read_config

EXIT_OTHER = 3
_CONFIG = Path("/private/config.json")


def main() -> int:
    """Do the one thing; returns the exit code, of `job` that of its verdict."""
    parser = argparse.ArgumentParser(prog="python -m harness.compose", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    for name in ("setup", "hand-out"):
        action = actions.add_parser(name)
        action.add_argument("--into", type=Path, default=Path("/all"), help="folder of folders")
        action.add_argument("--state", type=Path, default=Path("/state"), help="provisioning's")
    for name in ("city", "job"):
        action = actions.add_parser(name)
        action.add_argument("--config", type=Path, default=_CONFIG, help="JSON")
        if name == "job":
            action.add_argument("--devices", type=int, default=100, help="how many take part")
            action.add_argument("--rate", type=float, default=10.0, help="switched on per second")
            action.add_argument("--out", type=Path, default=Path("/reports"), help="folder")
    given = parser.parse_args()
    try:
        return _ACTIONS[given.action](given)
    except (LamplighterError, ConfigError, OSError) as error:
        sys.stderr.write(f"harness.compose: {error}\n")
        return EXIT_OTHER


def _set_up(given: argparse.Namespace) -> int:
    from harness.compose.setup import choices_from, set_up

    choices = choices_from(os.environ)
    made = set_up(given.into, choices, secrets.token_bytes, SystemClock().wall_us())
    sys.stderr.write(f"made: {', '.join(made) or 'nothing, all secrets were there'}\n")
    return 0


def _hand_out(given: argparse.Namespace) -> int:
    from harness.compose.hand_out import hand_out

    written = hand_out(given.state / "pki", given.into, given.state / "handed_out")
    sys.stderr.write(f"{written} files of certificates were handed out\n")
    return 0


def _city(given: argparse.Namespace) -> int:
    from harness.compose.city import CityConfig, provision_city

    config = read_config(given.config, CityConfig)
    sys.stderr.write(f"{uvloop.run(provision_city(config, secrets.token_bytes))}\n")
    return 0


def _job(given: argparse.Namespace) -> int:
    from harness.compose.job import run_job
    from harness.compose.standing_bench import JobConfig

    if not 1 <= given.devices <= 10_000:
        raise ScenarioError(f"--devices {given.devices}: choose 1 to 10,000")
    config = read_config(given.config, JobConfig)
    return uvloop.run(run_job(config, given.devices, given.out, given.rate))


_ACTIONS = {"setup": _set_up, "hand-out": _hand_out, "city": _city, "job": _job}


if __name__ == "__main__":
    sys.exit(main())
