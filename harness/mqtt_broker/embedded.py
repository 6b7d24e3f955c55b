"""The embedded broker as a component: listener, journal, and gates armed on standard input."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from contracts.journal import ClientSeen
from harness.mqtt_broker.config import BrokerConfig
from harness.mqtt_broker.core import Broker, Seen, Steps
from harness.mqtt_broker.shell import BrokerConnection, server_tls
from harness.mqtt_broker.steps import Both, GateLine, Gates, Tamper
from runtime.clock import Clock
from runtime.component import Ready, say
from runtime.journal import JournalFile, JournalSink, NoJournal

_log = logging.getLogger(__name__)


async def run_embedded(config: BrokerConfig, clock: Clock, ready: Ready) -> None:
    """Serve until cancelled."""
    journal = JournalFile(Path(config.journal_file)) if config.journal_file else NoJournal()
    gates = Gates(config.topics, say)
    broker = Broker(config.topics, config.limits, _teller(journal, clock), _steps(config, gates))
    connections: set[BrokerConnection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: BrokerConnection(broker, connections),
        config.host,
        config.port,
        ssl=server_tls(config.ca_file, config.certificate_file, config.key_file),
        ssl_handshake_timeout=config.limits.connect_within_s,
        backlog=4096,
    )
    try:
        port = server.sockets[0].getsockname()[1]
        ready({"mqtt": f"{config.host}:{port}"})
        await _obey_gates(gates)
    finally:
        server.close()
        for connection in list(connections):
            connection.abort()
        _log.info("counts: %s", dict(broker.counts))
        if isinstance(journal, JournalFile):
            journal.close()


def _steps(config: BrokerConfig, gates: Gates) -> Steps:
    if config.defect is None:
        return gates
    return Both(Tamper(config.defect, config.topics, say), gates)


def _teller(journal: JournalSink, clock: Clock) -> Callable[[str, Seen, str], None]:
    def seen(identity: str, event: Seen, reason: str) -> None:
        journal.record(
            ClientSeen(at_ns=clock.now_ns(), identity=identity, event=event, reason=reason)
        )

    return seen


async def _obey_gates(gates: Gates) -> None:
    """Take gate lines from standard input; after its end just wait to be cancelled."""
    async for line in _input_lines():
        try:
            wanted = msgspec.json.decode(line, type=GateLine)
        except msgspec.DecodeError as error:
            _log.warning("not a gate line: %s", error)
            continue
        if wanted.arm:
            gates.arm(wanted.arm)
        if wanted.release:
            gates.release(wanted.release)
    await asyncio.Event().wait()


async def _input_lines() -> AsyncIterator[bytes]:
    """Lines of standard input when somebody can write to it: a pipe, a socket or a terminal.

    Closed, `/dev/null` or a file, it holds no gates: those need somebody who waits for the answer.
    """
    if sys.stdin is None or not _is_live(sys.stdin.fileno()):
        return
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while True:
        try:
            line = await reader.readline()
        except ValueError as error:  # longer than a line may be
            _log.warning("not a gate line: %s", error)
            continue
        if not line:
            return
        yield line


def _is_live(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)
