"""A district of the wanted size: a fair sample of a manifest's devices, or all of them and more."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.manifest import ManifestRow
from fake_devices.behaviours.noise import stream_key
from fake_devices.city.generator import HARBOUR, Place, generate


class EmptyDistrict(ValueError):
    """No devices are wanted, or there are none to begin with."""


def district(rows: Sequence[ManifestRow], count: int, seed: int) -> list[ManifestRow]:
    """`count` devices: a sample of `rows` that keeps the shares of models, or `rows` and more.

    A sample of as many devices as `rows` has models, or more, has every model. Devices beyond
    `rows` are made up for the same tenant and site and have endpoint names of their own.
    Raises `EmptyDistrict` when `count` is below 1.
    """
    if count < 1:
        raise EmptyDistrict(f"{count} devices are wanted, at least 1 is needed")
    if count <= len(rows):
        return _sample(rows, count, seed)
    return [*rows, *_extension(rows, count - len(rows), seed)]


def _sample(rows: Sequence[ManifestRow], count: int, seed: int) -> list[ManifestRow]:
    """The rows of each model whose hash with the seed comes first, in the order of `rows`."""
    by_model: dict[str, list[ManifestRow]] = {}
    for row in rows:
        by_model.setdefault(row.model, []).append(row)
    # In an order that does not hang on that of the rows.
    quotas = _quotas({model: len(by_model[model]) for model in sorted(by_model)}, count)
    chosen: set[str] = set()
    for model, quota in quotas.items():
        ranked = sorted(by_model[model], key=lambda row: stream_key(seed, "sample", row.endpoint))
        chosen.update(row.endpoint for row in ranked[:quota])
    return [row for row in rows if row.endpoint in chosen]


def _quotas(sizes: dict[str, int], count: int) -> dict[str, int]:
    """Seats by model: one each if there are enough, the rest by largest remainder."""
    total = sum(sizes.values())
    shares = {model: count * size / total for model, size in sizes.items()}
    least = 1 if count >= len(sizes) else 0
    quotas = {model: max(least, int(share)) for model, share in shares.items()}
    while sum(quotas.values()) > count:
        spare = [model for model in quotas if quotas[model] > least]
        fullest = max(spare, key=lambda model: quotas[model] - shares[model])
        quotas[fullest] -= 1
    while sum(quotas.values()) < count:
        open_models = [model for model in quotas if quotas[model] < sizes[model]]
        neediest = max(open_models, key=lambda model: shares[model] - quotas[model])
        quotas[neediest] += 1
    return quotas


def _extension(rows: Sequence[ManifestRow], count: int, seed: int) -> list[ManifestRow]:
    taken = {row.endpoint for row in rows} | {row.psk_identity for row in rows}
    place = _place(rows)
    found: list[ManifestRow] = []
    first = len(rows)
    while len(found) < count:
        more = generate(place, seed, first, count - len(found))
        first += len(more)
        found += (row for row in more if not {row.endpoint, row.psk_identity} & taken)
    return found


def _place(rows: Sequence[ManifestRow]) -> Place:
    """Where the rows' first device stands: the plan's far streets lie beyond it."""
    if not rows:
        return HARBOUR
    first = rows[0]
    return Place(first.tenant, first.site, first.latitude, first.longitude)
