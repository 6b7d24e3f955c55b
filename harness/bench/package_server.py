"""A CoAP server of one file, from which devices fetch firmware: it stands in for a maker's.

`python -m harness.bench.package_server --config FILE`. Whatever path is asked for, the answer is
the package, in blocks, with an ETag that is of its content.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from harness.component_command import run_command
from lwm2m.coap import CoapEndpoint, Event, RequestReceived, Response, TransmissionParameters, codes
from lwm2m.coap.options import ETAG
from lwm2m.transport import EndpointDriver, open_udp
from runtime.clock import Clock
from runtime.component import ConfigError, Ready

ETAG_BYTES: Final = 8
# Blocks of so many bytes in all may be on their way: the body itself is there once.
_TRANSFER_BYTES_MAX: Final = 1 << 32


class PackageServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is served, and where."""

    package_file: str
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 0


def answer_to(event: Event, package: bytes, etag: bytes) -> Response | None:
    """What a request is answered; None for what is no request."""
    if not isinstance(event, RequestReceived):
        return None
    if event.request.code != codes.GET:
        return Response(codes.METHOD_NOT_ALLOWED)
    return Response(codes.CONTENT, package, options=((ETAG, etag),))


def read_package(file: str) -> bytes:
    """The package. Raises `ConfigError` without one."""
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the package {file}: {error.strerror}") from error


def parameters_for(package: bytes) -> TransmissionParameters:
    """CoAP's parameters of a server of this package."""
    return TransmissionParameters(
        payload_bytes_max=max(65_536, len(package)),
        transfer_bytes_max=_TRANSFER_BYTES_MAX,
        # Blocks of 1,024 bytes for everybody: it is on loopback, where nobody's address is forged.
        amplification_factor=0.0,
    )


async def run(config: PackageServerConfig, clock: Clock, ready: Ready) -> None:
    """The component, until it is cancelled. Raises `ConfigError` without a package."""
    package = read_package(config.package_file)
    etag = hashlib.sha256(package).digest()[:ETAG_BYTES]
    endpoint = CoapEndpoint(
        parameters_for(package),
        random.Random(f"{config.seed}/packages/{clock.now_ns()}").randbytes,
    )
    drivers: list[EndpointDriver] = []

    def take(events: Sequence[Event]) -> None:
        for event in events:
            response = answer_to(event, package, etag)
            if response is not None and isinstance(event, RequestReceived):
                drivers[0].respond(event.exchange, response)

    driver = EndpointDriver(endpoint, take)
    drivers.append(driver)
    link = await open_udp(config.host, config.port, driver.receive_datagrams)
    driver.attach(link)
    try:
        host, port = link.address
        ready({"coap": f"{host}:{port}"})
        await asyncio.get_running_loop().create_future()
    finally:
        driver.close()


if __name__ == "__main__":
    sys.exit(run_command(run, PackageServerConfig, package="harness.bench.package_server"))
