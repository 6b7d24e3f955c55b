"""Runs a Mosquitto that is installed on this machine, under the rules of the embedded broker."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import get_args

from cryptography import x509

from contracts.names import (
    Principal,
    PrincipalKind,
    bridge_identity,
    principal_of,
    service_identity,
)
from contracts.policy import POLICY_TABLE, Policy, policy_for
from contracts.topics import Topics
from harness.bench.parent import die_with_parent
from harness.errors import BenchFailed
from harness.mqtt_broker.config import BrokerConfig
from harness.mqtt_broker.standard_input import Reloader, obey
from harness.mqtt_broker.trust import read_trust
from runtime.clock import Clock
from runtime.component import ConfigError, Ready

READY_WITHIN_S = 60.0
_CRL_END = b"-----END X509 CRL-----\n"


def find_mosquitto() -> str | None:
    """The program's path, also where only root's PATH looks."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


async def run_mosquitto(config: BrokerConfig, clock: Clock, ready: Ready) -> None:
    """Run Mosquitto until cancelled. Raises `BenchFailed` when there is none or it ends."""
    program = find_mosquitto()
    if program is None:
        raise BenchFailed(
            "there is no mosquitto on this machine: install the package `mosquitto`, "
            "or use --broker embedded"
        )
    port = config.port or _free_port(config.host)
    settings = _write_files(config, port)
    process = await asyncio.create_subprocess_exec(
        program,
        "-c",
        str(settings),
        stdin=asyncio.subprocess.DEVNULL,  # what comes there is for us
        preexec_fn=die_with_parent(),
    )
    obeying = None
    try:
        await _until_it_accepts(config.host, port, process)
        reloader = Reloader(partial(_reload, config, process))
        ready({"mqtt": f"{config.host}:{port}"})
        obeying = asyncio.ensure_future(obey(reloader))
        raise BenchFailed(f"mosquitto ended by itself (code {await process.wait()})")
    finally:
        if obeying is not None:
            obeying.cancel()
            await asyncio.wait({obeying})
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _reload(config: BrokerConfig, process: asyncio.subprocess.Process) -> dict[str, int]:
    """Have Mosquitto read its own certificate and the CRL again. It tells nobody what came of it,
    so the files are read here first: it would go on without them. It ends nobody who is connected.

    Raises `ConfigError`.
    """
    trust = read_trust(config)
    revoked = 0 if config.crl_file is None else count_revoked(Path(config.crl_file))
    if process.returncode is None:
        process.send_signal(signal.SIGHUP)
    return {"anchors": len(trust.anchors), "revoked": revoked, "ended": 0}


def count_revoked(path: Path) -> int:
    """How many certificates the CRLs of a PEM file list. Raises `ConfigError`."""
    try:
        *lists, _ = path.read_bytes().split(_CRL_END)
        return sum(len(x509.load_pem_x509_crl(one + _CRL_END)) for one in lists)
    except OSError as error:
        raise ConfigError(f"cannot read the CRL {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no CRL in PEM: {error}") from error


def access_list(topics: Topics, servers: Iterable[str], bridge_connections: int = 1) -> str:
    """The policy table as an access list: one block a service, patterns for devices."""
    device = policy_for(Principal("device", "%u"), topics)
    lines = [f"pattern write {each}" for each in device.publish]
    for identity in _services(servers, bridge_connections):
        lines += ["", f"user {identity}", *_lines(policy_for(principal_of(identity), topics))]
    return "\n".join(lines) + "\n"


def _services(servers: Iterable[str], bridge_connections: int) -> list[str]:
    kinds = [kind for kind in get_args(PrincipalKind) if kind not in ("device", "bridge")]
    assert {*kinds, "device", "bridge"} == set(POLICY_TABLE)
    return [
        *(
            bridge_identity(server, connection)
            for server in servers
            for connection in range(1, bridge_connections + 1)
        ),
        *(service_identity(kind) for kind in kinds),
    ]


def _lines(policy: Policy) -> list[str]:
    return [
        *(f"topic write {each}" for each in policy.publish),
        *(f"topic read {each}" for each in policy.subscribe),
    ]


def _settings(config: BrokerConfig, port: int, store: Path) -> str:
    return "\n".join(
        [
            f"listener {port} {config.host}",
            f"cafile {config.ca_file}",
            f"certfile {config.certificate_file}",
            f"keyfile {config.key_file}",
            # Whoever is listed there is refused; whoever is connected is not ended.
            *([f"crlfile {config.crl_file}"] if config.crl_file else []),
            "require_certificate true",
            "use_identity_as_username true",
            # A client id that is not the certificate's is replaced by it: nobody gets another's
            # session. (Refusing it would take a plugin.)
            "use_username_as_clientid true",
            f"acl_file {store}/access",
            "persistence true",
            f"persistence_location {store}/",
            "autosave_interval 30",
            # 0 is "no limit": what was acknowledged is not dropped.
            "max_queued_messages 0",
            "max_inflight_messages 0",
            # Not `message_size_limit`: that acknowledges what it throws away.
            f"max_packet_size {config.limits.packet_bytes_max}",
            f"max_connections {config.limits.connections_max}",
            "retain_available false",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "log_type notice",
            *(["user root"] if os.geteuid() == 0 else []),
            "",
        ]
    )


def _write_files(config: BrokerConfig, port: int) -> Path:
    store = Path(config.state_dir)
    store.mkdir(parents=True, exist_ok=True)
    access = store / "access"
    access.write_text(access_list(config.topics, config.servers, config.bridge_connections))
    access.chmod(0o600)
    settings = store / "mosquitto.conf"
    settings.write_text(_settings(config, port, store))
    return settings


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


async def _until_it_accepts(host: str, port: int, process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while process.returncode is None:
                if await _accepts(host, port):
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise BenchFailed(f"mosquitto did not listen within {READY_WITHIN_S:g} s") from None
    raise BenchFailed(f"mosquitto ended (code {process.returncode}): its log says why")


async def _accepts(host: str, port: int) -> bool:
    # Mosquitto says nowhere that it listens: connecting is the only way to know. It listens before
    # it is told what a SIGHUP means, which would end it until then: so it must answer, too.
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        _, writer = await asyncio.open_connection(host, port, ssl=anybody)
    except ssl.SSLError:
        return True  # it wants a certificate of ours
    except OSError:
        return False
    writer.close()
    return True
