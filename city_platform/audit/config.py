"""What the audit component is told at its start."""

from __future__ import annotations

import msgspec

from city_platform.broker_access import BrokerAccess
from city_platform.identity.config import AccessConfig
from city_platform.rules import RunnerLimits
from contracts.topics import Topics


class AuditLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the log is archived."""

    archive_entries_max: int = 5_000
    """Entries of one archived object."""
    archive_age_s: float = 300.0
    """How long an entry waits at most before it is archived."""
    head_every_s: float = 60.0
    """How often the head is signed again while nothing happens: its age tells that it is fresh."""
    waiting_max: int = 20_000
    """Entries that wait for the disk; more are refused, and whoever sent them sends them again."""


class AuditConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of `city_platform.audit`. It names files with secrets, it holds none."""

    state_dir: str
    """Folder of the log, its signing key and its signed head."""
    token_file: str
    """File with the bearer token of the installation's services."""
    broker: BrokerAccess | None = None
    """The broker whose command topics are heard; None: only what is sent over HTTP is kept."""
    identity: str = "svc:audit"
    """The certificate identity, and client id, at the broker."""
    key_file: str | None = None
    """The signing key (Ed25519, PEM); made if absent. Default: `audit.key` in `state_dir`. Whoever
    has it can forge the log: keep it where those who can write the log cannot read."""
    objects_dir: str | None = None
    """Folder of the object store; default: `objects` in `state_dir`."""
    directory_file: str | None = None
    """Provisioning's device directory, which tells whose a commanded device is."""
    http_host: str = "127.0.0.1"
    """Address to listen on."""
    http_port: int = 0
    """Port to listen on; 0 takes a free one and tells it in the ready line."""
    access: AccessConfig | None = None
    """Who may come in beside the services; None: only the bearer of the token."""
    rules_file: str | None = None
    """TOML with `[[rules]]` instead of the package's own; targets: `published`, `ended`."""
    topics: Topics = Topics()
    """Topic templates of the installation."""
    limits: AuditLimits = AuditLimits()
    """How the log is archived."""
    runner: RunnerLimits = RunnerLimits()
    """Bounds of the rule runner."""
