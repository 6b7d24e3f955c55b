"""Counts in Prometheus's text format (0.0.4), made when they are asked for.

Components count plain numbers; here alone they get the names, kinds and meanings of
`contracts.metric_rows`. Nothing is registered and nothing is kept, and no library is loaded.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from contracts.metric_rows import COMPONENTS, metrics_of
from contracts.metrics import PROCESS, UNLISTED, Kind, MetricTable
from runtime.loop_delay import loop_delay

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_Endpoint = Callable[[Request], Awaitable[Response]]
_INFO: Final = "lamplighter_component_info"
_PAGE_BYTES: Final = resource.getpagesize()
_ESCAPES_OF_HELP: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})
_ESCAPES_OF_LABEL: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Sample(NamedTuple):
    """One number: its labels, as pairs, and its value."""

    labels: Sequence[tuple[str, str]]
    value: float


class Family(NamedTuple):
    """All samples of one metric."""

    metric: str
    kind: Kind | str
    meaning: str
    samples: Sequence[Sample]


def exposition(families: Iterable[Family]) -> str:
    """The text format of some families, in their order."""
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def families_of(component: str, counts: Mapping[str, int]) -> list[Family]:
    """The families of a component's counts, by the table; by name. What has no row is there too."""
    return _families(metrics_of(component), component, counts)


def process_families() -> list[Family]:
    """What the system says of this process, and how late its event loop is; figures that are not
    known are left out."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures: dict[str, float] = {
        "process_cpu_seconds_total": used.ru_utime + used.ru_stime,
        "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        figures["process_resident_memory_bytes"] = pages * _PAGE_BYTES
        # The folder that is read is one of them.
        figures["process_open_fds"] = len(os.listdir("/proc/self/fd")) - 1
    except OSError:
        pass  # no /proc, or no descriptor left to read it with
    if (delay := loop_delay()) is not None:
        figures["lamplighter_event_loop_delay_p99_seconds"] = delay.p99_s
        figures["lamplighter_event_loop_delay_max_seconds"] = delay.max_s
    return [
        Family(row.metric, row.kind, row.meaning, [Sample((), figures[row.metric])])
        for row in PROCESS
        if row.metric in figures
    ]


def metrics_response(component: str, counts: Mapping[str, int]) -> Response:
    """The answer to `GET /metrics`. `component` is one of `contracts.metric_rows.COMPONENTS`."""
    info = Family(
        _INFO, "gauge", "1, with the component's name", [Sample([("component", component)], 1)]
    )
    text = exposition([info, *families_of(component, counts), *process_families()])
    return Response(text, media_type=CONTENT_TYPE)


def metrics_endpoint(component: str, counts: Callable[[], Mapping[str, int]]) -> _Endpoint:
    """The handler of `GET /metrics`. Raises `KeyError` for a component that has no table."""
    if component not in COMPONENTS:
        raise KeyError(component)

    async def measured(request: Request) -> Response:
        return metrics_response(component, counts())

    return measured


def _families(table: MetricTable, component: str, counts: Mapping[str, int]) -> list[Family]:
    found: dict[str, Family] = {}
    for count, value in sorted(counts.items()):
        listed = table.find(count)
        if listed is None:
            metric, kind, meaning = UNLISTED, "untyped", "counts that no metric is named for yet"
            labels = [("component", component), ("count", count)]
        else:
            row, label = listed
            metric, kind, meaning = row.metric, row.kind, row.meaning
            labels = [(row.label, label)] if row.label else []
        family = found.setdefault(metric, Family(metric, kind, meaning, []))
        assert isinstance(family.samples, list)
        family.samples.append(Sample(labels, value))
    return [found[metric] for metric in sorted(found)]


def _lines(family: Family) -> Iterable[str]:
    yield f"# HELP {family.metric} {family.meaning.translate(_ESCAPES_OF_HELP)}"
    yield f"# TYPE {family.metric} {family.kind}"
    for labels, value in family.samples:
        inner = ",".join(f'{name}="{text.translate(_ESCAPES_OF_LABEL)}"' for name, text in labels)
        # repr of a float is the shortest that is read as the same.
        yield f"{family.metric}{{{inner}}} {value!r}" if inner else f"{family.metric} {value!r}"
