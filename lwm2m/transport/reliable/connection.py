"""One connection: its settings, its tokens, what is open on it and what is to be written."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import msgspec

from lwm2m.coap.requests import Request
from lwm2m.transport.peers import PeerSecurity, SecurePeer
from lwm2m.transport.reliable.framing import FrameReader
from lwm2m.transport.reliable.signaling import (
    TRANSITIONS,
    ConnectionEvent,
    ConnectionState,
    Settings,
)

_MESSAGE_OVERHEAD_BYTES: Final = 128
_ROOM_BYTES_MIN: Final = 16


class ReliablePeer(SecurePeer):
    """One TCP or TLS connection; equal to nothing but itself, and of no use when it is gone."""

    __slots__ = ()

    def __init__(
        self,
        host: str,
        port: int,
        security: PeerSecurity,
        *,
        local: str | None = None,
        endpoint_name: str | None = None,
    ) -> None:
        super().__init__(host, port, security, local=local, endpoint_name=endpoint_name)

    def __repr__(self) -> str:
        return f"ReliablePeer({self.host!r}, {self.port}, {self.security!r})"


class SentRequest(msgspec.Struct, gc=False, eq=False):
    """A request of ours that is out, or an observation."""

    handle: int
    connection: Connection
    token: bytes
    request: Request
    tick: int = 0
    is_observing: bool = False


class ReceivedRequest(msgspec.Struct, gc=False, eq=False):
    """A request of the peer until it is answered; longer while it observes."""

    handle: int
    connection: Connection
    token: bytes
    request: Request
    is_observed: bool = False


class Connection:
    """Plain state; the rules are in `ReliableExchanges`."""

    __slots__ = ("_next_token", "is_behind", "is_writable", "observed", "output", "peer", "pending",
                 "reader", "received_count", "sent", "settings", "state")  # fmt: skip

    def __init__(self, peer: ReliablePeer, message_bytes_max: int) -> None:
        self.peer = peer
        self.state: ConnectionState = "opening"
        self.reader = FrameReader(message_bytes_max)
        self.settings = Settings()
        self.sent: dict[bytes, SentRequest] = {}
        self.observed: dict[bytes, ReceivedRequest] = {}
        self.pending: dict[int, ReceivedRequest] = {}
        self.received_count = 0
        self.output: list[bytes] = []
        self.is_writable = True
        # Whole messages may wait in the reader for this connection's next turn.
        self.is_behind = False
        self._next_token = 0

    @property
    def is_drained(self) -> bool:
        """Whether nobody waits for an answer; observations go on for ever and do not count."""
        return not self.pending and all(sent.is_observing for sent in self.sent.values())

    def advance(self, event: ConnectionEvent) -> None:
        """Go on by the table."""
        self.state = TRANSITIONS[self.state][event]

    def take_token(self) -> bytes:
        """A token that is not in use. By count: nobody off the path can write into a connection."""
        while True:
            token = self._next_token.to_bytes(4, "big").lstrip(b"\0")
            self._next_token = (self._next_token + 1) & 0xFFFFFFFF
            if token not in self.sent:
                return token

    @property
    def room_bytes(self) -> int:
        """How large a payload fits into one message to this peer, with usual options beside it."""
        return max(_ROOM_BYTES_MIN, self.settings.message_bytes_max - _MESSAGE_OVERHEAD_BYTES)


def peer_of(peer: Hashable) -> ReliablePeer:
    """The peer as what it has to be here. Raises `TypeError`."""
    if not isinstance(peer, ReliablePeer):
        raise TypeError(f"{peer!r} is not a connection")
    return peer
