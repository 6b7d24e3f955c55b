"""How many LwM2M servers and bridges a bench has, their names, and whose device is whose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from harness.bench.bench import BenchPlan

SERVERS_MAX: Final = 16


class Pair(NamedTuple):
    """A server and its bridge; `nth` counts from 0. The first has the names of an only one."""

    nth: int
    server: str
    server_process: str
    bridge_process: str


def pairs(plan: BenchPlan) -> list[Pair]:
    """The servers of a bench, each with its bridge."""
    return [pair_of(plan, nth) for nth in range(plan.servers)]


def pair_of(plan: BenchPlan, nth: int) -> Pair:
    """One of them."""
    if not nth:
        return Pair(0, plan.server, "server", "bridge")
    name = plan.server.removesuffix("-1")
    return Pair(nth, f"{name}-{nth + 1}", f"server-{nth + 1}", f"bridge-{nth + 1}")


def home_of(plan: BenchPlan, endpoint: str) -> int:
    """Which server, from 0, a device is switched on at."""
    # A checksum: the same in every process and every run, whatever else is in the fleet.
    return crc32(endpoint.encode()) % plan.servers
