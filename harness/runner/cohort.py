"""Which devices a run is about: the user's manifest or the harbour district, at the wanted size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import overload

from contracts.manifest import ManifestRow, RowError
from fake_devices.city import HARBOUR, check_manifest, district, write_manifest
from harness.errors import ScenarioError
from runtime.files import FileRefused, read_file

DEFAULT_MANIFEST = Path(__file__).parents[2] / "fixtures" / "cities" / "harbour_district.csv"
DEFAULT_DEVICES = 200
LAMP = "street_lamp"
LAMPS_IN_A_ROW = 1_000
INSTALLED_ON = date(2026, 1, 1)
# Some thirty metres.
GRID_DEGREES = 0.0003
# A million rows and more.
MANIFEST_BYTES_MAX = 256 * 1024 * 1024
ERRORS_SHOWN = 5
REJECTIONS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Cohort:
    """The devices, and the manifest that is imported for them.

    A user's manifest that is used whole goes to the import byte for byte, faulty rows and all.
    `rejected` is what is wrong with those, also where a sample or an extension leaves them out.
    """

    rows: Sequence[ManifestRow]
    manifest: bytes
    content_type: str
    rejected: Sequence[RowError]


def choose(
    manifest: Path | None, devices: int | None, seed: int, *, only_lamps: bool = False
) -> Cohort:
    """The cohort of a run; with `only_lamps`, of as many street lamps.

    Raises `ScenarioError` for a manifest without one usable row.
    """
    if devices is not None and devices < 1:
        raise ScenarioError(f"--devices {devices}: choose 1 or more")
    path = manifest or DEFAULT_MANIFEST
    try:
        data = read_file(path, MANIFEST_BYTES_MAX)
    except FileRefused as error:
        raise ScenarioError(f"cannot read the manifest {path}: {error}") from error
    found = check_manifest(data)
    if not found.rows:
        raise ScenarioError(f"the manifest {path} has no usable row: {_told(found.errors)}")
    if only_lamps:
        return _lamps_of(found.rows, devices, seed, path)
    all_rows = len(found.rows) + len(found.errors)
    if manifest is not None and devices in (None, len(found.rows), all_rows):
        content_type = "text/csv" if _is_csv(data) else "application/json"
        return Cohort(found.rows, data, content_type, found.errors)
    rows = district(found.rows, DEFAULT_DEVICES if devices is None else devices, seed)
    return Cohort(rows, write_manifest(rows), "text/csv", found.errors)


def _lamps_of(rows: Sequence[ManifestRow], devices: int | None, seed: int, path: Path) -> Cohort:
    lamps = [row for row in rows if row.model == LAMP]
    if not lamps:
        raise ScenarioError(f"the manifest {path} has no street lamp")
    wanted = len(lamps) if devices is None else devices
    if wanted <= len(lamps):
        lamps = district(lamps, wanted, seed)
    size = len(rows)
    while len(lamps) < wanted:
        # Not every device that is made up for a district is a lamp.
        size += 2 * (wanted - len(lamps))
        lamps = [row for row in district(rows, size, seed) if row.model == LAMP]
    chosen = lamps[:wanted]
    return Cohort(chosen, write_manifest(chosen), "text/csv", [])


class Lamps(Sequence[ManifestRow]):
    """So many street lamps in a grid, each worked out when it is asked for: a million weigh
    nothing. Nobody provisions them."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> ManifestRow: ...
    @overload
    def __getitem__(self, place: slice) -> Lamps: ...
    def __getitem__(self, place: int | slice) -> ManifestRow | Lamps:
        if isinstance(place, slice):
            return Lamps(self._numbers[place])
        number = self._numbers[place]
        row, column = divmod(number, LAMPS_IN_A_ROW)
        return ManifestRow(
            endpoint=f"lamp-{number:07d}",
            serial=f"LL-SL-{number:08d}",
            model=LAMP,
            tenant=HARBOUR.tenant,
            site="grid",
            group="lamps",
            street="",
            installed_on=INSTALLED_ON,
            psk_identity=f"lamp-{number:07d}",
            latitude=HARBOUR.latitude + row * GRID_DEGREES,
            longitude=HARBOUR.longitude + column * GRID_DEGREES,
        )


def lamps_alone(devices: int) -> Cohort:
    """A cohort for a bench without a platform."""
    return Cohort(Lamps(range(devices)), b"", "text/csv", [])


def _is_csv(data: bytes) -> bool:
    return not data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"[", b"{"))


def _told(errors: Sequence[RowError]) -> str:
    if not errors:
        return "it is empty"
    shown = "; ".join(
        f"row {error.row} {error.field}: {error.reason}" if error.row else error.reason
        for error in errors[:ERRORS_SHOWN]
    )
    more = len(errors) - ERRORS_SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def told_rejections(cohort: Cohort) -> list[str]:
    """A line per faulty row, the first twenty."""
    lines = [
        f"manifest row {error.row}, {error.field}: {error.reason}"
        for error in cohort.rejected[:REJECTIONS_SHOWN]
    ]
    more = len(cohort.rejected) - len(lines)
    return [*lines, f"... and {more} more faulty rows"] if more > 0 else lines
