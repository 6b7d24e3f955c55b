"""What the processes of a load are told, as one JSON line on standard input."""

from __future__ import annotations

from typing import Any, Final

import msgspec

EARLIER: Final = "earlier"
"""The folder, beside the journals, for those of tests before the last."""


class MasterConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Locust master."""

    arguments: tuple[str, ...]
    """What Locust is given on its command line."""
    expect_workers: int
    """How many workers share the devices; shares are given when all have asked."""
    settle_within_s: float
    """How long the workers may take, at the end, to come to rest and count up."""
    totals_file: str
    """Where the final statistics go."""
    bench_journals: tuple[str, ...] = ()
    """Journals of the bench's own observers, to be shown too. They grow while it reads."""
    fleet_journals_dir: str | None = None
    """Where the fleets' journals are, when they are on this machine; None: elsewhere."""


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Locust worker and its fleet process."""

    arguments: tuple[str, ...]
    devices_file: str
    """All devices of this machine, NDJSON; the worker takes its share of it."""
    state_dir: str
    """A directory for its owner alone: the share's devices file, which holds keys, goes there."""
    journal_dir: str
    """Where the fleet's journal goes."""
    log_dir: str
    """Where the fleet's log goes."""
    name: str
    """Of the worker, unique on this machine; its files are called after it."""
    fleet: dict[str, Any]
    """The fleet's configuration without `devices_file` and `journal_file`."""
    settle_within_s: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How well one worker's fleet kept its schedule, so far."""

    worker: str = ""
    devices: int = 0
    """Switched on."""
    intended_per_s: float | None = None
    actual_per_s: float | None = None
    start_lag_p99_ms: float | None = None
    loop_delay_p99_ms: float | None = None
    socket_drops: int = 0
    retransmissions: int = 0
    faults: list[str] = []
    """Limits that it is past: its latencies are void."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of Locust's table. Latencies in milliseconds."""

    kind: str
    name: str
    count: int
    failures: int = 0
    latencies: dict[str, int] = {}
    """Rounded latency, as text, and how many had it. What had none is not among them."""
    max_ms: float | None = None
    per_s: dict[str, int] = {}
    """Unix second, as text, and how many ended within it."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Locust's final statistics, as the master wrote them."""

    entries: list[Entry]
    figures: list[Figures] = []
    errors: dict[str, int] = {}
    """What failed and how often: `kind name: reason`."""
    workers_missing: int = 0
    """Workers that did not say in time that they had counted everything."""
    began_at_unix_s: float = 0.0
    ended_at_unix_s: float = 0.0
