"""What a search over a city's devices costs in the device graph.

    python -m benchmarks.device_graph [--devices 100000] [--questions 100] [--only KIND…]
        [--bolt URI [--database NAME] [--password-file FILE]] [--kept]

Fills the graph with devices of five tenants, fifty sites and a thousand feeders, then asks each
kind of question with other values each time, for a page of 100, every second one from the middle
on; the kinds take turns, so that what others do to the machine meets all of them. Times are of
`DeviceGraph`, with the change of thread and the reading of what comes back; `cpu` is of this whole
process, which is all of an embedded graph and the client alone of one over Bolt. In memory each
question is also put to the graph without the index beside it (`scan_cpu_p50`), in turns with the
other way, and again beside a writer that never stops (`beside_a_writer`).

`--bolt` measures a graph database instead, which is emptied before; `--kept` leaves what an earlier
run filled it with. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import msgspec

from benchmarks.rig import plain_conditions, write_line
from city_platform.graph import (
    BoltBackend,
    Circle,
    DeviceGraph,
    GraphQuery,
    KgliteBackend,
    Projection,
)
from city_platform.graph.queries import search_statement
from city_platform.graph.search_index import SearchIndex
from city_platform.stores.device_directory import Box
from contracts.api import FoundDevice

BATCH = 500
MODELS = (*["street_lamp"] * 6, "parking_spot", "water_meter", "air_monitor", "waste_bin")
MARK = Projection("benchmark", 0, False)

Ask = Callable[[DeviceGraph], Awaitable[list[FoundDevice]]]


def device(number: int, chance: random.Random) -> FoundDevice:
    """One device of the city."""
    site, model = f"site-{number % 50}", chance.choice(MODELS)
    feeder = f"F{number // 100}"
    attributes = {"pole": chance.choice(("steel", "wood", "concrete")), "feeder": feeder}
    return FoundDevice(
        endpoint=f"lamp-{number:06d}",
        tenant=f"tenant-{number % 5}",
        site=site,
        group=f"{site}/{model}",
        model=model,
        serial=f"SN{number:06d}",
        street=f"Street {chance.randrange(2_000)}",
        latitude=chance.uniform(52.0, 52.2),
        longitude=chance.uniform(4.8, 5.0),
        installed_on="2026-05-31",
        attributes={**attributes, "height": str(chance.randint(5, 12))},
        firmware=chance.choice(("1.0", "1.1", "2.0")),
        feeder=feeder,
    )


def _box(chance: random.Random, size: float) -> Box:
    south, west = chance.uniform(52.0, 52.2 - size), chance.uniform(4.8, 5.0 - size)
    return Box(south=south, west=west, north=south + size, east=west + size)


def _circle(chance: random.Random, within_m: float) -> Circle:
    return Circle(
        latitude=chance.uniform(52.0, 52.2),
        longitude=chance.uniform(4.8, 5.0),
        within_m=within_m,
    )


QUESTIONS: dict[str, Callable[[random.Random], GraphQuery]] = {
    "tenant": lambda c: GraphQuery(tenant=f"tenant-{c.randrange(5)}"),
    "site": lambda c: GraphQuery(tenant=f"tenant-{c.randrange(5)}", site=f"site-{c.randrange(50)}"),
    "group": lambda c: GraphQuery(group=f"site-{c.randrange(50)}/{c.choice(MODELS)}"),
    "feeder": lambda c: GraphQuery(feeder=f"F{c.randrange(1_000)}"),
    "serial": lambda c: GraphQuery(serial=f"SN{c.randrange(100_000):06d}"),
    "model": lambda c: GraphQuery(model=c.choice(MODELS)),
    "firmware_of_tenant": lambda c: GraphQuery(tenant=f"tenant-{c.randrange(5)}", firmware="2.0"),
    "attribute": lambda c: GraphQuery(attributes={"height": str(c.randint(5, 12))}),
    "box_of_a_street": lambda c: GraphQuery(box=_box(c, 0.003)),
    "box_of_a_quarter": lambda c: GraphQuery(box=_box(c, 0.03)),
    "box_of_half_the_city": lambda c: GraphQuery(box=_box(c, 0.14)),
    "box_and_model": lambda c: GraphQuery(box=_box(c, 0.1), model=c.choice(MODELS)),
    "distance_100_m": lambda c: GraphQuery(circle=_circle(c, 100.0)),
    "distance_500_m": lambda c: GraphQuery(circle=_circle(c, 500.0)),
    "distance_5_km": lambda c: GraphQuery(circle=_circle(c, 5_000.0)),
    "text": lambda c: GraphQuery(text=f"street {c.randrange(2_000)}"),
    "text_of_two_letters": lambda c: GraphQuery(text=c.choice(("st", "f9", "77", "q7"))),
    "serial_in_text": lambda c: GraphQuery(text=f"sn{c.randrange(100_000):06d}"),
    "nothing_has_the_text": lambda c: GraphQuery(text=f"nowhere {c.randrange(99)}"),
    "nothing_fits_two_filters": lambda c: GraphQuery(model="waste_bin", firmware=f"9.{c.random()}"),
    "text_in_a_circle_of_two_tenants": lambda c: GraphQuery(
        circle=_circle(c, 3_000.0), text="street 1", tenants=("tenant-1", "tenant-3")
    ),
    "everything_at_once": lambda c: GraphQuery(
        box=_box(c, 0.14),
        circle=_circle(c, 8_000.0),
        text="steel",
        model="waste_bin",
        firmware="2.0",
        attributes={"height": str(c.randint(5, 12))},
    ),
}
RELATIONS: dict[str, Callable[[random.Random, str], Ask]] = {
    "related_by_feeder": lambda c, name: lambda graph: graph.related(name, "feeder"),
    "related_by_site": lambda c, name: lambda graph: graph.related(name, "site"),
    "related_by_model": lambda c, name: lambda graph: graph.related(name, "model"),
    "related_by_firmware": lambda c, name: lambda graph: graph.related(name, "firmware"),
    "of_a_tenants_sites": lambda c, name: lambda graph: graph.of_tenant(f"tenant-{c.randrange(5)}"),
}


class Samples:
    """What one kind of question cost."""

    def __init__(self) -> None:
        self.wall_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.scan_cpu_ms: list[float] = []
        self.found = 0

    def figures(self) -> dict[str, float]:
        """Percentiles and the mean of what was found."""
        scan = {"scan_cpu_p50": _at(self.scan_cpu_ms, 50)} if self.scan_cpu_ms else {}
        return {
            "p50": _at(self.wall_ms, 50),
            "p99": _at(self.wall_ms, 99),
            "cpu_p50": _at(self.cpu_ms, 50),
            "cpu_p99": _at(self.cpu_ms, 99),
            **scan,
            "found": round(self.found / len(self.wall_ms), 1),
        }


class Asked(NamedTuple):
    """One question: how it is asked, and the same as a query where it is one."""

    kind: str
    ask: Ask
    query: GraphQuery | None


async def measure(wanted: argparse.Namespace) -> dict[str, object]:
    """Fill a graph and ask."""
    is_embedded = wanted.bolt is None
    embedded = KgliteBackend()
    backend = (
        embedded if is_embedded else BoltBackend(wanted.bolt, wanted.database, wanted.password_file)
    )
    graph, chance = DeviceGraph(backend), random.Random(1)
    await graph.open()
    city = [device(number, chance) for number in range(wanted.devices)]
    line: dict[str, object] = {
        "benchmark": "device_graph",
        "backend": "kglite" if is_embedded else "bolt",
        "devices": wanted.devices,
    }
    if not wanted.kept:
        line["filled"] = await _fill(graph, city)
    line["search_ms"] = await _ask_all(graph, wanted, embedded if is_embedded else None)
    if is_embedded:
        line["beside_a_writer"] = await _beside_a_writer(graph, city, wanted)
        line["memory_mb"] = _memory_mb(city)
    await graph.close()
    return {**line, "conditions": plain_conditions()}


async def _fill(graph: DeviceGraph, city: list[FoundDevice]) -> dict[str, float]:
    began, cpu, rss = time.perf_counter(), time.process_time(), _rss_mb()
    await graph.clear(MARK)
    for start in range(0, len(city), BATCH):
        await graph.create(city[start : start + BATCH], MARK)
    return {
        "wall_s": round(time.perf_counter() - began, 1),
        "cpu_us_a_device": round((time.process_time() - cpu) / len(city) * 1e6, 1),
        "memory_mb": _rss_mb() - rss,
    }


async def _ask_all(
    graph: DeviceGraph, wanted: argparse.Namespace, embedded: KgliteBackend | None
) -> dict[str, object]:
    samples: dict[str, Samples] = {}
    for asked in _questions(wanted):
        into = samples.setdefault(asked.kind, Samples())
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        into.found += len(await asked.ask(graph))
        into.cpu_ms.append((time.process_time_ns() - cpu) / 1e6)
        into.wall_ms.append((time.perf_counter_ns() - wall) / 1e6)
        # A tenth of them: it is as slow as the index is quick.
        if embedded is not None and asked.query is not None and len(into.wall_ms) % 10 == 1:
            cpu = time.process_time_ns()
            embedded.read_now(search_statement(asked.query))
            into.scan_cpu_ms.append((time.process_time_ns() - cpu) / 1e6)
    return {kind: found.figures() for kind, found in samples.items()}


async def _beside_a_writer(
    graph: DeviceGraph, city: list[FoundDevice], wanted: argparse.Namespace
) -> dict[str, float]:
    chance, written = random.Random(3), 0

    async def write() -> None:
        nonlocal written
        while True:
            batch = chance.sample(city, min(len(city), graph.batch_devices))
            await graph.put(batch, [], MARK)
            written += len(batch)

    samples, began = Samples(), time.perf_counter()
    writer = asyncio.ensure_future(write())
    for asked in _questions(wanted, rounds=max(1, wanted.questions // 10)):
        wall = time.perf_counter_ns()
        await asked.ask(graph)
        samples.wall_ms.append((time.perf_counter_ns() - wall) / 1e6)
    elapsed_s = time.perf_counter() - began
    writer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writer
    return {
        "searches": len(samples.wall_ms),
        "p50_ms": _at(samples.wall_ms, 50),
        "p99_ms": _at(samples.wall_ms, 99),
        "written_per_s": round(written / elapsed_s, 1),
    }


def _questions(wanted: argparse.Namespace, rounds: int | None = None) -> Iterator[Asked]:
    chance = random.Random(2)
    for number in range(wanted.questions if rounds is None else rounds):
        middle = f"lamp-{chance.randrange(wanted.devices):06d}"
        for kind, make in QUESTIONS.items():
            query = make(chance)
            if number % 2:  # a page in the middle
                query = msgspec.structs.replace(query, after=middle)
            if not wanted.only or kind in wanted.only:
                yield Asked(kind, _search(query), query)
        for kind, related in RELATIONS.items():
            ask = related(chance, middle)
            if not wanted.only or kind in wanted.only:
                yield Asked(kind, ask, None)


def _search(query: GraphQuery) -> Ask:
    return lambda graph: graph.search(query)


def _memory_mb(city: list[FoundDevice]) -> dict[str, int]:
    """What this process holds, and what one more index of the same devices adds."""
    gc.collect()
    process_mb = _rss_mb()
    index = SearchIndex()
    for start in range(0, len(city), BATCH):
        index.change(city[start : start + BATCH], ())
    return {"process": process_mb, "index": _rss_mb() - process_mb, "indexed": len(index)}


def _rss_mb() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


def _at(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return round(ordered[max(0, -(-percent * len(ordered) // 100) - 1)], 2)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--only", nargs="*", choices=(*QUESTIONS, *RELATIONS))
    parser.add_argument("--bolt")
    parser.add_argument("--database")
    parser.add_argument("--password-file")
    parser.add_argument("--kept", action="store_true")
    write_line(asyncio.run(measure(parser.parse_args())), sys.stdout.write)


if __name__ == "__main__":
    main()
