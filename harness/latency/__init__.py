"""Latencies in HDR form: recorded in a tenth of a microsecond, merged, and told to other tools."""

from harness.latency.encoding import MalformedHistogram, decode, encode
from harness.latency.histogram import HIGHEST_US, QUANTILES, Histogram
from harness.latency.seconds import Second, by_second

__all__ = [
    "HIGHEST_US",
    "QUANTILES",
    "Histogram",
    "MalformedHistogram",
    "Second",
    "by_second",
    "decode",
    "encode",
]
