"""A dry run: what an import would say of a manifest's rows, without storing anything.

It reads with the same code as the import. What only the import can know, it does not tell: whether
a device is there already, and names that other devices of the installation have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from city_platform.provisioning.importing import SeenRows, check_rows
from city_platform.provisioning.manifest_reader import ManifestReader, RawRow, UnreadableManifest
from contracts.manifest import RowError

ERRORS_SHOWN: Final = 1_000
TENANTS_SHOWN: Final = 100
ROWS_MAX: Final = 1_000_000


class ManifestCheck:
    """Takes a manifest's bytes as they come, in one thread; `report` tells of all of them."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._reader = ManifestReader()
        self._seen = SeenRows()
        self._rows_max = rows_max
        self._rows = 0
        self._good = 0
        self._errors: list[RowError] = []
        self._rejected = 0
        self._models: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        self._reason: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be found out."""
        return self._reason is not None

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._step(lambda: self._reader.feed(data))

    def finish(self) -> None:
        """The file has ended."""
        self._step(self._reader.finish)

    def report(self) -> dict[str, Any]:
        """What was found out so far."""
        return {
            "rows": self._rows,
            "good": self._good,
            "rejected": self._rejected,
            "models": dict(self._models.most_common(TENANTS_SHOWN)),
            "tenants": dict(self._tenants.most_common(TENANTS_SHOWN)),
            "errors": msgspec.to_builtins(self._errors),
            "is_whole": self._reason is None,
            "reason": self._reason,
        }

    def _step(self, cut: Callable[[], list[RawRow]]) -> None:
        if self._reason is not None:
            return
        try:
            raw_rows = cut()
        except UnreadableManifest as error:
            self._reason = str(error)
            return
        self._rows += len(raw_rows)
        rows, errors = check_rows(raw_rows, self._seen)
        self._good += len(rows)
        self._models.update(one.row.model for one in rows)
        self._tenants.update(one.row.tenant for one in rows)
        self._rejected += len(errors)
        self._errors += errors[: ERRORS_SHOWN - len(self._errors)]
        if self._rows > self._rows_max:
            self._reason = f"more than {self._rows_max} rows: split the manifest"
