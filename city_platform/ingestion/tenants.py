"""Whose device an endpoint is, asked of the device directory and remembered for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from city_platform.stores.device_directory import DeviceDirectory


class Tenants(Protocol):
    """Tenants by endpoint name."""

    async def of(self, endpoints: Iterable[str]) -> Mapping[str, str]:
        """The tenant of each endpoint that is known."""

    def known(self, endpoints: Iterable[str]) -> Mapping[str, str] | None:
        """The same without asking anybody; None when somebody must be asked."""


class DirectoryTenants:
    """`Tenants` of a device directory; what was found is taken for granted for `cached_s`."""

    def __init__(
        self, directory: DeviceDirectory, cached_s: float, now_ns: Callable[[], int]
    ) -> None:
        self._directory = directory
        self._cached_ns = int(cached_s * 1e9)
        self._now_ns = now_ns
        self._found: dict[str, str] = {}
        self._until_ns = 0

    async def of(self, endpoints: Iterable[str]) -> Mapping[str, str]:
        """See `Tenants`."""
        now_ns = self._now_ns()
        if now_ns >= self._until_ns:
            self._found, self._until_ns = {}, now_ns + self._cached_ns
        missing = sorted({name for name in endpoints if name not in self._found})
        if missing:
            self._found |= await self._directory.tenants(missing)
        return self._found

    def known(self, endpoints: Iterable[str]) -> Mapping[str, str] | None:
        """See `Tenants`."""
        found = self._found
        is_fresh = self._now_ns() < self._until_ns
        return found if is_fresh and all(name in found for name in endpoints) else None


class NoTenants:
    """`Tenants` of an installation without a directory: every device is known, whose it is not."""

    async def of(self, endpoints: Iterable[str]) -> Mapping[str, str]:
        """See `Tenants`."""
        return self.known(endpoints)

    def known(self, endpoints: Iterable[str]) -> Mapping[str, str]:
        """See `Tenants`."""
        return dict.fromkeys(endpoints, "")
