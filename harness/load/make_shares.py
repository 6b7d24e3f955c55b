"""Devices files for several machines, and the server's side of their keys.

`python -m harness.load shares --devices 10000 --machines 3 --out DIR` writes `devices-1.ndjson` to
`devices-3.ndjson`, each for one machine, and `keys.ndjson` for `lamplighter serve --keys`. All of
them hold keys: they are their owner's alone, and are carried by hand, never over Locust's wire.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from contracts.manifest import ManifestRow
from harness.bench.device_security import PSK_BYTES, DeviceKey
from harness.errors import ScenarioError
from harness.runner.cohort import choose
from runtime.files import write_secret

KEYS_FILE: Final = "keys.ndjson"
MACHINES_MAX: Final = 1_000
EXIT_OTHER: Final = 3
Draw = Callable[[int], bytes]
"""So many bytes of chance."""


def make_shares(rows: Sequence[ManifestRow], machines: int, draw: Draw) -> dict[str, bytes]:
    """The files by name. A device's key is the manifest's, or drawn; its identity is its name."""
    if not 1 <= machines <= min(MACHINES_MAX, len(rows)):
        raise ScenarioError(
            f"--machines {machines}: choose 1 to {MACHINES_MAX}, and no more than devices"
        )
    keys = [
        DeviceKey(endpoint=row.endpoint, identity=row.psk_identity, key=row.psk or draw(PSK_BYTES))
        for row in rows
    ]
    lines = [
        msgspec.json.encode(
            {
                "endpoint": row.endpoint,
                "serial": row.serial,
                "model": row.model,
                "latitude": row.latitude,
                "longitude": row.longitude,
                "psk_identity": key.identity,
                "psk": key.key.hex(),
            }
        )
        for row, key in zip(rows, keys, strict=True)
    ]
    files = {
        f"devices-{number + 1}.ndjson": b"\n".join(lines[number::machines])
        for number in range(machines)
    }
    return {**files, KEYS_FILE: b"\n".join(msgspec.json.encode(key) for key in keys)}


def main(arguments: Sequence[str]) -> int:
    """Write the files; returns the exit code. Files that are there stay as they are."""
    parser = argparse.ArgumentParser(prog="harness.load shares", description=__doc__)
    parser.add_argument("--devices", type=int, default=None, help="how many")
    parser.add_argument("--machines", type=int, default=1, help="how many files")
    parser.add_argument("--manifest", type=Path, default=None, help="CSV or JSON of devices")
    parser.add_argument("--seed", type=int, default=1, help="of names and places, not of keys")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    given = parser.parse_args(arguments)
    try:
        if (given.out / KEYS_FILE).exists():
            sys.stderr.write(f"{given.out / KEYS_FILE} is there: the shares stay as they are\n")
            return 0
        rows = choose(given.manifest, given.devices, given.seed).rows
        files = make_shares(rows, given.machines, secrets.token_bytes)
        given.out.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in files.items():
            write_secret(given.out / name, content)
    except (ScenarioError, OSError) as error:
        sys.stderr.write(f"harness.load: {error}\n")
        return EXIT_OTHER
    sys.stderr.write(f"{len(rows)} devices, {given.machines} machines: {given.out}\n")
    return 0
