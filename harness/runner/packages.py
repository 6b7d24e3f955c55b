"""A firmware package for devices to fetch, on a server of its own that counts as emulated."""

from __future__ import annotations

import base64
from typing import Final

from harness.runner.run import Run
from runtime.files import write_atomically

PACKAGE_SERVER: Final = "package_server"
_FILE: Final = "firmware.bin"


async def serve_package(run: Run, package: bytes) -> str:
    """Serve a package by CoAP until the bench goes down; returns its URI."""
    file = run.bench.plan.state_dir / _FILE
    write_atomically(file, package)
    process = await run.bench.start_further(
        PACKAGE_SERVER,
        "emulated",
        ["-m", "harness.bench.package_server"],
        {"package_file": str(file), "seed": run.options.seed},
    )
    return f"coap://{process.addresses['coap']}/firmware"


def encode_base64(package: bytes) -> str:
    """As opaque values travel in JSON."""
    return base64.b64encode(package).decode()
