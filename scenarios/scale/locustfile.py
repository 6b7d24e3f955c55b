"""What `lamplighter load` runs: every user of Locust's is one simulated device.

A file for Locust, to be copied and changed; name yours with `--locustfile FILE`. It is loaded by
Locust's own processes only. `docs/operations/distributed_load.md` shows more: users of one model
with weights, load shapes, percentiles, and users that ask the platform's interfaces.
"""

from __future__ import annotations

from harness.load.users import DeviceUser


class Device(DeviceUser):
    """Any device of the worker's share."""
