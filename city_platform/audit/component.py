"""The audit component: what it needs is imported when it runs."""

from __future__ import annotations

import os

from city_platform.audit.config import AuditConfig
from city_platform.broker_access import Draw
from runtime.clock import Clock
from runtime.component import Ready


async def run(config: AuditConfig, clock: Clock, ready: Ready, *, draw: Draw = os.urandom) -> None:
    """Keep entries until cancelled; ready with `{"http": address}` once subscribed and serving.

    `draw` is the source of the signing key, and of what the MQTT client needs of chance.
    """
    from city_platform.audit.service import serve

    await serve(config, clock, ready, draw)
