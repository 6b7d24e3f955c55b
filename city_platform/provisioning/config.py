"""What the provisioning component is told at its start."""

from __future__ import annotations

import msgspec

from city_platform.identity.config import AccessConfig
from city_platform.provisioning.broker_notices import BrokerNotice, SayIt
from city_platform.stores.aws.config import EmbeddedStores, Stores
from contracts.topics import Topics


class ProvisioningConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of `city_platform.provisioning`. It names files with secrets, it holds none."""

    state_dir: str
    """Folder of all that lasts: `pki/`, `objects/`, the registries, waiting uploads."""
    token_file: str
    """File with the bearer token that every request must carry."""
    stores: Stores = EmbeddedStores()
    """Where things and credentials are kept: in `state_dir` (`embedded`), or in an account on AWS
    (`aws`)."""
    access: AccessConfig | None = None
    """Who may come in beside the token's bearer; None: only that one, who may do everything."""
    http_host: str = "127.0.0.1"
    """Address to listen on; loopback unless an installation has its own gate before it."""
    http_port: int = 0
    """Port to listen on; 0 takes a free one and tells it in the ready line."""
    services: tuple[str, ...] = ()
    """Identities that get a certificate at the first start: `svc:bridge:s1`, `svc:ingestion`…"""
    broker_hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    """Host names and addresses that the broker's certificate is for."""
    broker_uri: str | None = None
    """Where devices connect: `mqtts://host:port`. May be set later: `PUT /v1/settings`."""
    security_api: str | None = None
    """`host:port` of the LwM2M server's admin API; None: no pre-shared key is handed over.
    May be set later: `PUT /v1/settings`."""
    security_token_file: str | None = None
    """File with that API's bearer token; None: the same token as `token_file`."""
    bootstrap_api: str | None = None
    """`host:port` of the bootstrap handler's HTTP interface (same token as `token_file`), which is
    told of renewed credentials. None: devices get them when they register again. May be set later:
    `PUT /v1/settings`."""
    graph_uri: str | None = None
    """A Neo4j that keeps the device graph (`neo4j://host:port`, `bolt+s://…`); None: in memory."""
    graph_database: str | None = None
    """Its database; None: the server's own choice."""
    graph_password_file: str | None = None
    """File with `user:password` for it; None: it asks for none."""
    topics: Topics = Topics()
    """Topic templates of the installation."""
    certificate_lifetime_days: int = 3650
    """How long a device's certificate is valid: a lamp post is visited every ten years."""
    renew_before_days: int = 90
    """A device gets another certificate so many days before its own expires."""
    superseded_valid_days: float = 14.0
    """A certificate that was replaced is revoked so many days later: until then its device, which
    may be out of reach, can still connect with it."""
    confirmed_valid_s: float = 3_600.0
    """Where the device is known to have the newer one, it is revoked that much sooner: so many
    seconds after it was replaced, and when the device was seen to have what replaced it."""
    confirmations_asked_every_s: float = 30.0
    """How often the bootstrap handler is asked which devices have what replaced another, as long as
    there are such."""
    brokers: tuple[BrokerNotice, ...] = (SayIt(),)
    """How brokers are told that certificates have changed: `say` (whoever started provisioning
    tells them), `hangup` (SIGHUP), `command`."""
    keep_alive_s: int = 60
    """MQTT keep-alive that devices are given, in seconds."""
    presence: bool = False
    """Whether devices are given a topic on which to say that they are connected: birth, last will
    and good-bye. Changing it renews every device's credentials when its row is imported again."""
    upload_bytes_max: int = 256 * 1024 * 1024
    """A larger manifest is refused with 413."""
    row_bytes_max: int = 65_536
    """A longer row is refused."""
    rows_max: int = 1_000_000
    """Rows behind these make the import fail: its memory grows with its rows (100 bytes each)."""
    imports_waiting_max: int = 8
    """Imports run one after the other; more waiting ones are refused with 429."""
    hand_over_within_s: float = 60.0
    """How long an import waits for the LwM2M server to take its keys before it fails."""
