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

from harness import bootstrap_server, lwm2m_server
from harness.bench.device_security import make_server_identity, server_files
from harness.bench.state import temporary_state
from harness.errors import ScenarioError
from harness.lwm2m_server.config import Listen, SecureListen
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
    state: Path | None = None
    keys_file: Path | None = None
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
        if options.security == "x509":
            make_server_identity(state, options.host, clock.wall_us())
        _take_keys(options, state)
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
            text = how_to_use(self._server, self._bootstrap, self._state)
            self._console.print(text, highlight=False, soft_wrap=True)


def how_to_use(server: Mapping[str, str], bootstrap: Mapping[str, str], state: Path) -> str:
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


def _uri(server: Mapping[str, str]) -> str:
    scheme = "coap" if "coap" in server else "coaps"
    return f"{scheme}://{server[scheme]}"


def _server_config(options: ServeOptions, state: Path) -> lwm2m_server.ServerConfig:
    return lwm2m_server.ServerConfig(
        server="server-1",
        state_dir=str(state / "server"),
        token_file=str(state / "token"),
        data_token_file=str(state / "data_token"),
        coap=Listen(options.host, options.coap_port),
        coaps=_secure(options, state, options.coaps_port),
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
    files = server_files(state)
    return SecureListen(
        host=options.host,
        port=port,
        psk=False,
        certificate_file=files["certificate_file"],
        private_key_file=files["private_key_file"],
        trust_anchors_file=files["trust_anchors_file"],
    )


def _take_keys(options: ServeOptions, state: Path) -> None:
    """Put the keys of a file into the security stores of both servers."""
    if options.keys_file is None:
        return
    try:
        check_owner_only(str(options.keys_file))
        lines = options.keys_file.read_bytes().splitlines()
    except OSError as error:
        raise ScenarioError(f"cannot read {options.keys_file}: {error.strerror}") from error
    for name in ("server", "bootstrap"):
        store = SecurityStore(state / name, rows_max=1_000_000)
        try:
            _put_all(store, lines, options.keys_file)
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
