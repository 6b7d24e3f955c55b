"""Devices whose certificates are revoked lose the broker at once, and come back with others."""

from __future__ import annotations

from typing import Final

from harness import checks
from harness.runner import certificates
from harness.runner.run import Run
from harness.runner.scenario import Scenario

DEVICES = 50
REVOKED: Final = 5
# A device that was thrown off tries again after a second or less.
AWAY_S: Final = 4.0


async def story(run: Run) -> None:
    """Revoke some, see them try in vain, and give them other certificates."""
    await run.provision_rows()
    await run.start_fleet()
    run.switch_on()
    await run.until_online()
    await run.let_telemetry_flow(2 * run.report_every_s)
    thieves = [row.endpoint for row in run.rows][:: max(1, len(run.rows) // REVOKED)][:REVOKED]
    proofs = certificates.proofs_now(run, {}, thieves)
    run.begin("revocation")
    await certificates.revoke(run, thieves)
    await run.let_pass(AWAY_S)
    await certificates.try_old(run, proofs)
    run.begin("readmission")
    await certificates.readmit(run, thieves)
    await run.reach(
        "all devices connected again",
        lambda: run.live.connected >= len(run.rows),
        run.patience_s,
    )
    await certificates.try_old(run, proofs)
    await certificates.note_wanted(run)
    await run.let_telemetry_flow(2 * run.report_every_s, phase="telemetry_after")
    await run.drain()
    await run.end_fleet()


SCENARIO = Scenario(
    name="security.revoked_device_is_thrown_off",
    claim=(
        "A device whose certificate is revoked is thrown off the broker within a second, and "
        "refused until it is given another; no other device notices, and what the device measured "
        "meanwhile is stored once it is back."
    ),
    story=story,
    checks=checks.REVOCATION,
    needs_broker=("embedded",),
    devices=DEVICES,
    takes_s=25.0,
)
