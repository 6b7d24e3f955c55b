"""All connected devices get other certificates, and then others of another authority."""

from __future__ import annotations

from typing import Final

from fake_devices.city import write_manifest
from fake_devices.fleet.own_keys import make_own_keys
from harness import checks
from harness.checks.certificates import OFFLINE_WITHIN_S
from harness.runner import certificates
from harness.runner.run import Run
from harness.runner.scenario import Scenario

DEVICES = 200
# What a device may be without its connection: TCP, TLS and CONNECT anew, on a busy machine.
RECONNECT_S: Final = 5.0
# One device in so many has its private key to itself.
KEEPS_KEY_EVERY: Final = 10
TRIED_MAX: Final = 200
# A bridge writes a device's credentials in some fifteen exchanges.
SECONDS_A_DEVICE: Final = 0.15
SECONDS_AT_LEAST: Final = 60.0


async def story(run: Run) -> None:
    """Bring the fleet online, rotate, try the certificates of before, roll over, and try again."""
    endpoints = [row.endpoint for row in run.rows]
    keepers = endpoints[::KEEPS_KEY_EVERY]
    own = make_own_keys(run.rows, keepers, run.bench.plan.state_dir / certificates.OWN_KEYS)
    within_s = SECONDS_AT_LEAST + SECONDS_A_DEVICE * len(endpoints)
    run.want(**{OFFLINE_WITHIN_S: RECONNECT_S})
    await run.provision(write_manifest(own.rows))
    await run.start_fleet(own_keys=own.files)
    run.switch_on()
    await run.until_online()
    await run.let_telemetry_flow(2 * run.report_every_s)
    tried = endpoints[:: max(1, len(endpoints) // TRIED_MAX)]

    first = certificates.proofs_now(run, own.files, tried)
    await certificates.rotate_everybody(run, within_s=within_s)
    await certificates.try_old(run, first)

    second = certificates.proofs_now(run, own.files, tried)
    await certificates.roll_the_authority_over(run, within_s=within_s)
    await certificates.try_old(run, second)
    await certificates.note_wanted(run)

    await run.let_telemetry_flow(2 * run.report_every_s, phase="telemetry_after")
    await run.drain()
    await run.end_fleet()


SCENARIO = Scenario(
    name="security.fleet_rotates_its_certificates",
    claim=(
        "The certificates of all connected devices are rotated, and then the authority, with two "
        "anchors in between, while devices report: nobody is offline for longer than "
        f"{RECONNECT_S:g} s, nothing is lost, all end on the new certificates, and the old ones "
        "are refused. One device in ten keeps its private key."
    ),
    story=story,
    checks=checks.ROTATION,
    needs_broker=("embedded",),
    devices=DEVICES,
    takes_s=45.0,
    # In the field an hour; what is tried here is the order, and that nobody needs the old one.
    provisioning_settings={"confirmed_valid_s": 2.0, "confirmations_asked_every_s": 5.0},
)
