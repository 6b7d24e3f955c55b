"""Our side as real processes: a simulated device, and the server emulator with its data interface.

What of ours is not there yet is told by `NotThereYet`: a cell is then skipped with that reason.
"""

from __future__ import annotations

import base64
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from contracts.data_interface import (
    PATH,
    Ack,
    Command,
    Event,
    Outcome,
    Resume,
    ServerFrame,
    Value,
    decode_server_frame,
    encode,
)
from tests.interop.credentials import Credential, KeyPair, authority, server_pair, to_pem
from tests.interop.processes import WITHIN_S, JsonProcess, NotSaid, PeerEnded

_ROOT = Path(__file__).parents[2]
_ADMIN_TOKEN, _DATA_TOKEN = "admin-token-of-interop", "data-token-of-interop"
_AUTHORIZED = {"Authorization": f"Bearer {_ADMIN_TOKEN}"}
SERIAL = "SN-INTEROP-1"
LATITUDE, LONGITUDE = 53.54321, 9.98765
LIFETIME_S = 300


class NotThereYet(Exception):
    """A feature of ours that a cell needs and that does not exist; the text names it."""


# ---- the device ----


class OurDevice:
    """One simulated street lamp as a fleet process; it registers as soon as it is there.

    `server` and `bootstrap_server` are URIs; one of them is enough. `settings` are the fleet's.
    """

    def __init__(
        self,
        directory: Path,
        endpoint: str,
        credential: Credential | None = None,
        **settings: Any,
    ) -> None:
        self.endpoint = endpoint
        directory.mkdir(parents=True, exist_ok=True)
        line = {
            "endpoint": endpoint,
            "serial": SERIAL,
            "model": "street_lamp",
            "latitude": LATITUDE,
            "longitude": LONGITUDE,
        }
        self.journal = directory / f"{endpoint}.jsonl"
        devices = directory / f"{endpoint}.ndjson"
        config: dict[str, Any] = {
            "devices_file": str(devices),
            "journal_file": str(self.journal),
            "lifetime_s": LIFETIME_S,
            "connects": False,
            # A test waits for no back-off.
            "register_retry_s": 0.5,
        }
        if credential is not None:
            line |= _credential_fields(credential, directory)
            config["trust_anchor_file"] = str(pem_certificate(directory, authority().certificate))
        _write_secret(devices, (json.dumps(line) + "\n").encode())
        self.process = JsonProcess(
            [sys.executable, "-m", "fake_devices.fleet", "--config", "-"], directory=_ROOT
        )
        self.process.write(json.dumps(config | settings))
        self.process.ready()
        self.process.say({"start": {"rate_per_s": 1000}})

    def end(self) -> None:
        """Switch it off."""
        self.process.end()


def _credential_fields(credential: Credential, directory: Path) -> dict[str, str]:
    if credential.mode == "psk":
        return {"psk_identity": credential.identity, "psk": credential.key.hex()}
    pair = KeyPair(credential.certificate, credential.key)
    certificate, key = pem_files(directory, credential.endpoint, pair)
    return {"certificate": str(certificate), "key": str(key)}


def pem_files(directory: Path, name: str, pair: KeyPair) -> tuple[Path, Path]:
    """A certificate and its key as PEM files, the key its owner's alone."""
    certificate = directory / f"{name}.crt"
    certificate.write_bytes(to_pem("CERTIFICATE", pair.certificate))
    key = directory / f"{name}.key"
    _write_secret(key, to_pem("PRIVATE KEY", pair.key))
    return certificate, key


def pem_certificate(directory: Path, certificate: bytes) -> Path:
    """The authority's certificate as a PEM file."""
    file = directory / "authority.crt"
    file.write_bytes(to_pem("CERTIFICATE", certificate))
    return file


def _write_secret(file: Path, data: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(data)


# ---- the server emulator ----


class OurServer:
    """The server emulator as a process, with one data-interface connection that hears it all."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "token").write_text(_ADMIN_TOKEN)
        (directory / "data_token").write_text(_DATA_TOKEN)
        config = {
            "server": "interop",
            "state_dir": str(directory / "state"),
            "token_file": str(directory / "token"),
            "data_token_file": str(directory / "data_token"),
            "coaps": _secure_listen(directory),
            **settings,
        }
        self.process = JsonProcess(
            [sys.executable, "-m", "harness.lwm2m_server", "--config", "-"], directory=_ROOT
        )
        self.process.write(json.dumps(config))
        self.addresses = self.process.ready()
        self._ids = itertools.count(1)
        self._frames: list[ServerFrame] = []
        self._heard = threading.Condition()
        self._connection: ClientConnection = connect(
            f"ws://{self.addresses['data']}{PATH}",
            additional_headers={"Authorization": f"Bearer {_DATA_TOKEN}"},
            max_size=None,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._send(Resume(epoch=None, after=0))

    def port(self, name: str = "coap") -> int:
        """The port of one of its addresses. Raises `NotThereYet` when it has no such address."""
        if name not in self.addresses:
            raise NotThereYet(f"the server emulator has no {name} address")
        return int(self.addresses[name].rpartition(":")[2])

    def end(self) -> None:
        """End the connection and the process."""
        self._connection.close()
        self._reader.join(5)
        self.process.terminate()

    def admit(self, credential: Credential) -> None:
        """Let a device in: put its key into the security store. Certificates admit themselves."""
        if credential.mode == "psk":
            _admit(self.addresses["admin"], credential)

    def registrations(self) -> list[Mapping[str, Any]]:
        """All registrations, as the admin interface tells them."""
        answer = httpx.get(
            f"http://{self.addresses['admin']}/v1/registrations",
            headers=_AUTHORIZED,
            timeout=WITHIN_S,
        )
        found: list[Mapping[str, Any]] = answer.json()["registrations"]
        return found

    @property
    def frames_so_far(self) -> int:
        """Where `until_event` begins for what happens from now on."""
        with self._heard:
            return len(self._frames)

    def events(self, after: int = 0) -> list[Event]:
        """All events from number `after` on."""
        with self._heard:
            return [frame for frame in self._frames[after:] if isinstance(frame, Event)]

    def until(
        self, endpoint: str, kind: str, found: Callable[[Event], bool], after: int = 0
    ) -> Event:
        """The first event of this device and kind for which `found` holds."""

        def matches(frame: ServerFrame) -> bool:
            return (
                isinstance(frame, Event)
                and (frame.kind, frame.endpoint) == (kind, endpoint)
                and found(frame)
            )

        event = self._until(matches, after)
        assert isinstance(event, Event)
        return event

    def until_event(self, kind: str, endpoint: str, *, after: int = 0, **fields: Any) -> Event:
        """The first event of this kind and device, with these fields."""

        def found(event: Event) -> bool:
            return all(getattr(event, name) == value for name, value in fields.items())

        return self.until(endpoint, kind, found, after)

    def command(self, endpoint: str, operation: str, **fields: Any) -> Outcome:
        """Have an operation carried out; its outcome."""
        number = f"interop-{next(self._ids)}"
        fields.setdefault("expires_at_us", int(time.time() * 1e6) + 120_000_000)
        command = msgspec.convert(
            {
                "type": "command",
                "id": number,
                "endpoint": endpoint,
                "operation": operation,
                **fields,
            },
            Command,
            strict=False,
        )
        after = self.frames_so_far
        self._send(command)

        def found(frame: ServerFrame) -> bool:
            if getattr(frame, "id", None) == number:
                raise NotThereYet(f"the server emulator refuses {operation}: {frame}")
            return isinstance(frame, Event) and (
                frame.result is not None and frame.result.id == number
            )

        event = self._until(found, after)
        assert isinstance(event, Event)
        assert event.result is not None
        outcome = event.result
        if outcome.error is not None and "not offered yet" in outcome.error.detail:
            raise NotThereYet(outcome.error.detail)
        return outcome

    def _until(self, found: Any, after: int, within_s: float = WITHIN_S) -> ServerFrame:
        deadline = time.monotonic() + within_s
        at = after
        with self._heard:
            while True:
                while at < len(self._frames):
                    if found(self._frames[at]):
                        return self._frames[at]
                    at += 1
                left = deadline - time.monotonic()
                if left <= 0:
                    raise NotSaid("\n".join(str(frame) for frame in self._frames[after:]))
                self._heard.wait(left)

    def _send(self, frame: msgspec.Struct) -> None:
        self._connection.send(encode(frame).decode())

    def _read(self) -> None:
        try:
            for text in self._connection:
                frame = decode_server_frame(text)
                if isinstance(frame, Event):
                    self._send(Ack(epoch=frame.epoch, seq=frame.seq))
                with self._heard:
                    self._frames.append(frame)
                    self._heard.notify_all()
        except ConnectionClosed:
            return


class OurBootstrapServer:
    """The bootstrap server as a process."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "token").write_text(_ADMIN_TOKEN)
        config = {
            "server": "interop-bootstrap",
            "state_dir": str(directory / "state"),
            "token_file": str(directory / "token"),
            **settings,
        }
        try:
            self._start(config | {"coaps": _secure_listen(directory)})
        except PeerEnded as error:
            if "unknown field `coaps`" not in str(error):
                raise
            self._start(config)

    def _start(self, config: Mapping[str, Any]) -> None:
        self.process = JsonProcess(
            [sys.executable, "-m", "harness.bootstrap_server", "--config", "-"], directory=_ROOT
        )
        self.process.write(json.dumps(config))
        try:
            self.addresses = self.process.ready()
        except PeerEnded:
            self.process.end()
            raise

    def port(self, name: str = "coap") -> int:
        """The port of one of its addresses. Raises `NotThereYet` when it has no such address."""
        if name not in self.addresses:
            raise NotThereYet(f"our bootstrap server has no {name} address")
        return int(self.addresses[name].rpartition(":")[2])

    def admit(self, credential: Credential) -> None:
        """As at the server."""
        if credential.mode == "psk":
            _admit(self.addresses["admin"], credential)

    def put_entry(self, endpoint: str, entry: Mapping[str, Any]) -> None:
        """What a device is bootstrapped to."""
        answer = httpx.put(
            f"http://{self.addresses['admin']}/v1/bootstrap/{endpoint}",
            json=entry,
            headers=_AUTHORIZED,
            timeout=WITHIN_S,
        )
        assert answer.status_code == 204, answer.text

    def end(self) -> None:
        """End the process."""
        self.process.terminate()


def _secure_listen(directory: Path) -> dict[str, Any]:
    certificate, key = pem_files(directory, "server", server_pair())
    anchors = pem_certificate(directory, authority().certificate)
    return {
        "certificate_file": str(certificate),
        "private_key_file": str(key),
        "trust_anchors_file": str(anchors),
    }


def _admit(admin: str, credential: Credential) -> None:
    row = {"identity": credential.identity, "key": base64.b64encode(credential.key).decode()}
    url = f"http://{admin}/v1/security/{credential.endpoint}"
    answer = httpx.put(url, json=row, headers=_AUTHORIZED, timeout=WITHIN_S)
    assert answer.status_code == 204, answer.text


def triples(values: list[Value] | None) -> list[tuple[str, str, Any]]:
    """Values of the data interface as (path, type, value), as Leshan's peer tells them."""
    return [(each.path, each.type, _plain(each)) for each in values or []]


def _plain(value: Value) -> Any:
    if value.type == "opaque":
        return base64.b64decode(str(value.value)).hex()
    return value.value
