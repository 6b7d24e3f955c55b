"""The configuration of the control component."""

from __future__ import annotations

import msgspec

from city_platform.broker_access import BrokerAccess
from city_platform.control.desk import Times
from city_platform.control.group_service import GroupLimits
from city_platform.identity.config import AccessConfig
from city_platform.rules import RunnerLimits
from contracts.topics import Topics


class SearchAccess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where devices are searched for group commands."""

    # `host:port` of provisioning's HTTP interface.
    address: str
    # File with the bearer token for it.
    token_file: str


class ControlConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where control listens and keeps its commands."""

    broker: BrokerAccess
    # Folder of this component's own database.
    state_dir: str
    # File with the bearer token of the HTTP interface.
    token_file: str
    # `host:port` of the HTTP interface; port 0 takes a free one.
    http: str = "127.0.0.1:0"
    # Who may come in beside the token's bearer; None: only that one, who may do everything.
    access: AccessConfig | None = None
    # Provisioning's device directory: whose a device is, and group commands by tenant, site, group,
    # model, box and attributes. None: that of `access`, and without it lists of devices alone.
    directory_file: str | None = None
    # Provisioning's search: group commands also by firmware, feeder, text, serial and distance.
    search: SearchAccess | None = None
    # Commands without a final state; beyond it a request is answered 503, and a group waits.
    open_commands_max: int = 100_000
    # TOML with `[[rules]]` instead of the package's own; targets are `registered`,
    # `deregistered`, `result` and `bridge_status`.
    rules_file: str | None = None
    topics: Topics = Topics()
    times: Times = Times()
    groups: GroupLimits = GroupLimits()
    # More tries than a rule runner's own: what fails here is the disk, and it comes back.
    limits: RunnerLimits = RunnerLimits(tries_max=100)
