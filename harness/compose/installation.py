"""Who is in the composed installation: each container's configuration, tokens and certificates.

All of it is worked out here and written by `setup`; nothing is read, drawn or written here. The
platform is known by the documented fields of its configuration; none of its code is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from contracts.data_interface import PATH
from contracts.names import service_identity

Config = dict[str, Any]
Graph = Literal["neo4j", "embedded"]

SERVERS: Final = ("server-1", "server-2")
# Where a container finds what is its own alone: configuration, tokens, certificates.
PRIVATE: Final = "/private"
STATE: Final = "/state"
# Provisioning's device directory, which others read; with the lock files that readers need.
DIRECTORY: Final = "/directory/devices.sqlite"
# The devices' keys, for those who play devices.
DEVICES_FILE: Final = "/devices/devices.ndjson"
# What the servers write down for jobs, where taps are wanted.
JOURNALS: Final = "/journals"
HANDED_OUT: Final = f"{STATE}/handed_out"

PORTS: Final[Mapping[str, int]] = {
    "identity": 8080,
    "audit": 8081,
    "provisioning": 8082,
    "control": 8083,
    "ingestion": 8084,
    "bootstrap": 8085,
    "dashboard": 8443,
    "broker": 8883,
    "graph": 7687,
}
# Where components fetch the issuer's keys: over HTTPS alone.
ISSUER_PORT: Final = 8444
COAPS_PORT: Final = 5684
DATA_PORT: Final = 8086
ADMIN_PORT: Final = 8087
BRIDGE_PORT: Final = 8088

# Who holds which secret: the one that shows it, and those that know it again. None is anybody's
# who does not need it.
TOKENS: Final[Mapping[str, tuple[str, ...]]] = {
    "services": ("identity", "provisioning", "bootstrap", "control", "ingestion", "audit"),
    "dashboard": ("dashboard",),
    "dashboard_addresses": ("dashboard", "identity"),
    "dashboard_changes": ("dashboard", "ingestion"),
    "dashboard_commands": ("dashboard", "control"),
    "city": ("city", "provisioning"),
    "job_provisioner": ("job", "provisioning"),
    "job_controller": ("job", "control"),
    "job_analyst": ("job", "ingestion"),
    "admin_server-1": ("server-1", "provisioning", "city", "job"),
    "admin_server-2": ("server-2", "city", "job"),
    "data_server-1": ("server-1", "bridge-1"),
    "data_server-2": ("server-2", "bridge-2"),
    "graph": ("graph", "provisioning"),
}

# Who serves over HTTPS, for which names, and who is given the certificate to know it by.
PAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "dashboard": ("localhost", "127.0.0.1", "dashboard"),
    "identity": ("identity",),
}
KNOWS_THE_ISSUER: Final = ("audit", "provisioning", "bootstrap", "control", "ingestion")

# Identities at the broker, by the container that has the certificate.
CLIENTS: Final[Mapping[str, str]] = {
    "bridge-1": service_identity("bridge", "server-1"),
    "bridge-2": service_identity("bridge", "server-2"),
    "bootstrap": service_identity("bootstrap"),
    "ingestion": service_identity("ingestion"),
    "control": service_identity("control"),
    "audit": service_identity("audit"),
    "job": service_identity("tap"),
}

FOLDERS: Final = (
    *("audit", "bootstrap", "bridge-1", "bridge-2", "broker", "city", "control", "dashboard"),
    *("graph", "identity", "ingestion", "job", "provisioning", "server-1", "server-2"),
)
# Where setup prepares the state of provisioning.
STATE_FOLDER: Final = "provisioning-state"


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever starts the installation chooses."""

    devices: int = 200
    """How many devices of the harbour district are provisioned at first."""
    graph: Graph = "neo4j"
    """Where the device graph is: in the container `graph`, or in provisioning's memory."""
    taps: bool = False
    """Whether the servers write down what they observe, for jobs; it grows for as long as they run.
    """
    dashboard_url: str = f"https://127.0.0.1:{PORTS['dashboard']}"
    """Where people open the dashboard: links of the first start and of invitations lead there."""


def address(name: str) -> str:
    """`host:port` of a container inside."""
    return f"{name}:{PORTS[name]}"


def token_file(name: str) -> str:
    """Where a container finds one of its tokens."""
    return f"{PRIVATE}/{name}.token"


def configurations(choices: Choices) -> dict[str, Config]:
    """The configuration of each container that has one, by the folder that it goes to."""
    return {
        "identity": _identity(choices),
        "audit": _audit(),
        "provisioning": _provisioning(choices),
        "bootstrap": _bootstrap(),
        "control": _control(),
        "ingestion": _ingestion(),
        "dashboard": _dashboard(),
        **{server: _server(server, choices) for server in SERVERS},
        **{f"bridge-{nth}": _bridge(nth) for nth in range(1, len(SERVERS) + 1)},
        "city": _city(choices),
        "job": _job(choices),
    }


def _identity(choices: Choices) -> Config:
    return {
        "state_dir": STATE,
        "token_file": token_file("services"),
        "token_roles": ["service"],
        "http_host": "0.0.0.0",
        "http_port": PORTS["identity"],
        "https": {
            "host": "0.0.0.0",
            "port": ISSUER_PORT,
            "certificate_file": f"{PRIVATE}/identity.pem",
            "key_file": f"{PRIVATE}/identity.key",
        },
        "public_url": _issuer(),
        "set_up_url": f"{choices.dashboard_url}/set-up",
        "front_token_files": [token_file("dashboard_addresses")],
        "audit_api": address("audit"),
    }


def _audit() -> Config:
    return {
        "state_dir": STATE,
        "token_file": token_file("services"),
        "broker": _broker_access(),
        "directory_file": DIRECTORY,
        "http_host": "0.0.0.0",
        "http_port": PORTS["audit"],
        "access": {**_access(), "audit_api": None, "state_dir": None},
    }


def _provisioning(choices: Choices) -> Config:
    config: Config = {
        "state_dir": STATE,
        "token_file": token_file("services"),
        "access": _access(city=["provisioner"], job_provisioner=["provisioner"]),
        "http_host": "0.0.0.0",
        "http_port": PORTS["provisioning"],
        "services": sorted(CLIENTS.values()),
        "broker_hosts": ["broker", "localhost", "127.0.0.1"],
        "broker_uri": f"mqtts://{address('broker')}",
        "security_api": f"server-1:{ADMIN_PORT}",
        "security_token_file": token_file("admin_server-1"),
        "bootstrap_api": address("bootstrap"),
        "presence": True,
        # Each start, and each certificate that changes, has everybody given their own.
        "brokers": [{"how": "command", "command": ["python", "-m", "harness.compose", "hand-out"]}],
    }
    if choices.graph == "neo4j":
        config |= {
            "graph_uri": f"bolt://{address('graph')}",
            "graph_password_file": token_file("graph"),
        }
    return config


def _bootstrap() -> Config:
    return {
        "broker": _broker_access(),
        "objects_dir": "/objects",
        "directory_file": DIRECTORY,
        "pki_dir": f"{PRIVATE}/certificates",
        "state_dir": STATE,
        "token_file": token_file("services"),
        "access": _access(),
        "http": f"0.0.0.0:{PORTS['bootstrap']}",
    }


def _control() -> Config:
    return {
        "broker": _broker_access(),
        "state_dir": STATE,
        "token_file": token_file("services"),
        "access": _access(dashboard_commands=["controller"], job_controller=["controller"]),
        "http": f"0.0.0.0:{PORTS['control']}",
    }


def _ingestion() -> Config:
    return {
        "broker": _broker_access(),
        "state_dir": STATE,
        "directory_file": DIRECTORY,
        "token_file": token_file("services"),
        "access": _access(dashboard_changes=["analyst"], job_analyst=["analyst"]),
        "http_host": "0.0.0.0",
        "http_port": PORTS["ingestion"],
    }


def _dashboard() -> Config:
    served = ("identity", "provisioning", "control", "ingestion", "audit")
    return {
        **{name: address(name) for name in served},
        "state_dir": STATE,
        "token_file": token_file("dashboard"),
        "identity_token_file": token_file("dashboard_addresses"),
        "changes_token_file": token_file("dashboard_changes"),
        "commands_token_file": token_file("dashboard_commands"),
        "directory_file": DIRECTORY,
        "http_host": "0.0.0.0",
        "http_port": PORTS["dashboard"],
        "tls": {
            "certificate_file": f"{PRIVATE}/dashboard.pem",
            "key_file": f"{PRIVATE}/dashboard.key",
        },
    }


def _server(name: str, choices: Choices) -> Config:
    return {
        "server": name,
        "state_dir": STATE,
        "token_file": token_file(f"admin_{name}"),
        "data_token_file": token_file(f"data_{name}"),
        "coap": None,
        "coaps": {"host": "0.0.0.0", "port": COAPS_PORT, "psk": True},
        "data": {"host": "0.0.0.0", "port": DATA_PORT},
        "admin": {"host": "0.0.0.0", "port": ADMIN_PORT},
        "journal_file": f"{JOURNALS}/{name}.jsonl" if choices.taps else None,
    }


def _bridge(nth: int) -> Config:
    server = SERVERS[nth - 1]
    return {
        "server": server,
        "data_interface": f"ws://{server}:{DATA_PORT}{PATH}",
        "token_file": token_file(f"data_{server}"),
        "broker": _broker_access(),
        "http": f"127.0.0.1:{BRIDGE_PORT}",
    }


def _servers() -> list[dict[str, str]]:
    return [
        {
            "uri": f"coaps://{server}:{COAPS_PORT}",
            "admin": f"{server}:{ADMIN_PORT}",
            "token_file": token_file(f"admin_{server}"),
        }
        for server in SERVERS
    ]


def _city(choices: Choices) -> Config:
    return {
        "provisioning": address("provisioning"),
        "token_file": token_file("city"),
        "servers": _servers(),
        "devices": choices.devices,
        "devices_file": DEVICES_FILE,
    }


def _job(choices: Choices) -> Config:
    return {
        "addresses": {
            name: address(name) for name in ("provisioning", "control", "ingestion", "broker")
        },
        "token_files": {
            "provisioning": token_file("job_provisioner"),
            "control": token_file("job_controller"),
            "ingestion": token_file("job_analyst"),
        },
        "servers": _servers(),
        "devices_file": DEVICES_FILE,
        "taps": {**_client_files(), "journals": JOURNALS} if choices.taps else None,
    }


def _issuer() -> str:
    return f"https://identity:{ISSUER_PORT}"


def _access(**programs: list[str]) -> Config:
    """The gate: the issuer's people, the services, and the programs named with their roles."""
    return {
        "issuer": _issuer(),
        "keys_url": f"{_issuer()}/.well-known/jwks.json",
        "ca_file": f"{PRIVATE}/identity.pem",
        "directory_file": DIRECTORY,
        "token_roles": ["service"],
        "audit_api": address("audit"),
        "state_dir": f"{STATE}/outbox",
        "service_tokens": [
            {"name": name.replace("_", "-"), "file": token_file(name), "roles": roles}
            for name, roles in programs.items()
        ],
    }


def _broker_access() -> Config:
    return {"address": address("broker"), **_client_files()}


def _client_files() -> dict[str, str]:
    folder = f"{PRIVATE}/certificates"
    return {
        "ca_file": f"{folder}/ca.pem",
        "certificate_file": f"{folder}/own.pem",
        "key_file": f"{folder}/own.key",
    }
