"""`lamplighter serve`: the LwM2M server emulator and its bootstrap server alone, for peers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import secrets
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from rich.console import Console

from contracts.names import check_endpoint_name
from harness import bootstrap_server, lwm2m_server
from harness.bench.device_security import (
    DEVICE_KEYS,
    PSK_BYTES,
    DeviceKey,
    certificate_fields,
    make_server_identity,
    server_files,
    write_psk_files,
)
from harness.bench.state import temporary_state
from harness.called import called
from harness.errors import ScenarioError
from harness.lwm2m_server.config import Listen, SecureListen, TlsListen
from harness.lwm2m_server.security_store import InvalidRow, SecurityStore, decode_row
from harness.run_device import trace_on
from harness.security import Security
from lwm2m.transport.tracing import unwrapped
from runtime.clock import SystemClock
from runtime.files import check_owner_only, write_secret

_KEY_BYTES: Final = bytes(number for number in range(1, 256) if number != ord("\n"))
# Nobody's: its bytes count from 0 to 15.
_EXAMPLE_KEY: Final = "AAECAwQFBgcICQoLDA0ODw=="


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may choose. Ports of 0 are free ones; keys come from files."""

    security: Security = "psk"
    host: str = "127.0.0.1"
    coap_port: int = 0
    coaps_port: int = 0
    admin_port: int = 0
    bootstrap_port: int = 0
    bootstrap_secure_port: int = 0
    tcp_port: int | None = None
    """CoAP over TCP; None: not spoken."""
    tls_port: int | None = None
    """CoAP over TLS, with certificates; None: not spoken."""
    state: Path | None = None
    devices: tuple[str, ...] = ()
    """Endpoint names for which a key, or with x509 a certificate, is made."""
    keys_file: Path | None = None
    oscore_file: Path | None = None
    bootstrap_file: Path | None = None
    object_files: tuple[Path, ...] = ()
    trace: bool = False


async def serve(options: ServeOptions, console: Console) -> None:
    """Serve until cancelled; addresses and what to do with them are told on `console`.

    Raises `ScenarioError` or `ConfigError` with what to do.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    _check_host(options)
    clock = SystemClock()
    kept = contextlib.nullcontext(options.state) if options.state else temporary_state()
    with kept as state, full_disk_told(state):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("token", "data_token"):
            if not (state / name).exists():
                write_secret(state / name, secrets.token_urlsafe(32).encode())
        if _has_certificates(options):
            make_server_identity(state, _reachable(options.host), clock.wall_us())
        _take_keys(options, state)
        _make_credentials(options, state, clock.wall_us())
        wrap = trace_on(console, clock) if options.trace else unwrapped
        told = _Addresses(options, state, console)
        server = lwm2m_server.run(_server_config(options, state), clock, told.server, wrap=wrap)
        bootstrap = bootstrap_server.run(
            _bootstrap_config(options, state), clock, told.bootstrap, wrap=wrap
        )
        try:
            await _both(server, bootstrap)
        except asyncio.CancelledError:
            console.print("The servers are down.")


async def _both(*works: Coroutine[Any, Any, None]) -> None:
    """Until one fails or this is cancelled, and all have ended: `gather` alone comes back with the
    first, while another still has its sockets and the lock of its state."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def full_disk_told(state: Path) -> Iterator[None]:
    """Raises `ScenarioError` with what to do when the block finds no room left in `state`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ScenarioError(
            f"the disk that holds {state} is full ({error.strerror}): free space there and start "
            "again, and everything that was acknowledged is there; or choose another --state"
        ) from error


def _check_host(options: ServeOptions) -> None:
    """A certificate is made for the address in figures. Raises `ScenarioError`."""
    try:
        ipaddress.ip_address(options.host)
    except ValueError:
        if _has_certificates(options):
            raise ScenarioError(
                f"--host {options.host}: write the address in figures, such as 127.0.0.1; the "
                "server's certificate is made for it"
            ) from None


class _Addresses:
    """Prints how to use the servers once both are ready."""

    def __init__(self, options: ServeOptions, state: Path, console: Console) -> None:
        self._options = options
        self._state = state
        self._console = console
        self._server: Mapping[str, str] = {}
        self._bootstrap: Mapping[str, str] = {}

    def server(self, addresses: Mapping[str, str]) -> None:
        self._server = addresses
        self._tell()

    def bootstrap(self, addresses: Mapping[str, str]) -> None:
        self._bootstrap = addresses
        self._tell()

    def _tell(self) -> None:
        if self._server and self._bootstrap:
            _write_entries(self._server, self._state, self._options)
            text = how_to_use(self._server, self._bootstrap, self._state, self._options)
            # Only the heading is marked up: what follows names folders of the user's.
            heading, _, rest = text.partition("\n")
            self._console.print(heading, highlight=False)
            self._console.out(rest, highlight=False)


def how_to_use(
    server: Mapping[str, str], bootstrap: Mapping[str, str], state: Path, options: ServeOptions
) -> str:
    """The addresses of both servers, and one line each on what to do with them."""
    lines = ["[bold]The LwM2M server is up.[/bold] Ctrl-C ends it.", ""]
    for name, addresses in (("LwM2M server", server), ("bootstrap server", bootstrap)):
        for scheme in ("coap", "coaps", "coap+tcp", "coaps+tcp"):
            if scheme in addresses:
                lines.append(f"  {name:<17} {scheme}://{addresses[scheme]}")
                name = ""
        lines.append(f"  {'':<17} http://{addresses['admin']}   its administration")
    return "\n".join(
        [
            *lines,
            "",
            *_trust_lines(state, options),
            *_device_lines(server, state, options),
            "Who is registered, and an operation on a device:",
            "",
            f"  curl {_auth(state)} http://{server['admin']}/v1/registrations",
            f"  curl {_auth(state)} http://{server['admin']}/v1/operations \\",
            f"    -d '{_read_of(_example(options))}'",
            "",
            *_bootstrap_lines(server, bootstrap, state, options),
            "All routes: docs/reference/interfaces.md.",
        ]
    )


def _auth(state: Path) -> str:
    return f'-H "Authorization: Bearer $(cat {state}/token)"'


def _example(options: ServeOptions) -> str:
    """Whom examples are about."""
    return options.devices[0] if options.devices else "NAME"


def _read_of(endpoint: str) -> str:
    return f'{{"endpoint": "{endpoint}", "operation": "read", "path": "/3/0"}}'


def _trust_lines(state: Path, options: ServeOptions) -> list[str]:
    if not _has_certificates(options):
        return []
    return [
        f"Server certificates are signed by {server_files(state)['trust_anchors_file']}; a"
        " device's",
        "must come from there too, and its common name be the endpoint name: --device NAME makes"
        " one.",
        "",
    ]


def _device_lines(server: Mapping[str, str], state: Path, options: ServeOptions) -> list[str]:
    """How the devices that credentials were made for come in, and where those are."""
    lines = []
    for endpoint in options.devices:
        command = f"{called()} device --endpoint {endpoint} --server {_uri(server)}"
        lines += [f"  {command}{_proof(state / DEVICE_KEYS / endpoint, state, options)}", ""]
    return lines


def _bootstrap_lines(
    server: Mapping[str, str], bootstrap: Mapping[str, str], state: Path, options: ServeOptions
) -> list[str]:
    """How a device is bootstrapped to the server: commands that work as they stand."""
    if not options.devices and options.security == "x509":
        return ["For commands that bootstrap a device, name it: --device NAME.", ""]
    name = _example(options)
    lines = []
    if not options.devices and options.security == "psk":
        key = f'{{"identity": "{name}", "key": "{_EXAMPLE_KEY}"}}'
        lines += [
            "A device's pre-shared key (base64; put yours there), which each server keeps for"
            " itself:",
            "",
        ]
        for addresses in (server, bootstrap):
            route = f"http://{addresses['admin']}/v1/security/{name}"
            lines += [f"  curl {_auth(state)} -X PUT {route} \\", f"    -d '{key}'"]
        lines.append("")
    data = (
        f"@{_entry_file(state, name)}"
        if _has_entry_files(options)
        else _open_entry(server, name, options)
    )
    lines += [
        f"What {name} is bootstrapped to:",
        "",
        f"  curl {_auth(state)} -X PUT http://{bootstrap['admin']}/v1/bootstrap/{name} \\",
        f"    -d '{data}'",
        "",
    ]
    if options.devices or options.security == "none":
        proof = _proof(state / DEVICE_KEYS / name, state, options)
        command = f"{called()} device --endpoint {name} --bootstrap {_uri(bootstrap)}{proof}"
        lines += [f"  {command}", ""]
    return lines


def _open_entry(server: Mapping[str, str], name: str, options: ServeOptions) -> str:
    """A bootstrap entry without a secret of anybody's: with the key of the example, or none."""
    account: dict[str, object] = {"short_server_id": 1, "uri": _uri(server)}
    if options.security == "psk":
        account |= {"security": "psk", "identity": name, "key": _EXAMPLE_KEY}
    return msgspec.json.encode({"accounts": [account]}).decode()


def _has_entry_files(options: ServeOptions) -> bool:
    return bool(options.devices) and options.security != "none"


def _entry_file(state: Path, endpoint: str) -> Path:
    return state / DEVICE_KEYS / f"{endpoint}.bootstrap.json"


def _write_entries(server: Mapping[str, str], state: Path, options: ServeOptions) -> None:
    """What each named device is bootstrapped to, in a file: it has keys, which no command line
    may show."""
    if not _has_entry_files(options):
        return
    for endpoint in options.devices:
        account = {"short_server_id": 1, "uri": _uri(server), "security": options.security}
        made = state / DEVICE_KEYS / endpoint
        found = _psk_of(made) if options.security == "psk" else _certificates_of(made, state)
        entry = msgspec.json.encode({"accounts": [{**account, **found}]})
        write_secret(_entry_file(state, endpoint), entry)


def _psk_of(made: Path) -> dict[str, str | bytes]:
    return {"identity": made.name, "key": bytes.fromhex(Path(f"{made}.psk").read_text())}


def _certificates_of(made: Path, state: Path) -> dict[str, str | bytes]:
    return {
        "certificate": _der_certificate(Path(f"{made}.pem")),
        "key": _der_key(Path(f"{made}.key")),
        "server_certificate": _der_certificate(Path(server_files(state)["certificate_file"])),
    }


def _der_certificate(file: Path) -> bytes:
    found = x509.load_pem_x509_certificate(file.read_bytes())
    return found.public_bytes(serialization.Encoding.DER)


def _der_key(file: Path) -> bytes:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _proof(made: Path, state: Path, options: ServeOptions) -> str:
    if options.security == "psk":
        return f" --psk {made}.psk"
    if options.security == "none":
        return ""
    anchor = server_files(state)["trust_anchors_file"]
    return f" --certificate {made}.pem --key {made}.key --trust {anchor}"


def _uri(server: Mapping[str, str]) -> str:
    """Where a device on this machine turns to: by DTLS, where that is spoken."""
    scheme = "coaps" if "coaps" in server else "coap"
    host, _, port = server[scheme].rpartition(":")
    return f"{scheme}://{_reachable(host)}:{port}"


def _reachable(host: str) -> str:
    """An address for the one that is listened on: the wildcard is none that can be asked."""
    return "127.0.0.1" if host == "0.0.0.0" else host


def _has_certificates(options: ServeOptions) -> bool:
    return options.security == "x509" or options.tls_port is not None


def _server_config(options: ServeOptions, state: Path) -> lwm2m_server.ServerConfig:
    return lwm2m_server.ServerConfig(
        server="server-1",
        state_dir=str(state / "server"),
        token_file=str(state / "token"),
        data_token_file=str(state / "data_token"),
        coap=Listen(options.host, options.coap_port),
        coaps=_secure(options, state, options.coaps_port),
        coap_tcp=None if options.tcp_port is None else Listen(options.host, options.tcp_port),
        coaps_tcp=(
            None
            if options.tls_port is None
            else TlsListen(host=options.host, port=options.tls_port, **server_files(state))
        ),
        oscore_file=None if options.oscore_file is None else str(options.oscore_file),
        admin=Listen("127.0.0.1", options.admin_port),
        object_files=tuple(str(file) for file in options.object_files),
    )


def _bootstrap_config(options: ServeOptions, state: Path) -> bootstrap_server.BootstrapServerConfig:
    entries = options.bootstrap_file
    return bootstrap_server.BootstrapServerConfig(
        server="bootstrap-1",
        state_dir=str(state / "bootstrap"),
        token_file=str(state / "token"),
        entries_file=None if entries is None else str(entries),
        coap=Listen(options.host, options.bootstrap_port),
        coaps=_secure(options, state, options.bootstrap_secure_port),
    )


def _secure(options: ServeOptions, state: Path, port: int) -> SecureListen | None:
    if options.security == "none":
        return None
    if options.security == "psk":
        return SecureListen(host=options.host, port=port)
    return SecureListen(host=options.host, port=port, psk=False, **server_files(state))


def _make_credentials(options: ServeOptions, state: Path, wall_us: int) -> None:
    """Credentials for the devices that were named: what is there of an earlier time stays."""
    for endpoint in options.devices:
        check_endpoint_name(endpoint)
    made = state / DEVICE_KEYS
    if options.security == "x509":
        new = [name for name in options.devices if not (made / f"{name}.pem").exists()]
        certificate_fields(state, new, wall_us)
    elif options.security == "psk":
        new = [name for name in options.devices if not (made / f"{name}.psk").exists()]
        rows = {name: DeviceKey(endpoint=name, identity=name, key=_new_key()) for name in new}
        write_psk_files(state, rows)
        _put_in_stores(state, [msgspec.json.encode(row) for row in rows.values()], made)


def _new_key() -> bytes:
    """A key that a command line can carry, without zero and newline: libcoap's client takes its key
    as an argument. Of 128 bits that leaves 127.8."""
    return bytes(secrets.choice(_KEY_BYTES) for _ in range(PSK_BYTES))


def _take_keys(options: ServeOptions, state: Path) -> None:
    """Put the keys of a file into the security stores of both servers."""
    if options.keys_file is None:
        return
    try:
        check_owner_only(str(options.keys_file))
        lines = options.keys_file.read_bytes().splitlines()
    except OSError as error:
        raise ScenarioError(f"cannot read {options.keys_file}: {error.strerror}") from error
    _put_in_stores(state, lines, options.keys_file)


def _put_in_stores(state: Path, lines: Sequence[bytes], file: Path) -> None:
    for name in ("server", "bootstrap"):
        store = SecurityStore(state / name, rows_max=1_000_000)
        try:
            _put_all(store, lines, file)
        finally:
            store.flush()
            store.close()


def _put_all(store: SecurityStore, lines: Sequence[bytes], file: Path) -> None:
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                store.put(decode_row(line))
        except InvalidRow as error:
            raise ScenarioError(f"{file}, line {number}: {error}") from None
