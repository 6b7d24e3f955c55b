"""A process that Locust runs in: its own `main`, with our listeners already there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from math import floor, log10

# Before anything else: it replaces what the standard library waits with.
import locust  # isort: skip
import locust.argument_parser
import locust.stats
from locust.main import main

from harness.load import master, worker
from harness.load.config import MasterConfig, WorkerConfig

_DIGITS = 3


def run_master(config: MasterConfig) -> int:
    """Run a Locust master until its end; returns its exit code."""
    master.install(config)
    return _run(config.arguments)


def run_worker(config: WorkerConfig) -> int:
    """Run a Locust worker likewise. Raises `ConfigError` for its devices file."""
    worker.install(config)
    return _run(config.arguments)


def _run(arguments: Sequence[str]) -> int:
    # Locust rounds to two digits, and to whole milliseconds: too coarse for a LAN's latencies.
    locust.stats.bucket_response_time = rounded  # type: ignore[assignment]  # a float is a key too
    # It makes a parser for each of its options, at every second of a ramp: half a second of CPU.
    locust.argument_parser.default_args_dict = cache(locust.argument_parser.default_args_dict)
    # What its table, its CSV and its report show; a locustfile may choose others.
    locust.stats.PERCENTILES_TO_REPORT = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0]
    sys.argv = ["locust", *arguments]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def rounded(milliseconds: float) -> float:
    """A latency to three digits, hundredths of a millisecond at most."""
    if milliseconds < 1:
        return round(max(0.0, milliseconds), 2)
    return round(milliseconds, _DIGITS - 1 - floor(log10(milliseconds)))
