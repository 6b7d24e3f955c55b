"""The collection: lorries go round in the morning, pass by bins that are not full enough, and drive
to the depot's one tipping bay when the next bin does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import simpy

from harness.city_day.bins import Bin, empty
from harness.city_day.world import Process, World

_LORRY_M_S = 4.5
_AT_A_BIN_S = 40.0
_TO_THE_DEPOT_S = 600.0
_TIPPING_S = 480.0
_SETS_OUT_WITHIN_S = 1_800.0


@dataclass(slots=True)
class Lorry:
    """One lorry with its round; `load` is what it holds, `heaviest_litres` the most it ever did."""

    number: int
    load: simpy.Container
    round: Sequence[Bin]
    heaviest_litres: float = 0.0


class Collection:
    """All lorries, and the litres that were taken out of bins and tipped out of lorries."""

    def __init__(self, world: World, bins: Sequence[Bin]) -> None:
        self._world = world
        self._bay = simpy.Resource(world.env, capacity=1)
        self.collected_litres = self.tipped_litres = 0.0
        # Along the streets, so that a lorry's round is one part of the town.
        ordered = sorted(bins, key=lambda each: (each.device.street, each.device.endpoint))
        size = world.life.bins_per_lorry
        rounds = [ordered[first : first + size] for first in range(0, len(ordered), size)]
        self.lorries = [
            Lorry(n, simpy.Container(world.env, capacity=world.life.lorry_litres), its_round)
            for n, its_round in enumerate(rounds, 1)
        ]

    def start(self) -> None:
        """Begin the days of all lorries."""
        for lorry in self.lorries:
            self._world.env.process(self._work(lorry))

    def _work(self, lorry: Lorry) -> Process:
        world = self._world
        chance = world.chance("lorry", str(lorry.number))
        while True:
            begins_s = world.window.next_hour_s(world.life.lorries_begin_hour, world.now)
            yield world.until(begins_s + chance.between(0.0, _SETS_OUT_WITHIN_S))
            world.diary.note("collection", f"lorry {lorry.number} sets out")
            yield from self._go_round(lorry)
            yield from self._tip(lorry)

    def _go_round(self, lorry: Lorry) -> Process:
        world, here = self._world, lorry.round[0]
        for its in lorry.round:
            if its.percent < 100.0 * world.life.bin_collected_above_ratio:
                continue
            yield world.env.timeout(here.device.distance_m(its.device) / _LORRY_M_S + _AT_A_BIN_S)
            here = its
            while its.waste.level > lorry.load.capacity - lorry.load.level:
                if lorry.load.level == 0.0:
                    # Too much for any lorry: a bin that is a container is not this round's.
                    break
                yield from self._tip(lorry)
            litres = its.waste.level
            if 0.0 < litres <= lorry.load.capacity - lorry.load.level:
                yield from empty(world, its)
                yield lorry.load.put(litres)
                self.collected_litres += litres
                lorry.heaviest_litres = max(lorry.heaviest_litres, lorry.load.level)

    def _tip(self, lorry: Lorry) -> Process:
        world = self._world
        yield world.env.timeout(_TO_THE_DEPOT_S)
        with self._bay.request() as turn:
            yield turn
            yield world.env.timeout(_TIPPING_S)
        if lorry.load.level > 0.0:
            self.tipped_litres += lorry.load.level
            yield lorry.load.get(lorry.load.level)
        yield world.env.timeout(_TO_THE_DEPOT_S)
