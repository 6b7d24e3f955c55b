"""The configuration of a bridge."""

from __future__ import annotations

import msgspec

from city_platform.broker_access import BrokerAccess
from contracts.bridge_status import EVERY_S
from contracts.topics import Topics


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of a bridge's memory."""

    # Events received and not yet acknowledged by the broker: reading from the server stops here.
    events_unacknowledged_max: int = 20_000
    # ... and goes on when they are down to this share.
    resume_ratio: float = 0.5
    # MQTT messages kept while the server is away or its snapshot is incomplete; more are counted
    # and dropped: their senders drive them again.
    messages_waiting_max: int = 10_000
    # Devices whose credentials are being written at one time; more wait, as many as
    # `messages_waiting_max`, and beyond that are counted and dropped.
    procedures_max: int = 2_000
    # Fresh outcomes other than success before a step is given up.
    tries_max: int = 6
    # How long the server may take for one command of the bridge's own, in seconds; also how long
    # a step keeps its id over restarts of the bridge.
    command_expires_in_s: float = 120.0
    # How long after its expiry an outcome may still come: MAX_TRANSMIT_WAIT, RFC 7252 §4.8.2.
    outcome_grace_s: float = 93.0


class BridgeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One bridge beside one LwM2M server."""

    # The server's name: a topic level, and part of this bridge's identity.
    server: str
    # `ws://host:port/v1/data` of the server's data interface.
    data_interface: str
    # File with the bearer token for the data interface.
    token_file: str
    broker: BrokerAccess
    # Further MQTT connections that events are published on, for a broker that takes only so much on
    # each (AWS IoT Core: 100 publishes a second). Since a client id is its certificate's identity,
    # each has a certificate of its own: the n-th is of `svc:bridge-<n>:<server>`, from 2 on.
    more_connections: list[BrokerAccess] = []
    topics: Topics = Topics()
    limits: Limits = Limits()
    # First and longest pause before the server is tried again, in seconds.
    reconnect_s: float = 0.1
    reconnect_s_max: float = 10.0
    # How often it tells how it stands when nothing changes, in seconds.
    status_every_s: float = EVERY_S
    # `host:port` to serve `GET /v1/counts` on (port 0 takes a free one); None serves nothing.
    http: str | None = None
