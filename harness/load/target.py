"""What a load is aimed at: a bench of its own, or a server by URL; and with which devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.manifest import ManifestRow
from fake_devices.fleet.config import parse_server, read_devices
from harness.bench.bench import Bench, BenchPlan
from harness.bench.device_security import server_files
from harness.errors import ScenarioError
from harness.load.options import LoadOptions
from harness.runner.cohort import choose
from harness.runner.secrets import secrets_of
from runtime.component import ConfigError
from runtime.files import check_owner_only, write_secret

DEVICES_FILE: Final = "devices.ndjson"
_SECRET_BYTES_MIN: Final = 16


@dataclass(frozen=True, slots=True)
class Target:
    """`fleet` is a fleet's configuration without its files; `secrets` what no output may hold."""

    uri: str
    devices_file: Path
    fleet: dict[str, Any]
    has_bench: bool
    secrets: Callable[[], Sequence[bytes]]


def plan_of(options: LoadOptions, directory: Path, state: Path) -> BenchPlan:
    """The bench of a load without a server of its own: everything but the fleet."""
    return BenchPlan(
        output_dir=directory,
        state_dir=state,
        broker=options.broker,
        security=options.security,
        journals=options.taps,
        with_fleet=False,
    )


async def bench_target(
    options: LoadOptions, bench: Bench, rows: Sequence[ManifestRow], private: Path
) -> Target:
    """The bench's server and the devices that were provisioned there, with their keys."""
    state = bench.plan.state_dir
    credentials = await bench.device_credentials(rows)
    devices = private / DEVICES_FILE
    lines = [
        msgspec.json.encode({**_device(row), **credentials.get(row.endpoint, {})}) for row in rows
    ]
    write_secret(devices, b"\n".join(lines))
    is_plain = bench.plan.security == "none"
    scheme, what = ("coap", "coap") if is_plain else ("coaps", "coaps")
    uri = f"{scheme}://{bench.address('server', what)}"
    anchors = server_files(state)["trust_anchors_file"]
    trust = anchors if bench.plan.security == "x509" else None
    keys = [row.psk for row in rows if row.psk]
    return Target(
        uri, devices, _fleet(options, uri, trust), True, lambda: list(secrets_of(state, keys))
    )


def url_target(options: LoadOptions, private: Path) -> Target:
    """A server by URL. Raises `ScenarioError` for its URI or its devices file."""
    try:
        parse_server(options.server)
        devices = options.devices_file or _plain_devices(options, private)
        if options.devices_file is not None:
            check_owner_only(options.devices_file)
        found = read_devices(devices)
        if options.trust_anchors_file is not None:
            options.trust_anchors_file.read_bytes()
    except ConfigError as error:
        raise ScenarioError(str(error)) from error
    except OSError as error:
        raise ScenarioError(f"cannot read {error.filename}: {error.strerror}") from error
    trust = options.trust_anchors_file
    fleet = _fleet(options, options.server, None if trust is None else str(trust))
    secrets = [bytes.fromhex(line.psk) for line in found if line.psk]
    # Shorter ones would be found by chance.
    secrets = [secret for secret in secrets if len(secret) >= _SECRET_BYTES_MIN]
    return Target(options.server, devices, fleet, False, lambda: secrets)


def _plain_devices(options: LoadOptions, private: Path) -> Path:
    """Devices without keys, as the manifest names them."""
    rows = choose(options.manifest, options.devices, options.seed).rows
    devices = private / DEVICES_FILE
    write_secret(devices, b"\n".join(msgspec.json.encode(_device(row)) for row in rows))
    return devices


def _fleet(options: LoadOptions, uri: str, trust: str | None) -> dict[str, Any]:
    return {
        "server": uri,
        "trust_anchor_file": trust,
        "seed": options.seed,
        "report_every_s": options.reporting_interval_s(),
        "lifetime_s": options.lifetime_s,
        "connects": options.uplink,
    }


def _device(row: ManifestRow) -> dict[str, Any]:
    return {
        "endpoint": row.endpoint,
        "serial": row.serial,
        "model": row.model,
        "latitude": row.latitude,
        "longitude": row.longitude,
    }
