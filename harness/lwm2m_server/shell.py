"""The server as a component: sockets, files and timers around the core; nothing is decided here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.data_interface import PATH, Command, Outcome, Registration
from contracts.names import check_server_name
from harness.lwm2m_server.admin import Admin, OperationRequest, make_admin_app
from harness.lwm2m_server.config import ServerConfig
from harness.lwm2m_server.core import ServerCore
from harness.lwm2m_server.data_interface import BridgeSession
from harness.lwm2m_server.devices import address_text
from harness.lwm2m_server.gates import BadGateOrder, decode_order
from harness.lwm2m_server.listeners import Listeners, RefusalLog, hash_of, port_in_use
from harness.lwm2m_server.log_file import LogFile
from harness.lwm2m_server.loop_sampling import sample_loop
from harness.lwm2m_server.observations import Observation
from harness.lwm2m_server.open_listeners import check_listeners, open_listeners
from harness.lwm2m_server.oscore_admin import OscoreAdmin
from harness.lwm2m_server.oscore_devices import OscoreDevices
from harness.lwm2m_server.oscore_store import OscoreStore, decode_row
from harness.lwm2m_server.secret_files import numbered_lines, read_token
from harness.lwm2m_server.security_admin import SecurityAdmin
from harness.lwm2m_server.security_store import InvalidRow, SecurityStore, StoreFull
from harness.lwm2m_server.turn import Turn, begin
from lwm2m.errors import MalformedDefinition, MalformedLinkFormat
from lwm2m.objects import ModelRegistry, read_xml
from lwm2m.transport.peers import SecurePeer
from lwm2m.transport.tracing import Wrap, unwrapped
from runtime.clock import Clock
from runtime.component import ConfigError, Ready, say
from runtime.files import check_owner_only
from runtime.http import bind, serving
from runtime.journal import JournalFile, NoJournal
from runtime.websocket import WebSocketConnection, WebSocketLimits, listen_websocket

if TYPE_CHECKING:
    from harness.lwm2m_server.reliable_listen import ReliableListeners


_log = logging.getLogger(__name__)

# How much may wait in one bridge's socket before the rest stays in the event log.
STDIN = 0
# Who an operation of the administration is from.
ISSUED_BY = "admin"
ROOM_BYTES = 1024 * 1024
# How long after a turn its deadlines are looked at, with those of the turns that follow: a tenth of
# the shortest one, that of an acknowledgement.
LOOK_AT_DEADLINES_S = 0.01


class LwM2mServer:
    """A running server. `failed` gets the error that it cannot go on after."""

    def __init__(self, config: ServerConfig, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self.listeners = Listeners()
        self._connections: ReliableListeners | None = None
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._bridges: dict[BridgeSession, WebSocketConnection] = {}
        self._turn_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._look: asyncio.TimerHandle | None = None
        self._refusals_told = RefusalLog()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self.journal = (
            JournalFile(Path(config.journal_file)) if config.journal_file else NoJournal()
        )
        self._oscore_store = OscoreStore(
            Path(config.state_dir), rows_max=config.limits.oscore_contexts_max, sync=config.sync
        )
        _take_contexts(self._oscore_store, config.oscore_file)
        self.oscore = OscoreDevices(self._oscore_store, secrets.token_bytes)
        self._log_file = LogFile(Path(config.state_dir), sync=config.sync)
        state, warning = begin(self._log_file, server=config.server, new_epoch=secrets.token_hex(8))
        if warning is not None:
            _log.error("%s", warning)
        self.core = ServerCore(
            config.server,
            state,
            clock=clock,
            draw=secrets.token_bytes,
            models_for=_read_models(config.object_files).models_for,
            limits=config.limits,
            policy=config.policy(),
            profiles=config.profiles,
            defect=config.defect,
            oscore=self.oscore,
            is_tapped=config.journal_file is not None,
        )
        self._turn = Turn(
            self.core,
            self._log_file,
            journal=self.journal,
            send_datagrams=self.listeners.send,
            send_frames=self._send_frames,
            say=say,
            compact_bytes=config.limits.log_bytes_compact,
        )

    # ---- what comes in ----

    def mount(self, connections: ReliableListeners) -> None:
        """Speak over connections too."""
        from lwm2m.transport.reliable import ReliablePeer

        self._connections = connections
        self.core.endpoints.add(ReliablePeer, connections.endpoint)

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]]) -> None:
        """The CoAP sockets' callback."""
        self.core.receive_datagrams(datagrams)
        self.end_turn_soon()

    def handle_events(self) -> None:
        """See `ConnectionReceiver`."""
        self.core.handle_events()
        self.end_turn_soon()

    def peer_established(self, peer: SecurePeer) -> None:
        """See `Receiver`."""
        self.core.peer_established(peer)
        self.end_turn_soon()

    def peer_gone(self, peer: SecurePeer) -> None:
        """See `Receiver`."""
        self.core.peer_gone(peer)
        self.end_turn_soon()

    def refuse_handshake(self, reason: str, address: str, identity: str | None) -> None:
        """See `Receiver`."""
        self.core.refuse_handshake(reason, address, hash_of(identity))
        self._refusals_told.tell(address, reason, identity)
        self.end_turn_soon()

    def add_bridge(self, connection: WebSocketConnection) -> BridgeSession:
        """A bridge connected."""
        session = self.core.bridge_opened()
        self._bridges[session] = connection
        connection.on_drained = self.end_turn_soon
        self.end_turn_soon()
        return session

    def receive_frame(self, session: BridgeSession, text: bytes) -> None:
        """A bridge sent a frame."""
        self.core.bridge_received(session, text)
        self.end_turn_soon()

    def remove_bridge(self, session: BridgeSession) -> None:
        """A bridge's connection is gone."""
        self._bridges.pop(session, None)
        self.core.bridge_closed(session)
        self.end_turn_soon()

    def receive_order(self, line: bytes) -> None:
        """Standard input arms or releases a gate."""
        try:
            self.core.gates.order(decode_order(line))
        except BadGateOrder as error:
            _log.warning("%s", error)
            return
        self.core.open_gate()
        self.end_turn_soon()

    # ---- what administration asks ----

    def registrations(self) -> list[Registration]:
        """See `AdministeredServer`."""
        return self.core.registrations()

    def observations(self) -> list[Observation]:
        """See `AdministeredServer`."""
        return self.core.observations()

    def counters(self) -> dict[str, int]:
        """See `AdministeredServer`."""
        found = self.core.counters() | self.listeners.counters()
        return found if self._connections is None else found | self._connections.counters()

    def find_outcome(self, command_id: str) -> tuple[bool, Outcome | None]:
        """See `AdministeredServer`."""
        return self.core.find_outcome(command_id)

    async def operate(self, asked: OperationRequest) -> tuple[str, Outcome | None]:
        """See `AdministeredServer`."""
        command = _command_of(asked, self._clock.wall_us())
        told: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting[command.id] = told
        self.core.watch(command.id)
        try:
            self.core.operate(command)
            self.end_turn_soon()
            await asyncio.wait([told], timeout=asked.wait_s)
            return command.id, told.result() if told.done() else None
        finally:
            del self._waiting[command.id]
            self.core.unwatch(command.id)

    # ---- what goes out ----

    def end_turn_soon(self) -> None:
        """Write, send and set the timer at the end of this turn of the loop."""
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._end_turn)

    def close(self) -> None:
        """Write what is left and let everything go."""
        for timer in (self._timer, self._look):
            if timer is not None:
                timer.cancel()
        for connection in list(self._bridges.values()):
            connection.close(1001, "the server stops")
            connection.abort()
        if not self.failed.done():
            self._end_turn()
        self._turn.close()
        self.listeners.close()
        if self._connections is not None:
            self._connections.close()
        self._log_file.close()
        self._oscore_store.close()
        if isinstance(self.journal, JournalFile):
            self.journal.close()

    def _end_turn(self) -> None:
        self._turn_scheduled = False
        if self.failed.done():
            return
        try:
            self.oscore.flush()
            self._turn.end()
        except OSError as error:
            self.failed.set_exception(error)
            return
        if self._connections is not None:
            self._connections.flush()
        if self._turn.is_compacting:
            self._loop.call_soon(self.end_turn_soon)
        for outcome in self.core.take_watched():
            told = self._waiting.get(outcome.id)
            if told is not None and not told.done():
                told.set_result(outcome)
        if self._look is None:
            self._look = self._loop.call_later(LOOK_AT_DEADLINES_S, self._set_timer)

    def _send_frames(self) -> None:
        for session, connection in list(self._bridges.items()):
            if not connection.is_full:
                frames = self.core.take_frames(session, ROOM_BYTES - connection.buffered_bytes)
                if frames:
                    connection.send_all(frames)
                if session.close is None and self.core.has_frames(session):
                    self._loop.call_soon(self.end_turn_soon)
            if session.close is not None:
                connection.close(*session.close)

    def _set_timer(self) -> None:
        self._look = None
        due = self.core.next_timer()
        if due is None or (self._timer is not None and self._timer_at <= due):
            return  # firing early is harmless; setting the timer anew for each exchange is not
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        delay_s = max(0.0, due - self._clock.now_ns() / 1e9)
        self._timer = self._loop.call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.core.handle_timer()
        self._end_turn()


class BridgeEnd:
    """The server's user of one WebSocket connection."""

    def __init__(self, server: LwM2mServer) -> None:
        self._server = server
        self._session: BridgeSession | None = None

    def opened(self, connection: WebSocketConnection) -> None:
        """See `WebSocketUser`."""
        _log.info("a bridge connected from %s", connection.peer)
        self._session = self._server.add_bridge(connection)

    def received(self, text: bytes) -> None:
        """See `WebSocketUser`."""
        if self._session is not None:
            self._server.receive_frame(self._session, text)

    def closed(self, reason: str) -> None:
        """See `WebSocketUser`."""
        _log.info("a bridge's connection ended: %s", reason)
        if self._session is not None:
            self._server.remove_bridge(self._session)


async def run(config: ServerConfig, clock: Clock, ready: Ready, *, wrap: Wrap = unwrapped) -> None:
    """The LwM2M server emulator as a component; see `ServerConfig`.

    `wrap` may put a trace between the CoAP sockets and the server. Raises `ConfigError`,
    `PortInUse`, `LogInUse` or `OSError` with what to do.
    """
    check_server_name(config.server)
    check_listeners(config)
    if config.oscore_file is not None and config.coap is None:
        raise ConfigError("oscore_file needs coap: OSCORE is spoken on that address")
    token = read_token(config.token_file)
    data_token = read_token(config.data_token_file)
    async with contextlib.AsyncExitStack() as stack:
        server = _make_server(config, clock)
        stack.callback(server.close)
        store = SecurityStore(Path(config.state_dir), rows_max=config.limits.security_rows_max)
        stack.callback(store.close)
        takes_keys = config.coaps is not None and config.coaps.psk
        if takes_keys and not config.nosec_for_keyed_devices:
            server.core.refuse_nosec_of(store.has)
        addresses = await open_listeners(
            config,
            server,
            store,
            clock,
            wrap,
            parameters=config.limits.transmission(),
            bounds=config.limits,
            receive_buffer_bytes=config.limits.receive_buffer_bytes,
        )
        server.end_turn_soon()
        addresses["data"] = await stack.enter_async_context(
            _data_interface(config, server, data_token)
        )
        routes = SecurityAdmin(store).routes()
        routes += OscoreAdmin(server.oscore, server.end_turn_soon).routes()
        app = make_admin_app(Admin(server), routes, token)
        listener = bind(config.admin.host, config.admin.port)
        addresses["admin"] = await stack.enter_async_context(serving(app, listener))
        if config.gates:
            stack.callback(_read_orders(server.receive_order))
        sampling = asyncio.ensure_future(
            sample_loop(
                "lwm2m_server", clock, server.journal, lambda: server.listeners.socket_drops
            )
        )
        stack.callback(sampling.cancel)
        ready(addresses)
        await asyncio.wait([server.failed, sampling], return_when=asyncio.FIRST_COMPLETED)
        for ended in (server.failed, sampling):
            if ended.done():
                ended.result()


def _make_server(config: ServerConfig, clock: Clock) -> LwM2mServer:
    try:
        return LwM2mServer(config, clock)
    except MalformedLinkFormat as error:
        raise ConfigError(f"profiles: {error}") from None


def _take_contexts(store: OscoreStore, file: str | None) -> None:
    if file is None:
        return
    lines = numbered_lines(file)
    check_owner_only(file)
    for number, line in lines:
        try:
            store.put(decode_row(line))
        except (InvalidRow, StoreFull) as error:
            raise ConfigError(f"{file}, line {number}: {error}") from None
    store.flush()


@contextlib.asynccontextmanager
async def _data_interface(
    config: ServerConfig, server: LwM2mServer, token: str
) -> AsyncIterator[str]:
    try:
        listener = await listen_websocket(
            config.data.host,
            config.data.port,
            lambda: BridgeEnd(server),
            path=PATH,
            token=token,
            limits=WebSocketLimits(),
        )
    except OSError as error:
        raise port_in_use(config.data, error) from error
    try:
        yield address_text(listener.sockets[0].getsockname())
    finally:
        listener.close()


def _read_models(files: Sequence[str]) -> ModelRegistry:
    registry = ModelRegistry()
    for file in files:
        try:
            registry.add(read_xml(Path(file).read_bytes(), file), replaces=True)
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from error
        except MalformedDefinition as error:
            raise ConfigError(str(error)) from None
    return registry


def _read_orders(take: Callable[[bytes], None]) -> Callable[[], None]:
    """Hand each line of standard input to `take`; returns what stops it."""
    loop = asyncio.get_running_loop()
    rest = b""

    def read() -> None:
        nonlocal rest
        data = os.read(STDIN, 65_536)
        if not data:
            stop()
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                take(line)

    def stop() -> None:
        loop.remove_reader(STDIN)

    try:
        loop.add_reader(STDIN, read)
    except OSError:
        _log.warning("standard input is a file: no gate can be armed")
    return stop


def _command_of(asked: OperationRequest, now_us: int) -> Command:
    return Command(
        id=f"operation-{secrets.token_hex(12)}",
        endpoint=asked.endpoint,
        operation=asked.operation,
        expires_at_us=now_us + round(asked.expires_in_s * 1e6),
        path=asked.path,
        paths=asked.paths,
        values=asked.values,
        mode=asked.mode,
        arguments=asked.arguments,
        attributes=asked.attributes,
        format=asked.format,
        depth=asked.depth,
        passive=asked.passive,
        any_format=asked.any_format,
        issued_by=ISSUED_BY,
    )
