"""`lamplighter up`: a bench that stays, for people who connect something of their own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.bench import configs
from harness.bench.bench import Bench, BenchPlan, bench_up, tap_identity
from harness.bench.device_security import DEVICE_KEYS
from harness.bench.state import temporary_state
from harness.runner.cohort import Cohort, choose, told_rejections
from harness.runner.scenario import Broker
from harness.security import Security
from runtime.clock import SystemClock
from runtime.journal import NoJournal


async def keep_up(
    broker: Broker,
    security: Security,
    manifest: Path | None,
    devices: int | None,
    state: Path | None,
    out: Path,
    ports: Mapping[str, int],
    console: Console,
) -> None:
    """Bring everything but the fleet up, say how to use it, and wait for Ctrl-C.

    `ports` fixes some of `coap`, `coaps`, `mqtt`, `data`, `control`; the others take free ones.
    """
    cohort = choose(manifest, devices, seed=1)
    for line in told_rejections(cohort):
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    shutil.rmtree(out / "up" / "logs", ignore_errors=True)
    with contextlib.nullcontext(state) if state else temporary_state() as kept:
        plan = BenchPlan(
            output_dir=out / "up",
            state_dir=kept,
            broker=broker,
            security=security,
            listens_for_nosec=True,
            with_fleet=False,
            ports=ports,
        )
        try:
            await _keep(plan, cohort, console)
        except asyncio.CancelledError:
            console.print("The bench is down.")


async def _keep(plan: BenchPlan, cohort: Cohort, console: Console) -> None:
    failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def failed(error: Exception) -> None:
        if not failure.done():
            failure.set_exception(error)
            failure.exception()  # seen: who starts the bench may be told first

    try:
        async with bench_up(plan, NoJournal(), SystemClock(), _nobody, failed) as bench:
            await bench.import_manifest(cohort.manifest, cohort.content_type)
            await bench.write_device_keys(cohort.rows)
            told = how_to_use(bench, [row.endpoint for row in cohort.rows])
            console.print(told, highlight=False, soft_wrap=True)
            await failure
    finally:
        failure.cancel()


def how_to_use(bench: Bench, endpoints: list[str]) -> str:
    """The addresses of a bench, and one line each on what to do with them."""
    token = configs.token_file(bench.plan)
    control = bench.address("control", "http")
    host, _, port = bench.address("broker", "mqtt").rpartition(":")
    tap = configs.client_files(bench.plan, tap_identity())
    return "\n".join(
        [
            "[bold]The bench is up.[/bold] Ctrl-C ends it.",
            "",
            *_lwm2m_lines(bench),
            f"  MQTT (TLS)       mqtts://{bench.address('broker', 'mqtt')}"
            f"   CA: {bench.plan.state_dir}/pki/ca.pem",
            f"  data interface   ws://{bench.address('server', 'data')}/v1/data"
            f"   token: {configs.data_token_file(bench.plan)}",
            *(
                f"  {name:<16} http://{bench.address(name, 'http')}"
                for name in ("provisioning", "control", "ingestion", "bootstrap")
            ),
            f"  server admin     http://{bench.address('server', 'admin')}",
            f"  bearer token     {token}",
            "",
            f"Provisioned endpoint names: {', '.join(endpoints[:3])}"
            f"{f' and {len(endpoints) - 3} more' if len(endpoints) > 3 else ''}.",
            "Point an LwM2M client at the LwM2M address with one of them; it will get its MQTT",
            "credentials in /18830/0 and what to publish in /18831. Then command it:",
            "",
            f'  curl -H "Authorization: Bearer $(cat {token})" \\',
            '    -H "Content-Type: application/json" \\',
            f"    http://{control}/v1/devices/{endpoints[0]}/commands \\",
            '    -d \'{"operation": "read", "path": "/3/0"}\'',
            "",
            "It answers with an id; how the command ended:",
            "",
            f'  curl -H "Authorization: Bearer $(cat {token})" http://{control}/v1/commands/ID',
            "",
            "Watch what crosses the broker (the certificate's name must be the client id):",
            "",
            f"  mosquitto_sub -h {host} -p {port} -i {tap_identity()} -t 'lwm2m/+/+/event/+' -v \\",
            f"    --cafile {tap['ca_file']} --cert {tap['certificate_file']} \\",
            f"    --key {tap['key_file']}",
            "",
            f"Logs: {bench.plan.output_dir}/logs. Interfaces: docs/reference/interfaces.md.",
        ]
    )


def _lwm2m_lines(bench: Bench) -> list[str]:
    plain = f"coap://{bench.address('server', 'coap')}"
    keys = bench.plan.state_dir / DEVICE_KEYS
    if bench.plan.security == "none":
        return [f"  LwM2M            {plain}"]
    what = "key, hex" if bench.plan.security == "psk" else "certificate and key"
    return [
        f"  LwM2M            coaps://{bench.address('server', 'coaps')}"
        f"   {what}: {keys}/ENDPOINT.*",
        f"                   {plain}   for devices without a key: they get no credentials",
    ]


def _nobody(process: str, message: Mapping[str, Any]) -> None:
    """What processes say has no reader here."""
