"""A network in virtual time: it loses, delays, duplicates and reorders by a seed.

Everything happens in `run`, in the order of virtual time; the same seed gives the same run.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Hashable

import msgspec

from lwm2m.coap import CoapEndpoint, Event


class NetworkConditions(msgspec.Struct, frozen=True):
    """How a network treats each datagram. Ratios are 0 to 1, times are seconds."""

    loss_ratio: float = 0.0
    duplication_ratio: float = 0.0
    delay_s: float = 0.01
    """The least delay of a datagram; below 1 tick of nothing in CoAP."""
    jitter_s: float = 0.0
    """Up to this much more, evenly spread: what overtakes is reordering."""


GOOD_NETWORK = NetworkConditions()
BAD_NETWORK = NetworkConditions(loss_ratio=0.2, duplication_ratio=0.1, delay_s=0.02, jitter_s=0.3)

HandleEvents = Callable[[list[Event]], None]


class SimulatedNetwork:
    """Endpoints by address, and the datagrams under way between them."""

    def __init__(self, seed: int, conditions: NetworkConditions = GOOD_NETWORK) -> None:
        self._random = random.Random(seed)
        self._conditions = conditions
        self._order = itertools.count()
        self._under_way: list[tuple[float, int, bytes, Hashable, Hashable]] = []
        self._nodes: dict[Hashable, tuple[CoapEndpoint, HandleEvents]] = {}
        self.now = 0.0
        self.sent = 0
        self.lost = 0

    def attach(
        self, address: Hashable, endpoint: CoapEndpoint, handle_events: HandleEvents
    ) -> None:
        """Put an endpoint at an address, in place of who was there; events go to the callback."""
        self._nodes[address] = (endpoint, handle_events)

    def detach(self, address: Hashable) -> None:
        """Take who is there off the network; what comes for them is lost."""
        self._nodes.pop(address, None)

    def set_conditions(self, conditions: NetworkConditions) -> None:
        """Treat datagrams sent from now on so."""
        self._conditions = conditions

    def inject(self, data: bytes, source: Hashable, target: Hashable) -> None:
        """Put any bytes on the way, as if `source` had sent them."""
        self._carry(data, source, target)

    def run(self, until: float | None = None, steps_max: int = 1_000_000) -> None:
        """Let time pass until nothing is left to happen, or virtual second `until`.

        Raises `RuntimeError` after `steps_max` steps: something goes on for ever.
        """
        for _ in range(steps_max):
            self._settle()
            due = self._next_time()
            if due is None or (until is not None and due > until):
                if until is not None:
                    self.now = max(self.now, until)
                return
            self.now = max(self.now, due)
            self._deliver()
            self._fire_timers()
        raise RuntimeError(f"still busy after {steps_max} steps, at {self.now:.3f} s")

    def _settle(self) -> None:
        """Hand out events and collect datagrams until no endpoint has any."""
        busy = True
        while busy:
            busy = False
            for address, (endpoint, handle_events) in list(self._nodes.items()):
                events = endpoint.events()
                if events:
                    busy = True
                    handle_events(events)
                for data, peer in endpoint.datagrams_to_send():
                    busy = True
                    self._carry(data, address, peer)

    def _carry(self, data: bytes, source: Hashable, target: Hashable) -> None:
        conditions, chance = self._conditions, self._random
        self.sent += 1
        copies = 2 if chance.random() < conditions.duplication_ratio else 1
        for _ in range(copies):
            if chance.random() < conditions.loss_ratio:
                self.lost += 1
                continue
            arrival = self.now + conditions.delay_s + chance.random() * conditions.jitter_s
            entry = (arrival, next(self._order), data, source, target)
            heapq.heappush(self._under_way, entry)

    def _next_time(self) -> float | None:
        times = [self._under_way[0][0]] if self._under_way else []
        for endpoint, _ in self._nodes.values():
            due = endpoint.next_timer()
            if due is not None:
                times.append(due)
        return min(times) if times else None

    def _deliver(self) -> None:
        while self._under_way and self._under_way[0][0] <= self.now:
            _, _, data, source, target = heapq.heappop(self._under_way)
            node = self._nodes.get(target)
            if node is not None:
                node[0].receive_datagram(data, source, self.now)

    def _fire_timers(self) -> None:
        for endpoint, _ in self._nodes.values():
            due = endpoint.next_timer()
            if due is not None and due <= self.now:
                endpoint.handle_timer(self.now)
