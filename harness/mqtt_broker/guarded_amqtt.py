"""amqtt behind a guard: certificate and client id are checked before amqtt sees a connection.

What cannot be mended from outside is written down in docs/design/broker.md.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.plugins.base import BaseTopicPlugin
from amqtt.session import Session

from contracts.names import IllegalName, principal_of
from contracts.policy import policy_for
from contracts.topics import Topics
from harness.mqtt_broker.config import BrokerConfig
from harness.mqtt_broker.listening import Listener
from harness.mqtt_broker.shell import common_name
from harness.mqtt_broker.standard_input import Reloader, obey
from harness.mqtt_broker.trust import Trust, read_trust
from mqtt.packets import REFUSED_NOT_AUTHORIZED, ConnAck, Connect, MalformedPacket, Parser, encode
from runtime.clock import Clock
from runtime.component import Ready

_LISTENER = "guarded"
_log = logging.getLogger(__name__)


class PolicyPlugin(BaseTopicPlugin):
    """The policy table, asked on publish, subscribe and delivery."""

    # amqtt makes its plugins itself, from their names: what they need is left here for them.
    topics: ClassVar[Topics] = Topics()

    async def topic_filtering(
        self,
        *,
        session: Session | None = None,
        topic: str | None = None,
        action: Action | None = None,
    ) -> bool | None:
        """Whether the session's client may do this."""
        if session is None or topic is None:
            return False
        try:
            policy = policy_for(principal_of(session.client_id or ""), self.topics)
        except IllegalName:
            return False
        if action == Action.PUBLISH:
            return policy.may_publish(topic)
        if action == Action.SUBSCRIBE:
            return policy.may_subscribe(topic)
        return policy.may_read(topic)


class _Replayed(StreamReaderAdapter):
    """A reader that first gives back what the guard has read."""

    def __init__(self, reader: asyncio.StreamReader, first: bytes) -> None:
        super().__init__(reader)
        self._first = first

    async def read(self, n: int = -1) -> bytes:
        """See `ReaderAdapter`."""
        end = n if n >= 0 else len(self._first)
        taken, self._first = self._first[:end], self._first[end:]
        if len(taken) == n:
            return taken
        return taken + bytes(await super().read(n - len(taken) if n >= 0 else -1))


async def run_amqtt(config: BrokerConfig, clock: Clock, ready: Ready) -> None:
    """Serve until cancelled. Raises `ConfigError` for files that cannot be used."""
    trust = read_trust(config)
    logging.getLogger("amqtt").setLevel(logging.ERROR)
    PolicyPlugin.topics = config.topics
    broker = Broker(_amqtt_config())
    await broker.start()
    guard = _Guard(broker, config, trust, clock)
    try:
        reloader = Reloader(guard.reload)
        ready({"mqtt": await guard.open()})
        await obey(reloader)
    finally:
        guard.close()
        await broker.shutdown()


def _amqtt_config() -> dict[str, Any]:
    return {
        "listeners": {"default": {"type": "external"}, _LISTENER: {"type": "external"}},
        "plugins": {
            # Who it is has been proven by the certificate; amqtt is asked nothing.
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
            f"{PolicyPlugin.__module__}.{PolicyPlugin.__qualname__}": {},
        },
    }


class _Guard:
    def __init__(self, broker: Broker, config: BrokerConfig, trust: Trust, clock: Clock) -> None:
        self._broker = broker
        self._config = config
        self._trust = trust
        self._clock = clock
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener = Listener(self._new_protocol, config.limits.connect_within_s)

    async def open(self) -> str:
        """Listen; where."""
        config = self._config
        return await self._listener.open(config.host, config.port, self._trust.context)

    async def reload(self) -> dict[str, int]:
        """Read the certificates' files again and end whoever may no longer use theirs.

        Raises `ConfigError`; then all is as before.
        """
        read = await asyncio.get_running_loop().run_in_executor(None, read_trust, self._config)
        self._trust = read.after(self._trust)
        self._listener.renew(self._trust.context)
        ended = [writer for writer in self._writers if self._objection(writer) is not None]
        for writer in ended:
            writer.transport.abort()
        return {
            "anchors": len(self._trust.anchors),
            "revoked": len(self._trust.revoked),
            "ended": len(ended),
        }

    def close(self) -> None:
        """Accept nobody any more."""
        self._listener.close()

    def _new_protocol(self) -> asyncio.BaseProtocol:
        loop = asyncio.get_running_loop()
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), self.accept, loop=loop)

    def _objection(self, writer: asyncio.StreamWriter) -> str | None:
        certificate = writer.get_extra_info("peer_certificate")
        if certificate is None:
            return None
        return self._trust.objection(certificate, self._clock.wall_us())

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let a connection through to amqtt when its CONNECT names its certificate's identity."""
        try:
            async with asyncio.timeout(self._config.limits.connect_within_s):
                connect, first = await _read_connect(reader)
        except (TimeoutError, MalformedPacket, OSError, EOFError):
            writer.close()
            return
        is_itself = _is_itself(connect, common_name(writer.get_extra_info("peer_certificate")))
        if not is_itself or self._objection(writer) is not None:
            writer.write(encode(ConnAck(session_present=False, return_code=REFUSED_NOT_AUTHORIZED)))
            writer.close()
            return
        self._writers.add(writer)
        try:
            await self._broker.external_connected(
                _Replayed(reader, first), StreamWriterAdapter(writer), _LISTENER
            )
        finally:
            self._writers.discard(writer)


def _is_itself(connect: Connect, identity: str | None) -> bool:
    """Whether the client id is the certificate's identity, and one that somebody may have."""
    try:
        return connect.client_id == principal_of(identity or "").identity
    except IllegalName:
        return False


async def _read_connect(reader: asyncio.StreamReader) -> tuple[Connect, bytes]:
    parser, first = Parser(), b""
    while data := await reader.read(4096):
        first += data
        for packet in parser.receive_bytes(data):
            if isinstance(packet, Connect):
                return packet, first
            raise EOFError("the first packet must be CONNECT")
    raise EOFError("closed before CONNECT")
