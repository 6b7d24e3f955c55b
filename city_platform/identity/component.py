"""The identity component: what it needs is imported when it runs, not by who wants a gate."""

from __future__ import annotations

import os
from collections.abc import Callable

from city_platform.identity.config import IdentityConfig
from runtime.clock import Clock
from runtime.component import Ready


async def run(
    config: IdentityConfig,
    clock: Clock,
    ready: Ready,
    *,
    draw: Callable[[int], bytes] = os.urandom,
) -> None:
    """Sign people in until cancelled; ready with `{"http": address}`.

    While nobody can sign in, it says `{"set_up": link}` before that: whoever opens the link first
    becomes the installation's administrator. `draw` is the source of ids, tokens and links.
    """
    from city_platform.identity.service import serve

    await serve(config, clock, ready, draw)
