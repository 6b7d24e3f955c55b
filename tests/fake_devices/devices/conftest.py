"""A device's life without a network: sense, apply what changed, look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest

from fake_devices.devices import Changes, DeviceIdentity, DeviceModel, Incident

Drive = Callable[..., list[Changes]]


def _drive(
    model: DeviceModel,
    identity: DeviceIdentity,
    times: Iterable[float],
    incidents: Sequence[Incident] = (),
    writes: Mapping[int, Changes] | None = None,
) -> list[Changes]:
    """All values after each time; `writes[n]` is written before the n-th."""
    moments = list(times)
    values = model.initial(identity, moments[0])
    memory = model.new_memory(identity, moments[0])
    seen = []
    for number, t_s in enumerate(moments):
        values |= (writes or {}).get(number, {})
        changes, memory = model.sense(identity, t_s, values, memory, incidents)
        values |= changes
        seen.append(dict(values))
    return seen


@pytest.fixture(scope="session")
def drive() -> Drive:
    """See `_drive`."""
    return _drive
