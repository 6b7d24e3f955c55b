"""Whether a load's ports are free, asked before anything is started."""

from __future__ import annotations

import asyncio
import os

from harness.errors import ScenarioError
from harness.load.options import LoadOptions


async def check_ports(options: LoadOptions) -> None:
    """Listen for a moment where the master and its page will. Raises `ScenarioError`.

    Locust says that its page is there before it is, and ends when it finds that it cannot be.
    """
    if options.master_host:
        return
    await _check("master", options.master_bind_host, options.master_port)
    if not options.headless:
        await _check("web", options.web_host, options.web_port)


async def _check(what: str, host: str, port: int) -> None:
    bind = "--master-bind-host" if what == "master" else "--web-host"
    try:
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, None if host in ("", "*") else host, port, reuse_address=True
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ScenarioError(
            f"cannot listen at {host}:{port} ({reason}): choose another --{what}-port or {bind}"
        ) from error
    server.close()
    await server.wait_closed()
