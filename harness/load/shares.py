"""Which devices are whose: the master gives every worker a share, so that no name is used twice.

Only names in a form that cannot be undone, and counts, go over Locust's wire, which is neither
encrypted nor authenticated. Keys stay in the devices files on each machine's disk. Workers whose
files name the same devices share that file; files that only overlap are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

_D = TypeVar("_D")
_NAME_BYTES: Final = 8

SHARE_WANTED: Final = "lamplighter_share_wanted"
SHARE: Final = "lamplighter_share"


class IllegalMessage(ValueError):
    """A message of another node that is none of ours; the text says why."""


class ShareWanted(msgspec.Struct, frozen=True):
    """A worker asks: the digests of all names in its devices file, sorted, 8 bytes each."""

    digests: bytes

    @property
    def devices(self) -> int:
        """How many devices its file has."""
        return len(self.digests) // _NAME_BYTES


class Share(msgspec.Struct, frozen=True):
    """The master answers: every `of`-th device beginning with `index`, or why there is none."""

    index: int = 0
    of: int = 1
    refused: str = ""


def share_wanted(endpoints: Iterable[str]) -> ShareWanted:
    """What a worker with these devices says."""
    found = {hashlib.sha256(name.encode()).digest()[:_NAME_BYTES] for name in endpoints}
    return ShareWanted(b"".join(sorted(found)))


def parse_share_wanted(data: object) -> ShareWanted:
    """A worker's message, as Locust hands it over. Raises `IllegalMessage`."""
    return _parse(data, ShareWanted)


def parse_share(data: object) -> Share:
    """The master's message. Raises `IllegalMessage`."""
    share = _parse(data, Share)
    if not 0 <= share.index < share.of:
        raise IllegalMessage(f"share {share.index} of {share.of}: there is none such")
    return share


def devices_of(devices: Sequence[_D], share: Share) -> list[_D]:
    """The share's devices."""
    return list(devices[share.index :: share.of])


class ShareBook:
    """Gives shares once every expected worker has asked; who asks later gets none.

    `workers` is how many are expected.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._wanted: dict[str, ShareWanted] = {}
        self._given: dict[str, Share] = {}

    @property
    def waiting(self) -> int:
        """How many workers have not asked yet."""
        return max(0, self._workers - len(self._wanted))

    def ask(self, worker: str, wanted: ShareWanted) -> dict[str, Share]:
        """A worker asks; returns the shares that can be given now, by worker."""
        if worker in self._given:
            return {worker: self._given[worker]}
        if self._given:
            late = Share(
                refused=f"all devices are given to {self._workers} workers: start the master "
                "with a higher --expect-workers"
            )
            return {worker: late}
        self._wanted[worker] = wanted
        if self.waiting:
            return {}
        self._given = _shares(self._wanted)
        return self._given


def _shares(wanted: dict[str, ShareWanted]) -> dict[str, Share]:
    groups: dict[bytes, list[str]] = {}
    for worker, each in wanted.items():
        groups.setdefault(each.digests, []).append(worker)
    overlap = _overlap(list(groups))
    if overlap:
        refusal = Share(
            refused=f"{overlap} devices are in more than one devices file: give every machine a "
            "file of its own, or all of them the same"
        )
        return dict.fromkeys(wanted, refusal)
    return {
        worker: Share(index, len(workers))
        for workers in groups.values()
        for index, worker in enumerate(workers)
    }


def _overlap(groups: Sequence[bytes]) -> int:
    seen: set[bytes] = set()
    twice = 0
    for digests in groups:
        names = {
            digests[start : start + _NAME_BYTES] for start in range(0, len(digests), _NAME_BYTES)
        }
        twice += len(seen & names)
        seen |= names
    return twice


def _parse(data: object, kind: type[_D]) -> _D:
    try:
        # Locust's wire is msgpack: what comes out of it are plain values.
        return msgspec.convert(_checked(data), kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise IllegalMessage(f"not a {kind.__name__}: {error}") from None


def _checked(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise IllegalMessage(f"expected an object, got {type(data).__name__}")
    digests = data.get("digests")
    if isinstance(digests, bytes) and len(digests) % _NAME_BYTES:
        raise IllegalMessage(f"digests: {len(digests)} bytes are not a multiple of {_NAME_BYTES}")
    return data
