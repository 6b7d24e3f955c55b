"""Which processes a bench has, and the configuration that each is given.

The platform is known here by its entry points and by the documented fields of its configuration;
none of its code is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from contracts.data_interface import PATH
from contracts.manifest import ManifestRow
from contracts.names import service_identity
from fake_devices.load_profiles import LoadProfile
from harness.bench import topology
from harness.bench.device_security import server_files
from harness.bench.process import Side
from harness.bench.topology import Pair
from runtime.files import write_atomically, write_secret

if TYPE_CHECKING:
    from harness.bench.bench import Bench, BenchPlan
    from harness.runner.scenario import RunOptions

Config = dict[str, Any]
FLEET_FILE = "fleet.ndjson"
PROFILE_FILE = "profile.json"
# What the services of a bench may do with the token that they share: what they need of one another.
SERVICE_ROLES: Final = ("service",)
# An operator's access token; the bench replaces it at half of this.
ACCESS_TOKEN_S: Final = 3_600.0
# As many registrations as the server holds unless it is told to hold more.
REGISTRATIONS_MAX: Final = 180_000

# In the order in which they are started: those that others wait for come first.
PROCESSES: dict[str, tuple[Side, list[str]]] = {
    "provisioning": ("platform", ["-m", "city_platform", "provisioning"]),
    "identity": ("platform", ["-m", "city_platform", "identity"]),
    "broker": ("emulated", ["-m", "harness.mqtt_broker"]),
    "server": ("emulated", ["-m", "harness.lwm2m_server"]),
    "bridge": ("platform", ["-m", "city_platform", "bridge"]),
    "bootstrap": ("platform", ["-m", "city_platform", "bootstrap"]),
    "ingestion": ("platform", ["-m", "city_platform", "ingestion"]),
    "control": ("platform", ["-m", "city_platform", "control"]),
    "audit": ("platform", ["-m", "city_platform", "audit"]),
    "dashboard": ("platform", ["-m", "city_platform", "dashboard"]),
    "fleet": ("fleet", ["-m", "fake_devices.fleet"]),
}

# Those of a bench without MQTT and platform.
LWM2M_PROCESSES: Final = frozenset({"server", "fleet"})


class FleetMember(NamedTuple):
    """One of the fleet processes of a run, and what all of them follow together."""

    nth: int = 0
    of: int = 1
    first_address: int = 0
    profile: LoadProfile | None = None
    schedule_file: Path | None = None

    @property
    def name(self) -> str:
        """Of the process, its journal and its log."""
        return fleet_name(self.nth)


ONLY_FLEET: Final = FleetMember()


def fleet_name(nth: int) -> str:
    """The name of a fleet process: `fleet`, `fleet-2`, `fleet-3`…"""
    return "fleet" if not nth else f"fleet-{nth + 1}"


def is_fleet(process: str) -> bool:
    """Whether a process of this name is a fleet."""
    return process == "fleet" or process.startswith("fleet-")


def processes(plan: BenchPlan) -> dict[str, tuple[Side, list[str]]]:
    """The processes of a bench by name, in the order in which they are started."""
    found = {
        name: process
        for name, process in PROCESSES.items()
        if plan.with_platform or name in LWM2M_PROCESSES
    }
    if not plan.with_dashboard:
        found.pop("dashboard", None)
    fleet = found.pop("fleet")
    for pair in topology.pairs(plan)[1:]:
        found[pair.server_process] = PROCESSES["server"]
        if plan.with_platform:
            found[pair.bridge_process] = PROCESSES["bridge"]
    if plan.with_fleet:
        found |= {fleet_name(index): fleet for index in range(plan.fleet_processes)}
    return found


def token_file(plan: BenchPlan) -> Path:
    """The bearer token of the platform's HTTP interfaces."""
    return plan.state_dir / "api_token"


def data_token_file(plan: BenchPlan) -> Path:
    """The bearer token of the data interface."""
    return plan.state_dir / "data_token"


def identity(plan: BenchPlan, addresses: Mapping[str, str]) -> Config:
    """Configuration of the identity component: the issuer of the bench's operators."""
    return {
        "state_dir": str(_made(plan.state_dir / "identity")),
        "token_file": str(token_file(plan)),
        "token_roles": SERVICE_ROLES,
        "http_port": _port(addresses["identity"]),
        "audit_api": addresses["audit"],
        # Its passwords are drawn, and not to be guessed: a costly hash would only delay the start.
        "password_cost": {"time_cost": 1, "memory_kib": 8, "parallelism": 1},
        "lifetimes": {"access_token_s": ACCESS_TOKEN_S},
    }


def audit(plan: BenchPlan, addresses: Mapping[str, str]) -> Config:
    """Configuration of the audit component. It needs no outbox: nothing that it does is an act."""
    return {
        "state_dir": str(_made(plan.state_dir / "audit")),
        "token_file": str(token_file(plan)),
        "broker": _broker_access(plan, addresses, service_identity("audit")),
        "directory_file": str(plan.state_dir / "devices.sqlite"),
        "http_port": _port(addresses["audit"]),
        "access": {**access(plan, addresses), "state_dir": None},
        "topics": msgspec.to_builtins(plan.topics),
    }


def access(plan: BenchPlan, addresses: Mapping[str, str]) -> Config:
    """Who may come in at a component: the issuer's operators; and services, among themselves."""
    issuer = f"http://{addresses['identity']}"
    return {
        "issuer": issuer,
        "keys_url": f"{issuer}/.well-known/jwks.json",
        "directory_file": str(plan.state_dir / "devices.sqlite"),
        "token_roles": SERVICE_ROLES,
        "audit_api": addresses["audit"],
        "state_dir": str(_made(plan.state_dir / "outboxes")),
    }


def client_files(plan: BenchPlan, identity: str) -> dict[str, str]:
    """CA, certificate and key with which `identity` connects to the broker."""
    pki = plan.state_dir / "pki"
    name = identity.replace(":", "_")
    return {
        "ca_file": str(pki / "ca.pem"),
        "certificate_file": str(pki / f"{name}.pem"),
        "key_file": str(pki / f"{name}.key"),
    }


def provisioning(plan: BenchPlan, addresses: Mapping[str, str]) -> Config:
    """Configuration of the provisioning component."""
    identities = [
        *(service_identity("bridge", pair.server) for pair in topology.pairs(plan)),
        *(service_identity(kind) for kind in ("bootstrap", "ingestion", "control", "audit", "tap")),
    ]
    return {
        "state_dir": str(plan.state_dir),
        "token_file": str(token_file(plan)),
        "access": access(plan, addresses),
        "http_port": plan.ports.get("provisioning", 0),
        "services": identities,
        "broker_hosts": sorted({"127.0.0.1", "localhost", plan.host}),
        "topics": msgspec.to_builtins(plan.topics),
        "presence": plan.presence,
        **plan.provisioning_settings,
        **_stores(plan),
    }


def settings(addresses: Mapping[str, str]) -> Config:
    """What provisioning is told once the other addresses are known."""
    return {
        "broker_uri": f"mqtts://{addresses['mqtt']}",
        "security_api": addresses["security"],
        "bootstrap_api": addresses["bootstrap"],
    }


def broker(plan: BenchPlan) -> Config:
    """Configuration of the broker."""
    pki = plan.state_dir / "pki"
    config: Config = {
        "kind": plan.broker,
        "host": plan.host,
        "port": plan.ports.get("mqtt", 0),
        "ca_file": str(pki / "ca.pem"),
        "certificate_file": str(pki / "broker.pem"),
        "key_file": str(pki / "broker.key"),
        "revoked_file": str(pki / "revoked.json"),
        "crl_file": str(pki / "crl.pem"),
        "topics": msgspec.to_builtins(plan.topics),
        "state_dir": str(_made(plan.state_dir / "broker")),
        "servers": [pair.server for pair in topology.pairs(plan)],
        "journal_file": _journal(plan, "broker"),
    }
    if plan.defect and plan.defect["kind"] != "swap_credentials":
        config["defect"] = dict(plan.defect)
    return config


def server(plan: BenchPlan, pair: Pair | None = None) -> Config:
    """Configuration of an LwM2M server emulator; the first has the ports of the plan."""
    pair = pair or topology.pair_of(plan, 0)
    state = plan.state_dir / pair.server_process
    if pair.nth:
        plan = msgspec.structs.replace(plan, ports={})
    config: Config = {
        "server": pair.server,
        "state_dir": str(state),
        "token_file": str(token_file(plan)),
        "data_token_file": str(data_token_file(plan)),
        "coap": _listen_for_devices(plan, "coap") if plan.serves_nosec else None,
        "data": _listen(plan, "data"),
        "admin": _listen(plan, "admin"),
        "journal_file": _journal(plan, pair.server_process),
        "gates": True,
        **plan.server_settings,
    }
    if plan.devices > REGISTRATIONS_MAX:
        # With room for those that come back before the server has noticed that they were gone.
        limits = {"registrations_max": plan.devices * 11 // 10}
        config["limits"] = {**limits, **config.get("limits", {})}
    if plan.security != "none":
        config["coaps"] = {**_listen_for_devices(plan, "coaps"), "psk": plan.security == "psk"}
        if plan.security == "x509":
            config["coaps"] |= server_files(plan.state_dir)
    if plan.defect and plan.defect["kind"] == "swap_credentials":
        config["defect"] = {"name": "swap_credentials", "endpoints": plan.defect["endpoints"]}
    return config


def bridge(plan: BenchPlan, addresses: Mapping[str, str], pair: Pair | None = None) -> Config:
    """Configuration of a bridge; `addresses` have its own server's `data`."""
    pair = pair or topology.pair_of(plan, 0)
    return {
        "server": pair.server,
        "data_interface": f"ws://{addresses['data']}{PATH}",
        "token_file": str(data_token_file(plan)),
        "broker": _broker_access(plan, addresses, service_identity("bridge", pair.server)),
        "topics": msgspec.to_builtins(plan.topics),
    }


def bootstrap(plan: BenchPlan, addresses: Mapping[str, str]) -> Config:
    """Configuration of the bootstrap handler."""
    return {
        "broker": _broker_access(plan, addresses, service_identity("bootstrap")),
        "objects_dir": str(plan.state_dir / "objects"),
        "directory_file": str(plan.state_dir / "devices.sqlite"),
        "pki_dir": str(plan.state_dir / "pki"),
        "state_dir": str(_made(plan.state_dir / "bootstrap")),
        "token_file": str(token_file(plan)),
        "access": access(plan, addresses),
        "nosec_allowed": plan.security == "none",
        "topics": msgspec.to_builtins(plan.topics),
        **_stores(plan),
    }


def control(plan: BenchPlan, addresses: Mapping[str, str]) -> Config:
    """Configuration of the control API."""
    return {
        "broker": _broker_access(plan, addresses, service_identity("control")),
        "state_dir": str(_made(plan.state_dir / "control")),
        "token_file": str(token_file(plan)),
        "access": access(plan, addresses),
        "http": f"127.0.0.1:{plan.ports.get('control', 0)}",
        "topics": msgspec.to_builtins(plan.topics),
    }


def dashboard(plan: BenchPlan, addresses: Mapping[str, str]) -> Config:
    """Configuration of the dashboard; it follows the city with the tokens of two operators."""
    tokens = plan.state_dir / "operator_tokens"
    components = ("identity", "provisioning", "control", "ingestion", "audit")
    return {
        **{name: addresses[name] for name in components},
        "state_dir": str(_made(plan.state_dir / "dashboard")),
        "token_file": str(token_file(plan)),
        "changes_token_file": str(tokens / "analyst"),
        "commands_token_file": str(tokens / "controller"),
        "directory_file": str(plan.state_dir / "devices.sqlite"),
        "http_port": plan.ports.get("dashboard", 0),
    }


def ingestion(plan: BenchPlan, addresses: Mapping[str, str]) -> Config:
    """Configuration of the ingestion component."""
    return {
        "broker": _broker_access(plan, addresses, service_identity("ingestion")),
        "state_dir": str(_made(plan.state_dir / "ingestion")),
        "directory_file": str(plan.state_dir / "devices.sqlite"),
        "token_file": str(token_file(plan)),
        "access": access(plan, addresses),
        "topics": msgspec.to_builtins(plan.topics),
        **_stores(plan),
    }


def fleet(
    bench: Bench,
    rows: Sequence[ManifestRow],
    options: RunOptions,
    incidents: Sequence[Mapping[str, Any]],
    credentials: Mapping[str, Mapping[str, str]],
    member: FleetMember = ONLY_FLEET,
) -> Config:
    """Configuration of a fleet process; its devices go to a file of the owner's alone.

    `credentials` are further fields of a device's line, by endpoint; without security there are
    none.
    """
    devices = bench.plan.state_dir / FLEET_FILE.replace("fleet", member.name)
    lines = (
        msgspec.json.encode(
            {**_device(row), **_home(bench, row.endpoint), **credentials.get(row.endpoint, {})}
        )
        for row in rows
    )
    write_secret(devices, b"\n".join(lines))
    with_certificates = bench.plan.security == "x509"
    return {
        "devices_file": str(devices),
        "server": bench.server_uri(0),
        "trust_anchor_file": (
            server_files(bench.plan.state_dir)["trust_anchors_file"] if with_certificates else None
        ),
        "seed": options.seed,
        "report_every_s": options.reporting_interval_s(len(rows)),
        "incidents": list(incidents),
        # The devices' own record is kept without taps too: without it nothing could be judged.
        "journal_file": str(bench.plan.output_dir / "journal" / f"{member.name}.jsonl"),
        **_load(bench.plan, member),
        **bench.plan.fleet_settings,
    }


def fleets(
    bench: Bench,
    rows: Sequence[ManifestRow],
    options: RunOptions,
    incidents: Sequence[Mapping[str, Any]],
    credentials: Mapping[str, Mapping[str, str]],
    *,
    profile: LoadProfile | None = None,
    schedule_file: Path | None = None,
) -> dict[str, Config]:
    """Configurations of all fleet processes, by name: each has its share of devices and load.

    Addresses that devices share a socket with are different ones in each.
    """
    made: dict[str, Config] = {}
    of, first_address = bench.plan.fleet_processes, 0
    for index in range(of):
        member = FleetMember(index, of, first_address, profile, schedule_file)
        own = rows[index::of]
        names = {row.endpoint for row in own} if incidents else set()
        of_own = [each for each in incidents if each["endpoint"] in names]
        made[member.name] = {
            **fleet(bench, own, options, of_own, credentials, member),
            "report_every_s": options.reporting_interval_s(len(rows)),
        }
        first_address += len(own)
    return made


def _load(plan: BenchPlan, member: FleetMember) -> Config:
    profile, schedule = member.profile, member.schedule_file
    found: Config = {
        "process": member.name,
        "share_first": member.nth,
        "share_of": member.of,
        "first_address": member.first_address,
    }
    if profile is not None:
        file = plan.output_dir / PROFILE_FILE
        write_atomically(file, msgspec.json.encode(profile))
        found["profile_file"] = str(file)
    if schedule is not None:
        found["schedule_file"] = str(schedule)
    if schedule is not None or (profile is not None and profile.telemetry):
        found["reports_by_itself"] = False
    return found


def _home(bench: Bench, endpoint: str) -> dict[str, str]:
    """The server of a device that is not the first's."""
    nth = topology.home_of(bench.plan, endpoint)
    return {"server": bench.server_uri(nth)} if nth else {}


def _device(row: ManifestRow) -> Config:
    return {
        "endpoint": row.endpoint,
        "serial": row.serial,
        "model": row.model,
        "latitude": row.latitude,
        "longitude": row.longitude,
    }


def with_ports(config: Mapping[str, Any], addresses: Mapping[str, str]) -> Config:
    """`config` for a process that must come back on the ports that it had."""
    ports = {what: int(address.rpartition(":")[2]) for what, address in addresses.items()}
    changed = dict(config)
    for what in ("coap", "coaps", "data", "admin"):
        if changed.get(what) and what in ports:
            changed[what] = {**changed[what], "port": ports[what]}
    if "mqtt" in ports:  # a broker's
        changed["port"] = ports["mqtt"]
    return changed


def _broker_access(plan: BenchPlan, addresses: Mapping[str, str], identity: str) -> Config:
    return {"address": addresses["mqtt"], **client_files(plan, identity)}


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _stores(plan: BenchPlan) -> Config:
    return {"stores": dict(plan.stores)} if plan.stores else {}


def _listen(plan: BenchPlan, what: str) -> Config:
    return {"port": plan.ports.get(what, 0)}


def _listen_for_devices(plan: BenchPlan, what: str) -> Config:
    return {**_listen(plan, what), "host": plan.host}


def _journal(plan: BenchPlan, source: str) -> str | None:
    return str(plan.output_dir / "journal" / f"{source}.jsonl") if plan.journals else None


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
