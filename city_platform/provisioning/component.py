"""The provisioning component: makes its key files first, then opens its stores and serves."""

from __future__ import annotations

import secrets
from pathlib import Path

from city_platform.provisioning.certificates import Draw
from city_platform.provisioning.config import ProvisioningConfig
from city_platform.provisioning.crl import write_first_lists
from city_platform.provisioning.pki import open_pki
from runtime.clock import Clock
from runtime.component import Ready, say


async def run(
    config: ProvisioningConfig, clock: Clock, ready: Ready, *, draw: Draw = secrets.token_bytes
) -> None:
    """Provision devices until cancelled.

    Says `{"pki": folder}` as soon as the installation's key files are there and is ready with
    `{"http": address}`. `draw` is the source of keys, serial numbers and ids.
    """
    folder = Path(config.state_dir) / "pki"
    authorities = open_pki(folder, config.services, config.broker_hosts, clock.wall_us(), draw)
    write_first_lists(folder, authorities, clock.wall_us())
    say({"pki": str(folder)})
    # Imported now: all others of an installation wait for the key files, and not for these.
    from city_platform.provisioning.service import serve

    await serve(config, clock, ready, draw, authorities)
