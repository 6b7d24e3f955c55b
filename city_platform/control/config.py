"""The configuration of the control component."""

from __future__ import annotations

import msgspec

from city_platform.broker_access import BrokerAccess
from city_platform.control.desk import Times
from city_platform.identity.config import AccessConfig
from city_platform.rules import RunnerLimits
from contracts.topics import Topics


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
    # Commands without a final state; beyond it a request is answered 503.
    open_commands_max: int = 100_000
    # TOML with `[[rules]]` instead of the package's own; targets are `registered`,
    # `deregistered` and `result`.
    rules_file: str | None = None
    topics: Topics = Topics()
    times: Times = Times()
    limits: RunnerLimits = RunnerLimits()
