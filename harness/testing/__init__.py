"""Public helpers for tests, ours and others': a clock moved by hand, connected endpoints, a
simulated network."""

from harness.testing.clock import HandMovedClock
from harness.testing.endpoints import Answer, ConnectedPair, seeded_draw
from lwm2m.transport.simulated import (
    BAD_NETWORK,
    GOOD_NETWORK,
    NetworkConditions,
    SimulatedNetwork,
)

__all__ = [
    "BAD_NETWORK",
    "GOOD_NETWORK",
    "Answer",
    "ConnectedPair",
    "HandMovedClock",
    "NetworkConditions",
    "SimulatedNetwork",
    "seeded_draw",
]
