"""The server as a component: sockets, files and timers around the core; nothing is decided here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from contracts.data_interface import PATH
from contracts.names import check_server_name
from harness.lwm2m_server.admin import Admin, make_admin_app
from harness.lwm2m_server.config import Listen, ServerConfig
from harness.lwm2m_server.core import ServerCore
from harness.lwm2m_server.data_interface import BridgeSession
from harness.lwm2m_server.devices import address_text
from harness.lwm2m_server.gates import BadGateOrder, decode_order
from harness.lwm2m_server.log_file import LogFile
from harness.lwm2m_server.loop_sampling import sample_loop
from harness.lwm2m_server.security_store import SecurityStore
from harness.lwm2m_server.turn import Turn, begin
from lwm2m.objects import builtin_models
from lwm2m.transport import UdpLink, open_udp
from runtime.clock import Clock
from runtime.component import ConfigError, Ready, say
from runtime.http import PortInUse, bind, serving
from runtime.journal import JournalFile, NoJournal
from runtime.websocket import WebSocketConnection, WebSocketLimits, listen_websocket

_log = logging.getLogger(__name__)

# How much may wait in one bridge's socket before the rest stays in the event log.
STDIN = 0
ROOM_BYTES = 1024 * 1024


class LwM2mServer:
    """A running server. `failed` gets the error that it cannot go on after."""

    def __init__(self, config: ServerConfig, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._link: UdpLink | None = None
        self._bridges: dict[BridgeSession, WebSocketConnection] = {}
        self._turn_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self.journal = (
            JournalFile(Path(config.journal_file)) if config.journal_file else NoJournal()
        )
        self._log_file = LogFile(Path(config.state_dir), sync=config.sync)
        state, warning = begin(self._log_file, server=config.server, new_epoch=secrets.token_hex(8))
        if warning is not None:
            _log.error("%s", warning)
        self.core = ServerCore(
            config.server,
            state,
            clock=clock,
            draw=secrets.token_bytes,
            models=builtin_models(),
            limits=config.limits,
            defect=config.defect,
        )
        self._turn = Turn(
            self.core,
            self._log_file,
            journal=self.journal,
            send_datagrams=self._send_datagrams,
            send_frames=self._send_frames,
            say=say,
            compact_bytes=config.limits.log_bytes_compact,
        )

    # ---- what comes in ----

    def receive_datagrams(self, datagrams: list[tuple[bytes, tuple[str, int]]]) -> None:
        """The CoAP socket's callback."""
        self.core.receive_datagrams(datagrams)
        self.end_turn_soon()

    def take_link(self, link: UdpLink) -> None:
        """Send datagrams through this link from now on."""
        self._link = link
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

    @property
    def socket_drops(self) -> int:
        """Datagrams that came or went while a buffer was full."""
        link = self._link
        return 0 if link is None else link.dropped_by_kernel + link.dropped_unsent

    # ---- what goes out ----

    def end_turn_soon(self) -> None:
        """Write, send and set the timer at the end of this turn of the loop."""
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._end_turn)

    def close(self) -> None:
        """Write what is left and let everything go."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._bridges.values()):
            connection.close(1001, "the server stops")
            connection.abort()
        if not self.failed.done():
            self._end_turn()
        if self._link is not None:
            self._link.close()
        self._log_file.close()
        if isinstance(self.journal, JournalFile):
            self.journal.close()

    def _end_turn(self) -> None:
        self._turn_scheduled = False
        if self.failed.done():
            return
        try:
            self._turn.end()
        except OSError as error:
            self.failed.set_exception(error)
            return
        self._set_timer()

    def _send_datagrams(self, datagrams: list[tuple[bytes, tuple[str, int]]]) -> None:
        if self._link is not None:
            self._link.send(datagrams)

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


async def run(config: ServerConfig, clock: Clock, ready: Ready) -> None:
    """The LwM2M server emulator as a component; see `ServerConfig`.

    Raises `ConfigError`, `PortInUse`, `LogInUse` or `OSError` with what to do.
    """
    check_server_name(config.server)
    token = _read_token(config.token_file)
    data_token = _read_token(config.data_token_file)
    async with contextlib.AsyncExitStack() as stack:
        server = LwM2mServer(config, clock)
        stack.callback(server.close)
        store = SecurityStore(Path(config.state_dir), rows_max=config.limits.security_rows_max)
        stack.callback(store.close)
        link = await _open_coap(config.coap, server)
        data = await stack.enter_async_context(_data_interface(config, server, data_token))
        admin = Admin(store, server.core.registrations, server.core.counters)
        listener = bind(config.admin.host, config.admin.port)
        address = await stack.enter_async_context(serving(make_admin_app(admin, token), listener))
        if config.gates:
            stack.callback(_read_orders(server.receive_order))
        sampling = asyncio.ensure_future(
            sample_loop("lwm2m_server", clock, server.journal, lambda: server.socket_drops)
        )
        stack.callback(sampling.cancel)
        ready({"coap": address_text(link.address), "data": data, "admin": address})
        await asyncio.wait([server.failed, sampling], return_when=asyncio.FIRST_COMPLETED)
        for ended in (server.failed, sampling):
            if ended.done():
                ended.result()


async def _open_coap(listen: Listen, server: LwM2mServer) -> UdpLink:
    try:
        link = await open_udp(listen.host, listen.port, server.receive_datagrams)
    except OSError as error:
        raise _port_in_use(listen, error) from error
    server.take_link(link)
    return link


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
        raise _port_in_use(config.data, error) from error
    try:
        yield address_text(listener.sockets[0].getsockname())
    finally:
        listener.close()


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


def _read_token(file: str) -> str:
    try:
        token = Path(file).read_text().strip()
    except OSError as error:
        raise ConfigError(f"cannot read the token file {file}: {error.strerror}") from error
    if not token:
        raise ConfigError(f"the token file {file} is empty")
    return token


def _port_in_use(listen: Listen, error: OSError) -> PortInUse:
    return PortInUse(
        error.errno,
        f"cannot listen on {listen.host}:{listen.port} ({error.strerror}): choose another port",
    )
