"""What a search over a city's devices costs in the embedded device graph.

    python -m benchmarks.device_graph [--devices 100000] [--questions 100]

Fills kglite with devices of five tenants, fifty sites and a thousand feeders, then asks each kind
of question with other values each time, for a page of 100. Times are of `DeviceGraph.search`, with
the change of thread and the reading of what comes back; `cpu` is of the whole process. A question
that fits nothing looks at every device. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import sys
import time
from collections.abc import Callable

from city_platform.graph import Circle, DeviceGraph, GraphQuery, KgliteBackend, Projection
from city_platform.stores.device_directory import Box
from contracts.api import FoundDevice

BATCH = 500
MODELS = (*["street_lamp"] * 6, "parking_spot", "water_meter", "air_monitor", "waste_bin")


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


def _circle(chance: random.Random) -> Circle:
    return Circle(
        latitude=chance.uniform(52.0, 52.2),
        longitude=chance.uniform(4.8, 5.0),
        within_m=chance.choice((100.0, 500.0, 2_000.0)),
    )


QUESTIONS: dict[str, Callable[[random.Random], GraphQuery]] = {
    "tenant": lambda c: GraphQuery(tenant=f"tenant-{c.randrange(5)}"),
    "site": lambda c: GraphQuery(tenant=f"tenant-{c.randrange(5)}", site=f"site-{c.randrange(50)}"),
    "group": lambda c: GraphQuery(group=f"site-{c.randrange(50)}/{c.choice(MODELS)}"),
    "feeder": lambda c: GraphQuery(feeder=f"F{c.randrange(1_000)}"),
    "model": lambda c: GraphQuery(model=c.choice(MODELS)),
    "firmware_of_tenant": lambda c: GraphQuery(tenant=f"tenant-{c.randrange(5)}", firmware="2.0"),
    "attribute": lambda c: GraphQuery(attributes={"height": str(c.randint(5, 12))}),
    "box_of_a_street": lambda c: GraphQuery(box=_box(c, 0.003)),
    "box_of_a_quarter": lambda c: GraphQuery(box=_box(c, 0.03)),
    "box_and_model": lambda c: GraphQuery(box=_box(c, 0.1), model=c.choice(MODELS)),
    "distance": lambda c: GraphQuery(circle=_circle(c)),
    "text": lambda c: GraphQuery(text=f"street {c.randrange(2_000)}"),
    "serial_in_text": lambda c: GraphQuery(text=f"sn{c.randrange(100_000):06d}"),
    "nothing_has_the_text": lambda c: GraphQuery(text=f"nowhere {c.randrange(99)}"),
    "nothing_fits_two_filters": lambda c: GraphQuery(model="waste_bin", firmware=f"9.{c.random()}"),
}


async def measure(devices: int, questions: int) -> dict[str, object]:
    """Fill a graph and ask."""
    backend = KgliteBackend()
    graph = DeviceGraph(backend)
    await graph.open()
    chance = random.Random(1)
    city = [device(number, chance) for number in range(devices)]
    began, cpu = time.perf_counter(), time.process_time()
    mark = Projection("benchmark", 0, False)
    for start in range(0, devices, BATCH):
        await graph.create(city[start : start + BATCH], mark)
    await graph.make_fences()
    filled = {
        "wall_s": round(time.perf_counter() - began, 1),
        "cpu_us_a_device": round((time.process_time() - cpu) / devices * 1e6, 1),
    }
    answers: dict[str, object] = {}
    for name, make in QUESTIONS.items():
        answers[name] = await _ask(graph, make, chance, questions, devices)
    await graph.close()
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"devices": devices, "filled": filled, "rss_mb": rss_mb, "search_ms": answers}


async def _ask(
    graph: DeviceGraph,
    make: Callable[[random.Random], GraphQuery],
    chance: random.Random,
    questions: int,
    devices: int,
) -> dict[str, float]:
    walls, cpus, found = [], [], 0
    for number in range(questions):
        query = make(chance)
        if number % 2:  # a page in the middle
            query = GraphQuery(
                **{
                    name: getattr(query, name)
                    for name in query.__struct_fields__
                    if name != "after"
                },
                after=f"lamp-{chance.randrange(devices):06d}",
            )
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        found += len(await graph.search(query))
        cpus.append((time.process_time_ns() - cpu) / 1e6)
        walls.append((time.perf_counter_ns() - wall) / 1e6)
    walls.sort()
    cpus.sort()
    last = max(0, -(-99 * questions // 100) - 1)
    return {
        "p50": round(walls[questions // 2], 2),
        "p99": round(walls[last], 2),
        "cpu_p50": round(cpus[questions // 2], 2),
        "cpu_p99": round(cpus[last], 2),
        "found": round(found / questions, 1),
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    wanted = parser.parse_args()
    sys.stdout.write(json.dumps(asyncio.run(measure(wanted.devices, wanted.questions))) + "\n")


if __name__ == "__main__":
    main()
