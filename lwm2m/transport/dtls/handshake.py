"""What every handshake has: its state, and when its last flight is sent again (RFC 6347 §4.2.4).

Time is an argument; a subclass knows what a flight is made of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from lwm2m.transport.dtls.channel import Channel
from lwm2m.transport.dtls.contexts import PskAnswer
from lwm2m.transport.dtls.credentials import PskCredentials
from lwm2m.transport.dtls.records import ALERT, FATAL, encode_alert
from lwm2m.transport.dtls.settings import DtlsSettings

HandshakeState = Literal["under_way", "complete", "failed"]

_HELD_RECORDS_MAX = 4
# A record that overtakes the end of a handshake is a request, which fits one datagram.
_HELD_RECORD_BYTES_MAX = 1_500


class Handshake(ABC):
    """A handshake of either side. Read `state` after each call, then `take_datagrams`."""

    __slots__ = (
        "_deadline",
        "_sequences",
        "_settings",
        "_timeout_s",
        "_unsent",
        "channel",
        "due",
        "failure",
        "held",
        "is_resumed",
        "last_progress",
        "psk",
        "state",
    )

    def __init__(
        self, settings: DtlsSettings, psk: PskAnswer | PskCredentials | None, now: float
    ) -> None:
        self._settings = settings
        self.psk = psk
        self.state: HandshakeState = "under_way"
        self.failure: str | None = None
        self.channel: Channel | None = None
        self.is_resumed = False
        # When the other side last did what brings it nearer to the end: noise does not.
        self.last_progress = now
        self.due = now
        # Records of epoch 1 that overtook the end of the handshake: they are for the channel.
        self.held: list[bytes] = []
        self._deadline = now + settings.handshake_timeout_s
        self._timeout_s = settings.retransmit_timeout_s
        # The next record number of epoch 0, and of epoch 1.
        self._sequences = [0, 0]
        self._unsent: list[bytes] = []

    @abstractmethod
    def receive(self, records: list[bytes], now: float) -> None:
        """Take records of the other side, each whole."""

    @abstractmethod
    def close(self) -> None:
        """Free what is not needed any more; the channel lives on."""

    @abstractmethod
    def _transmit(self) -> bool:
        """Make datagrams of the last flight, with fresh record numbers; False: there is none."""

    def peer_certificate(self) -> bytes | None:
        """The other side's certificate in DER; None when it showed none."""
        return None

    def session_der(self) -> bytes:
        """The session of a complete handshake in OpenSSL's form; empty: none is to be kept."""
        return b""

    def repeat(self, now: float) -> None:
        """Send the last flight again: the other side did, or it is time."""
        if self._transmit():
            self.due = min(now + self._timeout_s, self._deadline)

    def handle_timer(self, now: float) -> None:
        """Give up, or send the flight again and wait twice as long; `due` says when next."""
        if self.state != "under_way" or now < self.due:
            return
        if now >= self._deadline:
            self._fail("timeout")
            return
        self._timeout_s = min(2 * self._timeout_s, self._settings.retransmit_timeout_max_s)
        self.repeat(now)

    def take_datagrams(self) -> list[bytes]:
        """What is to be sent now."""
        taken, self._unsent = self._unsent, []
        return taken

    def refuse(self, reason: str, description: int) -> None:
        """Fail a handshake that is complete, with a fatal alert to the other side."""
        if self.channel is not None:
            self._unsent.append(self.channel.seal(ALERT, encode_alert(FATAL, description)))
        self.channel = None
        self._fail(reason)

    def _hold(self, record: bytes) -> None:
        if len(self.held) < _HELD_RECORDS_MAX and len(record) <= _HELD_RECORD_BYTES_MAX:
            self.held.append(record)

    def _fail(self, reason: str) -> None:
        self.state = "failed"
        self.failure = reason
