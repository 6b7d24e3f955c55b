"""What a bridge publishes: messages with what their PUBACK stands for, and entries of snapshots."""

from __future__ import annotations

from typing import NamedTuple, cast

import msgspec

from contracts.data_interface import Event, Registration, encode


class Token(NamedTuple):
    """What a PUBACK stands for. `seq` is None for an entry of a snapshot."""

    epoch: str
    seq: int | None


class Publication(NamedTuple):
    """One message for MQTT, QoS 1."""

    topic: str
    payload: bytes
    token: Token


class SnapshotEntry(NamedTuple):
    """A registration to be announced as `registered`; encoded when there is room to publish it."""

    epoch: str
    as_of: int
    registration: msgspec.Raw
    registration_id: str
    endpoint: str

    def encoded(self, server: str, topic: str, now_us: int) -> Publication:
        """The message, marked as of a snapshot."""
        event = Event(
            server=server,
            epoch=self.epoch,
            seq=self.as_of,
            kind="registered",
            endpoint=self.endpoint,
            at_us=now_us,
            registration_id=self.registration_id,
            # Encoded as it came: the server's own JSON of this registration.
            registration=cast(Registration, self.registration),
            snapshot=True,
        )
        return Publication(topic, encode(event), Token(self.epoch, None))
