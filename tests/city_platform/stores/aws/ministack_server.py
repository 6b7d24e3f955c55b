"""MiniStack on loopback alone, run by the Python of its own environment: `python FILE`.

It prints one line, `{"url": …, "mqtt": [host, port]}`, and ends when its standard input does.
MiniStack would let its MQTT listener hear every interface: the loop here binds all that is bound to
loopback and to a free port.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from typing import Any

LOOPBACK = "127.0.0.1"


class LoopbackOnly(asyncio.SelectorEventLoop):
    """A loop whose servers are on loopback, whatever address is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.bound: list[tuple[str, int]] = []
        self.is_bound = asyncio.Event()

    async def create_server(
        self, factory: Any, host: Any = None, port: Any = None, **more: Any
    ) -> Any:  # type: ignore[override]  # all overloads at once
        if host is not None:
            host, port = LOOPBACK, 0
        server = await super().create_server(factory, host, port, **more)
        if host is not None:
            self.bound += [one.getsockname() for one in server.sockets]
            self.is_bound.set()
        return server


async def main(gateway: socket.socket) -> None:
    """Serve until standard input ends."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    loop = asyncio.get_running_loop()
    assert isinstance(loop, LoopbackOnly)
    ended = asyncio.Event()
    loop.add_reader(0, lambda: os.read(0, 4096) or ended.set())
    config = Config()
    config.bind = [f"fd://{gateway.fileno()}"]
    serving = loop.create_task(serve(app, config, shutdown_trigger=ended.wait))
    # The MQTT listener is opened in the background after the gateway's.
    bound = loop.create_task(loop.is_bound.wait())
    await asyncio.wait([bound, serving], return_when=asyncio.FIRST_COMPLETED)
    url = "http://{}:{}".format(*gateway.getsockname())
    sys.__stdout__.write(json.dumps({"url": url, "mqtt": loop.bound[0]}) + "\n")
    sys.__stdout__.flush()
    await serving


def run() -> None:
    """One gateway socket, known before MiniStack reads its port from the environment."""
    with socket.socket() as gateway:
        gateway.bind((LOOPBACK, 0))
        gateway.listen(128)
        os.environ["GATEWAY_PORT"] = str(gateway.getsockname()[1])
        # What the log says goes to standard error: standard output has one line of ours.
        sys.stdout = sys.stderr
        with asyncio.Runner(loop_factory=LoopbackOnly) as runner:
            runner.run(main(gateway))


if __name__ == "__main__":
    run()
