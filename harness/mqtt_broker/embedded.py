"""The embedded broker as a component: listener, journal, and what it is told as it runs: gates,
and that certificates have changed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from contracts.journal import ClientSeen
from harness.mqtt_broker.config import BrokerConfig
from harness.mqtt_broker.core import Broker, Seen, Steps
from harness.mqtt_broker.lifecycle import Lifecycle
from harness.mqtt_broker.listening import Listener
from harness.mqtt_broker.shell import BrokerConnection
from harness.mqtt_broker.standard_input import Reloader, obey
from harness.mqtt_broker.steps import Both, Gates, Tamper
from harness.mqtt_broker.trust import Trust, read_trust
from mqtt.tls import Certificate
from runtime.clock import Clock
from runtime.component import Ready, say
from runtime.journal import JournalFile, JournalSink, NoJournal

_log = logging.getLogger(__name__)


async def run_embedded(config: BrokerConfig, clock: Clock, ready: Ready) -> None:
    """Serve until cancelled. Raises `ConfigError` for files that cannot be used."""
    trust = read_trust(config)
    journal = JournalFile(Path(config.journal_file)) if config.journal_file else NoJournal()
    gates = Gates(config.topics, say)
    teller = _Teller(journal, clock)
    broker = Broker(config.topics, config.limits, teller.seen, _steps(config, gates))
    if config.lifecycle_events:
        teller.announce_by(broker, Lifecycle(config.topics, clock.wall_us))
    serving = _Serving(config, broker, trust, clock)
    try:
        reloader = Reloader(serving.reload)
        ready({"mqtt": await serving.open()})
        await obey(reloader, gates.obey)
    finally:
        serving.close()
        _log.info("counts: %s", dict(broker.counts))
        if isinstance(journal, JournalFile):
            journal.close()


class _Serving:
    """The listener, its connections, and whose certificates they may show."""

    def __init__(self, config: BrokerConfig, broker: Broker, trust: Trust, clock: Clock) -> None:
        self._config = config
        self._trust = trust
        self._clock = clock
        self._connections: set[BrokerConnection] = set()
        self._listener = Listener(
            lambda: BrokerConnection(broker, self._connections, self._objection),
            config.limits.connect_within_s,
        )

    async def open(self) -> str:
        """Listen; where."""
        return await self._listener.open(self._config.host, self._config.port, self._trust.context)

    async def reload(self) -> dict[str, int]:
        """Read the files again, and end whoever is connected by what they allow no more.

        Raises `ConfigError`; then all is as before.
        """
        read = await asyncio.get_running_loop().run_in_executor(None, read_trust, self._config)
        # From here on who sends CONNECT is judged by the new list, also on a connection of before.
        self._trust = read.after(self._trust)
        self._listener.renew(self._trust.context)
        ended = 0
        for connection in list(self._connections):
            objection = connection.objection()
            if objection is not None:
                ended += connection.session is not None
                connection.cut(objection)
        return {
            "anchors": len(self._trust.anchors),
            "revoked": len(self._trust.revoked),
            "ended": ended,
        }

    def close(self) -> None:
        """End it all."""
        self._listener.close()
        _log.info("handshakes that failed: %s", dict(self._listener.counts))
        for connection in list(self._connections):
            connection.abort()

    def _objection(self, certificate: Certificate) -> str | None:
        return self._trust.objection(certificate, self._clock.wall_us())


def _steps(config: BrokerConfig, gates: Gates) -> Steps:
    if config.defect is None:
        return gates
    return Both(Tamper(config.defect, config.topics, say), gates)


class _Teller:
    """Tells of who came and went: the journal, and subscribers where the broker announces it."""

    def __init__(self, journal: JournalSink, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._announcing: tuple[Broker, Lifecycle] | None = None

    def announce_by(self, broker: Broker, lifecycle: Lifecycle) -> None:
        """Have the broker say it, too."""
        self._announcing = (broker, lifecycle)

    def seen(self, identity: str, event: Seen, reason: str) -> None:
        """See `Broker`."""
        self._journal.record(
            ClientSeen(at_ns=self._clock.now_ns(), identity=identity, event=event, reason=reason)
        )
        if self._announcing is not None:
            broker, lifecycle = self._announcing
            message = lifecycle.tell(identity, event, reason)
            if message is not None:
                # Who comes is told of itself when it subscribes: not before its CONNACK.
                asyncio.get_running_loop().call_soon(broker.announce, message)
