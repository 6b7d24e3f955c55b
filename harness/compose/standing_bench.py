"""A bench whose platform stands already, in containers: what it brings up is the fleet alone."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from contracts.journal import BenchReady
from contracts.manifest import ManifestRow
from harness.bench import configs
from harness.bench.bench import Bench, tap_identity
from harness.bench.device_security import DeviceKey, psk_fields
from harness.compose.city import ServerPlace, give_keys, keys_for, known_keys, read_token
from harness.errors import BenchFailed
from runtime.http_client import HttpClient, HttpError


class TapFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With what the job listens at the broker, and where the servers write what they observe."""

    ca_file: str
    certificate_file: str
    key_file: str
    journals: str


class JobConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the platform is, and the tokens that the job may show there."""

    addresses: dict[str, str]
    token_files: dict[str, str]
    servers: tuple[ServerPlace, ...]
    devices_file: str
    """Keys that devices have already; those that are not in it get one here."""
    taps: TapFiles | None = None
    """None: what the platform does between a device and its readings is not observed."""


class _Stamp(msgspec.Struct, frozen=True):
    """As much of a record as tells when it was made: one clock for all containers of a machine."""

    at_ns: int


_stamps: Final = msgspec.json.Decoder(_Stamp)


class StandingBench(Bench):
    """See `Bench`. Nothing of the platform can be killed or restarted from here."""

    place: JobConfig
    keys: Mapping[str, DeviceKey] = {}

    async def bring_up(self) -> None:
        """Start the fleet processes; the platform has been awaited by who started this."""
        began_ns = self._clock.now_ns()
        for folder in ("logs", "journal"):
            (self.plan.output_dir / folder).mkdir(parents=True, exist_ok=True)
        for name, (side, arguments) in configs.processes(self.plan).items():
            if configs.is_fleet(name):
                await self._start(name, side, arguments)
        if self.place.taps is not None:
            self._take_tap_files(self.place.taps)
        ready_s = (self._clock.now_ns() - began_ns) / 1e9
        self._journal.record(BenchReady(at_ns=self._clock.now_ns(), ready_s=ready_s))

    def _take_tap_files(self, taps: TapFiles) -> None:
        """The tap's certificate, where a bench's instruments look for it."""
        wanted = configs.client_files(self.plan, tap_identity())
        Path(wanted["ca_file"]).parent.mkdir(parents=True)
        for name, target in wanted.items():
            Path(target).symlink_to(getattr(taps, name))

    def copy_journals(self, began_ns: int) -> None:
        """What the servers have written since `began_ns`, beside the run's own journals."""
        if self.place.taps is None:
            return
        for file in sorted(Path(self.place.taps.journals).glob("*.jsonl")):
            lines = [
                line
                for line in file.read_bytes().splitlines(keepends=True)
                if line.endswith(b"\n") and _stamps.decode(line).at_ns >= began_ns
            ]
            (self.plan.output_dir / "journal" / file.name).write_bytes(b"".join(lines))

    def address(self, process: str, what: str) -> str:
        """`host:port` of a component inside."""
        return self.place.addresses[process]

    def http(self, process: str, operator: str | None = None) -> HttpClient:
        """A client of a component; it has the one role there that the job needs."""
        return HttpClient(self.address(process, "http"), read_token(self._token_file(process)))

    def server_uri(self, nth: int) -> str:
        """Where devices reach the nth server, from 0."""
        return self.place.servers[nth].uri

    def secrets(self) -> list[bytes]:
        """Every token and key that the job knows."""
        files = [
            *self.place.token_files.values(),
            *(each.token_file for each in self.place.servers),
        ]
        return [
            *(read_token(file).encode() for file in files),
            *(key.key for key in self.keys.values()),
        ]

    async def device_credentials(self, rows: Sequence[ManifestRow]) -> dict[str, Mapping[str, str]]:
        """Keys of all devices, known to every server. Raises `BenchFailed`."""
        known = known_keys(Path(self.place.devices_file))
        self.keys = keys_for(rows, known, secrets.token_bytes)
        try:
            await give_keys(self.place.servers, self.keys.values())
        except (HttpError, OSError) as error:
            raise BenchFailed(f"the servers did not take the devices' keys: {error}") from error
        return {row.endpoint: psk_fields(self.keys, row.endpoint) for row in rows}

    def _token_file(self, process: str) -> str:
        found = self.place.token_files.get(process)
        if found is None:
            raise BenchFailed(f"the job has no token for {process}")
        return found
