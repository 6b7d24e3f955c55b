"""One device of one's own, declared in Python and run until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import uvloop

from contracts import journal
from contracts.names import check_endpoint_name
from contracts.telemetry import Severity
from fake_devices.device import Device as DeviceCore
from fake_devices.device import Environment, Moment, Served, ServerAccount
from fake_devices.devices import DeviceIdentity, Values
from fake_devices.devices.model import changed
from fake_devices.fleet.assembly import assembled
from fake_devices.fleet.building import accounts_of, boot_ids
from fake_devices.fleet.config import DeviceLine, FleetConfig, parse_server
from fake_devices.fleet.fleet import Fleet
from fake_devices.kit.declaring import Bound, IllegalDeclaration, models_of
from fake_devices.kit.model import IsRaised, OnExecute, OnWrite, OwnModel
from lwm2m.objects import ObjectPath, Value
from lwm2m.transport.link import Datagrams, Link
from lwm2m.transport.silence import noting_silence
from lwm2m.transport.tracing import Receive, Wrap, refusal_of, unwrapped
from runtime.clock import Clock, SystemClock
from runtime.component import ConfigError
from runtime.files import check_owner_only

_log = logging.getLogger(__name__)
_Handler = TypeVar("_Handler", bound=Callable[[], object])
# At once: there is but one.
_STARTS_PER_S: Final = 1_000.0
# What `run` says, or what only fleets have.
_NOT_SETTINGS: Final = frozenset(
    {
        "addresses", "bootstrap_server", "devices_file", "first_address", "incidents",
        "journal_file", "process", "profile_file", "progress_every_s", "sample_every_s",
        "schedule_file", "server", "share_first", "share_of", "starts_per_turn_max",
    }
)  # fmt: skip


class _Running:
    """A device that runs, and the loop that it runs in."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fleet: Fleet, clock: Clock) -> None:
        self.loop = loop
        self.fleet = fleet
        self.clock = clock
        self.measuring: asyncio.TimerHandle | None = None

    def moment(self) -> Moment:
        """Now."""
        return Moment(self.clock.now_ns(), self.clock.wall_us())

    def carry_out(self) -> None:
        """Have the fleet do what the device wants done."""
        self.fleet.attend(0)


class Device:
    """A device that joins a platform over LwM2M, takes its MQTT account there, and reports.

    `object_files` are OMA object XML of the maker's own objects. `settings` are fields of
    `fake_devices.fleet.config.FleetConfig`, such as `lifetime_s`, `report_every_s`,
    `lwm2m_version`, `queue_mode` or `firmware`. Raises `IllegalName`, `IllegalDeclaration`.

    Everything is declared before the device runs. `set`, `send` and `measure` may be called while
    it runs, by its handlers and from any thread: they only put the work into the device's loop.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        serial: str = "",
        object_files: Iterable[str | Path] = (),
        **settings: Any,
    ) -> None:
        check_endpoint_name(endpoint)
        self.endpoint = endpoint
        self._serial = serial or endpoint
        self.config = _config_of(settings)
        self._own = OwnModel(models_of(self.config.lwm2m_version, object_files))
        self._on_event: dict[type[journal.Record], list[Callable[[], object]]] = {}
        self._core: DeviceCore | None = None
        self._running: _Running | None = None
        self.is_registered = False
        self.is_connected = False

    # ---- declaring ----

    def add(
        self, instance: str, values: Mapping[int, Bound], *, reports: Iterable[int] = ()
    ) -> None:
        """An object instance such as `/3303/0`, with its resources by number.

        A value is fixed until a server writes it; a function without arguments is called whenever
        the value is wanted; `{0: …, 1: …}` gives the instances of a resource that has several.
        Those in `reports` go into every pack over MQTT. Raises `IllegalDeclaration`.
        """
        self._declaring().add(instance, values, reports)

    def bind(self, path: str, bound: Bound, *, report: bool = False) -> None:
        """One resource's value, or what measures it. Raises `IllegalDeclaration`."""
        self._declaring().bind(path, bound)
        if report:
            self._own.report(ObjectPath.parse(path))

    def on_write(self, path: str) -> Callable[[OnWrite], OnWrite]:
        """Decorates the function that is called with what a server wrote.

        For a resource (or a resource instance) that is its value, None when a write removed it;
        for a resource with instances, and for an object instance, a dict of those that were
        written, by number. Raises `IllegalDeclaration`.
        """

        def decorate(handler: OnWrite) -> OnWrite:
            self._declaring().on_write(path, handler)
            return handler

        return decorate

    def on_execute(self, path: str) -> Callable[[OnExecute], OnExecute]:
        """Decorates the function that is called with an Execute's arguments, by digit.

        Raises `IllegalDeclaration`.
        """

        def decorate(handler: OnExecute) -> OnExecute:
            self._declaring().on_execute(path, handler)
            return handler

        return decorate

    def on_registered(self, handler: _Handler) -> _Handler:
        """Decorates what is called when the LwM2M server has accepted the device."""
        return self._when(journal.DeviceRegistered, handler)

    def on_connected(self, handler: _Handler) -> _Handler:
        """Decorates what is called when the MQTT connection is there."""
        return self._when(journal.DeviceConnected, handler)

    def alarm(
        self, name: str, path: str, is_raised: IsRaised, *, severity: Severity = "minor"
    ) -> None:
        """An alarm that stands while `is_raised`, asked with the value at `path`, says so.

        It is asked with None while there is no value. Raises `IllegalDeclaration`.
        """
        self._declaring().alarm(name, path, is_raised, severity)

    # ---- while it runs; from any thread ----

    def set(self, path: str, value: Value) -> None:
        """Give a resource another value; who observes it is told. Before the device runs, as
        `bind`. Raises `IllegalDeclaration`."""
        if self._running is None:
            self.bind(path, value)
            return
        found = self._own.checked_set(path, value)
        self._soon(lambda core, now: core.values_changed({found: value}, now))

    def measure(self) -> None:
        """Ask all bound functions now; who observes what changed is told."""
        self._soon(self._measure)

    def send(self, *paths: str) -> None:
        """Send the values at `paths` to every server that is registered with and takes LwM2M Sends
        (from 1.1; /1/x/23). Raises `IllegalDeclaration`."""
        found = [self._own.checks.path(path, 1, 2, 3, 4) for path in paths]
        self._soon(lambda core, now: self._send(core, found, now))

    # ---- running ----

    def run(
        self,
        server: str = "",
        *,
        bootstrap_server: str = "",
        psk_identity: str | None = None,
        psk: bytes | None = None,
        certificate_file: str | None = None,
        key_file: str | None = None,
        psk_file: str | Path | None = None,
        wrap: Wrap = unwrapped,
    ) -> None:
        """Run until Ctrl-C or SIGTERM. What keeps it from running ends the program with one line
        that says what to do (`SystemExit`).

        `server` and `bootstrap_server` are `coap://host:port` or `coaps://host:port`; the latter
        asks for a PSK, itself or in a file (hexadecimal, its owner's alone), or for a certificate
        and its key as PEM files, and the setting `trust_anchor_file`.
        """
        try:
            self._run(
                server,
                bootstrap_server,
                self.line(
                    psk_identity,
                    psk if psk_file is None else _read_key(Path(psk_file)),
                    certificate_file,
                    key_file,
                ),
                wrap,
            )
        except ConfigError as error:
            sys.exit(f"{self.endpoint}: {error}")

    def _run(self, server: str, bootstrap_server: str, line: DeviceLine, wrap: Wrap) -> None:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
        _log.setLevel(logging.INFO)
        self._check_servers(server, bootstrap_server, line)
        uvloop.run(self._until_signalled(server, bootstrap_server, line, wrap))

    def _check_servers(self, server: str, bootstrap_server: str, line: DeviceLine) -> None:
        """Refuse what cannot work, in the words of `run`. Raises `ConfigError`."""
        if not server and not bootstrap_server:
            raise ConfigError("server or bootstrap_server: name one, such as coap://127.0.0.1:5683")
        servers = [uri for uri in (server, bootstrap_server) if uri]
        secure = [uri for uri in servers if parse_server(uri).is_secure]
        if (line.certificate is None) != (line.key is None):
            raise ConfigError("certificate_file and key_file go together: one is missing")
        if not secure or line.psk is not None:
            return
        if line.certificate is None:
            raise ConfigError(f"{secure[0]} needs psk, or certificate_file and key_file")
        if self.config.trust_anchor_file is None:
            raise ConfigError(
                f"{secure[0]} with a certificate needs the setting trust_anchor_file too: the PEM "
                "of who signs the server's certificate"
            )

    async def serve(
        self,
        server: str,
        line: DeviceLine,
        *,
        bootstrap_server: str = "",
        clock: Clock | None = None,
        wrap: Wrap = unwrapped,
    ) -> None:
        """`run` in a loop of the caller's, until cancelled. Raises `ConfigError`, `OSError`."""
        watch = SystemClock() if clock is None else clock
        config = msgspec.structs.replace(
            self.config, server=server, bootstrap_server=bootstrap_server
        )

        def make(peers: Sequence[Hashable]) -> list[DeviceCore]:
            return [self.make_core(config, accounts_of(config, line), watch)]

        heard = noting_silence(_telling_refusals(self.endpoint, wrap), _log.warning)
        async with assembled(config, watch, 1, make, wrap=heard) as (fleet, _):
            running = self._running = _Running(asyncio.get_running_loop(), fleet, watch)
            fleet.start(_STARTS_PER_S)
            self._measure_regularly(running)
            try:
                await asyncio.Event().wait()
            finally:
                self._running = None
                if running.measuring is not None:
                    running.measuring.cancel()
                fleet.end()

    def line(
        self,
        psk_identity: str | None = None,
        psk: bytes | None = None,
        certificate_file: str | None = None,
        key_file: str | None = None,
    ) -> DeviceLine:
        """Who the device is, and what it proves that with."""
        return DeviceLine(
            self.endpoint,
            self._serial,
            self.endpoint,
            0.0,
            0.0,
            psk_identity=(psk_identity or self.endpoint) if psk is not None else None,
            psk=None if psk is None else psk.hex(),
            certificate=certificate_file,
            key=key_file,
        )

    # ---- inside ----

    async def _until_signalled(
        self, server: str, bootstrap_server: str, line: DeviceLine, wrap: Wrap
    ) -> None:
        task = asyncio.ensure_future(
            self.serve(server, line, bootstrap_server=bootstrap_server, wrap=wrap)
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            _log.info("%s stopped", self.endpoint)

    def make_core(
        self,
        config: FleetConfig,
        accounts: Sequence[ServerAccount],
        clock: Clock,
        chance: Callable[[], float] | None = None,
    ) -> DeviceCore:
        """The device without I/O, as its factory leaves it; `chance` gives numbers in [0, 1).

        Raises `IllegalDeclaration`.
        """
        identity = DeviceIdentity(self.endpoint, self._serial, self.endpoint, 0.0, 0.0, config.seed)
        city_s = clock.wall_us() / 1e6
        model = self._own.model(self.endpoint)
        template = self._own.template(
            model,
            identity,
            city_s,
            config.lifetime_s,
            accounts=accounts,
            lwm2m_version=config.lwm2m_version,
            firmware=config.firmware,
        )
        environment = Environment(
            settings=config,
            record=self._record,
            chance=chance or random.Random().random,
            draw_boot_id=boot_ids(config.seed, clock),
            served=lambda served, values: self._served(served, values, clock),
        )
        self._core = DeviceCore(
            environment, template, identity, model, city_s=city_s, phase=0.0, accounts=accounts
        )
        # Its bound functions measure the first values now, not when somebody first asks.
        _ = self._core.tree
        return self._core

    def _declaring(self) -> OwnModel:
        if self._running is not None:
            raise IllegalDeclaration(f"{self.endpoint} runs: declare everything before")
        return self._own

    def _soon(self, act: Callable[[DeviceCore, Moment], object]) -> None:
        running = self._running
        if running is None:
            raise NotRunning(f"{self.endpoint} does not run")
        running.loop.call_soon_threadsafe(self._act, running, act)

    def _act(self, running: _Running, act: Callable[[DeviceCore, Moment], object]) -> None:
        # It may have been stopped since.
        if self._running is running and self._core is not None:
            act(self._core, running.moment())
            running.carry_out()

    def _send(self, core: DeviceCore, paths: Sequence[ObjectPath], moment: Moment) -> None:
        if core.send_now(paths, moment) == 0:
            _log.warning("%s: no server takes values sent unasked now", self.endpoint)

    def _measure(self, core: DeviceCore, moment: Moment) -> None:
        changes = changed(core.tree, self._own.measure())
        if changes:
            core.values_changed(changes, moment)

    def _measure_regularly(self, running: _Running) -> None:
        # Reports measure by themselves; without them, observers would hear nothing.
        if not self.is_connected:
            self._act(running, self._measure)
        running.measuring = running.loop.call_later(
            self.config.report_every_s, self._measure_regularly, running
        )

    def _when(self, kind: type[journal.Record], handler: _Handler) -> _Handler:
        self._on_event.setdefault(kind, []).append(handler)
        return handler

    def _served(self, served: Served, values: Values, clock: Clock) -> None:
        self._own.served(served, values)
        if served.operation != "execute" and self._core is not None:
            # What a handler set is what a bound function now measures.
            self._measure(self._core, Moment(clock.now_ns(), clock.wall_us()))

    def _record(self, record: journal.Record) -> None:
        if isinstance(record, journal.DeviceRegistered):
            if not self.is_registered:
                _log.info("%s registered at %s", self.endpoint, record.location)
            self.is_registered = True
        elif isinstance(record, journal.DeviceRegistrationFailed):
            self.is_registered = False
            # What a server refused was told with its reason when it came.
            if not record.code:
                _log.warning("%s could not register: no answer", self.endpoint)
        elif isinstance(record, journal.DeviceConnected):
            self.is_connected = True
            _log.info("%s connected to its MQTT broker", self.endpoint)
        elif isinstance(record, journal.DeviceDisconnected):
            self.is_connected = False
            _log.warning("%s lost its MQTT connection: %s", self.endpoint, record.reason)
        for handler in self._on_event.get(type(record), ()):
            try:
                handler()
            except Exception:
                # A task's boundary: a handler's fault must not end the device.
                _log.exception("a handler of %s failed", type(record).__name__)


def _telling_refusals(endpoint: str, wrap: Wrap) -> Wrap:
    """`wrap`, with a line in the log for what a server refuses: the code, and the reason that the
    server gives, if any (RFC 7252 §5.5.2)."""

    def both(receive: Receive) -> tuple[Receive, Callable[[Link], Link]]:
        pass_on, wrap_link = wrap(receive)

        def heard(datagrams: Datagrams[Hashable]) -> Datagrams[Hashable]:
            for data, peer in datagrams:
                told = refusal_of(data)
                if told:
                    _log.warning("%s was refused: %s", endpoint, told)
                yield data, peer

        def received(datagrams: Datagrams[Hashable]) -> None:
            pass_on(heard(datagrams))

        return received, wrap_link

    return both


def _read_key(file: Path) -> bytes:
    """The pre-shared key in a file. Raises `ConfigError`, which never shows it."""
    try:
        check_owner_only(file)
        return bytes.fromhex(file.read_text().strip())
    except OSError as error:
        raise ConfigError(f"cannot read the key {file}: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the key in {file} is not hexadecimal: 32 to 128 digits") from None


class NotRunning(RuntimeError):
    """The device was asked for something that only a running one can do."""


def _config_of(settings: Mapping[str, Any]) -> FleetConfig:
    known = set(FleetConfig.__struct_fields__) - _NOT_SETTINGS
    for name in settings:
        if name not in known:
            raise IllegalDeclaration(f"no setting {name!r}; there are: {', '.join(sorted(known))}")
    try:
        config = msgspec.convert({**settings, "devices_file": ""}, FleetConfig)
    except msgspec.ValidationError as error:
        raise IllegalDeclaration(f"settings: {error}") from None
    if config.lifetime_s < 1:
        raise IllegalDeclaration(f"settings: lifetime_s {config.lifetime_s}: choose 1 or more")
    return config
