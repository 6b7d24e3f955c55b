"""Starts one component of the platform: `python -m city_platform <component> --config FILE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from runtime.component import ConfigError, read_config, run_process


class _Place(NamedTuple):
    """Where a component lives: its module has `run`, and its configuration under this name.

    `later` are modules that it imports no sooner than it runs.
    """

    module: str
    config: str
    later: tuple[str, ...] = ()


_GATE = (
    "city_platform.identity.gate",
    "city_platform.identity.tokens",
    "city_platform.identity.wiring",
    "city_platform.audit.outbox",
)

# Modules are named, not imported: a process pays only for the component it runs.
COMPONENTS = {
    "provisioning": _Place(
        "city_platform.provisioning",
        "ProvisioningConfig",
        ("city_platform.provisioning.service", "city_platform.audit.acts", *_GATE),
    ),
    "bridge": _Place("city_platform.bridge", "BridgeConfig", ("city_platform.counts_http",)),
    "bootstrap": _Place("city_platform.bootstrap", "BootstrapConfig", _GATE),
    "control": _Place("city_platform.control", "ControlConfig", _GATE),
    "ingestion": _Place("city_platform.ingestion", "IngestionConfig", _GATE),
    "identity": _Place(
        "city_platform.identity", "IdentityConfig", ("city_platform.identity.service", *_GATE)
    ),
    "audit": _Place("city_platform.audit", "AuditConfig", ("city_platform.audit.service", *_GATE)),
    "dashboard": _Place("city_platform.dashboard", "DashboardConfig"),
}


def modules_for(arguments: Sequence[str]) -> tuple[str, ...]:
    """The modules that the component in a command line imports: for who imports them ahead."""
    place = COMPONENTS.get(arguments[0]) if arguments else None
    return (place.module, *place.later) if place else ()


def main(arguments: Sequence[str]) -> int:
    """Run the named component until a signal ends it. Returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m city_platform", description=__doc__)
    parser.add_argument("component", choices=COMPONENTS)
    parser.add_argument("--config", type=Path, required=True, help="JSON, or TOML by file name")
    chosen = parser.parse_args(arguments)
    place = COMPONENTS[chosen.component]
    module = import_module(place.module)
    try:
        config = read_config(chosen.config, getattr(module, place.config))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return run_process(module.run, config, name=chosen.component)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
