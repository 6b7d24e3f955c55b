"""The broker tap: an MQTT client that may read every topic and publish none.

It keeps what identifies a message and drops the payload: credentials are sealed on the way, and
even so nothing of them is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from contracts.journal import MessageSeen
from contracts.topics import Topics, fill
from mqtt.connection import InboundMessage
from runtime.clock import Clock
from runtime.journal import JournalSink

# The platform's own topics; readings and alarms are watched at the device and at the store.
WATCHED = ("event", "credentials", "command", "held_command")


class _Header(msgspec.Struct):
    """What names a message: fields of `contracts.data_interface` events and commands."""

    id: str = ""
    epoch: str = ""
    seq: int = 0
    snapshot: bool = False


class _Pattern:
    """One template as a pattern, and the numbers of its names' groups; 0 where it has none."""

    def __init__(self, name: str, template: str) -> None:
        self.kind = "command" if name == "held_command" else name
        pattern = template_pattern(template)
        self.matches = pattern.fullmatch
        self.endpoint = pattern.groupindex["endpoint"]
        self.server = pattern.groupindex.get("server", 0)
        self.event_kind = pattern.groupindex.get("kind", 0)


class BrokerTap:
    """Turns messages into journal records. `seen` is told of each record, for live conditions."""

    def __init__(
        self,
        topics: Topics,
        journal: JournalSink,
        clock: Clock,
        seen: Callable[[MessageSeen], None],
    ) -> None:
        self._templates = {name: getattr(topics, name) for name in WATCHED}
        self._patterns = [_Pattern(name, template) for name, template in self._templates.items()]
        self._journal = journal
        self._clock = clock
        self._seen = seen
        self._headers = msgspec.json.Decoder(_Header)

    @property
    def filters(self) -> list[str]:
        """What the tap subscribes to."""
        return [fill(template) for template in self._templates.values()]

    def receive(self, message: InboundMessage) -> None:
        """Record one message."""
        record = self._describe(message)
        if record is not None:
            self._journal.record(record)
            self._seen(record)

    def _describe(self, message: InboundMessage) -> MessageSeen | None:
        for pattern in self._patterns:
            match = pattern.matches(message.topic)
            if match is None:
                continue
            header = self._header(message.payload)
            return MessageSeen(
                at_ns=self._clock.now_ns(),
                topic=message.topic,
                topic_kind=pattern.kind,
                endpoint=match[pattern.endpoint],
                payload_bytes=len(message.payload),
                server=match[pattern.server] if pattern.server else "",
                event_kind=match[pattern.event_kind] if pattern.event_kind else "",
                epoch=header.epoch,
                seq=header.seq,
                id=header.id,
                duplicate=message.duplicate,
                snapshot=header.snapshot,
            )
        return None

    def _header(self, payload: bytes) -> _Header:
        try:
            return self._headers.decode(payload)
        except msgspec.DecodeError:
            return _Header()


def template_pattern(template: str) -> re.Pattern[str]:
    """What matches wholly the topics of a template, with its names as groups."""
    levels = [
        f"(?P<{level[1:-1]}>[^/]*)" if level[:1] == "{" else re.escape(level)
        for level in template.split("/")
    ]
    return re.compile("/".join(levels), re.DOTALL)
