"""The device graph: who owns which device, where it stands, what feeds it, and what it runs.

It is derived: the device directory is the truth, and a graph is filled from it and follows it.
"""

from city_platform.graph.backend import GraphBackend, GraphUnavailable
from city_platform.graph.bolt_backend import BoltBackend
from city_platform.graph.device_graph import DeviceGraph, Projection
from city_platform.graph.kglite_backend import KgliteBackend
from city_platform.graph.projector import GraphProjector
from city_platform.graph.queries import Circle, GraphQuery

__all__ = [
    "BoltBackend",
    "Circle",
    "DeviceGraph",
    "GraphBackend",
    "GraphProjector",
    "GraphQuery",
    "GraphUnavailable",
    "KgliteBackend",
    "Projection",
]
