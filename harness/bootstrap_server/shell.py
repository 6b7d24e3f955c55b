"""The bootstrap server as a component: sockets, files and timers around the core."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.bootstrap_server.admin import BootstrapAdmin, make_bootstrap_app
from harness.bootstrap_server.config import BootstrapServerConfig
from harness.bootstrap_server.core import BootstrapCore
from harness.bootstrap_server.entries import EntriesFull, EntryStore, InvalidEntry, read_entries
from harness.lwm2m_server.listeners import Listeners, RefusalLog
from harness.lwm2m_server.open_listeners import check_listeners, open_listeners
from harness.lwm2m_server.secret_files import read_token
from harness.lwm2m_server.security_admin import SecurityAdmin
from harness.lwm2m_server.security_store import SecurityStore
from lwm2m.coap import TransmissionParameters
from lwm2m.objects import builtin_models
from lwm2m.transport.peers import SecurePeer
from lwm2m.transport.tracing import Wrap, unwrapped
from runtime.clock import Clock
from runtime.component import ConfigError, Ready
from runtime.http import bind, serving
from runtime.journal import JournalFile, NoJournal

if TYPE_CHECKING:
    from harness.lwm2m_server.reliable_listen import ReliableListeners


class BootstrapServer:
    """A running bootstrap server: the core, its sockets and its timer."""

    def __init__(self, core: BootstrapCore, clock: Clock, journal: JournalFile | NoJournal) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._journal = journal
        self._connections: ReliableListeners | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._refusals_told = RefusalLog()
        self.listeners = Listeners()
        self.core = core

    def mount(self, connections: ReliableListeners) -> None:
        """Speak over connections too."""
        from lwm2m.transport.reliable import ReliablePeer

        self._connections = connections
        self.core.endpoints.add(ReliablePeer, connections.endpoint)

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]]) -> None:
        """See `Receiver`."""
        self.core.receive_datagrams(datagrams)
        self._end_turn()

    def handle_events(self) -> None:
        """See `ConnectionReceiver`."""
        self.core.handle_events()
        self._end_turn()

    def peer_established(self, peer: SecurePeer) -> None:
        """See `Receiver`."""
        self.core.peer_established(peer)

    def peer_gone(self, peer: SecurePeer) -> None:
        """See `Receiver`."""
        self.core.peer_gone(peer)
        self._end_turn()

    def refuse_handshake(self, reason: str, address: str, identity: str | None) -> None:
        """See `Receiver`."""
        self.core.refuse_handshake(reason)
        self._refusals_told.tell(address, reason, identity)

    def numbers(self) -> dict[str, int]:
        """Numbers by name, of sessions and sockets."""
        found = self.core.numbers() | self.listeners.counters()
        return found if self._connections is None else found | self._connections.counters()

    def close(self) -> None:
        """Stop the timer and close sockets and journal."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.listeners.close()
        if self._connections is not None:
            self._connections.close()
        if isinstance(self._journal, JournalFile):
            self._journal.close()

    def _end_turn(self) -> None:
        for record in self.core.take_observed():
            self._journal.record(record)
        datagrams = self.core.take_datagrams()
        if datagrams:
            self.listeners.send(datagrams)
        if self._connections is not None:
            self._connections.flush()
        self._set_timer()

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


async def run(
    config: BootstrapServerConfig, clock: Clock, ready: Ready, *, wrap: Wrap = unwrapped
) -> None:
    """The bootstrap server as a component; see `BootstrapServerConfig`.

    `wrap` may put a trace between the CoAP sockets and the server. Raises `ConfigError`,
    `PortInUse` or `OSError` with what to do.
    """
    check_listeners(config)
    token = read_token(config.token_file)
    models = builtin_models()
    state = Path(config.state_dir)
    limits = config.limits
    async with contextlib.AsyncExitStack() as stack:
        entries = EntryStore(state, models, entries_max=limits.entries_max)
        stack.callback(entries.close)
        _take_in(entries, config.entries_file)
        store = SecurityStore(state, rows_max=limits.security_rows_max)
        stack.callback(store.close)
        parameters = TransmissionParameters()
        core = BootstrapCore(
            config.server,
            entries,
            clock=clock,
            draw=secrets.token_bytes,
            models=models,
            parameters=parameters,
            sessions_max=limits.sessions_max,
            sessions_per_peer_max=limits.sessions_per_peer_max,
            reports_max=limits.reports_max,
        )
        journal = JournalFile(Path(config.journal_file)) if config.journal_file else NoJournal()
        server = BootstrapServer(core, clock, journal)
        stack.callback(server.close)
        addresses = await open_listeners(
            config, server, store, clock, wrap, parameters=parameters, bounds=limits
        )
        admin = BootstrapAdmin(entries, core, server.numbers)
        listener = bind(config.admin.host, config.admin.port)
        app = make_bootstrap_app(admin, SecurityAdmin(store), token)
        addresses["admin"] = await stack.enter_async_context(serving(app, listener))
        ready(addresses)
        await asyncio.Event().wait()


def _take_in(entries: EntryStore, file: str | None) -> None:
    if file is None:
        return
    try:
        for entry in read_entries(file):
            entries.put(entry)
    except (InvalidEntry, EntriesFull) as error:
        raise ConfigError(f"the entries are wrong: {error}") from error
