"""`lamplighter up`: a bench that stays, for people who connect something of their own or look at
simulated devices."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from contracts.manifest import ManifestRow
from fake_devices.devices import MODELS
from harness.bench import configs, topology
from harness.bench.bench import Bench, BenchPlan, bench_up, tap_identity
from harness.bench.device_security import DEVICE_KEYS, server_files, stored_keys
from harness.bench.operators import ADMINISTRATOR, ALL_TENANTS, PASSWORDS_FILE, ROLES
from harness.bench.state import temporary_state
from harness.called import called
from harness.errors import ScenarioError
from harness.runner.cohort import LAMP, Cohort, choose, told_rejections
from harness.runner.live import Live
from harness.runner.scenario import Broker
from harness.runner.simulate import (
    Simulation,
    chosen,
    models_line,
    switch_on,
    told_when_connected,
    wanted_devices,
)
from harness.security import Security
from runtime.clock import SystemClock
from runtime.http_client import HttpClient, HttpError
from runtime.journal import NoJournal

NO_PAGES: Final = "The dashboard has no pages yet: `make dashboard`, then start this again."
# Who has all roles: to look at the whole dashboard with one password.
EVERYTHING: Final = "everything"
# Path of the resource by name, as `lamplighter command` takes it.
LAMP_LEVEL: Final = "Outdoor lamp controller/0/Command"


class UpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may choose."""

    broker: Broker = "embedded"
    security: Security = "psk"
    manifest: Path | None = None
    devices: int | None = None
    state: Path | None = None
    out: Path = Path("reports")
    host: str = "127.0.0.1"
    """Where devices reach the LwM2M server and the broker: an address of this machine."""
    servers: int = 1
    """LwM2M servers, each with a bridge of its own."""
    ports: Mapping[str, int] = {}
    """Of `coap`, `coaps`, `mqtt`, `data`, `control`, `dashboard`; the others take free ones."""
    simulation: Simulation | None = None
    """Simulated devices that come online; None: all devices are somebody else's to switch on."""


async def keep_up(options: UpOptions, console: Console) -> None:
    """Bring everything up, with simulated devices where they are asked for, say how to use it, and
    wait for Ctrl-C.

    Raises `ScenarioError` with what to do.
    """
    _check_host(options.host)
    out, state, simulation = options.out, options.state, options.simulation
    devices = wanted_devices(simulation, options.devices, own=options.manifest is not None)
    cohort = choose(options.manifest, devices, seed=1)
    simulated = [] if simulation is None else chosen(simulation, cohort.rows)
    for line in told_rejections(cohort):
        console.out(line, style="yellow", highlight=False)
    with (
        _alone_in(out / "up", "--out"),
        _kept_in(state) if state else temporary_state() as kept,
    ):
        shutil.rmtree(out / "up" / "logs", ignore_errors=True)
        plan = BenchPlan(
            output_dir=out / "up",
            state_dir=kept,
            broker=options.broker,
            security=options.security,
            host=options.host,
            listens_for_nosec=True,
            journals=simulation is None,
            with_fleet=simulation is not None,
            with_dashboard=True,
            devices=len(simulated),
            ports=options.ports,
            servers=options.servers,
            presence=True,
            fleet_settings=(
                {}
                if simulation is None
                else simulation.fleet_settings(SystemClock().wall_us() / 1e6)
            ),
        )
        try:
            await _keep(plan, cohort, simulation, simulated, console)
        except asyncio.CancelledError:
            console.print("The bench is down.")


def _check_host(host: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ScenarioError(
            f"--host {host!r}: an address in figures, which `ip address` shows"
        ) from None
    if address.is_unspecified or address.version != 4:
        # Devices are told where the broker is, and its certificate names it.
        raise ScenarioError(f"--host {host}: the IPv4 address by which devices reach this machine")


@contextlib.contextmanager
def _kept_in(state: Path) -> Iterator[Path]:
    """The folder of `--state`, for this bench alone."""
    with _alone_in(state, "--state"):
        yield state


@contextlib.contextmanager
def _alone_in(folder: Path, option: str) -> Iterator[None]:
    """Hold the folder for one bench: another would clear the logs of the one that runs, and
    replace its operators' tokens.

    Raises `ScenarioError` when another has it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock.tmp").open("wb")  # by its name no part of a backup
    except OSError as error:
        raise ScenarioError(
            f"cannot write to {folder} ({error.strerror}): choose another folder with {option}"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ScenarioError(
                f"another `lamplighter up` writes to {folder}: choose another folder with "
                f"{option}, or end that one"
            ) from None
        yield


async def _keep(
    plan: BenchPlan,
    cohort: Cohort,
    simulation: Simulation | None,
    simulated: Sequence[ManifestRow],
    console: Console,
) -> None:
    live = Live()

    def heard(process: str, message: Mapping[str, Any]) -> None:
        if configs.is_fleet(process):
            live.fleet_said(message, process)

    async with bench_up(plan, NoJournal(), SystemClock(), heard, live.fail) as bench:
        await bench.import_manifest(cohort.manifest, cohort.content_type)
        await bench.write_device_keys(cohort.rows)
        await bench.operators.add(EVERYTHING, [_everywhere(role) for role in ROLES])
        has_pages = await _has_pages(bench)
        told = how_to_use(bench, cohort.rows, simulated=simulated, has_pages=has_pages)
        # Only the heading is marked up: what follows names folders of the user's.
        heading, _, rest = told.partition("\n")
        console.print(heading, highlight=False)
        console.out(rest, highlight=False)
        if simulation is not None:
            await switch_on(bench, simulation, simulated)
            await told_when_connected(simulation, live, console)
            url = bench.address("dashboard", "url")
            see_them = f"See them at {url} as bench-{EVERYTHING}."
            console.out(see_them if has_pages else NO_PAGES, highlight=False)
        await live.has_failed.wait()
        assert live.failure is not None
        raise live.failure


def _everywhere(role: str) -> dict[str, str]:
    return {"tenant": ALL_TENANTS, "role": role}


async def _has_pages(bench: Bench) -> bool:
    """Whether the dashboard's pages have been built: it starts without them, too."""
    try:
        async with HttpClient(bench.address("dashboard", "http")) as client:
            await client.get("/readyz", dict)
    except (HttpError, OSError):
        return False
    return True


def how_to_use(
    bench: Bench,
    rows: Sequence[ManifestRow],
    *,
    simulated: Sequence[ManifestRow] = (),
    has_pages: bool,
) -> str:
    """The addresses of a bench, and one line each on what to do with them."""
    host, _, port = bench.address("broker", "mqtt").rpartition(":")
    tap = configs.client_files(bench.plan, tap_identity())
    return "\n".join(
        [
            "[bold]The bench is up.[/bold] Ctrl-C ends it.",
            "",
            *_lwm2m_lines(bench),
            *(
                f"  LwM2M, {pair.server:<9} {bench.server_uri(pair.nth)}"
                for pair in topology.pairs(bench.plan)[1:]
            ),
            f"  MQTT (TLS)       mqtts://{bench.address('broker', 'mqtt')}"
            f"   CA: {bench.plan.state_dir}/pki/ca.pem",
            f"  data interface   ws://{bench.address('server', 'data')}/v1/data"
            f"   token: {configs.data_token_file(bench.plan)}",
            *(
                f"  {name:<16} http://{bench.address(name, 'http')}"
                for name in ("provisioning", "control", "ingestion", "identity", "audit")
            ),
            f"  dashboard        {bench.address('dashboard', 'url')}"
            f"{'' if has_pages else '   no pages yet: `make dashboard`, then start this again'}",
            f"  server admin     http://{bench.address('server', 'admin')}"
            f"   token: {configs.token_file(bench.plan)}",
            "",
            *_token_lines(bench),
            "",
            *_device_lines(bench, rows, simulated),
            "",
            *_command_lines(bench, rows, simulated),
            "",
            "Watch what crosses the broker (the certificate's name must be the client id):",
            "",
            f"  mosquitto_sub -h {host} -p {port} -i {tap_identity()} -t 'lwm2m/+/+/event/+' -v \\",
            f"    --cafile {tap['ca_file']} --cert {tap['certificate_file']} \\",
            f"    --key {tap['key_file']}",
            "",
            *_audit_lines(bench),
            "",
            f"Logs: {bench.plan.output_dir}/logs. Interfaces: docs/reference/interfaces.md.",
            *_simulated_lines(simulated),
        ]
    )


def _device_lines(
    bench: Bench, rows: Sequence[ManifestRow], simulated: Sequence[ManifestRow]
) -> list[str]:
    """How a device of somebody's own comes in: as one that nobody else is."""
    taken = {row.endpoint for row in simulated}
    free = [row for row in rows if row.endpoint not in taken]
    if not free:
        return [
            "All provisioned devices are simulated. To connect one of your own, start this with",
            f"--devices {len(rows) + 1} or more.",
        ]
    names = [row.endpoint for row in free]
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    which = "Provisioned endpoint names" if not taken else "Provisioned and not simulated"
    return [
        f"{which}: {', '.join(names[:3])}{more}.",
        "Point an LwM2M client at the LwM2M address with one of them; it will get its MQTT",
        "credentials in /18830/0 and what to publish in /18831. A simulated one:",
        "",
        f"  {device_command(bench, free[0])}",
    ]


def _simulated_lines(simulated: Sequence[ManifestRow]) -> list[str]:
    if not simulated:
        return []
    what = "1 simulated device" if len(simulated) == 1 else f"{len(simulated):,} simulated devices"
    return ["", f"Switching on {what}: {models_line(simulated)} …"]


def _token_lines(bench: Bench) -> list[str]:
    return [
        "Nobody gets in without a token, and each does what its role may. One line a file, for you",
        "alone, replaced before it expires: read it anew for each request.",
        "",
        *(f"  {role:<16} {bench.operators.file(role)}" for role in (*ROLES, EVERYTHING)),
        "",
        f"At the dashboard sign in as bench-{EVERYTHING}, who has all four roles, or as",
        "bench-administrator, bench-provisioner and so on, to see what each may do.",
        f"Passwords: {bench.plan.state_dir}/{PASSWORDS_FILE}",
    ]


def _command_lines(
    bench: Bench, rows: Sequence[ManifestRow], simulated: Sequence[ManifestRow]
) -> list[str]:
    token = bench.operators.file("controller")
    control = bench.address("control", "http")
    lamp = next((row for row in simulated if row.model == LAMP), None)
    endpoint = (lamp or (simulated or rows)[0]).endpoint
    dim = f"write '{LAMP_LEVEL}' --value 40"
    return [
        f"{'Command one' if simulated else 'Then command it'}, in another shell:",
        "",
        f"  export LAMPLIGHTER_CONTROL={control} LAMPLIGHTER_TOKEN_FILE={token}",
        f"  {called()} command send {endpoint} {'read /3/0' if lamp is None else dim}",
        "",
        "or over HTTP, which answers with an id at once, and then tells how the command ended:",
        "",
        f'  curl -H "Authorization: Bearer $(cat {token})" \\',
        '    -H "Content-Type: application/json" \\',
        f"    http://{control}/v1/devices/{endpoint}/commands \\",
        '    -d \'{"operation": "read", "path": "/3/0"}\'',
        f'  curl -H "Authorization: Bearer $(cat {token})" http://{control}/v1/commands/ID',
    ]


def _audit_lines(bench: Bench) -> list[str]:
    token = bench.operators.file(ADMINISTRATOR)
    return [
        "See who did what, and that nobody changed the record of it:",
        "",
        f'  curl -H "Authorization: Bearer $(cat {token})" \\',
        f"    http://{bench.address('audit', 'http')}/v1/audit",
        f"  {called()} audit verify {bench.plan.state_dir}/audit",
    ]


def _lwm2m_lines(bench: Bench) -> list[str]:
    plain = f"coap://{bench.address('server', 'coap')}"
    keys = bench.plan.state_dir / DEVICE_KEYS
    if bench.plan.security == "none":
        return [f"  LwM2M            {plain}"]
    is_psk = bench.plan.security == "psk"
    what = "key, hex" if is_psk else "certificate and key"
    anchors = server_files(bench.plan.state_dir)["trust_anchors_file"]
    return [
        f"  LwM2M            coaps://{bench.address('server', 'coaps')}"
        f"   {what}: {keys}/ENDPOINT.*",
        *(
            []
            if is_psk
            else [f"                   the server's certificate is signed by {anchors}"]
        ),
        f"                   {plain}   for devices without a key: they get no credentials",
    ]


def device_command(bench: Bench, row: ManifestRow) -> str:
    """What brings a simulated device in as one that was provisioned."""
    model = f" --model {row.model}" if row.model in MODELS else ""
    command = f"{called()} device --endpoint {row.endpoint}{model}"
    if bench.plan.security == "none":
        return f"{command} --server coap://{bench.address('server', 'coap')}"
    command += f" --server coaps://{bench.address('server', 'coaps')}"
    made = bench.plan.state_dir / DEVICE_KEYS / row.endpoint
    if bench.plan.security == "x509":
        anchors = server_files(bench.plan.state_dir)["trust_anchors_file"]
        return f"{command} --certificate {made}.pem --key {made}.key --trust {anchors}"
    identity = stored_keys(bench.plan.state_dir)[row.endpoint].identity
    said = "" if identity == row.endpoint else f" --identity {shlex.quote(identity)}"
    return f"{command}{said} --psk {made}.psk"


def _nobody(process: str, message: Mapping[str, Any]) -> None:
    """What processes say has no reader here."""
