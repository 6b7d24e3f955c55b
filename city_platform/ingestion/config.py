"""What the ingestion component is told at its start."""

from __future__ import annotations

import msgspec

from city_platform.broker_access import BrokerAccess
from city_platform.identity.config import AccessConfig
from city_platform.ingestion.transform import FUTURE_S
from city_platform.rules import RunnerLimits
from city_platform.stores.alarm_states import FlappingLimits
from city_platform.stores.aws.config import EmbeddedStores, Stores
from city_platform.stores.telemetry_retention import RetentionRule
from contracts.topics import Topics


class IngestionLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of ingestion's memory and disk."""

    segment_bytes: int = 16 * 1024 * 1024
    """A spool file that is larger is followed by another; one is deleted when all of it is stored
    and archived."""
    spool_bytes_max: int = 8 * 1024 * 1024 * 1024
    """Bytes of the spool's files, at least four of them, while the store is behind or takes
    nothing. What comes then is not acknowledged: the broker keeps it, and sends it again."""
    waiting_bytes_max: int = 32 * 1024 * 1024
    """Packs received and not yet on disk. More are refused, which holds the broker back."""
    spool_gather_s: float = 0.01
    """Least time from one sync of the spool to the next: what comes alone is synced at once, what
    comes meanwhile waits for its PUBACK so long at most, and shares the next sync."""
    batch_gather_s: float = 0.04
    """Least time from one transaction of the store to the next, likewise. Under load it is longer,
    by as much as a transaction takes, and at most 0.2 s."""
    batch_packs_max: int = 2_048
    """Packs of one transaction; while there are as many, the next one follows at once."""
    batch_bytes_max: int = 1024 * 1024
    """Bytes of the packs of one transaction, but for its first."""
    feed_memory_bytes: int = 8 * 1024 * 1024
    """Feed lines in memory; a reader that is behind them is served from the store."""
    feed_kept_bytes: int = 128 * 1024 * 1024
    """Feed lines in the store; a reader that is behind them is told how many it missed."""
    feed_readers_max: int = 32
    """Feeds open at one time."""
    changes_devices_max: int = 20_000
    """Devices whose last changes are kept for who watches; behind more, a reader begins anew."""
    changes_readers_max: int = 256
    """Requests that wait for changes at one time."""
    changes_gather_s: float = 0.2
    """How long a request that waits goes on gathering once there is a change."""
    archive_bytes: int = 4 * 1024 * 1024
    """Uncompressed bytes of an archive object: compressed some 300 KB, as object stores like it."""
    archive_age_s: float = 60.0
    """An archive object is put after this time at the latest."""
    dead_letters_max: int = 100_000
    """Dead letters that are kept, oldest first to go."""
    unstamped_window_s: float = 600.0
    """For how long a pack without times of its own is recognised when it comes again."""
    future_s: float = FUTURE_S
    """How far ahead of this machine's clock a device's time may be. A pack that is further ahead
    becomes a dead letter: its readings would stay the latest, whatever the device says later.
    Default: a day, so that a device that takes local time for UTC is heard all the same."""
    tenants_cached_s: float = 60.0
    """How long a device's tenant is taken for granted."""


class IngestionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of `city_platform.ingestion`. It names files with secrets, it holds none."""

    broker: BrokerAccess
    """How to reach the MQTT broker; the certificate is that of `svc:ingestion`."""
    state_dir: str
    """Folder of all that lasts: `spool/`, `telemetry.sqlite`, `dead_letters.sqlite`, `objects/`
    with the archive."""
    token_file: str
    """File with the bearer token that every request must carry."""
    access: AccessConfig | None = None
    """Who may come in beside the token's bearer; None: only that one, who may do everything."""
    stores: Stores = EmbeddedStores()
    """Where readings and the archive are kept: in `state_dir` (`embedded`), or beside it in an
    account on AWS (`aws`)."""
    directory_file: str | None = None
    """Provisioning's `devices.sqlite`: rows get their device's tenant, and packs of devices that
    are not in it are dead-lettered. None: no tenants, every device is known."""
    http_host: str = "127.0.0.1"
    """Address to listen on."""
    http_port: int = 0
    """Port to listen on; 0 takes a free one and tells it in the ready line."""
    rules_file: str | None = None
    """TOML with `[[rules]]` instead of the package's own; targets are `telemetry` and `alarms`."""
    signals_file: str | None = None
    """TOML with `[[signals]]` instead of the package's own: boolean resources that are alarms."""
    flapping: FlappingLimits = FlappingLimits()
    """When an alarm that comes and goes is flapping."""
    retention: tuple[RetentionRule, ...] = ()
    """How long rows are kept, by kind and tenant; nothing is deleted that no rule speaks of."""
    retention_every_s: float = 3_600.0
    """Time from one sweep to the next, at least 30 s."""
    topics: Topics = Topics()
    """Topic templates of the installation."""
    limits: IngestionLimits = IngestionLimits()
    """Bounds of memory and disk."""
    runner: RunnerLimits = RunnerLimits(concurrency_max=10_000)
    """Bounds of the rule runner: a group commit is as large as it lets it be."""
