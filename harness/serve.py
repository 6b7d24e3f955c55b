"""`lamplighter serve`: the LwM2M server emulator and its bootstrap server alone, for peers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
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
from harness.errors import ScenarioError
from harness.lwm2m_server.config import Listen, SecureListen, TlsListen
from harness.lwm2m_server.secret_files import check_owner_only
from harness.lwm2m_server.security_store import InvalidRow, SecurityStore, decode_row
from harness.run_device import trace_on
from harness.security import Security
from lwm2m.transport.tracing import unwrapped
from runtime.clock import SystemClock
from runtime.files import write_secret


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
    clock = SystemClock()
    with contextlib.nullcontext(options.state) if options.state else temporary_state() as state:
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
            await asyncio.gather(server, bootstrap)
        except asyncio.CancelledError:
            console.print("The servers are down.")


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
            text = how_to_use(self._server, self._bootstrap, self._state, self._options)
            self._console.print(text, highlight=False, soft_wrap=True)


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
    auth = f'-H "Authorization: Bearer $(cat {state}/token)"'
    admin = f"http://{server['admin']}"
    return "\n".join(
        [
            *lines,
            "",
            *_device_lines(server, state, options),
            "Who is registered, and an operation on a device:",
            "",
            f"  curl {auth} {admin}/v1/registrations",
            f"  curl {auth} {admin}/v1/operations \\",
            '    -d \'{"endpoint": "NAME", "operation": "read", "path": "/3/0"}\'',
            "",
            "A device's pre-shared key (base64), and what a device is bootstrapped to:",
            "",
            f"  curl {auth} -X PUT {admin}/v1/security/NAME \\",
            '    -d \'{"identity": "NAME", "key": "AAECAwQFBgcICQoLDA0ODw=="}\'',
            f"  curl {auth} -X PUT http://{bootstrap['admin']}/v1/bootstrap/NAME \\",
            f'    -d \'{{"accounts": [{{"short_server_id": 1, "uri": "{_uri(server)}"}}]}}\'',
            "",
            "All routes: docs/reference/interfaces.md.",
        ]
    )


def _device_lines(server: Mapping[str, str], state: Path, options: ServeOptions) -> list[str]:
    """How the devices that credentials were made for come in, and where those are."""
    lines = []
    if _has_certificates(options):
        lines += [
            f"Server certificates are signed by {server_files(state)['trust_anchors_file']}; a"
            " device's",
            "must come from there too, and its common name be the endpoint name: --device NAME"
            " makes one.",
            "",
        ]
    for endpoint in options.devices:
        command = f"lamplighter device --endpoint {endpoint} --server {_uri(server)}"
        lines += [f"  {command}{_proof(state / DEVICE_KEYS / endpoint, state, options)}", ""]
    return lines


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
        rows = {
            name: DeviceKey(endpoint=name, identity=name, key=secrets.token_bytes(PSK_BYTES))
            for name in new
        }
        write_psk_files(state, rows)
        _put_in_stores(state, [msgspec.json.encode(row) for row in rows.values()], made)


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
