"""The instruments: they watch the wire and the stores, write the journal and touch nothing."""

from harness.taps.broker_tap import BrokerTap
from harness.taps.process_tap import ProcessTap
from harness.taps.store_tap import StoreTap

__all__ = ["BrokerTap", "ProcessTap", "StoreTap"]
