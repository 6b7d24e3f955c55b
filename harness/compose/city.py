"""Provisions the first devices of a composed installation, and gives them their keys.

Each server has to know the key of every device that may come to it. The devices file, for whoever
plays these devices, says which of the servers is whose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from contracts.api import ImportJob
from contracts.manifest import ManifestRow
from fake_devices.fleet.config import DeviceLine, read_devices
from harness.bench.device_security import PSK_BYTES, DeviceKey
from harness.errors import BenchFailed
from harness.runner.cohort import Cohort, choose
from runtime.component import ConfigError
from runtime.files import write_secret
from runtime.http_client import HttpClient, HttpError

ASKED_EVERY_S: Final = 0.2
_SEED: Final = 1


class ServerPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An LwM2M server: where devices and its administration are."""

    uri: str
    admin: str
    token_file: str


class CityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is provisioned, and where."""

    provisioning: str
    token_file: str
    servers: tuple[ServerPlace, ...]
    devices: int
    devices_file: str


async def provision_city(config: CityConfig, draw: Callable[[int], bytes]) -> str:
    """Import the devices and hand out their keys, unless that was done; says in words what it did.

    Raises `BenchFailed` with what was refused.
    """
    file = Path(config.devices_file)
    if _is_there(file):
        return f"{file} is there: the city stays as it is"
    cohort = choose(None, config.devices, _SEED)
    try:
        await _import(config, cohort)
        keys = keys_for(cohort.rows, {}, draw)
        await give_keys(config.servers, keys.values())
    except (HttpError, OSError) as error:
        raise BenchFailed(f"the city could not be provisioned: {error}") from error
    write_secret(file, device_lines(cohort.rows, keys, config.servers), sync=True)
    return f"{len(cohort.rows)} devices are provisioned: {file}"


def keys_for(
    rows: Sequence[ManifestRow], known: Mapping[str, DeviceKey], draw: Callable[[int], bytes]
) -> dict[str, DeviceKey]:
    """Each device's key: the one that is known, the manifest's, or a drawn one."""
    return {
        row.endpoint: known.get(row.endpoint)
        or DeviceKey(
            endpoint=row.endpoint, identity=row.psk_identity, key=row.psk or draw(PSK_BYTES)
        )
        for row in rows
    }


def known_keys(devices_file: Path) -> dict[str, DeviceKey]:
    """The keys in a devices file; none when there is none. Raises `BenchFailed`."""
    if not devices_file.exists():
        return {}
    try:
        return {line.endpoint: _key(line) for line in read_devices(devices_file) if line.psk}
    except ConfigError as error:
        raise BenchFailed(str(error)) from error


def read_token(file: str) -> str:
    """The bearer token in a file of one line. Raises `OSError`."""
    return Path(file).read_text(encoding="ascii").strip()


def _is_there(file: Path) -> bool:
    return file.exists()


def _key(line: DeviceLine) -> DeviceKey:
    identity = line.psk_identity or line.endpoint
    return DeviceKey(endpoint=line.endpoint, identity=identity, key=bytes.fromhex(line.psk or ""))


async def give_keys(servers: Sequence[ServerPlace], keys: Iterable[DeviceKey]) -> None:
    """Tell every server all keys. Raises `HttpError` and `OSError`."""
    body = b"\n".join(msgspec.json.encode(key) for key in keys)
    for server in servers:
        async with HttpClient(server.admin, read_token(server.token_file)) as client:
            await client.send("POST", "/v1/security", body, msgspec.Raw, "application/x-ndjson")


def device_lines(
    rows: Sequence[ManifestRow], keys: Mapping[str, DeviceKey], servers: Sequence[ServerPlace]
) -> bytes:
    """The devices file, one JSON object a line."""
    return b"\n".join(
        msgspec.json.encode(
            {
                "endpoint": row.endpoint,
                "serial": row.serial,
                "model": row.model,
                "latitude": row.latitude,
                "longitude": row.longitude,
                "psk_identity": keys[row.endpoint].identity,
                "psk": keys[row.endpoint].key.hex(),
                # The same in every run, whatever else is in the city.
                "server": servers[crc32(row.endpoint.encode()) % len(servers)].uri,
            }
        )
        for row in rows
    )


async def _import(config: CityConfig, cohort: Cohort) -> None:
    async with HttpClient(config.provisioning, read_token(config.token_file)) as client:
        job = await client.send(
            "POST", "/v1/imports", cohort.manifest, ImportJob, cohort.content_type
        )
        while job.state == "running":
            await asyncio.sleep(ASKED_EVERY_S)
            job = await client.get(f"/v1/imports/{job.id}", ImportJob)
    if job.state == "failed" or job.rejected:
        raise BenchFailed(
            f"the import {job.id} ended as {job.state}: {job.reason or 'see its rows'}"
        )
