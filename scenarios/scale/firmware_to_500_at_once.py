"""New firmware for five hundred lamps at once: half of them are given it, half fetch it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from contracts.data_interface import Value
from contracts.load import FirmwareOffered
from harness import checks
from harness.checks.firmware import STATE_PATH, VERSION_PATH
from harness.runner.arrivals import all_register, end
from harness.runner.packages import encode_base64, serve_package
from harness.runner.run import Run
from harness.runner.scenario import Scenario
from harness.runner.server_side import Wanted, operate
from lwm2m.firmware import FirmwarePackage, encode_package

ARRIVALS_PER_S = 100.0
VERSION: Final = "2.0.0"
PULLED_BYTES = 128 * 1024
# A device keeps what is pushed in memory, and its CoAP side takes 64 KiB, 16 MiB from all.
PUSHED_BYTES = 32 * 1024
PUSHED_BYTES_IN_ALL = 12 * 1024 * 1024
DOWNLOADED: Final = 2
ASKED_EVERY_S = 2.0
ARRIVED_WITHIN_S = 240.0
INSTALL_S = 1.0


class Offer(NamedTuple):
    """A package, and the operation that starts its way to every one of `endpoints`."""

    endpoints: Sequence[str]
    package: bytes
    path: str
    value: Value


async def story(run: Run) -> None:
    """Register all, push and pull at once, wait until each has it, install, and ask."""
    await all_register(run, "five_hundred", ARRIVALS_PER_S)
    endpoints = [row.endpoint for row in run.rows]
    pushed, pulled = endpoints[::2], endpoints[1::2]
    images = random.Random(f"{run.options.seed}/firmware")
    fetched = new_package(images, PULLED_BYTES)
    uri = await serve_package(run, fetched)
    given = new_package(images, min(PUSHED_BYTES, PUSHED_BYTES_IN_ALL // max(1, len(pushed))))
    offers = [
        Offer(pushed, given, "/5/0/0", Value("/5/0/0", "opaque", encode_base64(given))),
        Offer(pulled, fetched, "/5/0/1", Value("/5/0/1", "string", uri)),
    ]
    run.begin("firmware")
    _note_offers(run, offers)
    await operate(run, _writes(offers), connections=len(endpoints))
    await until_downloaded(run, endpoints)
    run.begin("install")
    await operate(run, [Wanted(each, "execute", "/5/0/2") for each in endpoints])
    await run.let_pass(INSTALL_S)
    await until_version(run, endpoints)
    await end(run)


def new_package(chance: random.Random, image_bytes: int) -> bytes:
    """A package for any model, of random bytes: nothing on the way can guess them."""
    return encode_package(FirmwarePackage("lamp", VERSION, chance.randbytes(image_bytes)))


def _note_offers(run: Run, offers: Sequence[Offer]) -> None:
    now_ns = run.clock.now_ns()
    for offer in offers:
        digest = hashlib.sha256(offer.package).hexdigest()
        for endpoint in offer.endpoints:
            run.journal.record(
                FirmwareOffered(
                    at_ns=now_ns,
                    endpoint=endpoint,
                    way="push" if offer.path == "/5/0/0" else "pull",
                    package_bytes=len(offer.package),
                    sha256=digest,
                    intended_at_ns=now_ns,
                )
            )


def _writes(offers: Sequence[Offer]) -> list[Wanted]:
    return [
        Wanted(endpoint, "write", offer.path, [offer.value])
        for offer in offers
        for endpoint in offer.endpoints
    ]


async def until_downloaded(run: Run, endpoints: Sequence[str]) -> None:
    """Ask again and again those that have not said yet that they checked their package."""
    await _until(run, endpoints, STATE_PATH, DOWNLOADED, ARRIVED_WITHIN_S)


async def until_version(run: Run, endpoints: Sequence[str]) -> None:
    """The same of those that have not said yet that they run the new version."""
    await _until(run, endpoints, VERSION_PATH, VERSION, run.patience_s)


async def _until(
    run: Run, endpoints: Sequence[str], path: str, value: int | str, within_s: float
) -> None:
    open_endpoints, due_s = list(endpoints), run.clock.now_ns() / 1e9 + within_s
    expected: Mapping[str, str] = {VERSION_PATH: VERSION}
    while open_endpoints and run.clock.now_ns() / 1e9 < due_s:
        await run.let_pass(ASKED_EVERY_S)
        asked = [Wanted(each, "read", path, expected=expected.get(path)) for each in open_endpoints]
        answers = await operate(run, asked)
        open_endpoints = [each.endpoint for each in answers if each.value != value]
    if open_endpoints:
        run.give_up(f"{len(open_endpoints)} devices did not come to {path} = {value}")


SCENARIO = Scenario(
    name="scale.firmware_to_500_at_once",
    claim=(
        "Five hundred devices get firmware at once, half of them by blocks that are written, half "
        "by blocks that they fetch: each has exactly the image that it was offered, and runs it."
    ),
    story=story,
    checks=checks.FIRMWARE,
    devices=500,
    takes_s=90.0,
    with_platform=False,
    needs_security=("none", "psk"),
    fleet_settings={"firmware": {"verify_s": 0.2, "install_s": INSTALL_S}},
)
