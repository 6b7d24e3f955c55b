"""What the broker itself tells of its clients' connections, as AWS IoT Core does.

On `$aws/events/presence/connected/{client}` and `…/disconnected/{client}`, which nobody else may
publish to. Without the client's address, which this broker's core does not know. Pure.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from contracts.topics import Topics, fill
from harness.mqtt_broker.core import Seen
from harness.mqtt_broker.session import Message

# AWS begins anew with a client that was away for "about an hour".
FORGOTTEN_US: Final = 3_600_000_000
# Clients that are away and remembered; each has had a certificate of the platform's.
AWAY_MAX: Final = 100_000

# Why a connection ended, in the words of AWS; what is not here was a fault of the client's.
_REASONS: Final = {
    "client disconnected": "CLIENT_INITIATED_DISCONNECT",
    "taken over": "DUPLICATE_CLIENTID",
    "silent for too long": "MQTT_KEEP_ALIVE_TIMEOUT",
    "connection lost": "CONNECTION_LOST",
    "connection closed by the client": "CONNECTION_LOST",
    "certificate revoked": "AUTH_ERROR",
}


class _Client(NamedTuple):
    """A client's newest connection. `away_since_us` is 0 while it stands."""

    version: int
    away_since_us: int


class Lifecycle:
    """Makes the messages. `wall_us` is Unix time in microseconds."""

    def __init__(self, topics: Topics, wall_us: Callable[[], int]) -> None:
        self._topics = topics
        self._wall_us = wall_us
        self._here: dict[str, int] = {}
        # Away the longest first.
        self._away: OrderedDict[str, _Client] = OrderedDict()

    def tell(self, identity: str, event: Seen, reason: str) -> Message | None:
        """The message for what was seen; None where nobody came or went."""
        if event == "connected":
            return self._message(identity, event, self._came(identity), {})
        if event == "disconnected":
            told = _REASONS.get(reason, "CLIENT_ERROR")
            left = {
                "clientInitiatedDisconnect": told == "CLIENT_INITIATED_DISCONNECT",
                "disconnectReason": told,
            }
            return self._message(identity, event, self._went(identity), left)
        return None

    def _came(self, identity: str) -> int:
        before = self._away.pop(identity, None)
        is_new = before is None or self._wall_us() - before.away_since_us >= FORGOTTEN_US
        version = 0 if before is None or is_new else before.version + 1
        self._here[identity] = version
        return version

    def _went(self, identity: str) -> int:
        version = self._here.pop(identity, 0)
        self._away[identity] = _Client(version, self._wall_us())
        if len(self._away) > AWAY_MAX:
            self._away.popitem(last=False)
        return version

    def _message(self, identity: str, kind: str, version: int, more: dict[str, object]) -> Message:
        body = {
            "clientId": identity,
            "timestamp": self._wall_us() // 1_000,
            "eventType": kind,
            "principalIdentifier": identity,
            "versionNumber": version,
            **more,
        }
        topic = fill(self._topics.lifecycle, kind=kind, endpoint=identity)
        return Message(topic, json.dumps(body).encode(), 1)
