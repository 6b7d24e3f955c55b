"""The configuration of the bootstrap handler's component."""

from __future__ import annotations

import msgspec

from city_platform.bootstrap.drives import DriveTimes
from city_platform.broker_access import BrokerAccess
from city_platform.identity.config import AccessConfig
from city_platform.rules import RunnerLimits
from city_platform.stores.aws.config import EmbeddedStores, Stores
from contracts.topics import Topics


class BootstrapConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the handler finds credentials and keys, and how it drives."""

    broker: BrokerAccess
    # Folder of the object store with `credentials/<endpoint>.json`.
    objects_dir: str
    # Folder with the bridges' certificates, `svc_bridge_<server>.pem`.
    pki_dir: str
    # Folder of this component's own database.
    state_dir: str
    # File with the bearer token of the HTTP interface.
    token_file: str
    # Who may come in beside the token's bearer; None: only that one, who may do everything.
    access: AccessConfig | None = None
    # `host:port` of the HTTP interface; port 0 takes a free one.
    http: str = "127.0.0.1:0"
    # Where the object store is: in `objects_dir`, or in an account on AWS.
    stores: Stores = EmbeddedStores()
    # Database of the device directory: tells devices that are unknown from those without
    # credentials in the counters. None: both count as without credentials.
    directory_file: str | None = None
    # Whether devices that registered without security get credentials: for benches only.
    nosec_allowed: bool = False
    # TOML with `[[rules]]` instead of the package's own; targets are `registered`, `bootstrap`
    # and `deregistered`.
    rules_file: str | None = None
    topics: Topics = Topics()
    times: DriveTimes = DriveTimes()
    limits: RunnerLimits = RunnerLimits()
