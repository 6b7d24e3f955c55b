"""What DTLS endpoints tell of, and count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import msgspec

from lwm2m.transport.peers import PeerSecurity


class SessionEstablished(msgspec.Struct, frozen=True):
    """A handshake is complete. `peer` is a server's `SecurePeer`, a client's plain address."""

    peer: Hashable
    security: PeerSecurity
    is_resumed: bool


class SessionClosed(msgspec.Struct, frozen=True):
    """A session ended; `reason` is `close_notify`, `alert_…`, `replaced`, `idle`, `crowded_out`,
    `restarted` or `closed_here`.
    """

    peer: Hashable
    reason: str


class HandshakeFailed(msgspec.Struct, frozen=True):
    """A handshake did not come to an end; `address` is the link's plain address.

    A server knows, of a PSK client, the identity that was claimed.
    """

    address: Hashable
    reason: str
    identity: str | None = None


DtlsEvent = SessionEstablished | SessionClosed | HandshakeFailed


class DtlsCounters:
    """What an endpoint has seen since it began. `failed` counts handshakes by reason."""

    __slots__ = (
        "cookies_sent",
        "discarded_records",
        "established",
        "failed",
        "hellos_ignored",
        "refused_datagrams",
        "replayed_records",
        "resumed",
        "unsent_datagrams",
    )

    def __init__(self) -> None:
        self.established = 0
        self.resumed = 0
        """Of the established ones."""
        self.failed: Counter[str] = Counter()
        self.cookies_sent = 0
        """HelloVerifyRequests: ClientHellos without a valid cookie."""
        self.hellos_ignored = 0
        """ClientHellos with a valid cookie that found every place for handshakes taken."""
        self.replayed_records = 0
        self.discarded_records = 0
        """Records that belong to no session, or are not made with its keys."""
        self.refused_datagrams = 0
        """Datagrams without any DTLS record."""
        self.unsent_datagrams = 0
        """Datagrams of ours for a session that is gone, or beyond the queue of a handshake."""

    def as_dict(self) -> dict[str, int]:
        """All numbers by name, failures as `failed.<reason>`."""
        numbers = {name: getattr(self, name) for name in self.__slots__ if name != "failed"}
        return numbers | {f"failed.{name}": count for name, count in sorted(self.failed.items())}
