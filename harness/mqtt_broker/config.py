"""What the broker process is told at its start: files and limits, never a secret."""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.topics import Topics
from harness.mqtt_broker.core import BrokerLimits
from harness.mqtt_broker.steps import Defect

BrokerKind = Literal["embedded", "amqtt", "mosquitto"]


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of `python -m harness.mqtt_broker`."""

    # Our own broker in this process, amqtt in this process, or a Mosquitto beside it.
    kind: BrokerKind = "embedded"
    host: str = "127.0.0.1"
    # 0 takes a free port; it is told in the ready line.
    port: int = 0
    # PEM files: the CA whose client certificates are let in, and the broker's own pair.
    ca_file: str
    certificate_file: str
    key_file: str
    # Provisioning's list of revoked certificates (embedded and amqtt); None: nothing is revoked.
    revoked_file: str | None = None
    # Provisioning's CRL, PEM (Mosquitto); None: nothing is revoked.
    crl_file: str | None = None
    # Folder of Mosquitto's configuration, access list and store.
    state_dir: str
    topics: Topics = Topics()
    # The LwM2M servers whose bridges may connect (Mosquitto's access list names them).
    servers: tuple[str, ...] = ("server-1",)
    # How many connections each bridge may have there: each is an identity of its own.
    bridge_connections: int = 1
    # Where it is told who came and went (embedded only); None: nowhere.
    journal_file: str | None = None
    # Whether it tells of connections itself, on `topics.lifecycle`, as AWS IoT Core does (embedded
    # only).
    lifecycle_events: bool = False
    limits: BrokerLimits = BrokerLimits()
    # A planted defect (embedded only).
    defect: Defect | None = None
