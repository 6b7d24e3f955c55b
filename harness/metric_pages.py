"""Prints docs/reference/metrics.md: every metric of every component, and what it means."""

from __future__ import annotations

from typing import Final

from contracts.metric_rows import COMPONENTS, METRICS
from contracts.metrics import PROCESS, UNLISTED, MetricRow

PAGE: Final = "docs/reference/metrics.md"
COMMAND: Final = "python -m harness.reference_pages"

_HEAD: Final = f"""# Metrics

Printed by `{COMMAND}` from `contracts/metric_rows.py`; do not edit.

Every component answers `GET /metrics` in Prometheus's text format (0.0.4). Who may read it, and how
Prometheus is told, is in [Running it](../operations/running.md#metrics).

Counters begin at 0 with their process, but for ingestion's, which its store keeps. A metric is
there from the first time that there is something to count. A count that has no row here is served
as `{UNLISTED}{{component="…",count="…"}}`; tests let none be.

## Every component

`lamplighter_component_info{{component="…"}}` is 1: it names the component behind a target.
"""


def metrics_page() -> str:
    """The text of the page."""
    parts = [
        _HEAD,
        _table([(f"`{row.metric}`", row.kind, row.meaning) for row in PROCESS]),
    ]
    for component, title in COMPONENTS.items():
        rows = [_cells(row) for row in METRICS if row.component == component]
        parts.append(f'## {title}\n\n`component="{component}"`\n\n{_table(rows)}')
    return "\n".join(parts)


def _cells(row: MetricRow) -> tuple[str, str, str]:
    label = f"{{{row.label}}}" if row.label else ""
    return f"`{row.metric}{label}`", row.kind, row.meaning


def _table(rows: list[tuple[str, str, str]]) -> str:
    lines = [("metric", "type", "meaning"), ("---", "---", "---"), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
